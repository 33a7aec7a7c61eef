"""Labels in MATLAB files, as SBD, PASCAL-Context and COCO-Stuff 10k come.

Only the elements on the way to the one label matrix are read, and no more is inflated than `_MOST`: a compressed file
of some kilobytes may claim gigabytes. The format is MATLAB 5's (MATLAB's "MAT-File Format", version 5); files of
version 4 and of 7.3 (HDF5) are refused.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from isal import isal_zlib as zlib

from ocrnet import files
from ocrnet.formats import pascal_context

_MOST = 2**28
"""Bytes of a file, and of everything that is inflated: 33 million values of 8 bytes."""
_MATRIX, _COMPRESSED = 14, 15  # element types
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_STRUCT, _NUMERIC = 2, range(6, 16)  # classes of a matrix: double, single and the integers


def read_mat(path: Path) -> np.ndarray:
    """(H, W) uint8 label values.

    SBD: GTcls.Segmentation, the 21 classes of VOC. COCO-Stuff 10k: S, 0 .. 182. PASCAL-Context: LabelMap, whose 459
    classes become 0 (background) and 1 .. 59.

    Raises:
        FileNotFoundError, OSError: it is missing, or no regular file of a sane size.
        ValueError: it is no such file.
    """
    try:
        name, values = _find(files.read_bytes(path, _MOST))
    except (struct.error, zlib.error, LookupError, StopIteration, EOFError) as error:
        raise ValueError(f"damaged or cut short? ({error})") from None
    most = len(_CONTEXT) - 1 if name == "LabelMap" else 255
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.uint16)
    if (whole != values).any() or whole.max(initial=0) > most:
        raise ValueError(
            f"label values reach {values.max()}, the lowest is {values.min()}; they must be integers from 0 to {most}"
        )
    return _CONTEXT[whole] if name == "LabelMap" else whole.astype(np.uint8)


class _Reader:
    """Elements of a MATLAB file, each with a tag that says its type and size."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.left = _MOST

    def elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """(type, body) of each element in a row."""
        place = 0
        while place < len(data):
            kind, size = struct.unpack_from(f"{self.order}II", data, place)
            if kind >> 16:  # up to 4 bytes lie in the tag itself
                kind, size, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
            else:
                start = place + 8
                end = start + size + (-size % 8 if kind != _COMPRESSED else 0)
            if size > max(0, len(data) - start):
                raise EOFError("an element reaches beyond the end")
            yield kind, data[start : start + size]
            place = end

    def inflate(self, data: memoryview) -> memoryview:
        inflated = zlib.decompressobj().decompress(data, self.left + 1)
        self.left -= len(inflated)
        if self.left < 0:
            raise ValueError(f"it inflates to more than {_MOST:,} bytes")
        return memoryview(inflated)

    def numbers(self, element: tuple[int, memoryview]) -> np.ndarray:
        kind, body = element
        return np.frombuffer(body, np.dtype(_NUMBERS[kind]).newbyteorder(self.order))

    def matrix(self, body: memoryview) -> tuple[str, int, list[int], Iterator[tuple[int, memoryview]]]:
        """Name, class, shape and the elements that follow, of a matrix."""
        rest = self.elements(body)
        flags, shape, (_, name) = (next(rest, (0, memoryview(b""))) for _ in range(3))
        return (
            bytes(name).decode("latin-1"),
            struct.unpack_from(f"{self.order}I", flags[1])[0] & 0xFF,
            [int(side) for side in self.numbers(shape)],
            rest,
        )

    def values(self, body: memoryview) -> np.ndarray:
        """(H, W) of a matrix of numbers."""
        _, kind, shape, rest = self.matrix(body)
        values = self.numbers(next(rest))
        if kind not in _NUMERIC or len(shape) != 2 or shape[0] * shape[1] != len(values) or not len(values):
            raise ValueError(f"its label is no matrix of numbers, or another size than the {shape} it claims")
        return values.reshape(shape, order="F")


def _find(data: bytes) -> tuple[str, np.ndarray]:
    """The variable that holds the label, and its values."""
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or data[124:126][:: 1 if order == ">" else -1] != b"\x01\x00":
        raise ValueError("damaged or cut short? (no MATLAB file of version 5 to 7; of 7.3: save it with -v7)")
    reader = _Reader(order)
    found: dict[str, memoryview] = {}
    for kind, body in reader.elements(memoryview(data)[128:]):
        if kind == _COMPRESSED:
            kind, body = next(reader.elements(reader.inflate(body)))
        if kind == _MATRIX and (name := reader.matrix(body)[0]) in ("GTcls", "LabelMap", "S"):
            found[name] = body
    for name, body in sorted(found.items()):  # in this order, where a file has several
        if name != "GTcls":
            return name, reader.values(body)
        _, kind, shape, rest = reader.matrix(body)
        if kind == _STRUCT and shape == [1, 1]:
            width = int(reader.numbers(next(rest))[0])
            names = bytes(next(rest)[1])
            fields = [names[at : at + width].split(b"\0")[0] for at in range(0, len(names), max(1, width))]
            for field, (_, value) in zip(fields, rest, strict=False):
                if field == b"Segmentation":
                    return name, reader.values(value)
    raise ValueError("holds none of GTcls.Segmentation (SBD), LabelMap (PASCAL-Context), S (COCO-Stuff)")


_CONTEXT = np.zeros(460, np.uint8)
_CONTEXT[list(pascal_context.IDS)] = np.arange(len(pascal_context.IDS))
