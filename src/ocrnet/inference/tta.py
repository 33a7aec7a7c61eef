"""Test-time augmentation: the views of an image."""

from itertools import product
from typing import NamedTuple

from ocrnet.config import EvalConfig


class TTAView(NamedTuple):
    """One augmented version of an image: resized by `ratio`, mirrored or not."""

    ratio: float = 1.0
    mirrored: bool = False


def tta_views(config: EvalConfig) -> list[TTAView]:
    """Returns the views of a config: one or several ratios, with or without the mirrored image."""
    ratios = config.ratios if config.multi_scale else [1.0]
    return [
        TTAView(ratio, mirrored) for ratio, mirrored in product(ratios, [False, True] if config.mirrors else [False])
    ]
