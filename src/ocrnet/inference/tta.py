"""Test-time augmentation: the views of an image, and the mean of their class probabilities."""

from itertools import product
from typing import NamedTuple

import numpy as np

from ocrnet.config import EvalConfig


class TTAView(NamedTuple):
    """One augmented version of an image: resized by `ratio`, mirrored or not."""

    ratio: float = 1.0
    mirrored: bool = False


def tta_views(config: EvalConfig) -> list[TTAView]:
    """What a config asks for: one ratio or several, with the mirrored image or without."""
    ratios = config.ratios if config.multi_scale else [1.0]
    return [
        TTAView(ratio, mirrored) for ratio, mirrored in product(ratios, [False, True] if config.mirrors else [False])
    ]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the classes of (N, classes, H, W)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers
