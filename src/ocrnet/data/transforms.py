"""Paired changes of picture and label: plain functions of NumPy arrays and a random generator.

picture: (H, W, 3) uint8 RGB; label: (H, W) uint8, 255 ignored. The order and the numbers are those of
mmsegmentation's OCRNet recipes: random resize, random crop, flip, photometric distortion, normalise, pad.
"""

import cv2
import numpy as np
from numpy.random import Generator

from ocrnet.config import IGNORED, DataConfig, PhotometricConfig

cv2.setNumThreads(0)  # the data threads are the parallelism

Pair = tuple[np.ndarray, np.ndarray]


def training_pair(picture: np.ndarray, label: np.ndarray, config: DataConfig, rng: Generator) -> Pair:
    """The whole training pipeline: (3, h, w) float32 and (h, w) int32, h and w of `config.crop_size`."""
    picture, label = random_resize(picture, label, config.resize_base, config.scale_range, rng)
    picture, label = random_crop(picture, label, config.crop_size, config.cat_max_ratio, rng)
    if rng.random() < config.flip:
        picture, label = picture[:, ::-1], label[:, ::-1]
    if config.photometric:
        picture = distort_colours(np.ascontiguousarray(picture), config.photometric, rng)
    return pad(normalise(picture, config.mean, config.std), label.astype(np.int32), config.crop_size)


def fit(size: tuple[int, int], box: tuple[float, float]) -> tuple[int, int]:
    """(width, height) of a picture of (width, height) `size` brought to the largest size that fits `box`.

    As mmcv's rescale: the box's longer side bounds the picture's longer side, whichever way they lie.
    """
    factor = min(max(box) / max(size), min(box) / min(size))
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def random_resize(
    picture: np.ndarray,
    label: np.ndarray,
    base: tuple[int, int] | None,
    scale_range: tuple[float, float],
    rng: Generator,
) -> Pair:
    """Fit into `base` (width, height; the picture's own size if None) times a ratio drawn from `scale_range`."""
    height, width = label.shape
    ratio = rng.uniform(*scale_range)
    base = base or (width, height)
    size = fit((width, height), (base[0] * ratio, base[1] * ratio))
    return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), cv2.resize(
        label, size, interpolation=cv2.INTER_NEAREST
    )


def random_crop(
    picture: np.ndarray, label: np.ndarray, size: tuple[int, int], cat_max_ratio: float, rng: Generator
) -> Pair:
    """Cut out (height, width) `size`, or less where the picture is smaller.

    Up to 10 places are tried until no class covers more than `cat_max_ratio` of the labelled pixels.
    """
    height, width = min(size[0], label.shape[0]), min(size[1], label.shape[1])
    for _ in range(10):
        top = rng.integers(0, label.shape[0] - height + 1)
        left = rng.integers(0, label.shape[1] - width + 1)
        part = label[top : top + height, left : left + width]
        counts = np.bincount(part.ravel(), minlength=IGNORED + 1)[:IGNORED]
        if np.count_nonzero(counts) > 1 and counts.max() < cat_max_ratio * counts.sum():
            break
    return picture[top : top + height, left : left + width], part


def distort_colours(picture: np.ndarray, config: PhotometricConfig, rng: Generator) -> np.ndarray:
    """Brightness, contrast, saturation and hue, each with `probability`; contrast comes second or last, by a coin."""

    def chosen() -> bool:
        return rng.random() < config.probability

    def scaled(values: np.ndarray, factor: float = 1.0, shift: float = 0.0) -> np.ndarray:
        table = np.clip(np.arange(256, dtype=np.float32) * factor + shift, 0, 255).astype(np.uint8)
        return cv2.LUT(values, table)

    if chosen():
        picture = scaled(picture, shift=rng.uniform(-config.brightness, config.brightness))
    contrast_first = rng.random() < 0.5
    if contrast_first and chosen():
        picture = scaled(picture, rng.uniform(*config.contrast))
    saturation = rng.uniform(*config.saturation) if chosen() else None
    hue = int(rng.integers(-config.hue, config.hue + 1)) if chosen() else 0
    if saturation is not None or hue:
        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
        if saturation is not None:
            hsv[..., 1] = scaled(np.ascontiguousarray(hsv[..., 1]), saturation)
        if hue:
            hsv[..., 0] = cv2.LUT(np.ascontiguousarray(hsv[..., 0]), ((np.arange(256) + hue) % 180).astype(np.uint8))
        picture = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if not contrast_first and chosen():
        picture = scaled(picture, rng.uniform(*config.contrast))
    return picture


def normalise(picture: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(H, W, 3) uint8 to (3, H, W) float32: (value - mean) / std for each channel."""
    scale = 1 / np.asarray(std, np.float32)
    return (picture.transpose(2, 0, 1) - np.asarray(mean, np.float32)[:, None, None]) * scale[:, None, None]


def pad(picture: np.ndarray, label: np.ndarray, size: tuple[int, int]) -> Pair:
    """Enlarge (3, h, w) and (h, w) at the right and bottom to (height, width) `size`: 0 (the mean colour), ignored."""
    missing = (0, size[0] - label.shape[0]), (0, size[1] - label.shape[1])
    if not any(after for _, after in missing):
        return np.ascontiguousarray(picture), np.ascontiguousarray(label)
    return np.pad(picture, ((0, 0), *missing)), np.pad(label, missing, constant_values=IGNORED)
