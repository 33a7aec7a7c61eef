"""Paired changes of image and label: plain functions of NumPy arrays and a random generator.

image: (H, W, 3) uint8 RGB; label: (H, W) uint8, 255 ignored. The order and the numbers are those of
mmsegmentation's OCRNet configs: random resize, random crop, flip, photometric distortion, normalise, pad.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from ocrnet.config import DataConfig, PhotometricConfig
from ocrnet.data.images import WindowedImage
from ocrnet.formats.label_values import IGNORED

cv2.setNumThreads(0)  # the data threads are the parallelism

Pair = tuple[np.ndarray, np.ndarray]
Window = tuple[slice, slice]


def training_pair(image: WindowedImage, label: np.ndarray, config: DataConfig, rng: Generator) -> Pair:
    """The whole training pipeline: (3, h, w) float32 and (h, w) int32, h and w of `config.crop_size`.

    The resized label decides what is cut out; of the image nothing else is read, resized or changed.
    """
    size = random_size(label.shape, config.base_size, config.scale_range, rng, config.keep_ratio)
    label = cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)
    rare = [config.classes.index(name) for name in config.rare_classes]
    window = random_window(label, config.crop_size, config.cat_max_ratio, rng, rare, config.rare_crop)
    label, crop = label[window], resize_window(image, size, window)
    if rng.random() < config.flip:
        crop, label = cv2.flip(crop, 1), swap_classes(label[:, ::-1], config.flip_pairs)
    if config.photometric:
        crop = photometric_distortion(crop, config.photometric, rng)
    fill = normalise(np.zeros((1, 1, 3), np.uint8), config.mean, config.std) if config.pad == "black" else 0.0
    return pad(normalise(crop, config.mean, config.std), label.astype(np.int32), config.crop_size, fill)


def fit(size: tuple[int, int], box: tuple[int, int], keep_ratio: bool = True) -> tuple[int, int]:
    """(height, width) of an image of (height, width) `size` brought to the largest size that fits `box`.

    As mmcv's rescale: the box's longer side bounds the image's longer side, whichever way they lie. Without
    `keep_ratio` the size is the box.
    """
    if not keep_ratio:
        return max(1, box[0]), max(1, box[1])
    factor = min(max(box) / max(size), min(box) / min(size))
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def random_size(
    shape: tuple[int, int],
    base: tuple[int, int] | None,
    scale_range: tuple[float, float],
    rng: Generator,
    keep_ratio: bool = True,
) -> tuple[int, int]:
    """(height, width) that an image of (height, width) `shape` is resized to: it is fitted into `base` (height, width;
    the image's own size if None) times a ratio drawn from `scale_range`.
    """
    ratio = rng.uniform(*scale_range)
    height, width = base or shape
    return fit(shape, (int(height * ratio), int(width * ratio)), keep_ratio)


def random_window(
    label: np.ndarray,
    size: tuple[int, int],
    cat_max_ratio: float,
    rng: Generator,
    rare: Sequence[int] = (),
    rare_probability: float = 0.0,
) -> Window:
    """Where to cut out (height, width) `size`, or less where the image is smaller.

    With `cat_max_ratio` below 1, up to 10 more places are tried until there are two classes and none covers more than
    that share of the labelled pixels. With `rare_probability` the place is one that holds a certain pixel, drawn among
    those of the `rare` classes if there are any, and no other is tried.
    """
    height, width = min(size[0], label.shape[0]), min(size[1], label.shape[1])

    def place(row: int | None = None, column: int | None = None) -> Window:
        top, left = start(label.shape[0], height, row), start(label.shape[1], width, column)
        return slice(top, top + height), slice(left, left + width)

    def start(whole: int, part: int, held: int | None) -> int:
        low, high = (0, whole - part) if held is None else (max(0, held - part + 1), min(held, whole - part))
        return int(rng.integers(low, high + 1))

    if rare and rng.random() < rare_probability:
        rows, columns = np.isin(label, rare).nonzero()
        if len(rows):
            chosen = rng.integers(len(rows))
            return place(rows[chosen], columns[chosen])
    window = place()
    for _ in range(10 if cat_max_ratio < 1 else 0):
        # not np.bincount, which holds the other data threads up
        counts = cv2.calcHist([label[window]], [0], None, [256], [0, 256])[:IGNORED]
        if counts.max() < cat_max_ratio * counts.sum():  # so there are two classes at least
            break
        window = place()
    return window


def resize_window(image: WindowedImage, size: tuple[int, int], window: Window) -> np.ndarray:
    """`window` of `image` resized to (height, width) `size`, made of the pixels around it alone.

    Within one grey level of what cutting it out of the whole resized image gives (see `_around`).
    """
    (rows, down, fy), (columns, across, fx) = map(_around, image.shape, size, window)
    return cv2.resize(image[rows, columns], None, fx=fx, fy=fy, interpolation=cv2.INTER_LINEAR)[down, across]


def _around(length: int, resized: int, part: slice) -> tuple[slice, slice, float]:
    """One side of an image: the pixels to read for `part` of its resized form, the place of `part` in what becomes of
    them, and the factor.

    What is read begins at a whole pixel, and so does what it becomes; the two fit at the first pixel of all and, within
    1/512 of a pixel, at every 256th place or so. Of these the last is taken that lies so far before the part that the
    missing neighbour of the first pixel read is not seen.
    """
    scale = length / resized
    sources = np.arange(max(1, part.start - int(np.ceil(0.5 / scale)) + 1)) * scale
    first = int(np.flatnonzero(np.abs(sources - np.rint(sources)) < 1 / 512)[-1])
    end = min(length, int(np.ceil((part.stop + 1) * scale)) + 1)
    return slice(round(first * scale), end), slice(part.start - first, part.stop - first), 1 / scale


def swap_classes(label: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Let the two classes of each pair change places: what a mirror does to left and right."""
    if not pairs:
        return label
    table = np.arange(256, dtype=np.uint8)
    for one, other in pairs:
        table[[one, other]] = other, one
    return table[label]


def photometric_distortion(image: np.ndarray, config: PhotometricConfig, rng: Generator) -> np.ndarray:
    """Brightness, contrast, saturation and hue, each with `probability`; contrast comes second or last, by a coin.

    All are tables: those before the turn to hue, saturation and value, in it and after it make one look-up each.
    """
    same = np.arange(256, dtype=np.uint8)

    def chosen() -> bool:
        return rng.random() < config.probability

    def scaled(table: np.ndarray, factor: float = 1.0, shift: float = 0.0) -> np.ndarray:
        return np.clip(table * np.float32(factor) + np.float32(shift), 0, 255).astype(np.uint8)

    before = after = saturation = hue = same
    if chosen():
        before = scaled(before, shift=rng.uniform(-config.brightness, config.brightness))
    contrast_first = rng.random() < 0.5
    if contrast_first and chosen():
        before = scaled(before, rng.uniform(*config.contrast))
    if chosen():
        saturation = scaled(same, rng.uniform(*config.saturation))
    if chosen() and config.hue:
        hue = ((same + rng.integers(-config.hue, config.hue)) % 180).astype(np.uint8)
    if not contrast_first and chosen():
        after = scaled(same, rng.uniform(*config.contrast))
    if before is not same:
        image = cv2.LUT(image, before)
    if saturation is not same or hue is not same:
        hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.stack([hue, saturation, same], axis=-1)[None])
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return image if after is same else cv2.LUT(image, after)


def normalise(image: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(H, W, 3) uint8 to (3, H, W) float32: (value - mean) / std for each channel, from tables."""
    planes = np.empty((3, *image.shape[:2]), np.float32)
    values = np.arange(256, dtype=np.float32)
    for plane, channel, average, deviation in zip(planes, cv2.split(image), mean, std, strict=True):
        cv2.LUT(channel, (values - np.float32(average)) * np.float32(1 / np.float32(deviation)), dst=plane)
    return planes


def pad(image: np.ndarray, label: np.ndarray, size: tuple[int, int], fill: np.ndarray | float = 0.0) -> Pair:
    """Enlarge (3, h, w) and (h, w) at the right and bottom to (height, width) `size`: with `fill` and ignored.

    `fill`: 0 (the mean colour) or (3, 1, 1), a normalised colour.
    """
    height, width = label.shape
    if (height, width) == size:
        return np.ascontiguousarray(image), np.ascontiguousarray(label)
    large = np.empty((3, *size), np.float32), np.full(size, IGNORED, label.dtype)
    large[0][:] = fill
    large[0][:, :height, :width], large[1][:height, :width] = image, label
    return large
