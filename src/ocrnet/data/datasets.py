"""Data sets: which picture belongs to which label file, and how a pair is read."""

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np

from ocrnet.config import IGNORED, DataConfig
from ocrnet.data.formats import FORMATS
from ocrnet.data.pictures import BadFile, Picture, PictureFile, read_label
from ocrnet.errors import UserError

_INVALID = 254  # a label value that means nothing; class indices stay below it

Pairs = list[tuple[Path, Path | None]]


class SegmentationDataset:
    """One split: pictures as (H, W, 3) uint8 RGB, labels as (H, W) uint8 with classes 0.. and 255 for ignored."""

    def __init__(self, pairs: Pairs, config: DataConfig) -> None:
        self.pairs = pairs
        self.config = config
        self.classes = config.classes
        self._table = np.full(256, _INVALID, np.uint8)
        identity = {value: value for value in range(len(config.classes))}
        for raw, index in (config.label_map or identity).items():
            self._table[raw] = IGNORED if index == config.ignore_index else index
        self._table[config.ignore_index] = IGNORED
        self.names = _names([picture for picture, _ in pairs])

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """File name of the picture, without its ending; with its folders where file names alone repeat."""
        return self.names[index]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Picture and label; a split without labels has None.

        Raises:
            BadFile: a file is missing or unreadable, the sizes differ, or a label value is no class.
        """
        picture, label = self.open(index)
        return picture[:, :], label

    def open(self, index: int) -> tuple[Picture, np.ndarray | None]:
        """As `read`, with a picture that is decoded no further than the windows that are asked for."""
        picture_path, label_path = self.pairs[index]
        picture = PictureFile(picture_path)
        if label_path is None:
            return picture, None
        raw = read_label(label_path)
        if raw.shape != picture.shape[:2]:
            raise BadFile(
                "sizes differ",
                f"{label_path}: the label is {raw.shape[1]} x {raw.shape[0]} pixels (width x height), "
                f"its picture {picture_path} is {picture.shape[1]} x {picture.shape[0]}",
            )
        label = cv2.LUT(raw, self._table)
        if (label == _INVALID).any():
            values = np.unique(raw[label == _INVALID])
            raise BadFile(
                "values out of range",
                f"{label_path}: label value {', '.join(map(str, values[:8]))} is none of the "
                f"{len(self.classes)} classes and not ignore_index "
                f"{self.config.ignore_index}. Map it in data.label_map, or mend the file.",
            )
        return picture, label


def _names(pictures: list[Path]) -> list[str]:
    stems = [path.stem for path in pictures]
    if len(set(stems)) == len(stems):
        return stems
    root = os.path.commonpath([path.parent for path in pictures])
    return ["_".join(path.relative_to(root).with_suffix("").parts) for path in pictures]


def file_values(config: DataConfig) -> np.ndarray:
    """(256,) uint8: the value that the data set's own label files have for each class, the lowest if it has several."""
    table = np.arange(256, dtype=np.uint8)
    for raw, index in sorted(config.label_map.items(), reverse=True):
        if index != config.ignore_index:
            table[index] = raw
    return table


def open_dataset(config: DataConfig, split: str) -> SegmentationDataset:
    """The pairs of `split` ("train", "val", or "test", which has no labels).

    Raises:
        UserError: the folder or list is missing, the split is empty, or a picture has no label. With
            `on_bad_sample: skip`, training pairs whose files are missing are left to the loader.
    """
    if split == "train" and config.packed:
        from ocrnet.data.packed import PackedDataset  # which is made of what is here

        return PackedDataset(config.packed, config)
    dataset = find_pairs(config, split)
    if split == "train" and config.on_bad_sample == "skip":
        return dataset
    for position in (0, 1):
        missing = [pair for pair in dataset.pairs if pair[position] and not pair[position].is_file()]
        if missing:
            kind = ("picture", "label")[position]
            of = f" of picture {missing[0][0]}" if position else ""
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
        pairs = [(picture, None) for picture, _ in pairs]
    if not pairs:
        raise UserError(f"{where}: no pictures here; data.{split} (split {source!r}) is empty")
    return SegmentationDataset(pairs, config)


def _read_list(root: Path, path: Path, labelled: bool = True) -> Pairs:
    """Pairs of a .lst file: `image label` a line, separated by blanks, relative to `root`. # starts a comment.

    A list that is not `labelled` may have the image alone on a line. A list may come from elsewhere, so neither `..`
    nor a link may lead it out of `root`.
    """
    real_root = os.path.realpath(root)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read this list: {error.strerror}. Set data.root / --dataset_dir.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file") from None
    pairs: Pairs = []
    for number, line in enumerate(lines, start=1):
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


def palette(config: DataConfig) -> np.ndarray:
    """(classes, 3) uint8 RGB. Without a palette in the recipe: a colour made from each class's name."""
    return np.array(config.palette or [made_up_colour(name) for name in config.classes], np.uint8)


def made_up_colour(name: str) -> tuple[int, int, int]:
    """The RGB colour of a class that nobody gave one."""
    return tuple(hashlib.md5(name.encode()).digest()[:3])
