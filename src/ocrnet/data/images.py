"""Image and label files into arrays: whole, of a sane size, or not at all.

Every program reads images here, so training, evaluation and prediction see the same pixels: turned as the EXIF
orientation says, transparent pixels laid on white, 16 bits reduced to the upper 8.
"""

import io
import re
import struct
import warnings
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from ocrnet import files
from ocrnet.data import png
from ocrnet.data.mat_labels import read_mat
from ocrnet.errors import UserError
from ocrnet.formats.label_values import IGNORED

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
"""Image formats in Pillow's words. None of their decoders starts a program or opens another file."""
MAX_PIXELS = 178_956_970
"""Of one image: Pillow's limit, 13377 x 13377. What claims more is refused before memory is taken for it."""
MAX_BYTES = 2**29
"""Of one file: MAX_PIXELS without compression."""

_LARGE = 2**25  # pixels, from which on a whole PNG is left to OpenCV alone: slower than `png.cut`, with a copy less

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # half of that
warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata

_JPEG = b"\xff\xd8"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # between scans; 0 is a stuffed byte, D0-D7 are restarts
_ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "F", "LA")  # of Pillow's modes
_ORIENTATION = 0x0112  # EXIF tag
_BITS, _COMPRESSION, _PHOTOMETRIC = 258, 259, 262  # TIFF tags


class BadFile(UserError):
    """An image or label file that cannot be used; `kind` is one of `KINDS`."""

    KINDS = ("missing", "unreadable", "cut short", "too large", "sizes differ", "values out of range")

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class WindowedImage(Protocol):
    """(H, W, 3) uint8 RGB of which windows can be read: an array, a memory-mapped one, or a file not decoded yet."""

    shape: tuple[int, ...]

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray: ...


class ImageFile:
    """An image that is decoded when a window of it is asked for; a PNG no further than that.

    Raises:
        BadFile: the file is missing, damaged, too large or no image. What only decoding shows is raised then.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._data = path, read_file(path, "image")
        self._image, self._parts = open_image(path, self._data)
        self._whole: np.ndarray | None = None
        width, height = upright_size(self._image)
        self.shape = (height, width, 3)
        self._is_plain = png.is_plain(self._parts, png.RGB)
        if self._is_plain and width * height <= _LARGE:
            self._data = b""  # the parts hold it

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """(h, w, 3) uint8 RGB."""
        (top, bottom, _), (left, right, _) = map(slice.indices, window, self.shape)
        everything = (top, left, bottom, right) == (0, 0, *self.shape[:2])
        if self._is_plain and not (everything and self._data):
            return _decode_window(self._path, self._parts, top, bottom, right)[:, left:]
        if self._whole is None:
            self._whole = self._decode_whole()
        return self._whole[window]

    def _decode_whole(self) -> np.ndarray:
        image, flags = self._image, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        if image.format == "GIF" or (has_alpha(image) and image.format not in ("PNG", "WEBP")):
            pixels = flatten(self._path, image)
        elif has_alpha(image):  # OpenCV keeps 16 bits and needs less memory for WebP than Pillow
            stored = _decode(self._path, self._data, cv2.IMREAD_UNCHANGED)
            pixels = _on_white(stored, slice(2, None, -1)) if stored.ndim == 3 and stored.shape[2] == 4 else None
        else:
            pixels = None
        if pixels is None:
            if image.mode in ("I", "F") and image.format == "TIFF":
                raise BadFile(
                    "unreadable",
                    f"{self._path}: an image of 32 bits a channel has no known range: convert it to 8 or 16 bits",
                )
            pixels = _decode(self._path, self._data, flags)
        pixels = _turn(pixels, _orientation(image))
        if pixels.shape != self.shape:
            raise BadFile("unreadable", f"{self._path}: not a readable image: its header and its pixels disagree")
        return pixels


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises BadFile when the file is missing, damaged, too large or no image."""
    return ImageFile(path)[:, :]


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) that `read_image` gives, from the header. Raises BadFile."""
    return upright_size(open_image(path, read_file(path, "image"))[0])


def read_label(path: Path) -> np.ndarray:
    """(H, W) uint8 values as stored: grey of any depth, palette index or MATLAB matrix; turned as EXIF says.

    Raises:
        BadFile: as `read_image`; the file has colours, is lossy, or a value is no integer from 0 to 255.
    """
    if path.suffix == ".mat":
        try:
            return read_mat(path)
        except FileNotFoundError:
            raise BadFile("missing", f"{path}: label file not found") from None
        except OSError as error:
            raise BadFile("unreadable", f"{path}: cannot read this label image: {error.strerror}") from None
        except ValueError as error:
            raise BadFile("unreadable", f"{path}: not a readable label image: {error}") from None
    data = read_file(path, "label image")
    image, parts = open_image(path, data)
    if png.is_plain(parts, png.GREY, png.PALETTE):
        width, height = image.size
        return _decode_window(path, parts, 0, height, width, cv2.IMREAD_GRAYSCALE)
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if image.format == "JPEG" or tags.get(_COMPRESSION) in (6, 7):
        raise BadFile(
            "values out of range",
            f"{path}: JPEG changes class indices where it compresses: save labels as PNG",
        )
    if image.mode not in _ONE_CHANNEL:
        raise BadFile(
            "values out of range",
            f"{path}: a label is a single-channel image of class indices, this one is {image.mode} (a colour "
            "image? convert it to class indices first)",
        )
    try:
        values = np.asarray(image)
    except Exception as error:  # a decoder raises whatever it met
        raise BadFile("unreadable", f"{path}: not a readable label image: {error}") from None
    bits = parts[b"IHDR"][8] if parts else tags.get(_BITS, (8,))[0]
    if image.mode == "LA" and bits == 8 and (values[..., 1] == 255).all():  # grey with nothing transparent
        values = values[..., 0]
    if values.ndim != 2:
        raise BadFile(
            "values out of range", f"{path}: a label with transparent pixels or 16-bit alpha: save it without"
        )
    if image.mode in ("1", "L") and tags.get(_PHOTOMETRIC) == 0:  # white is zero: Pillow inverts the values
        values = np.asarray(~values)
    if image.mode == "L" and bits in (2, 4):  # Pillow spreads these over 0 to 255
        values = values // (255 // (2**bits - 1))
    with np.errstate(invalid="ignore"):
        small = values.astype(np.uint8)
    if (small != values).any():
        raise BadFile(
            "values out of range",
            f"{path}: label values reach {values.max()}, the lowest is {values.min()}; they must be integers from 0 "
            f"to {IGNORED}",
        )
    return _turn(small, _orientation(image))


def read_file(path: Path, kind: str) -> bytes:
    """The bytes of a regular file of at most MAX_BYTES. `kind` names it in messages. Raises BadFile."""
    try:
        return files.read_bytes(path, MAX_BYTES)
    except FileNotFoundError:
        raise BadFile("missing", f"{path}: {kind.split()[0]} file not found") from None
    except OSError as error:
        raise BadFile("unreadable", f"{path}: cannot read this {kind}: {error.strerror}") from None


def open_image(path: Path, data: bytes) -> tuple[Image.Image, png.Parts]:
    """Judge a file by its header and its outer structure, without decoding it.

    Args:
        path: names the file in messages.

    Returns:
        an image of Pillow's whose pixels are not decoded yet, and a PNG's parts.

    Raises:
        BadFile: it is none of FORMATS, damaged, cut short or too large.
    """
    if len(data) == 0:
        raise BadFile("cut short", f"{path}: not a readable image: the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
    except Image.DecompressionBombError:
        width = height = MAX_PIXELS
    except Exception:  # Pillow's header readers raise whatever a damaged file makes them meet
        known = "damaged, or none of " + ", ".join(FORMATS)
        raise BadFile("unreadable", f"{path}: not a readable image ({known})") from None
    if width * height > MAX_PIXELS:
        raise BadFile("too large", f"{path}: this image claims more than {MAX_PIXELS:,} pixels: cut it into tiles")
    if width * height > MAX_PIXELS // 4 and (has_alpha(image) or image.format == "GIF" or "progressive" in image.info):
        raise BadFile(  # decoders keep several copies of these
            "too large",
            f"{path}: {width} x {height} pixels with alpha or progressive: save it without, or cut it into tiles",
        )
    if data.startswith(_JPEG) and not _jpeg_ends(data):
        raise BadFile("cut short", f"{path}: not a readable image: a JPEG without its end, cut short")
    try:
        return image, png.read_parts(data) if data.startswith(png.SIGNATURE) else {}
    except (ValueError, EOFError) as error:
        kind = "cut short" if isinstance(error, EOFError) else "unreadable"
        raise BadFile(kind, f"{path}: not a readable image: {error}") from None


def has_alpha(image: Image.Image) -> bool:
    """Whether pixels of an image of Pillow's may be transparent."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def flatten(path: Path, image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image of Pillow's, laid on white. Raises BadFile when it cannot be decoded."""
    try:
        pixels = np.asarray(image.convert("RGBA" if has_alpha(image) else "RGB"))
    except Exception as error:  # a decoder raises whatever it met
        raise BadFile("unreadable", f"{path}: not a readable image: {error}") from None
    return pixels if pixels.shape[2] == 3 else _on_white(pixels, slice(3))


def _on_white(stored: np.ndarray, colours: slice) -> np.ndarray:
    """(H, W, 3) uint8 of (H, W, 4) uint8 or uint16, whose last channel is alpha. `colours` selects red, green, blue."""
    result = np.empty((*stored.shape[:2], 3), np.uint8)
    most = np.float32(np.iinfo(stored.dtype).max)
    for row, source in zip(result, stored, strict=True):  # by rows: floats of a large image would fill the memory
        alpha = source[:, 3:].astype(np.float32) / most
        pixels = source[:, colours] >> (8 * (stored.itemsize - 1))
        row[:] = (pixels * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    return result


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of an image of Pillow's once it is turned as EXIF says."""
    return image.size[::-1] if _orientation(image) > 4 else image.size


def _orientation(image: Image.Image) -> int:
    """EXIF's 1 to 8; 1 for a TIFF, whose decoders turn it themselves. Damaged metadata says nothing."""
    if image.format == "TIFF":
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # the parser raises whatever it met
        return 1
    return orientation if orientation in range(1, 9) else 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as stored, (H, W) or (H, W, 3), to pixels as shown."""
    if orientation > 4:  # stored columns are shown as rows
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _decode(path: Path, data: bytes, flags: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise BadFile("unreadable", f"{path}: not a readable image: {error.err}") from None
    if image is None:
        raise BadFile("unreadable", f"{path}: not a readable image (damaged or cut short?)")
    return image


def _decode_window(
    path: Path, parts: png.Parts, top: int, bottom: int, right: int, flags: int = cv2.IMREAD_COLOR_RGB
) -> np.ndarray:
    try:
        small, first = png.cut(parts, top, bottom, right)
    except ValueError as error:
        raise BadFile("unreadable", f"{path}: not a readable image: {error}") from None
    return _decode(path, small, flags)[first:]


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
