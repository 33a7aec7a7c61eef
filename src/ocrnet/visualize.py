"""Pictures for people."""

from pathlib import Path

import cv2
import numpy as np


def write_side_by_side(
    path: Path, picture: np.ndarray, label: np.ndarray, prediction: np.ndarray, palette: np.ndarray
) -> None:
    """Write picture (H, W, 3) RGB, label and prediction (H, W) beside one another; ignored pixels are black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    gap = np.full((picture.shape[0], 4, 3), 255, np.uint8)
    panels = np.hstack([picture, gap, colours[label], gap, colours[prediction]])
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(panels, cv2.COLOR_RGB2BGR))
    encoded.tofile(path)
