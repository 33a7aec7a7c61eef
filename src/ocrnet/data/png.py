"""PNG files from inside: whether one is whole, and windows of it that are inflated no further than needed."""

import struct

import numpy as np
from isal import isal_zlib as zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE = 0, 2, 3  # colour types
Parts = dict[bytes, bytes]
"""{name: body} of a file's parts, those of one name joined."""
_MOST_PARTS = 2**18  # a gigabyte in the smallest parts that encoders make; each costs memory of its own


def read_parts(data: bytes) -> Parts:
    """The parts of a PNG: each has a CRC, and the last is IEND; decoders pass over both.

    Raises:
        ValueError: a checksum is wrong, or there are too many parts.
        EOFError: the end is missing.
    """
    parts: dict[bytes, list[memoryview]] = {}
    place, view, count = len(SIGNATURE), memoryview(data), 0
    while place + 12 <= len(data):
        count += 1
        if count > _MOST_PARTS:
            raise ValueError(f"it has more than {_MOST_PARTS:,} parts")
        size, name = struct.unpack_from(">I4s", data, place)
        end = place + 8 + size
        if end + 4 > len(data):
            break
        if zlib.crc32(view[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError(f"the checksum of its part {name.decode('latin-1')!r} is wrong, damaged")
        parts.setdefault(name, []).append(view[place + 8 : end])
        if name == b"IEND":
            return {name: b"".join(bodies) for name, bodies in parts.items()}
        place = end + 4
    raise EOFError("a PNG without its end, cut short")


def is_plain(parts: Parts, *kinds: int) -> bool:
    """Whether a PNG has 8 bits a value, one of the colour types, no interlacing and nothing that changes its pixels."""
    plain = parts and parts[b"IHDR"][8:] in [bytes((8, kind, 0, 0, 0)) for kind in kinds]
    return bool(plain) and parts.keys().isdisjoint((b"eXIf", b"acTL", b"tRNS"))


def cut(parts: Parts, top: int, bottom: int, right: int) -> tuple[bytes, int]:
    """A small PNG that holds the rows `top` to `bottom` and the columns up to `right` of a plain one.

    Inflated here, at twice the speed of OpenCV's zlib, and no further than `bottom`. What is left to a decoder is a PNG
    without compression of what a pixel needs: those to its left, above it and between, up to a row that does not look
    above.

    Returns:
        the PNG, and which of its rows is `top`.

    Raises:
        ValueError: its content is damaged.
    """
    (width,) = struct.unpack_from(">I", parts[b"IHDR"])
    channels = 3 if parts[b"IHDR"][9] == RGB else 1
    stride = 1 + channels * width
    try:
        inflated = zlib.decompressobj().decompress(parts.get(b"IDAT", b""), bottom * stride)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(inflated) < bottom * stride:
        raise ValueError(f"it has pixels for {len(inflated) // stride} of {bottom} rows")
    rows = np.frombuffer(inflated, np.uint8).reshape(bottom, stride)
    first = int(np.flatnonzero(rows[: top + 1, 0] < 2)[-1:].sum())  # filter 0: none, 1: the left neighbour's; or row 0
    pixels = np.ascontiguousarray(rows[first:, : 1 + channels * right]).reshape(-1).data
    body = [b"\x78\x01"]
    for place in range(0, len(pixels), 65535):
        block = pixels[place : place + 65535]
        body += [struct.pack("<BHH", place + 65535 >= len(pixels), len(block), len(block) ^ 65535), block]
    body.append(struct.pack(">I", zlib.adler32(pixels)))
    header = struct.pack(">IIBBBBB", right, bottom - first, 8, RGB if channels == 3 else GREY, 0, 0, 0)
    data = b"".join((SIGNATURE, *_part(b"IHDR", header), *_part(b"IDAT", *body), *_part(b"IEND")))
    return data, top - first


def _part(name: bytes, *body: bytes) -> tuple[bytes, ...]:
    checksum = zlib.crc32(name)
    for piece in body:
        checksum = zlib.crc32(piece, checksum)
    return struct.pack(">I", sum(map(len, body))) + name, *body, struct.pack(">I", checksum)
