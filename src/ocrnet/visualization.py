"""Images for people."""

from pathlib import Path

import cv2
import numpy as np

from ocrnet.errors import UserError
from ocrnet.formats.label_values import IGNORED


def colour(classes: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(H, W) classes in their colours, (H, W, 3) uint8 RGB; what is no class, such as ignored pixels, is black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    return colours[classes]


def overlay(image: np.ndarray, classes: np.ndarray, palette: np.ndarray, strength: float = 0.5) -> np.ndarray:
    """The image (H, W, 3) tinted with the classes' colours."""
    return cv2.addWeighted(image, 1 - strength, colour(classes, palette), strength, 0)


RIGHT, WRONG = (222, 226, 230), (214, 40, 57)


def error_map(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB: right pixels grey, wrong ones red, ignored ones black."""
    errors = colour((label != prediction).astype(np.uint8), np.array([RIGHT, WRONG], np.uint8))
    errors[label == IGNORED] = 0
    return errors


def side_by_side(
    image: np.ndarray, label: np.ndarray | None, prediction: np.ndarray, palette: np.ndarray
) -> np.ndarray:
    """WindowedImage (H, W, 3) RGB, label (where there is one) and prediction (H, W) beside one another."""
    gap = np.full((image.shape[0], 4, 3), 255, np.uint8)
    panels = [colour(classes, palette) for classes in (label, prediction) if classes is not None]
    return np.hstack([image, *(part for panel in panels for part in (gap, panel))])


def encode(image: np.ndarray, ending: str) -> bytes:
    """(H, W, 3) RGB or (H, W) grey, uint8, as a file of this `ending`, such as ".png".

    Raises:
        UserError: the format cannot hold it: a side of a JPEG has 65,500 pixels at most.
    """
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    try:
        done, data = cv2.imencode(ending, stored)
    except cv2.error:
        done = False
    if not done:
        raise UserError(f"an image of {image.shape[1]} x {image.shape[0]} pixels cannot be stored as {ending}")
    return data.tobytes()


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) RGB or (H, W) grey, in the format that the ending names.

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
