"""Finds the image and label files of a split: in the layout of a public data set, in a list, or in a packed file."""

import os
from collections.abc import Iterable
from pathlib import Path

from ocrnet import files
from ocrnet.config import DataConfig
from ocrnet.data.datasets import Pairs, SegmentationDataset
from ocrnet.data.packed import PackedDataset
from ocrnet.errors import UserError, write_text
from ocrnet.formats.known import FORMATS


def open_dataset(config: DataConfig, split: str) -> SegmentationDataset:
    """Opens a split: "train" (without `held_out_fold`), "val", or "test", which has no labels.

    Raises:
        UserError: the folder or list is missing, the split is empty, or a file is missing. With `on_bad_sample: skip`,
            missing training files are not checked here; the loader skips them.
    """
    if split == "train" and config.packed:
        return _without_fold(PackedDataset(config.packed, config), config)
    dataset = find_pairs(config, split)
    if split == "train":
        dataset = _without_fold(dataset, config)
    if split == "train" and config.on_bad_sample == "skip":
        return dataset
    for position in (0, 1):
        missing = [pair for pair in dataset.pairs if pair[position] and not pair[position].is_file()]
        if missing:
            kind = ("image", "label")[position]
            image = f" of image {missing[0][0]}" if position else ""
            count = f" ({len(missing)} of {len(dataset)} {kind}s are missing)" if len(missing) > 1 else ""
            raise UserError(f"{missing[0][position]}: {kind} file{image} not found{count}")
    return dataset


def _without_fold(dataset: SegmentationDataset, config: DataConfig) -> SegmentationDataset:
    if config.held_out_fold is None:
        return dataset
    fold, folds = config.held_out_fold
    kept = [number for number in range(len(dataset)) if number % folds != fold]
    if not kept:
        raise UserError(f"data.held_out_fold {[fold, folds]}: no pair is left of {len(dataset)}")
    return dataset.subset(kept)


def find_pairs(config: DataConfig, split: str) -> SegmentationDataset:
    """Like `open_dataset`, but does not check that the files exist."""
    source = getattr(config, split)
    if config.format == "list":
        where = config.root / source
        pairs = _read_list(config.root, where, labelled=split != "test")
    else:
        where = config.root
        try:
            pairs = FORMATS[config.format].find_pairs(where, source)
        except FileNotFoundError as error:
            raise UserError(str(error)) from None
    if split == "test":
        pairs = [(image, None) for image, _ in pairs]
    if not pairs:
        raise UserError(f"{where}: no images found; data.{split} (split {source!r}) is empty")
    return SegmentationDataset(pairs, config)


def write_list(path: Path, root: Path, pairs: Iterable[tuple[Path, Path]]) -> None:
    """Writes a list as `data.train` of `data.format: list`: `image label` per line, relative to `root`.

    Raises:
        UserError: the file cannot be written.
    """
    lines = (" ".join(os.path.relpath(part, root) for part in pair) for pair in pairs)
    write_text(path, "".join(f"{line}\n" for line in lines))


def _read_list(root: Path, path: Path, labelled: bool = True) -> Pairs:
    """Reads a .lst file: `image label` per line, separated by spaces, relative to `root`. # starts a comment.

    If `labelled` is False, a line may have the image only. Lists are not trusted: neither `..` nor a symbolic link may
    lead outside `root`.
    """
    real_root = os.path.realpath(root)
    try:
        text = files.read_text(path, errors="surrogateescape")  # file names keep their bytes
    except OSError as error:
        raise UserError(f"{path}: cannot read this list: {error.strerror}. Set data.root (--data_root).") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8")
    pairs: Pairs = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        if len(fields) != 2 and (labelled or len(fields) != 1):
            raise UserError(f"{path}:{number}: expected `image label`, got {line.strip()!r}")
        for field in fields:
            if Path(field).is_absolute() or ".." in Path(field).parts:
                raise UserError(f"{path}:{number}: {field!r} is outside the data root {root}")
            try:
                real = os.path.realpath(root / field)
            except ValueError as error:
                raise UserError(f"{path}:{number}: {field!r} is not a file name: {error}") from None
            if os.path.commonpath([real, real_root]) != real_root:
                raise UserError(
                    f"{path}:{number}: {field!r} is a link to {real}, which is outside the data root {root}. "
                    "Set data.root to a folder that contains both."
                )
        pairs.append((root / fields[0], root / fields[-1]))
    return pairs
