"""From an image to the network's input: resize, normalise, sliding windows."""

import cv2
import numpy as np

from ocrnet.config import DataConfig
from ocrnet.data import transforms


def preprocess(image: np.ndarray, config: DataConfig, ratio: float = 1.0) -> np.ndarray:
    """(H, W, 3) uint8 RGB to what the network reads: (3, h, w) float32, resized and normalised.

    The image is fitted into `test_size` (its own size without one) times `ratio`. So did mmsegmentation 0.x, which
    the published multi-scale results come from; 1.x applies the ratio to the image's own size always.
    """
    if config.test_size or ratio != 1:
        size = input_size(image.shape[:2], config, ratio)
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(transforms.normalise(image, config.mean, config.std))


def input_size(size: tuple[int, int], config: DataConfig, ratio: float = 1.0) -> tuple[int, int]:
    """(height, width) at which the network reads an image of (height, width) `size`."""
    if not config.test_size and ratio == 1:
        return size
    box = [int(side * ratio + 0.5) for side in config.test_size or size]
    return transforms.rescale_size(size, box, config.keep_ratio)


def window_slices(length: int, window: int, stride: int) -> list[slice]:
    """Windows along one side of an image. The last one is moved back until it ends with the image.

    An image smaller than the window is one window of its own size.
    """
    count = max(0, -(-(length - window) // stride)) + 1
    ends = [min(step * stride + window, length) for step in range(count)]
    return [slice(max(0, end - window), end) for end in ends]
