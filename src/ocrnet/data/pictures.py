"""Picture and label files into arrays: whole, of a sane size, or not at all."""

import io
import re
import struct
import warnings
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from ocrnet.config import IGNORED
from ocrnet.data import png
from ocrnet.data.mat_labels import read_mat
from ocrnet.errors import UserError

MAX_PIXELS = 178_956_970
"""Of one picture: Pillow's limit, 13377 x 13377. What claims more is refused before memory is taken for it."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # half of that
warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata

_JPEG = b"\xff\xd8"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # between scans; 0 is a stuffed byte, D0-D7 are restarts


class BadFile(UserError):
    """A picture or label file that cannot be used; `kind` is one of `KINDS`."""

    KINDS = ("missing", "unreadable", "cut short", "too large", "sizes differ", "values out of range")

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Picture(Protocol):
    """(H, W, 3) uint8 RGB of which windows can be read: an array, a memory-mapped one, or a file not decoded yet."""

    shape: tuple[int, ...]

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray: ...


class PictureFile:
    """A picture that is decoded when a window of it is asked for; a PNG no further than that.

    Raises:
        BadFile: the file is missing, damaged, too large or no picture. What only decoding shows is raised then.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._data = path, _read(path, "picture")
        (height, width), self._parts = _measure(path, self._data)
        self._whole: np.ndarray | None = None
        if png.is_plain(self._parts, png.RGB):
            self.shape = (height, width, 3)
        else:  # decoded for its size: a photograph may say that it lies on its side
            self._whole = _decode(path, self._data, cv2.IMREAD_COLOR_RGB)
            self.shape = self._whole.shape

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """(h, w, 3) uint8 RGB."""
        if self._whole is not None:
            return self._whole[window]
        (top, bottom, _), (left, right, _) = map(slice.indices, window, self.shape)
        return _decode_window(self._path, self._parts, top, bottom, right)[:, left:]


def _decode(path: Path, data: bytes, flags: int) -> np.ndarray:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise BadFile("unreadable", f"{path}: not a readable picture: {error.err}") from None
    if picture is None:
        raise BadFile("unreadable", f"{path}: not a readable picture (damaged or cut short?)")
    return picture


def _decode_window(
    path: Path, parts: png.Parts, top: int, bottom: int, right: int, flags: int = cv2.IMREAD_COLOR_RGB
) -> np.ndarray:
    try:
        small, first = png.cut(parts, top, bottom, right)
    except ValueError as error:
        raise BadFile("unreadable", f"{path}: not a readable picture: {error}") from None
    return _decode(path, small, flags)[first:]


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises BadFile when the file is missing, damaged, too large or no picture."""
    return PictureFile(path)[:, :]


def read_label(path: Path) -> np.ndarray:
    """(H, W) uint8 values as stored: grey, palette index or MATLAB matrix. Raises BadFile, as `read_picture`."""
    if path.suffix == ".mat":
        try:
            return read_mat(path)
        except FileNotFoundError:
            raise BadFile("missing", f"{path}: label file not found") from None
        except (OSError, ValueError) as error:
            raise BadFile("unreadable", f"{path}: not a readable label picture: {error}") from None
    data = _read(path, "label picture")
    (height, width), parts = _measure(path, data)
    if png.is_plain(parts, png.GREY, png.PALETTE):
        return _decode_window(path, parts, 0, height, width, cv2.IMREAD_GRAYSCALE)
    try:
        with _open(data) as image:
            values = np.asarray(image)
    except Exception as error:  # a decoder raises whatever it met
        raise BadFile("unreadable", f"{path}: not a readable label picture: {error}") from None
    if values.ndim != 2:
        raise BadFile(
            "values out of range",
            f"{path}: a label is a single-channel picture of class numbers, this one has shape {values.shape} (a "
            "colour picture? convert it to class numbers first)",
        )
    if values.dtype != np.uint8 and (values.min() < 0 or values.max() > IGNORED):
        raise BadFile("values out of range", f"{path}: label values reach {values.max()}; they must be 0 to {IGNORED}")
    return values.astype(np.uint8)


def _read(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadFile("missing", f"{path}: {kind.split()[0]} file not found") from None
    except OSError as error:
        raise BadFile("unreadable", f"{path}: cannot read this {kind}: {error.strerror}") from None


def _open(data: bytes) -> Image.Image:
    """A Pillow picture of which no more than the header is decoded yet."""
    return Image.open(io.BytesIO(data))


def _measure(path: Path, data: bytes) -> tuple[tuple[int, int], png.Parts]:
    """Judge a file by its header and its outer structure, without decoding it: (height, width), and a PNG's parts."""
    if len(data) == 0:
        raise BadFile("cut short", f"{path}: not a readable picture: the file is empty")
    try:
        with _open(data) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        width = height = MAX_PIXELS
    except Exception:  # Pillow's header readers raise whatever a damaged file makes them meet
        raise BadFile("unreadable", f"{path}: not a readable picture (damaged or cut short?)") from None
    if width * height > MAX_PIXELS:
        raise BadFile("too large", f"{path}: this picture claims more than {MAX_PIXELS:,} pixels: cut it into tiles")
    if data.startswith(_JPEG) and not _jpeg_ends(data):
        raise BadFile("cut short", f"{path}: not a readable picture: a JPEG without its end, cut short")
    try:
        return (height, width), png.read_parts(data) if data.startswith(png.SIGNATURE) else {}
    except (ValueError, EOFError) as error:
        kind = "cut short" if isinstance(error, EOFError) else "unreadable"
        raise BadFile(kind, f"{path}: not a readable picture: {error}") from None


def _jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG's segments lead to its end marker. Decoders fill with grey what is missing."""
    place = 2
    while marker := _JPEG_MARKER.search(data, place):
        place = marker.end()
        kind = data[place - 1]
        if kind == 0xD9:
            return True
        if kind != 0x01 and place + 2 <= len(data):  # all but TEM say how long they are
            place += struct.unpack_from(">H", data, place)[0]
    return False
