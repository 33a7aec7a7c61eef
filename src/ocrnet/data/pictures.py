"""Picture and label files into arrays: whole, of a sane size, or not at all."""

import io
import re
import struct
import warnings
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from isal import isal_zlib as zlib
from PIL import Image

from ocrnet.config import IGNORED
from ocrnet.data.mat_labels import read_mat
from ocrnet.errors import UserError

MAX_PIXELS = 178_956_970
"""Of one picture: Pillow's limit, 13377 x 13377. What claims more is refused before memory is taken for it."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # half of that
warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata

_PNG = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE = 0, 2, 3  # colour types of PNG
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
        if _plain(self._parts, _RGB):
            self.shape = (height, width, 3)
        else:  # decoded for its size: a photograph may say that it lies on its side
            self._whole = _decode(path, self._data, cv2.IMREAD_COLOR_RGB)
            self.shape = self._whole.shape

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """(h, w, 3) uint8 RGB."""
        if self._whole is not None:
            return self._whole[window]
        (top, bottom, _), (left, right, _) = map(slice.indices, window, self.shape)
        return _png_window(self._path, self._parts, top, bottom, right)[:, left:]


def _plain(parts: dict[bytes, bytes], *kinds: int) -> bool:
    """Whether a PNG has 8 bits a value, one of the colour types, no interlacing and nothing that changes its pixels."""
    plain = parts and parts[b"IHDR"][8:] in [bytes((8, kind, 0, 0, 0)) for kind in kinds]
    return bool(plain) and parts.keys().isdisjoint((b"eXIf", b"acTL", b"tRNS"))


def _decode(path: Path, data: bytes, flags: int) -> np.ndarray:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise BadFile("unreadable", f"{path}: not a readable picture: {error.err}") from None
    if picture is None:
        raise BadFile("unreadable", f"{path}: not a readable picture (damaged or cut short?)")
    return picture


def _png_window(path: Path, parts: dict[bytes, bytes], top: int, bottom: int, right: int) -> np.ndarray:
    """Rows `top` to `bottom` and the columns up to `right` of a plain PNG, (h, w, 3) or, of a grey one, (h, w).

    Inflated here, at twice the speed of OpenCV's zlib, and no further than `bottom`. What OpenCV gets is a PNG without
    compression of what a pixel needs: those to its left, above it and between, up to a row that does not look above.
    """
    (width,) = struct.unpack_from(">I", parts[b"IHDR"])
    channels = 3 if parts[b"IHDR"][9] == _RGB else 1
    stride = 1 + channels * width
    try:
        inflated = zlib.decompressobj().decompress(parts[b"IDAT"], bottom * stride)
        rows = np.frombuffer(inflated, np.uint8).reshape(bottom, stride)
    except (zlib.error, ValueError) as error:
        raise BadFile("unreadable", f"{path}: not a readable picture: {error}") from None
    first = int(np.flatnonzero(rows[: top + 1, 0] < 2)[-1:].sum())  # filter 0: none, 1: the left neighbour's; or row 0
    pixels = np.ascontiguousarray(rows[first:, : 1 + channels * right]).reshape(-1).data
    body = [b"\x78\x01"]
    for place in range(0, len(pixels), 65535):
        block = pixels[place : place + 65535]
        body += [struct.pack("<BHH", place + 65535 >= len(pixels), len(block), len(block) ^ 65535), block]
    body.append(struct.pack(">I", zlib.adler32(pixels)))
    header = struct.pack(">IIBBBBB", right, bottom - first, 8, _RGB if channels == 3 else _GREY, 0, 0, 0)
    data = b"".join((_PNG, *_part(b"IHDR", header), *_part(b"IDAT", *body), *_part(b"IEND")))
    return _decode(path, data, cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE)[top - first :]


def _part(name: bytes, *body: bytes) -> tuple[bytes, ...]:
    checksum = zlib.crc32(name)
    for piece in body:
        checksum = zlib.crc32(piece, checksum)
    return struct.pack(">I", sum(map(len, body))) + name, *body, struct.pack(">I", checksum)


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
    if _plain(parts, _GREY, _PALETTE):
        return _png_window(path, parts, 0, height, width)
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


def _measure(path: Path, data: bytes) -> tuple[tuple[int, int], dict[bytes, bytes]]:
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
    return (height, width), _png_parts(path, data) if data.startswith(_PNG) else {}


def _png_parts(path: Path, data: bytes) -> dict[bytes, bytes]:
    """{name: body} of a PNG's parts, those of one name joined: each has a CRC, and the last is IEND. Decoders pass over
    both.
    """
    parts: dict[bytes, list[memoryview]] = {}
    place, view = len(_PNG), memoryview(data)
    while place + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        end = place + 8 + size
        if end + 4 > len(data):
            break
        if zlib.crc32(view[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            problem = f"the checksum of its part {name.decode('latin-1')!r} is wrong, damaged"
            raise BadFile("unreadable", f"{path}: not a readable picture: {problem}")
        parts.setdefault(name, []).append(view[place + 8 : end])
        if name == b"IEND":
            return {name: b"".join(bodies) for name, bodies in parts.items()}
        place = end + 4
    raise BadFile("cut short", f"{path}: not a readable picture: a PNG without its end, cut short")


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
