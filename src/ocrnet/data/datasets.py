"""Segmentation data sets: pairs of image and label files."""

import copy
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ocrnet.config import DataConfig
from ocrnet.data.colour_labels import ColourTable
from ocrnet.data.images import BadFile, ImageFile, WindowedImage, read_label
from ocrnet.data.output_names import unique_names
from ocrnet.formats.label_values import IGNORED, INVALID, class_table

Pairs = list[tuple[Path, Path | None]]


class SegmentationDataset:
    """One split: images (H, W, 3) uint8 RGB, labels (H, W) uint8 with class indices 0, 1, ... and 255 for ignored.

    `class_table`, (256,) uint8, maps label values to class indices; see `label_values.class_table`. The label values of
    colour masks are their class indices.
    """

    def __init__(self, pairs: Pairs, config: DataConfig) -> None:
        self.pairs = pairs
        self.config = config
        self.classes = config.classes
        self._colours = ColourTable(config) if config.label_encoding == "color" else None
        meaning = ({}, IGNORED) if self._colours else (config.label_map, config.ignore_index)
        self.class_table = class_table(*meaning, config.classes)
        self.names = image_names([image for image, _ in pairs])

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """Returns the image's file name without its suffix; with its folders if file names are not unique."""
        return self.names[index]

    def subset(self, numbers: Sequence[int]) -> "SegmentationDataset":
        """Returns a data set of the pairs with these indices, in this order."""
        part = copy.copy(self)
        part.pairs = [self.pairs[number] for number in numbers]
        part.names = [self.names[number] for number in numbers]
        return part

    def evenly_spaced(self, count: int) -> "SegmentationDataset":
        """Returns a data set of `count` pairs, evenly spaced over this one; of all pairs if there are not more."""
        size = len(self)
        if count >= size:
            return self
        return self.subset([number * size // count for number in range(count)])

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the image and the label; the label is None if the split has no labels.

        Raises:
            BadFile: a file is missing or unreadable, the sizes differ, or a label value is not a class.
        """
        image, label = self.open(index)
        return image[:, :], label

    def open(self, index: int, seen: np.ndarray | None = None) -> tuple[WindowedImage, np.ndarray | None]:
        """Like `read`, but only the requested windows of the image are decoded.

        Args:
            seen: (256,) bool, set to True at the values in the label file.
        """
        image, raw = self.open_values(index)
        if raw is None:
            return image, None
        label = self.to_classes(index, raw)
        if seen is not None:
            mark_values(raw, seen)
        return image, label

    def open_values(self, index: int) -> tuple[WindowedImage, np.ndarray | None]:
        """Like `open`, with the values in the label file, (H, W) uint8, before `class_table` is applied."""
        image_path, label_path = self.pairs[index]
        image = ImageFile(image_path)
        if label_path is None:
            return image, None
        raw = self._colours.read(label_path) if self._colours else read_label(label_path)
        if raw.shape != image.shape[:2]:
            raise BadFile(
                "sizes differ",
                f"{label_path}: the label is {raw.shape[1]} x {raw.shape[0]} pixels (width x height), "
                f"its image {image_path} is {image.shape[1]} x {image.shape[0]}",
            )
        return image, raw

    def to_classes(self, index: int, raw: np.ndarray) -> np.ndarray:
        """Returns the class indices of the values that `open_values` read. Raises BadFile for values of no class."""
        label = cv2.LUT(raw, self.class_table)
        if (label == INVALID).any():
            values = np.unique(raw[label == INVALID])
            raise BadFile(
                "values out of range",
                f"{self.pairs[index][1]}: label value {', '.join(map(str, values[:8]))} is not one of the "
                f"{len(self.classes)} classes and not ignore_index "
                f"{'null' if self.config.ignore_index is None else self.config.ignore_index}. "
                "Map it in data.label_map, or fix the file.",
            )
        return label


def image_names(images: list[Path]) -> list[str]:
    """Returns a unique name for each file; a file that occurs several times has the same name each time."""
    files = list(dict.fromkeys(images))
    root = os.path.commonpath([path.parent for path in files]) if files else ""
    if len({path.stem for path in images}) == len(images):
        candidates = [[Path(path.stem)] for path in files]
    else:
        relative = [path.relative_to(root) for path in files]
        candidates = [["_".join(path.with_suffix("").parts), "_".join(path.parts)] for path in relative]
    candidates = [list(map(Path, names)) for names in candidates]
    names = dict(zip(files, map(str, unique_names(files, candidates)), strict=True))
    return [names[path] for path in images]


def mark_values(label: np.ndarray, seen: np.ndarray) -> None:
    """Sets `seen`, (256,) bool, to True at the values in `label`, (H, W) uint8. Several threads may share `seen`."""
    counts = cv2.calcHist([label], [0], None, [256], [0, 256])  # releases Python's lock, unlike np.bincount
    seen[counts[:, 0] > 0] = True


def palette(config: DataConfig) -> np.ndarray:
    """Returns the palette, (classes, 3) uint8 RGB. Without one in the config, colours are derived from class names."""
    return np.array(config.palette or [generated_colour(name) for name in config.classes], np.uint8)


def generated_colour(name: str) -> tuple[int, int, int]:
    """Returns an RGB colour derived from a class name."""
    return tuple(hashlib.md5(name.encode()).digest()[:3])
