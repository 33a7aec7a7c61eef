"""Preprocessing for inference: resize, normalise, sliding windows."""

import cv2
import numpy as np

from ocrnet.config import DataConfig
from ocrnet.data import transforms


def preprocess(image: np.ndarray, config: DataConfig, ratio: float = 1.0) -> np.ndarray:
    """Convert an (H, W, 3) uint8 RGB image to the network's input: (3, h, w) float32, resized and normalised.

    Resizes the image to fit into `test_size` (default: the image size) times `ratio`. The published multi-scale results
    come from mmsegmentation 0.x, which does the same; 1.x always applies the ratio to the image size.
    """
    if config.test_size or ratio != 1:
        size = input_size(image.shape[:2], config, ratio)
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(transforms.normalise(image, config.mean, config.std))


def input_size(size: tuple[int, int], config: DataConfig, ratio: float = 1.0) -> tuple[int, int]:
    """Returns the (height, width) of the network's input for an image of (height, width) `size`."""
    if not config.test_size and ratio == 1:
        return size
    box = [int(side * ratio + 0.5) for side in config.test_size or size]
    return transforms.rescale_size(size, box, config.keep_ratio)


def window_slices(length: int, window: int, stride: int) -> list[slice]:
    """Returns the sliding windows along one axis. The last one is shifted back to end at the image border.

    An image smaller than the window gives one window of the image size.
    """
    count = max(0, -(-(length - window) // stride)) + 1
    ends = [min(step * stride + window, length) for step in range(count)]
    return [slice(max(0, end - window), end) for end in ends]
