"""Colour masks: label files whose colours, not their values, are the classes (`data.label_encoding: color`)."""

from pathlib import Path

import cv2
import numpy as np

from ocrnet.config import DataConfig
from ocrnet.data.images import BadFile, ImageFile, open_image, read_file, stores_jpeg
from ocrnet.formats.label_values import IGNORED, INVALID

LOSSLESS = ("PNG", "BMP", "TIFF", "PPM")
"""Formats of colour masks, as named by Pillow."""
_EDGE = np.ones((5, 5), np.uint8)  # an anti-aliased edge is one or two pixels wide on each side


class ColourTable:
    """Looks up the class of every colour of `data.palette`; `data.ignore_colors` are ignored.

    A palette image is read by its colours, not by its indices; grey is a colour with three equal values; transparent
    pixels are white, as in images.
    """

    def __init__(self, config: DataConfig) -> None:
        self._config = config
        colours = [*config.palette, *config.ignore_colors]
        self._known = np.array(colours, np.int32)
        self._classes = np.array([*range(len(config.palette)), *[IGNORED] * len(config.ignore_colors)], np.uint8)
        self._table = np.full(2**24, INVALID if config.unknown_colors != "ignore" else IGNORED, np.uint8)
        self._table[colour_codes(self._known)] = self._classes

    def read(self, path: Path) -> np.ndarray:
        """Returns the class indices (H, W) uint8 of a label file; 255: ignored.

        Raises:
            BadFile: see `read_colours`; also if a colour is unknown, unless `data.unknown_colors` says what it means.
        """
        codes = colour_codes(read_colours(path))
        label = self._table.take(codes)  # releases Python's lock
        if self._config.unknown_colors == "ignore" or not (unknown := label == INVALID).any():
            return label
        if self._config.unknown_colors == "nearest":
            found = np.unique(codes[unknown])
            self._table[found] = self._nearest(found)  # other threads may write the same values
            return self._table.take(codes)
        raise BadFile("values out of range", f"{path}: {self._describe(codes, label)}")

    def _nearest(self, codes: np.ndarray) -> np.ndarray:
        """Returns the classes of the nearest known colours, by the Euclidean distance in RGB."""
        colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)
        nearest = np.empty(len(codes), np.uint8)
        for start in range(0, len(codes), 4096):  # a part at a time: the distances take 4 bytes per pair
            part = slice(start, start + 4096)
            distances = ((colours[part, None] - self._known) ** 2).sum(-1)
            nearest[part] = self._classes[distances.argmin(1)]
        return nearest

    def _describe(self, codes: np.ndarray, label: np.ndarray) -> str:
        unknown = label == INVALID
        found, counts = np.unique(codes[unknown], return_counts=True)
        order = np.argsort(-counts)[:5]
        colours = ", ".join(f"{rgb(found[index])} ({counts[index]:,} pixels)" for index in order)
        more = f" and {len(found) - len(order):,} more" if len(found) > len(order) else ""
        text = (
            f"{unknown.sum():,} of {label.size:,} pixels have {len(found):,} colours that are neither in data.palette "
            f"nor in data.ignore_colors: {colours}{more}. "
        )
        if edges := int(between_classes(label).sum()):
            return text + (
                f"{edges:,} of these pixels lie between two classes, as in anti-aliased edges: save masks without "
                "anti-aliasing, or set data.unknown_colors to ignore or nearest"
            )
        return text + "Add them to data.palette or data.ignore_colors, or set data.unknown_colors to ignore or nearest"


def read_colours(path: Path) -> np.ndarray:
    """Reads a colour mask as (H, W, 3) uint8 RGB.

    Raises:
        BadFile: it is missing, damaged, too large, not an image, or in a format that changes colours.
    """
    if path.suffix == ".mat":
        raise BadFile("values out of range", f"{path}: a MATLAB matrix has no colours: set data.label_encoding: index")
    data = read_file(path, "label image")
    image, _ = open_image(path, data)
    if image.format not in LOSSLESS or stores_jpeg(image):
        raise BadFile(
            "values out of range",
            f"{path}: {image.format} compression may change colours: save colour masks as PNG, BMP or TIFF",
        )
    return ImageFile(path, data)[:, :]


def colour_codes(colours: np.ndarray) -> np.ndarray:
    """Converts RGB (..., 3) to one number per colour, int32."""
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


def rgb(code: int) -> list[int]:
    """Returns [red, green, blue] of a number of `colour_codes`."""
    return [int(code) >> 16, int(code) >> 8 & 255, int(code) & 255]


def between_classes(label: np.ndarray) -> np.ndarray:
    """Returns where a pixel of unknown colour is within two pixels of two classes, (H, W) bool."""
    unknown = label == INVALID
    lowest = cv2.erode(np.where(unknown, np.uint8(255), label), _EDGE)
    highest = cv2.dilate(np.where(unknown, np.uint8(0), label), _EDGE)
    return unknown & (lowest < highest)


def is_colour_mask(path: Path) -> bool:
    """Whether a label file has three or more channels. Raises BadFile if it is no readable image."""
    return path.suffix != ".mat" and len(open_image(path, read_file(path, "label image"))[0].getbands()) >= 3
