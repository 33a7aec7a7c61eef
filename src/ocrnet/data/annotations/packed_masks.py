"""Masks in annotation files: run lengths of COCO, CVAT and Label Studio, and PNGs."""

from pathlib import Path

import numpy as np

from ocrnet.data.images import MAX_PIXELS, open_image
from ocrnet.errors import UserError


def coco_mask(rle: dict) -> np.ndarray:
    """Decodes COCO's run lengths to (h, w) bool: counts of background and foreground in turn, column by column.

    The counts are a list, or a string of 5-bit digits in which each count from the fourth on is the difference to the
    count before the previous one.
    """
    (height, width), counts = rle["size"], rle["counts"]
    if isinstance(counts, str):
        numbers, value, shift = [], 0, 0
        for digit in counts.encode("ascii"):
            digit -= 48
            value |= (digit & 31) << shift
            shift += 5
            if shift > 60:
                raise ValueError("a count of a run-length mask is larger than any image")
            if not digit & 32:
                value -= (digit & 16) and 1 << shift
                numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
                value = shift = 0
        counts = numbers
    return _repeat(counts, height, width).reshape(width, height).T


def cvat_mask(text: str, width: int, height: int) -> np.ndarray:
    """Decodes CVAT's run lengths to (h, w) bool: counts of background and foreground in turn, row by row."""
    return _repeat([int(count) for count in text.split(",")], height, width).reshape(height, width)


def _repeat(counts: list[int], height: int, width: int) -> np.ndarray:
    if min(counts, default=0) < 0 or sum(counts) != height * width or height * width > MAX_PIXELS:
        raise ValueError(f"a run-length mask has {sum(counts)} pixels, not {width} x {height}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def label_studio_mask(data: list[int], width: int, height: int) -> np.ndarray:
    """Decodes Label Studio's brush masks to (h, w) bool: the alpha of an RGBA image in the format rle-pack of thi.ng.

    It is a stream of bits: the number of values (32 bits), the bits of a value less one (5), and the bits of a length
    less one, for four kinds of lengths (4 each). Then there are blocks: a bit that is 1 for a repeated value, the kind
    of the length (2), the length less one, and one value, or as many as the length says.
    """
    bits = np.unpackbits(np.array(data, np.uint8))
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        if at > len(bits):
            raise ValueError("a brush mask is truncated")
        return int("".join(map(str, bits[at - count : at])), 2)

    size = read(32)
    if size != 4 * width * height or width * height > MAX_PIXELS:
        raise ValueError(f"a brush mask has {size // 4} pixels, not {width} x {height}")
    values, bits_per_value, lengths = np.zeros(size, np.uint8), read(5) + 1, [read(4) + 1 for _ in range(4)]
    start = 0
    while start < size:
        repeated, length = read(1), 1 + read(lengths[read(2)])
        if repeated:
            values[start : start + length] = read(bits_per_value)
        else:
            single = [read(bits_per_value) for _ in range(min(length, size - start))]
            values[start : start + length] = single
        start += length
    return values.reshape(height, width, 4)[..., 3] > 0


def png_mask(data: bytes) -> np.ndarray:
    """Decodes a PNG to (h, w) bool: what is not 0; with an alpha channel, what is not transparent."""
    try:
        image = open_image(Path("a mask"), data)[0]
    except UserError as error:  # the caller adds the file name
        raise ValueError(str(error)) from None
    return np.asarray(image.getchannel("A") if "A" in image.getbands() else image) > 0
