"""The pairs of a split: of a data set as its owners lay it out, of a list, or of a packed file."""

import os
from pathlib import Path

from ocrnet import files
from ocrnet.config import DataConfig
from ocrnet.data.datasets import Pairs, SegmentationDataset
from ocrnet.data.packed import PackedDataset
from ocrnet.errors import UserError
from ocrnet.formats.known import FORMATS


def open_dataset(config: DataConfig, split: str) -> SegmentationDataset:
    """The pairs of `split` ("train", "val", or "test", which has no labels).

    Raises:
        UserError: the folder or list is missing, the split is empty, or an image has no label. With
            `on_bad_sample: skip`, training pairs whose files are missing are left to the loader.
    """
    if split == "train" and config.packed:
        return PackedDataset(config.packed, config)
    dataset = find_pairs(config, split)
    if split == "train" and config.on_bad_sample == "skip":
        return dataset
    for position in (0, 1):
        missing = [pair for pair in dataset.pairs if pair[position] and not pair[position].is_file()]
        if missing:
            kind = ("image", "label")[position]
            of = f" of image {missing[0][0]}" if position else ""
            more = f" ({len(missing)} of {len(dataset)} {kind}s are missing)" if len(missing) > 1 else ""
            raise UserError(f"{missing[0][position]}: {kind} file{of} not found{more}")
    return dataset


def find_pairs(config: DataConfig, split: str) -> SegmentationDataset:
    """As `open_dataset`, without a look at whether each file is there."""
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
        raise UserError(f"{where}: no images here; data.{split} (split {source!r}) is empty")
    return SegmentationDataset(pairs, config)


def _read_list(root: Path, path: Path, labelled: bool = True) -> Pairs:
    """Pairs of a .lst file: `image label` a line, separated by blanks, relative to `root`. # starts a comment.

    A list that is not `labelled` may have the image alone on a line. A list may come from elsewhere, so neither `..`
    nor a link may lead it out of `root`.
    """
    real_root = os.path.realpath(root)
    try:
        text = files.read_text(path, errors="surrogateescape")  # file names keep their bytes
    except OSError as error:
        raise UserError(f"{path}: cannot read this list: {error.strerror}. Set data.root / --dataset_dir.") from None
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
                raise UserError(f"{path}:{number}: {field!r} leaves the data root {root}")
            try:
                real = os.path.realpath(root / field)
            except ValueError as error:
                raise UserError(f"{path}:{number}: {field!r} is no file name: {error}") from None
            if os.path.commonpath([real, real_root]) != real_root:
                raise UserError(
                    f"{path}:{number}: {field!r} is a link that leaves the data root {root}: it leads to {real}. "
                    "Set data.root to a folder that holds both."
                )
        pairs.append((root / fields[0], root / fields[-1]))
    return pairs
