"""Chooses a unique output name for every input file: readable, and the same in every run over the same files."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

_SUFFIXES = (".png", ".jpg", ".mp4")  # of the outputs, e.g. NAME.png


def unique_names(
    paths: Sequence[Path], candidates: Sequence[Sequence[Path]], has_frames: Callable[[Path], bool] = lambda path: False
) -> list[Path]:
    """Returns a unique name without suffix for each file.

    A file with the name NAME has the outputs NAME.png, NAME.jpg and NAME.mp4; a video also has NAME/000000.png, ...
    Each file gets its first candidate that no other file has or could get. If there is none, the name is derived from
    its path, if necessary with a number. Names that differ in case only are regarded as equal.

    Args:
        paths: paths of the files, all different.
        candidates: for each file the names to try, the best first; the same number for all files.
        has_frames: whether a file is a video; called only if it matters.
    """
    absolute = [Path(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath([path.parent for path in absolute]) if absolute else ""
    from_root = [path.relative_to(root) for path in absolute]
    names: list[Path | None] = [None] * len(paths)
    used = _UsedNames(has_frames)
    levels = [*zip(*candidates, strict=True), [path.with_suffix("") for path in from_root], from_root]
    for level in levels:
        unnamed = [index for index, name in enumerate(names) if name is None]
        counts = Counter(_key(level[index]) for index in unnamed)
        for index in unnamed:
            if counts[_key(level[index])] == 1 and used.add(level[index], paths[index]):
                names[index] = level[index]
    for index, name in enumerate(names):
        if name is None:
            options = _numbered(from_root[index].with_suffix(""))
            names[index] = next(name for name in options if used.add(name, paths[index]))
    return names


def _numbered(name: Path) -> Iterator[Path]:
    """Yields the name itself, the name with its folders joined by "_", and that with the numbers 2, 3, ..."""
    flat = "_".join(name.parts)
    yield name
    yield Path(flat)
    yield from (Path(f"{flat}-{number}") for number in count(2))


def _key(name: Path) -> str:
    return unicodedata.normalize("NFC", name.as_posix()).casefold()


class _UsedNames:
    """The output files and folders of the names chosen so far."""

    def __init__(self, has_frames: Callable[[Path], bool]) -> None:
        self.has_frames = has_frames
        self.names: dict[str, Path] = {}
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.numbered: set[str] = set()
        """Folders with an output file whose name looks like a frame number."""

    def add(self, name: Path, path: Path) -> bool:
        """Reserves a name for the outputs of `path`. Returns False if the name, a file or a folder of it is in use."""
        key, folders = _key(name), {_key(folder) for folder in name.parents}
        files = {key + suffix for suffix in _SUFFIXES}
        numbered = {_key(name.parent)} if name.name.isdigit() and len(name.name) >= 6 else set()
        if key in self.names or files & self.folders or folders & self.files:
            return False
        if (key in self.files or key in self.numbered) and self.has_frames(path):
            return False
        if any(self.has_frames(self.names[other]) for other in (files | numbered) & self.names.keys()):
            return False
        self.names[key] = path
        self.files |= files
        self.folders |= folders
        self.numbered |= numbered
        return True
