"""Visualization of labels and predictions as RGB images."""

from pathlib import Path

import cv2
import numpy as np

from ocrnet.errors import UserError
from ocrnet.formats.label_values import IGNORED


def colour(classes: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Converts (H, W) class indices to a colour image (H, W, 3) uint8 RGB. Other values, e.g. 255, are black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    return colours[classes]


def overlay(image: np.ndarray, classes: np.ndarray, palette: np.ndarray, strength: float = 0.5) -> np.ndarray:
    """Returns the image (H, W, 3) blended with the colours of the classes; `strength` is the opacity of the colours."""
    return cv2.addWeighted(image, 1 - strength, colour(classes, palette), strength, 0)


RIGHT, WRONG = (222, 226, 230), (214, 40, 57)


def error_map(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB: correct pixels grey, wrong pixels red, ignored pixels black."""
    errors = colour((label != prediction).astype(np.uint8), np.array([RIGHT, WRONG], np.uint8))
    errors[label == IGNORED] = 0
    return errors


def side_by_side(
    image: np.ndarray, label: np.ndarray | None, prediction: np.ndarray, palette: np.ndarray
) -> np.ndarray:
    """Returns the image (H, W, 3) RGB, the label (if any) and the prediction (H, W) next to each other."""
    gap = np.full((image.shape[0], 4, 3), 255, np.uint8)
    panels = [colour(classes, palette) for classes in (label, prediction) if classes is not None]
    return np.hstack([image, *(part for panel in panels for part in (gap, panel))])


def encode(image: np.ndarray, suffix: str) -> bytes:
    """Encodes an image (H, W, 3) RGB or (H, W) grey, uint8.

    Args:
        suffix: the file format, such as ".png".

    Raises:
        UserError: the image is too large for the format; a JPEG has at most 65,500 pixels per side.
    """
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    try:
        encoded, data = cv2.imencode(suffix, stored)
    except cv2.error:
        encoded = False
    if not encoded:
        raise UserError(f"an image of {image.shape[1]} x {image.shape[0]} pixels cannot be stored as {suffix}")
    return data.tobytes()


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes an image (H, W, 3) RGB or (H, W) grey in the format of the file name's suffix.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(image, path.suffix))
    except OSError as error:
        raise UserError(f"{path}: cannot write this image: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{path}: cannot write this image: {error}") from None
