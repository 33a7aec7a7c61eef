"""Reads image and label files into arrays. Damaged, truncated or too large files are errors.

All programs read images here, so training, evaluation and prediction use the same pixels: rotated by the EXIF
orientation, transparent pixels blended with white, 16 bits reduced to the upper 8.
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
"""Supported image formats, as named by Pillow. Their decoders do not start programs or open other files."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
"""Suffixes of files in these formats, in lower case."""
MAX_PIXELS = 178_956_970
"""Maximum pixels of an image: Pillow's limit, 13377 x 13377. It is checked before memory is allocated."""
MAX_BYTES = 2**29
"""Maximum file size: MAX_PIXELS without compression."""

_LARGE = 2**25  # pixels; whole PNGs above this are decoded by OpenCV: slower than `png.crop`, but with one copy less

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # starts at half of MAX_PIXELS
warnings.filterwarnings("ignore", module=r"PIL\.")  # unusual metadata

_JPEG = b"\xff\xd8"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # between scans; 0 is a stuffed byte, D0-D7 are restarts
_ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "F", "LA")  # Pillow modes
_ORIENTATION = 0x0112  # EXIF tag
_BITS, _COMPRESSION, _PHOTOMETRIC = 258, 259, 262  # TIFF tags


class BadFile(UserError):
    """An image or label file that cannot be used; `kind` is one of `KINDS`."""

    KINDS = ("missing", "unreadable", "truncated", "too large", "sizes differ", "values out of range")

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class WindowedImage(Protocol):
    """An image (H, W, 3) uint8 RGB of which windows can be read: an array, a memory-mapped array, or an ImageFile."""

    shape: tuple[int, ...]

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray: ...


class ImageFile:
    """An image file that is decoded when a window of it is requested; of a PNG, only the rows that are needed.

    Args:
        data: content of the file, if it was already read; `path` is then only its name for messages.

    Raises:
        BadFile: the file is missing, damaged, too large or not an image. Errors in the pixel data are raised when it is
            decoded.
    """

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        self._path, self._data = path, read_file(path, "image") if data is None else data
        self._image, self._chunks = open_image(path, self._data)
        self._whole: np.ndarray | None = None
        width, height = upright_size(self._image)
        self.shape = (height, width, 3)
        self._is_plain = png.is_plain(self._chunks, png.RGB)
        if self._is_plain and width * height <= _LARGE:
            self._data = b""  # the chunks hold the data

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """Returns a window, (h, w, 3) uint8 RGB."""
        (top, bottom, _), (left, right, _) = map(slice.indices, window, self.shape)
        everything = (top, left, bottom, right) == (0, 0, *self.shape[:2])
        if self._is_plain and not (everything and self._data):
            return _decode_window(self._path, self._chunks, top, bottom, right)[:, left:]
        if self._whole is None:
            self._whole = self._decode_whole()
        return self._whole[window]

    def _decode_whole(self) -> np.ndarray:
        image, flags = self._image, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        if image.format == "GIF" or (has_alpha(image) and image.format not in ("PNG", "WEBP")):
            pixels = flatten(self._path, image)
        elif has_alpha(image):  # OpenCV keeps 16 bits, and needs less memory than Pillow for WebP
            stored = _decode(self._path, self._data, cv2.IMREAD_UNCHANGED)
            has_4_channels = stored.ndim == 3 and stored.shape[2] == 4
            pixels = _blend_with_white(stored, slice(2, None, -1)) if has_4_channels else None
        else:
            pixels = None
        if pixels is None:
            if image.mode in ("I", "F") and image.format == "TIFF":
                raise BadFile(
                    "unreadable",
                    f"{self._path}: the value range of a 32-bit image is unknown: convert it to 8 or 16 bits",
                )
            pixels = _decode(self._path, self._data, flags)
        pixels = _apply_orientation(pixels, _orientation(image))
        if pixels.shape != self.shape:
            raise BadFile("unreadable", f"{self._path}: not a readable image: header and pixel data do not match")
        return pixels


def read_image(path: Path) -> np.ndarray:
    """Reads an image as (H, W, 3) uint8 RGB. Raises BadFile if it is missing, damaged, too large or not an image."""
    return ImageFile(path)[:, :]


def image_size(path: Path) -> tuple[int, int]:
    """Returns (width, height) of an image as `read_image` returns it, from the header. Raises BadFile."""
    return upright_size(open_image(path, read_file(path, "image"))[0])


def read_label(path: Path, data: bytes | None = None) -> np.ndarray:
    """Reads label values (H, W) uint8 as stored: grey of any depth, palette index or MATLAB matrix.

    The EXIF orientation is applied.

    Args:
        data: content of an image file, if it was already read; `path` is then only its name for messages.

    Raises:
        BadFile: see `read_image`; also if the image has colours, is lossy, or a value is not an integer from 0 to 255.
    """
    if path.suffix == ".mat" and data is None:
        try:
            return read_mat(path)
        except FileNotFoundError:
            raise BadFile("missing", f"{path}: label file not found") from None
        except OSError as error:
            raise BadFile("unreadable", f"{path}: cannot read this label image: {error.strerror}") from None
        except ValueError as error:
            raise BadFile("unreadable", f"{path}: not a readable label image: {error}") from None
    data = read_file(path, "label image") if data is None else data
    image, chunks = open_image(path, data)
    if png.is_plain(chunks, png.GREY, png.PALETTE):
        width, height = image.size
        return _decode_window(path, chunks, 0, height, width, cv2.IMREAD_GRAYSCALE)
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if stores_jpeg(image):
        raise BadFile(
            "values out of range",
            f"{path}: JPEG compression changes class indices: save labels as PNG",
        )
    if image.mode not in _ONE_CHANNEL:
        raise BadFile(
            "values out of range",
            f"{path}: a label is a single-channel image of class indices, this one is {image.mode}. If its colours "
            "are the classes, set data.label_encoding: color; `ocrnet check` proposes data.palette",
        )
    try:
        values = np.asarray(image)
    except Exception as error:  # decoders raise any kind of exception
        raise BadFile("unreadable", f"{path}: not a readable label image: {error}") from None
    bits = chunks[b"IHDR"][8] if chunks else tags.get(_BITS, (8,))[0]
    if image.mode == "LA" and bits == 8 and (values[..., 1] == 255).all():  # grey, fully opaque
        values = values[..., 0]
    if values.ndim != 2:
        raise BadFile(
            "values out of range", f"{path}: this label has transparent pixels or 16-bit alpha: save it without alpha"
        )
    if image.mode in ("1", "L") and tags.get(_PHOTOMETRIC) == 0:  # white is zero: Pillow inverts the values
        values = np.asarray(~values)
    if image.mode == "L" and bits in (2, 4):  # Pillow scales these to 0 to 255
        values = values // (255 // (2**bits - 1))
    with np.errstate(invalid="ignore"):
        small = values.astype(np.uint8)
    if (small != values).any():
        raise BadFile(
            "values out of range",
            f"{path}: label values are {values.min()} to {values.max()}; they must be integers from 0 to {IGNORED}",
        )
    return _apply_orientation(small, _orientation(image))


def read_file(path: Path, kind: str) -> bytes:
    """Returns the bytes of a regular file of at most MAX_BYTES. `kind` is used in messages. Raises BadFile."""
    try:
        return files.read_bytes(path, MAX_BYTES)
    except FileNotFoundError:
        raise BadFile("missing", f"{path}: {kind.split()[0]} file not found") from None
    except OSError as error:
        raise BadFile("unreadable", f"{path}: cannot read this {kind}: {error.strerror}") from None


def open_image(path: Path, data: bytes) -> tuple[Image.Image, png.Chunks]:
    """Checks the header and the structure of an image file without decoding it.

    Args:
        path: file name for messages.

    Returns:
        a Pillow image whose pixels are not decoded yet, and the chunks of a PNG ({} for other formats).

    Raises:
        BadFile: the format is not one of FORMATS, or the file is damaged, truncated or too large.
    """
    if len(data) == 0:
        raise BadFile("truncated", f"{path}: not a readable image: the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
    except Image.DecompressionBombError:
        width = height = MAX_PIXELS
    except Exception:  # Pillow raises any kind of exception for a damaged header
        known = "damaged, or not one of " + ", ".join(FORMATS)
        raise BadFile("unreadable", f"{path}: not a readable image ({known})") from None
    if width * height > MAX_PIXELS:
        raise BadFile("too large", f"{path}: this image has more than {MAX_PIXELS:,} pixels: split it into tiles")
    if width * height > MAX_PIXELS // 4 and (has_alpha(image) or image.format == "GIF" or "progressive" in image.info):
        raise BadFile(  # decoders keep several copies of these
            "too large",
            f"{path}: {width} x {height} pixels with alpha, GIF or progressive: save it in another form, or split it "
            "into tiles",
        )
    if data.startswith(_JPEG) and not _jpeg_is_complete(data):
        raise BadFile("truncated", f"{path}: not a readable image: truncated, a JPEG without end marker")
    try:
        return image, png.read_chunks(data) if data.startswith(png.SIGNATURE) else {}
    except (ValueError, EOFError) as error:
        kind = "truncated" if isinstance(error, EOFError) else "unreadable"
        raise BadFile(kind, f"{path}: not a readable image: {error}") from None


def stores_jpeg(image: Image.Image) -> bool:
    """Whether a Pillow image is a JPEG, or a TIFF with JPEG's compression, which changes values."""
    return image.format == "JPEG" or getattr(image, "tag_v2", {}).get(_COMPRESSION) in (6, 7)


def has_alpha(image: Image.Image) -> bool:
    """Whether a Pillow image may have transparent pixels."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def flatten(path: Path, image: Image.Image) -> np.ndarray:
    """Converts a Pillow image to (H, W, 3) uint8 RGB, blended with white. Raises BadFile if it cannot be decoded."""
    try:
        pixels = np.asarray(image.convert("RGBA" if has_alpha(image) else "RGB"))
    except Exception as error:  # decoders raise any kind of exception
        raise BadFile("unreadable", f"{path}: not a readable image: {error}") from None
    return pixels if pixels.shape[2] == 3 else _blend_with_white(pixels, slice(3))


def from_pillow(path: Path, image: Image.Image) -> np.ndarray:
    """Converts a Pillow image to (H, W, 3) uint8 RGB as `read_image` reads files: upright, blended with white, 8 bits.

    Args:
        path: file name for messages.

    Raises:
        BadFile: the image cannot be decoded, or has 32 bits.
    """
    if image.mode in ("I", "F"):
        raise BadFile("unreadable", f"{path}: the value range of a 32-bit image is unknown: convert it to 8 or 16 bits")
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        pixels = np.repeat(grey[..., None], 3, axis=2)
    else:
        pixels = flatten(path, image)
    return _apply_orientation(pixels, _orientation(image))


def _blend_with_white(stored: np.ndarray, colours: slice) -> np.ndarray:
    """Blends (H, W, 4) uint8 or uint16 with white by its last channel, alpha. Returns (H, W, 3) uint8.

    `colours` selects red, green and blue.
    """
    result = np.empty((*stored.shape[:2], 3), np.uint8)
    opaque = np.float32(np.iinfo(stored.dtype).max)
    for row, source in zip(result, stored, strict=True):  # by rows, because floats of a large image need much memory
        alpha = source[:, 3:].astype(np.float32) / opaque
        pixels = source[:, colours] >> (8 * (stored.itemsize - 1))
        row[:] = (pixels * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    return result


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns (width, height) of a Pillow image after applying the EXIF orientation."""
    return image.size[::-1] if _orientation(image) > 4 else image.size


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8. It is 1 for a TIFF, which its decoder rotates, and for damaged metadata."""
    if image.format == "TIFF":
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # the parser raises any kind of exception
        return 1
    return orientation if orientation in range(1, 9) else 1


def _apply_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotates and flips stored pixels, (H, W) or (H, W, 3), to their displayed orientation."""
    if orientation > 4:  # transposed
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
        raise BadFile("unreadable", f"{path}: not a readable image (damaged or truncated)")
    return image


def _decode_window(
    path: Path, chunks: png.Chunks, top: int, bottom: int, right: int, flags: int = cv2.IMREAD_COLOR_RGB
) -> np.ndarray:
    try:
        cropped, first = png.crop(chunks, top, bottom, right)
    except ValueError as error:
        raise BadFile("unreadable", f"{path}: not a readable image: {error}") from None
    return _decode(path, cropped, flags)[first:]


def _jpeg_is_complete(data: bytes) -> bool:
    """Whether the segments of a JPEG end with its end marker. Decoders fill missing pixels with grey."""
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        position = marker.end()
        kind = data[position - 1]
        if kind == 0xD9:
            return True
        if kind != 0x01 and position + 2 <= len(data):  # all segments but TEM start with their length
            position += struct.unpack_from(">H", data, position)[0]
    return False
