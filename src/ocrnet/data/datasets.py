"""Pairs of image and label, and how they are read."""

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np

from ocrnet.config import DataConfig
from ocrnet.data.images import BadFile, ImageFile, WindowedImage, read_label
from ocrnet.data.output_names import unique_names
from ocrnet.formats.label_values import INVALID, class_table

Pairs = list[tuple[Path, Path | None]]


class SegmentationDataset:
    """One split: images as (H, W, 3) uint8 RGB, labels as (H, W) uint8 with classes 0.. and 255 for ignored.

    `class_table`, (256,) uint8, has the class index of each value in its label files; see `label_values.class_table`.
    """

    def __init__(self, pairs: Pairs, config: DataConfig) -> None:
        self.pairs = pairs
        self.config = config
        self.classes = config.classes
        self.class_table = class_table(config.label_map, config.ignore_index, config.classes)
        self.names = _names([image for image, _ in pairs])

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """File name of the image, without its ending; with its folders where file names alone repeat."""
        return self.names[index]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """WindowedImage and label; a split without labels has None.

        Raises:
            BadFile: a file is missing or unreadable, the sizes differ, or a label value is no class.
        """
        image, label = self.open(index)
        return image[:, :], label

    def open(self, index: int, seen: np.ndarray | None = None) -> tuple[WindowedImage, np.ndarray | None]:
        """As `read`, with an image that is decoded no further than the windows that are asked for.

        Args:
            seen: (256,) bool, which becomes True at the values that the label file has.
        """
        image_path, label_path = self.pairs[index]
        image = ImageFile(image_path)
        if label_path is None:
            return image, None
        raw = read_label(label_path)
        if raw.shape != image.shape[:2]:
            raise BadFile(
                "sizes differ",
                f"{label_path}: the label is {raw.shape[1]} x {raw.shape[0]} pixels (width x height), "
                f"its image {image_path} is {image.shape[1]} x {image.shape[0]}",
            )
        label = cv2.LUT(raw, self.class_table)
        if (label == INVALID).any():
            values = np.unique(raw[label == INVALID])
            raise BadFile(
                "values out of range",
                f"{label_path}: label value {', '.join(map(str, values[:8]))} is none of the "
                f"{len(self.classes)} classes and not ignore_index "
                f"{'null' if self.config.ignore_index is None else self.config.ignore_index}. "
                "Map it in data.label_map, or fix the file.",
            )
        if seen is not None:
            mark_values(raw, seen)
        return image, label


def _names(images: list[Path]) -> list[str]:
    """The same name for the same file, another one for every other."""
    files = list(dict.fromkeys(images))
    root = os.path.commonpath([path.parent for path in files]) if files else ""
    if len({path.stem for path in images}) == len(images):
        wishes = [[Path(path.stem)] for path in files]
    else:
        inside = [path.relative_to(root) for path in files]
        wishes = [["_".join(path.with_suffix("").parts), "_".join(path.parts)] for path in inside]
    wishes = [list(map(Path, names)) for names in wishes]
    names = dict(zip(files, map(str, unique_names(files, wishes)), strict=True))
    return [names[path] for path in images]


def mark_values(label: np.ndarray, seen: np.ndarray) -> None:
    """Set `seen`, (256,) bool, at the values of `label`, (H, W) uint8. Several threads may share `seen`."""
    counts = cv2.calcHist([label], [0], None, [256], [0, 256])  # without Python's lock, unlike np.bincount
    seen[counts[:, 0] > 0] = True


def palette(config: DataConfig) -> np.ndarray:
    """(classes, 3) uint8 RGB. Without a palette in the config: a colour made from each class's name."""
    return np.array(config.palette or [generated_colour(name) for name in config.classes], np.uint8)


def generated_colour(name: str) -> tuple[int, int, int]:
    """The RGB colour of a class that nobody gave one."""
    return tuple(hashlib.md5(name.encode()).digest()[:3])
