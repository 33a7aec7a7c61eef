"""Paired changes of picture and label: plain functions of NumPy arrays and a random generator.

picture: (H, W, 3) uint8 RGB; label: (H, W) uint8, 255 ignored. The order and the numbers are those of
mmsegmentation's OCRNet recipes: random resize, random crop, flip, photometric distortion, normalise, pad.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.random import Generator

from ocrnet.config import IGNORED, DataConfig, PhotometricConfig

cv2.setNumThreads(0)  # the data threads are the parallelism

Pair = tuple[np.ndarray, np.ndarray]


def training_pair(picture: np.ndarray, label: np.ndarray, config: DataConfig, rng: Generator) -> Pair:
    """The whole training pipeline: (3, h, w) float32 and (h, w) int32, h and w of `config.crop_size`."""
    picture, label = random_resize(picture, label, config.resize_base, config.scale_range, rng, config.keep_ratio)
    rare = [config.classes.index(name) for name in config.rare_classes]
    picture, label = random_crop(picture, label, config.crop_size, config.cat_max_ratio, rng, rare, config.rare_crop)
    if rng.random() < config.flip:
        picture, label = picture[:, ::-1], swap_classes(label[:, ::-1], config.flip_pairs)
    if config.photometric:
        picture = distort_colours(np.ascontiguousarray(picture), config.photometric, rng)
    fill = normalise(np.zeros((1, 1, 3), np.uint8), config.mean, config.std) if config.pad == "black" else 0.0
    return pad(normalise(picture, config.mean, config.std), label.astype(np.int32), config.crop_size, fill)


def fit(size: tuple[int, int], box: tuple[int, int], keep_ratio: bool = True) -> tuple[int, int]:
    """(width, height) of a picture of (width, height) `size` brought to the largest size that fits `box`.

    As mmcv's rescale: the box's longer side bounds the picture's longer side, whichever way they lie. Without
    `keep_ratio` the size is the box.
    """
    if not keep_ratio:
        return max(1, box[0]), max(1, box[1])
    factor = min(max(box) / max(size), min(box) / min(size))
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def random_resize(
    picture: np.ndarray,
    label: np.ndarray,
    base: tuple[int, int] | None,
    scale_range: tuple[float, float],
    rng: Generator,
    keep_ratio: bool = True,
) -> Pair:
    """Fit into `base` (width, height; the picture's own size if None) times a ratio drawn from `scale_range`."""
    height, width = label.shape
    ratio = rng.uniform(*scale_range)
    base = base or (width, height)
    size = fit((width, height), (int(base[0] * ratio), int(base[1] * ratio)), keep_ratio)
    return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), cv2.resize(
        label, size, interpolation=cv2.INTER_NEAREST
    )


def random_crop(
    picture: np.ndarray,
    label: np.ndarray,
    size: tuple[int, int],
    cat_max_ratio: float,
    rng: Generator,
    rare: Sequence[int] = (),
    rare_probability: float = 0.0,
) -> Pair:
    """Cut out (height, width) `size`, or less where the picture is smaller.

    With `cat_max_ratio` below 1, up to 10 more places are tried until there are two classes and none covers more than
    that share of the labelled pixels. With `rare_probability` the place is one that holds a certain pixel, drawn among
    those of the `rare` classes if there are any, and no other is tried.
    """
    height, width = min(size[0], label.shape[0]), min(size[1], label.shape[1])

    def place(row: int | None = None, column: int | None = None) -> tuple[slice, slice]:
        top, left = start(label.shape[0], height, row), start(label.shape[1], width, column)
        return slice(top, top + height), slice(left, left + width)

    def start(whole: int, part: int, held: int | None) -> int:
        low, high = (0, whole - part) if held is None else (max(0, held - part + 1), min(held, whole - part))
        return rng.integers(low, high + 1)

    if rare and rng.random() < rare_probability:
        rows, columns = np.isin(label, rare).nonzero()
        if len(rows):
            chosen = rng.integers(len(rows))
            window = place(rows[chosen], columns[chosen])
            return picture[window], label[window]
    window = place()
    for _ in range(10 if cat_max_ratio < 1 else 0):
        counts = np.bincount(label[window].ravel(), minlength=IGNORED + 1)[:IGNORED]
        if np.count_nonzero(counts) > 1 and counts.max() < cat_max_ratio * counts.sum():
            break
        window = place()
    return picture[window], label[window]


def swap_classes(label: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Let the two classes of each pair change places: what a mirror does to left and right."""
    if not pairs:
        return label
    table = np.arange(256, dtype=np.uint8)
    for one, other in pairs:
        table[[one, other]] = other, one
    return table[label]


def distort_colours(picture: np.ndarray, config: PhotometricConfig, rng: Generator) -> np.ndarray:
    """Brightness, contrast, saturation and hue, each with `probability`; contrast comes second or last, by a coin."""

    def chosen() -> bool:
        return rng.random() < config.probability

    def scaled(values: np.ndarray, factor: float = 1.0, shift: float = 0.0) -> np.ndarray:
        table = np.clip(np.arange(256, dtype=np.float32) * factor + shift, 0, 255).astype(np.uint8)
        return cv2.LUT(values, table)

    def through_hsv(channel: int, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
        hsv[..., channel] = change(np.ascontiguousarray(hsv[..., channel]))
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)

    if chosen():
        picture = scaled(picture, shift=rng.uniform(-config.brightness, config.brightness))
    contrast_first = rng.random() < 0.5
    if contrast_first and chosen():
        picture = scaled(picture, rng.uniform(*config.contrast))
    if chosen():
        factor = rng.uniform(*config.saturation)
        picture = through_hsv(1, lambda saturation: scaled(saturation, factor))
    if chosen() and config.hue:
        turned = ((np.arange(256) + rng.integers(-config.hue, config.hue)) % 180).astype(np.uint8)
        picture = through_hsv(0, lambda hue: cv2.LUT(hue, turned))
    if not contrast_first and chosen():
        picture = scaled(picture, rng.uniform(*config.contrast))
    return picture


def normalise(picture: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(H, W, 3) uint8 to (3, H, W) float32: (value - mean) / std for each channel."""
    scale = 1 / np.asarray(std, np.float32)
    return (picture.transpose(2, 0, 1) - np.asarray(mean, np.float32)[:, None, None]) * scale[:, None, None]


def pad(picture: np.ndarray, label: np.ndarray, size: tuple[int, int], fill: np.ndarray | float = 0.0) -> Pair:
    """Enlarge (3, h, w) and (h, w) at the right and bottom to (height, width) `size`: with `fill` and ignored.

    `fill`: 0 (the mean colour) or (3, 1, 1), a normalised colour.
    """
    height, width = label.shape
    if (height, width) == size:
        return np.ascontiguousarray(picture), np.ascontiguousarray(label)
    large = np.empty((3, *size), np.float32), np.full(size, IGNORED, label.dtype)
    large[0][:] = fill
    large[0][:, :height, :width], large[1][:height, :width] = picture, label
    return large
