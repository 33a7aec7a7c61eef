"""Findings about images: sizes, crops that are mostly padding, and values far from data.mean and data.std."""

import numpy as np

from ocrnet.config import Config, DataConfig
from ocrnet.data.transforms import rescale_size
from ocrnet.preflight.finding import LISTS, Finding
from ocrnet.preflight.statistics import SplitStatistics

_DIFFERENT = 4  # ratio of the sides of large and small images
_PADDING = 0.5  # share of a crop
_FAR = 1.5  # standard deviations between the means; Cityscapes is 0.9 from ImageNet's
_SPREAD = 4  # ratio of the standard deviations


def label_sizes(config: Config, *splits: SplitStatistics) -> list[Finding]:
    """Labels of another size than their images."""
    bad = [error for split in splits for error in split.errors if error.kind == "sizes differ"]
    if not bad or (config.data.on_bad_sample == "skip" and config.data.format != "list"):
        return []
    listed = config.data.format == "list"
    return [
        Finding(
            "an image and its label have different sizes",
            True,
            f"{len(bad)} pairs, e.g. {bad[0]}",
            "training stops at the first of these pairs: no pixel has a known class",
            "correct the files (resize labels with nearest neighbour, never smoothly), or leave the pairs out:",
            LISTS if listed else {"data.on_bad_sample": "skip"},
        )
    ]


def image_sizes(config: Config, train: SplitStatistics) -> list[Finding]:
    """Images of very different sizes that are not resized to one."""
    sizes = _sizes(train)
    if not len(sizes) or config.data.base_size:
        return []
    sides = np.sqrt(sizes.prod(1))
    small, large = np.percentile(sides, [5, 95])
    if large < _DIFFERENT * small:
        return []
    smallest, largest = (train.image(train.usable[index]) for index in (sides.argmin(), sides.argmax()))
    middle = [int(side) for side in np.median(sizes, axis=0)]
    return [
        Finding(
            "images have very different sizes",
            False,
            f"from {_text(sizes[sides.argmin()])} ({smallest}) to {_text(sizes[sides.argmax()])} ({largest})",
            "without data.base_size a crop is a whole small image, or a small part of a large one: the same object has "
            "very different sizes",
            "resize all images to about the median size:",
            {"data.base_size": middle, "data.test_size": middle},
        )
    ]


def padding(config: Config, train: SplitStatistics) -> list[Finding]:
    """Crops that are larger than the resized images."""
    sizes = _sizes(train)
    if not len(sizes):
        return []
    chosen = sizes[np.linspace(0, len(sizes) - 1, min(len(sizes), 200)).astype(int)]
    share = padding_share(config.data, chosen)
    if share <= _PADDING:
        return []
    height, width = np.median([_resized(config.data, tuple(size), 1.0) for size in chosen.tolist()], axis=0)
    crop = [max(32, int(side) // 32 * 32) for side in (height, width)]
    return [
        Finding(
            "crops are larger than images",
            False,
            f"on average {100 * share:.0f} % of a crop of {_text(config.data.crop_size)} are padding: images are about "
            f"{_text((height, width))} after resizing, times {config.data.scale_range[0]:g} to "
            f"{config.data.scale_range[1]:g}, e.g. {train.image(train.usable[0])}",
            "padding costs time and memory, teaches nothing, and shifts BatchNorm's statistics",
            "crop at most the image:",
            {"data.crop_size": crop},
        )
    ]


def padding_share(data: DataConfig, sizes: np.ndarray) -> float:
    """Returns the mean share of padding in the crops of images with these (height, width), (n, 2)."""
    height, width = data.crop_size
    filled = [
        min(rows, height) * min(columns, width)
        for ratio in np.linspace(*data.scale_range, 9)
        for rows, columns in (_resized(data, tuple(size), ratio) for size in sizes.tolist())
    ]
    return 1 - float(np.mean(filled)) / (height * width)


def _resized(data: DataConfig, size: tuple[int, int], ratio: float) -> tuple[int, int]:
    height, width = data.base_size or size
    return rescale_size(size, (int(height * ratio), int(width * ratio)), data.keep_ratio)


def normalisation(config: Config, train: SplitStatistics) -> list[Finding]:
    """Images whose mean or standard deviation is far from the configured one."""
    pairs = [pair for pair in train.usable if pair.mean is not None]
    if not pairs:
        return []
    mean = np.mean([pair.mean for pair in pairs], axis=0)
    std = np.sqrt(np.maximum(np.mean([pair.square for pair in pairs], axis=0) - mean**2, 0.25))
    expected, spread = np.array(config.data.mean), np.array(config.data.std)
    distance = float(np.mean(np.abs(mean - expected) / spread))
    ratio = float(np.mean(std / spread))
    if distance <= _FAR and 1 / _SPREAD <= ratio <= _SPREAD:
        return []
    from_one = expected.max() <= 1 and spread.max() <= 1
    unit = "; data.mean and data.std are in grey levels, 0 to 255, these look like 0 to 1" if from_one else ""
    return [
        Finding(
            "images are far from data.mean and data.std",
            ratio > 10 * _SPREAD or distance > 10 * _FAR,
            f"{len(pairs)} training images have the mean {_numbers(mean)} and the standard deviation {_numbers(std)}, "
            f"the configuration {_numbers(expected)} and {_numbers(spread)}{unit}, e.g. {train.image(pairs[0])}",
            "the network sees values that its weights were not trained for, or that are nearly constant",
            "use the values of the images:",
            {"data.mean": [round(float(m), 2) for m in mean], "data.std": [round(float(s), 2) for s in std]},
        )
    ]


def _sizes(split: SplitStatistics) -> np.ndarray:
    return np.array([pair.size for pair in split.usable], np.int64).reshape(-1, 2)


def _text(size: tuple[float, float]) -> str:
    return f"{int(size[0])} x {int(size[1])} (height x width)"


def _numbers(values: np.ndarray) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"
