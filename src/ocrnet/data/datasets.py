"""Pairs of picture and label, and how they are read."""

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np

from ocrnet.config import IGNORED, DataConfig
from ocrnet.data.pictures import BadFile, Picture, PictureFile, read_label
from ocrnet.output_names import unique_names

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
    """The same name for the same file, another one for every other."""
    files = list(dict.fromkeys(pictures))
    root = os.path.commonpath([path.parent for path in files]) if files else ""
    if len({path.stem for path in pictures}) == len(pictures):
        wishes = [[Path(path.stem)] for path in files]
    else:
        inside = [path.relative_to(root) for path in files]
        wishes = [["_".join(path.with_suffix("").parts), "_".join(path.parts)] for path in inside]
    wishes = [list(map(Path, names)) for names in wishes]
    names = dict(zip(files, map(str, unique_names(files, wishes)), strict=True))
    return [names[path] for path in pictures]


def file_values(config: DataConfig) -> np.ndarray:
    """(256,) uint8: the value that the data set's own label files have for each class, the lowest if it has several."""
    table = np.arange(256, dtype=np.uint8)
    for raw, index in sorted(config.label_map.items(), reverse=True):
        if index != config.ignore_index:
            table[index] = raw
    return table


def palette(config: DataConfig) -> np.ndarray:
    """(classes, 3) uint8 RGB. Without a palette in the recipe: a colour made from each class's name."""
    return np.array(config.palette or [made_up_colour(name) for name in config.classes], np.uint8)


def made_up_colour(name: str) -> tuple[int, int, int]:
    """The RGB colour of a class that nobody gave one."""
    return tuple(hashlib.md5(name.encode()).digest()[:3])
