"""Joint transforms of image and label: functions of NumPy arrays and a random generator.

image: (H, W, 3) uint8 RGB; label: (H, W) uint8, 255 ignored. The order and the parameters are those of
mmsegmentation's OCRNet configs: random resize, random crop, flip, photometric distortion, normalise, pad. What
`data.augment` adds is in `augmentations.py`.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from ocrnet.config import DataConfig, PhotometricConfig
from ocrnet.data.augmentations import degrade, random_warp, warp_label, warp_window
from ocrnet.data.images import WindowedImage
from ocrnet.formats.label_values import IGNORED

cv2.setNumThreads(0)  # the data threads run in parallel

Pair = tuple[np.ndarray, np.ndarray]
Window = tuple[slice, slice]


def training_transform(image: WindowedImage, label: np.ndarray, config: DataConfig, rng: Generator) -> Pair:
    """Applies the training pipeline. Returns (3, h, w) float32 and (h, w) int32, with h and w of `config.crop_size`.

    The crop is chosen by the resized label. Only this part of the image is read, resized and transformed.
    """
    augment = config.augment
    colour = (0, 0, 0) if config.pad == "black" else tuple(round(value) for value in config.mean)
    size = random_size(label.shape, config.base_size, config.scale_range, rng, config.keep_ratio)
    warp = random_warp(label.shape, size, augment, rng)
    label = warp_label(label, warp) if warp else cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)
    rare = [config.classes.index(name) for name in config.rare_classes]
    window = random_crop_window(
        label, config.crop_size, config.cat_max_ratio, rng, rare, config.rare_crop, config.balanced_crop
    )
    crop = warp_window(image, warp, window, colour) if warp else resize_window(image, size, window)
    label = label[window]
    if rng.random() < config.flip:
        crop, label = cv2.flip(crop, 1), swap_classes(label[:, ::-1], config.flip_pairs)
    if augment.vertical_flip and rng.random() < augment.vertical_flip:
        crop, label = cv2.flip(crop, 0), swap_classes(label[::-1], config.flip_pairs)
    if config.photometric:
        crop = photometric_distortion(crop, config.photometric, rng)
    crop, label = degrade(crop, label, augment, colour, rng)
    fill = normalise(np.zeros((1, 1, 3), np.uint8), config.mean, config.std) if config.pad == "black" else 0.0
    return pad(normalise(crop, config.mean, config.std), label.astype(np.int32), config.crop_size, fill)


def rescale_size(size: tuple[int, int], box: tuple[int, int], keep_ratio: bool = True) -> tuple[int, int]:
    """Returns the largest (height, width) with the aspect ratio of `size` that fits into `box` (height, width).

    As in mmcv's rescale_size, the longer side of the box limits the longer side of the image, in either orientation.
    Without `keep_ratio`, the result is the box.
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
    """Returns the random (height, width) that an image of `shape` (height, width) is resized to: `rescale_size` with
    the box `base` (height, width; `shape` if None) times a ratio drawn uniformly from `scale_range`.
    """
    ratio = rng.uniform(*scale_range)
    height, width = base or shape
    return rescale_size(shape, (int(height * ratio), int(width * ratio)), keep_ratio)


def random_crop_window(
    label: np.ndarray,
    size: tuple[int, int],
    cat_max_ratio: float,
    rng: Generator,
    rare: Sequence[int] = (),
    rare_probability: float = 0.0,
    balanced_probability: float = 0.0,
) -> Window:
    """Returns a random crop window of `size` (height, width), or smaller if the image is smaller.

    With `cat_max_ratio` below 1, up to 10 more windows are drawn until the crop has at least two classes and none
    covers more than this share of the labelled pixels. With probability `rare_probability`, the window contains a
    random pixel of the `rare` classes, if the image has any, and `cat_max_ratio` is not applied. Otherwise, with
    probability `balanced_probability`, it contains a random pixel of a class that is drawn uniformly from those of the
    image: the class uniform sampling of Zhu and others (CVPR 2019), who do it over a whole data set, in each image.
    """
    height, width = min(size[0], label.shape[0]), min(size[1], label.shape[1])

    def draw_window(row: int | None = None, column: int | None = None) -> Window:
        top, left = draw_start(label.shape[0], height, row), draw_start(label.shape[1], width, column)
        return slice(top, top + height), slice(left, left + width)

    def draw_start(length: int, part: int, included: int | None) -> int:
        if included is None:
            low, high = 0, length - part
        else:
            low, high = max(0, included - part + 1), min(included, length - part)
        return int(rng.integers(low, high + 1))

    if rare and rng.random() < rare_probability:
        rows, columns = np.isin(label, rare).nonzero()
        if len(rows):
            chosen = rng.integers(len(rows))
            return draw_window(rows[chosen], columns[chosen])
    if balanced_probability and rng.random() < balanced_probability:
        # of the classes first, because a large one has most of the pixels
        classes = np.flatnonzero(pixel_counts(label))
        if len(classes):
            pixels = cv2.findNonZero(cv2.compare(label, float(rng.choice(classes)), cv2.CMP_EQ))
            column, row = pixels[rng.integers(len(pixels)), 0]
            return draw_window(row, column)
    window = draw_window()
    for _ in range(10 if cat_max_ratio < 1 else 0):
        counts = pixel_counts(label[window])
        if counts.max() < cat_max_ratio * counts.sum():  # implies at least two classes
            break
        window = draw_window()
    return window


def pixel_counts(label: np.ndarray) -> np.ndarray:
    """Returns the number of pixels of each class, (255,) float32; 255, ignored, is left out."""
    # not np.bincount, which blocks the other data threads
    return cv2.calcHist([label], [0], None, [256], [0, 256])[:IGNORED, 0]


def resize_window(image: WindowedImage, size: tuple[int, int], window: Window) -> np.ndarray:
    """Returns `window` of `image` resized to `size` (height, width), computed from the surrounding pixels only.

    The result is within one grey level of cropping the whole resized image (see `_source_range`).
    """
    (rows, out_rows, fy), (columns, out_columns, fx) = map(_source_range, image.shape, size, window)
    return cv2.resize(image[rows, columns], None, fx=fx, fy=fy, interpolation=cv2.INTER_LINEAR)[out_rows, out_columns]


def _source_range(length: int, resized: int, part: slice) -> tuple[slice, slice, float]:
    """Returns, for one side of an image: the source pixels to read for `part` of the resized image, the slice of `part`
    in the resized source pixels, and the scale factor.

    Both the source range and its resized form must start at a whole pixel. This holds at pixel 0 and, within 1/512 of a
    pixel, at about every 256th pixel. The last such pixel is used that is far enough before `part`, so that the missing
    neighbour of the first source pixel has no influence.
    """
    scale = length / resized
    sources = np.arange(max(1, part.start - int(np.ceil(0.5 / scale)) + 1)) * scale
    first = int(np.flatnonzero(np.abs(sources - np.rint(sources)) < 1 / 512)[-1])
    end = min(length, int(np.ceil((part.stop + 1) * scale)) + 1)
    return slice(round(first * scale), end), slice(part.start - first, part.stop - first), 1 / scale


def swap_classes(label: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Swaps the two classes of each pair, e.g. left and right arm after a horizontal flip."""
    if not pairs:
        return label
    table = np.arange(256, dtype=np.uint8)
    for first, second in pairs:
        table[[first, second]] = second, first
    return table[label]


def photometric_distortion(image: np.ndarray, config: PhotometricConfig, rng: Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue, each with `probability`.

    Contrast is changed second or last, with equal probability. All changes are lookup tables; the changes before, in
    and after the conversion to HSV are combined into one lookup each.
    """
    identity = np.arange(256, dtype=np.uint8)

    def chosen() -> bool:
        return rng.random() < config.probability

    def scaled(table: np.ndarray, factor: float = 1.0, shift: float = 0.0) -> np.ndarray:
        return np.clip(table * np.float32(factor) + np.float32(shift), 0, 255).astype(np.uint8)

    before = after = saturation = hue = identity
    if chosen():
        before = scaled(before, shift=rng.uniform(-config.brightness, config.brightness))
    contrast_first = rng.random() < 0.5
    if contrast_first and chosen():
        before = scaled(before, rng.uniform(*config.contrast))
    if chosen():
        saturation = scaled(identity, rng.uniform(*config.saturation))
    if chosen() and config.hue:
        hue = ((identity + rng.integers(-config.hue, config.hue)) % 180).astype(np.uint8)
    if not contrast_first and chosen():
        after = scaled(identity, rng.uniform(*config.contrast))
    if before is not identity:
        image = cv2.LUT(image, before)
    if saturation is not identity or hue is not identity:
        hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.stack([hue, saturation, identity], axis=-1)[None])
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return image if after is identity else cv2.LUT(image, after)


def normalise(image: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Converts (H, W, 3) uint8 to (3, H, W) float32: (value - mean) / std for each channel, by lookup tables."""
    planes = np.empty((3, *image.shape[:2]), np.float32)
    values = np.arange(256, dtype=np.float32)
    for plane, channel, channel_mean, channel_std in zip(planes, cv2.split(image), mean, std, strict=True):
        cv2.LUT(channel, (values - np.float32(channel_mean)) * np.float32(1 / np.float32(channel_std)), dst=plane)
    return planes


def pad(image: np.ndarray, label: np.ndarray, size: tuple[int, int], fill: np.ndarray | float = 0.0) -> Pair:
    """Pads image (3, h, w) with `fill` and label (h, w) with 255 at the right and bottom to `size` (height, width).

    `fill`: 0 (the mean colour) or (3, 1, 1), a normalised colour.
    """
    height, width = label.shape
    if (height, width) == size:
        return np.ascontiguousarray(image), np.ascontiguousarray(label)
    padded = np.empty((3, *size), np.float32), np.full(size, IGNORED, label.dtype)
    padded[0][:] = fill
    padded[0][:, :height, :width], padded[1][:height, :width] = image, label
    return padded
