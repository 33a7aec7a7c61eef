"""How strongly class probabilities contradict a label: a score of the image, and the regions that look wrong.

cleanlab computes the same score of an image. It needs the probabilities of all images at once, and brings scikit-learn
and pandas; a test compares with two of its values.
"""

from typing import NamedTuple

import cv2
import numpy as np

from ocrnet.formats.label_values import IGNORED

TEMPERATURE = 0.1
"""Of the softmin, as in the paper: the lower, the more the worst pixels decide."""
MOST_REGIONS = 10
"""Regions of an image."""


class Region(NamedTuple):
    """Connected pixels of one label class for which one other class is predicted."""

    score: float
    """Mean of the cubed margins times the thickness; the largest is the most suspicious. The margin of a pixel is the
    probability of the predicted class minus that of the label, the thickness is the side of the largest square in the
    region, in pixels."""
    label: int
    prediction: int
    area: int
    """Pixels."""
    confidence: float
    """Mean probability of the predicted class."""
    box: tuple[int, int, int, int]
    """(left, top, width, height) in pixels."""
    outline: list[np.ndarray]
    """Rings (n, 2) of pixels (x, y): the outer one and the holes."""


def label_quality(probabilities: np.ndarray, label: np.ndarray) -> float:
    """Returns the quality of a label from 0 (wrong) to 1: the softmin of the probabilities of its pixels.

    Lad and Mueller, «Estimating label quality and errors in semantic segmentation data via any model», 2023
    (arXiv 2307.05080): the mean of the probabilities s of the labelled classes, weighted with
    softmax((1 - s) / temperature) over the pixels.

    Args:
        probabilities: (classes, H, W) float32.
        label: (H, W) uint8 class indices, 255 for ignored pixels, which do not count.

    Returns:
        NaN if all pixels are ignored.
    """
    valid = label != IGNORED
    if not valid.any():
        return np.nan
    values = _of_label(probabilities, label)[valid].astype(np.float64)
    return float(np.average(values, weights=np.exp(-values / TEMPERATURE)))


def find_regions(probabilities: np.ndarray, label: np.ndarray) -> list[Region]:
    """Returns the MOST_REGIONS most suspicious regions of an image, the worst first.

    A band along an outline is thin and its probabilities are near 0.5, so its score is low. Regions in which no square
    of 3 x 3 pixels fits are left out.

    Args: as `label_quality`.
    """
    prediction = probabilities.argmax(axis=0).astype(np.uint8)
    highest = probabilities.max(axis=0)
    margin = highest - _of_label(probabilities, label)
    wrong = (label != IGNORED) & (prediction != label)
    pairs = label.astype(np.int32) * 256 + prediction
    regions: list[Region] = []
    for pair in np.unique(pairs[wrong]):
        # a frame of zeros: the border of the image is a border of the region
        mask = np.pad(((pairs == pair) & wrong).astype(np.uint8), 1)
        count, parts, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        distance = cv2.distanceTransform(mask, cv2.DIST_C, 3)[1:-1, 1:-1]  # to the next pixel outside
        parts = parts[1:-1, 1:-1]
        for part in range(1, count):
            left, top, width, height, area = (int(value) for value in boxes[part] - (1, 1, 0, 0, 0))
            window = slice(top, top + height), slice(left, left + width)
            inside = parts[window] == part
            thickness = 2 * float(distance[window][inside].max()) - 1
            if thickness < 3:
                continue
            score = float((margin[window][inside].astype(np.float64) ** 3).mean()) * thickness
            confidence = float(highest[window][inside].mean(dtype=np.float64))
            outline = _outline(inside, left, top)
            box = left, top, width, height
            regions.append(Region(score, int(pair) >> 8, int(pair) & 255, area, confidence, box, outline))
    return sorted(regions, key=lambda region: -region.score)[:MOST_REGIONS]


def uncertainty(probabilities: np.ndarray) -> float:
    """Returns the mean entropy of the pixels' class probabilities (classes, H, W), from 0 to 1: in units of the
    entropy of equal probabilities."""
    classes = len(probabilities)
    if classes == 1:
        return 0.0
    logarithms = np.log(np.maximum(probabilities, np.float32(1e-37)))
    return float(-(probabilities * logarithms).sum(axis=0).mean(dtype=np.float64) / np.log(classes))


def _of_label(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns (H, W) the probability of the labelled class; of class 0 for ignored pixels."""
    index = np.where(label == IGNORED, 0, label)[None].astype(np.intp)
    return np.take_along_axis(probabilities, index, axis=0)[0]


def _outline(mask: np.ndarray, left: int, top: int) -> list[np.ndarray]:
    rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
    return [ring[:, 0] for ring in rings]
