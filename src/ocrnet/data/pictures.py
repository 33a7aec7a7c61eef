"""Picture and label files into arrays: whole, of a sane size, or not at all."""

import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ocrnet.config import IGNORED
from ocrnet.data.mat_labels import read_mat
from ocrnet.errors import UserError

MAX_PIXELS = 178_956_970
"""Of one picture: Pillow's limit, 13377 x 13377. What claims more is refused before memory is taken for it."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # half of that
warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # between scans; 0 is a stuffed byte, D0-D7 are restarts


class BadFile(UserError):
    """A picture or label file that cannot be used; `kind` is one of `KINDS`."""

    KINDS = ("missing", "unreadable", "cut short", "too large", "sizes differ", "values out of range")

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises BadFile when the file is missing, damaged, too large or no picture."""
    data = _read(path, "picture")
    _measure(path, data)
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise BadFile("unreadable", f"{path}: not a readable picture: {error.err}") from None
    if picture is None:
        raise BadFile("unreadable", f"{path}: not a readable picture (damaged or cut short?)")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


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
    _measure(path, data)
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


def _measure(path: Path, data: bytes) -> None:
    """Judge a file by its header and its outer structure, without decoding it."""
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
    if data.startswith(_PNG) and (problem := _png_problem(data)):
        raise BadFile(*problem[:1], f"{path}: not a readable picture: {problem[1]}")
    if data.startswith(_JPEG) and not _jpeg_ends(data):
        raise BadFile("cut short", f"{path}: not a readable picture: a JPEG without its end, cut short")


def _png_problem(data: bytes) -> tuple[str, str] | None:
    """(kind, what is wrong) with a PNG's chunks: each has a CRC, and the last is IEND. Decoders pass over both."""
    place = len(_PNG)
    while place + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        end = place + 8 + size
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return "unreadable", f"the checksum of its part {name.decode('latin-1')!r} is wrong, damaged"
        if name == b"IEND":
            return None
        place = end + 4
    return "cut short", "a PNG without its end, cut short"


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
