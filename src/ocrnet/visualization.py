"""Visualization of labels and predictions as RGB images."""

from collections.abc import Sequence
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


def label_overlay(image: np.ndarray, label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Returns the image (H, W, 3) blended with the label (H, W); ignored pixels are dark with white diagonal lines."""
    shown = overlay(image, label, palette)
    rows, columns = np.indices(label.shape)
    shown[(label == IGNORED) & ((rows + columns) % 10 < 2)] = 255
    return shown


_CAPTION, _GAP, _FONT_SCALE = 26, 10, 0.45  # pixels, pixels, OpenCV's unit
_PAPER, _INK = 255, (33, 37, 41)


def contact_sheet(
    tiles: Sequence[np.ndarray], captions: Sequence[str], legend: dict[str, np.ndarray], columns: int
) -> np.ndarray:
    """Returns images (h, w, 3) uint8 RGB of one size in a grid, with a caption above each and a legend below.

    Args:
        legend: {text: small image (h, w, 3)}.
    """
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    cell = (height + _CAPTION + _GAP, width + _GAP)
    entries = _legend_positions(legend, columns * cell[1])
    rows, lines = -(-len(tiles) // columns), entries[-1][0] + 1 if entries else 0
    sheet = np.full((rows * cell[0] + lines * _CAPTION + _GAP, columns * cell[1] + _GAP, 3), _PAPER, np.uint8)
    for number, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        top, left = number // columns * cell[0], number % columns * cell[1] + _GAP
        sheet[top + _CAPTION : top + _CAPTION + height, left : left + width] = tile
        _write(sheet, caption, top, left, width)
    for (line, left), (text, swatch) in zip(entries, legend.items(), strict=True):
        top = rows * cell[0] + line * _CAPTION
        sheet[top + 5 : top + 21, left : left + 24] = swatch[:16, :24]
        _write(sheet, text, top, left + 30, columns * cell[1] - left - 30)
    return sheet


def _legend_positions(legend: dict[str, np.ndarray], width: int) -> list[tuple[int, int]]:
    """Returns (line, left pixel) of each entry of a legend."""
    positions, line, left = [], 0, _GAP
    for text in legend:
        length = 30 + _text_width(text) + 2 * _GAP
        if left > _GAP and left + length > width:
            line, left = line + 1, _GAP
        positions.append((line, left))
        left += length
    return positions


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _FONT_SCALE, 1)[0][0]


def _write(sheet: np.ndarray, text: str, top: int, left: int, width: int) -> None:
    """Writes one line, shortened to `width` pixels. OpenCV's font has ASCII only; other characters become ?."""
    text = text.encode("ascii", "replace").decode()
    while _text_width(text) > width and len(text) > 3:
        text = f"{text[:-4]}..."
    place = (left, top + _CAPTION - 9)
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, _FONT_SCALE, _INK, 1, cv2.LINE_AA)


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
