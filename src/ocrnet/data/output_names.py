"""A name of its own for the results of every file, readable and the same in every run over the same files."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

_ENDINGS = (".png", ".jpg", ".mp4")  # of the results, which are called NAME.png and so on


def unique_names(
    paths: Sequence[Path], wishes: Sequence[Sequence[Path]], has_frames: Callable[[Path], bool] = lambda path: False
) -> list[Path]:
    """Names without ending: for NAME the files NAME.png, NAME.jpg, NAME.mp4, of a video the frames NAME/000000.png, ...

    A file gets the first of its wishes that no other file has or wants. Where all wishes are taken its name is made
    from its path, at last with a number. Names that differ in upper and lower case alone count as equal.

    Args:
        paths: of the files, all different.
        wishes: for each file the names it may get, the best first; the same number for all.
        has_frames: whether a file is a video; asked where that matters alone.
    """
    absolute = [Path(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath([path.parent for path in absolute]) if absolute else ""
    from_root = [path.relative_to(root) for path in absolute]
    names: list[Path | None] = [None] * len(paths)
    taken = _Taken(has_frames)
    levels = [*zip(*wishes, strict=True), [path.with_suffix("") for path in from_root], from_root]
    for level in levels:
        waiting = [number for number, name in enumerate(names) if name is None]
        wanted = Counter(_key(level[number]) for number in waiting)
        for number in waiting:
            if wanted[_key(level[number])] == 1 and taken.add(level[number], paths[number]):
                names[number] = level[number]
    for number, name in enumerate(names):
        if name is None:
            possible = _numbered(from_root[number].with_suffix(""))
            names[number] = next(name for name in possible if taken.add(name, paths[number]))
    return names


def _numbered(name: Path) -> Iterator[Path]:
    """The name itself, then its folders joined to one word, then that with the numbers 2, 3, ..."""
    flat = "_".join(name.parts)
    yield name
    yield Path(flat)
    yield from (Path(f"{flat}-{number}") for number in count(2))


def _key(name: Path) -> str:
    return unicodedata.normalize("NFC", name.as_posix()).casefold()


class _Taken:
    """The files and folders that the names so far will need."""

    def __init__(self, has_frames: Callable[[Path], bool]) -> None:
        self.has_frames = has_frames
        self.names: dict[str, Path] = {}
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.numbered: set[str] = set()
        """Folders with a file that is called like a frame."""

    def add(self, name: Path, path: Path) -> bool:
        """Take a name for the results of `path`, unless it, one of its files or one of its folders is taken."""
        key, folders = _key(name), {_key(folder) for folder in name.parents}
        files = {key + ending for ending in _ENDINGS}
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
