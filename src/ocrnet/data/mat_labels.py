"""Reads labels from MATLAB files, the format of SBD, PASCAL-Context and COCO-Stuff 10k.

Only the elements that lead to the label matrix are read, and at most `_MAX_BYTES` are decompressed: a compressed file
of a few kilobytes may expand to gigabytes. The format is that of MATLAB 5 ("MAT-File Format", version 5); files of
version 4 and 7.3 (HDF5) are not supported.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from isal import isal_zlib as zlib

from ocrnet import files
from ocrnet.formats import pascal_context

_MAX_BYTES = 2**28
"""Maximum size of a file, and of its decompressed data: 33 million values of 8 bytes."""
_MATRIX, _COMPRESSED = 14, 15  # element types
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_STRUCT, _NUMERIC = 2, range(6, 16)  # classes of a matrix: double, single and the integers


def read_mat(path: Path) -> np.ndarray:
    """Reads label values (H, W) uint8.

    SBD: GTcls.Segmentation, the 21 classes of VOC. COCO-Stuff 10k: S, 0 .. 182. PASCAL-Context: LabelMap, whose 459
    classes are mapped to 0 (background) and 1 .. 59.

    Raises:
        FileNotFoundError, OSError: the file is missing, too large, or not a regular file.
        ValueError: the file is not a MATLAB label file.
    """
    try:
        name, values = _find(files.read_bytes(path, _MAX_BYTES))
    except (struct.error, zlib.error, LookupError, StopIteration, EOFError) as error:
        raise ValueError(f"damaged or truncated ({error})") from None
    largest = len(_CONTEXT) - 1 if name == "LabelMap" else 255
    with np.errstate(invalid="ignore"):
        integers = values.astype(np.uint16)
    if (integers != values).any() or integers.max(initial=0) > largest:
        raise ValueError(
            f"label values are {values.min()} to {values.max()}; they must be integers from 0 to {largest}"
        )
    return _CONTEXT[integers] if name == "LabelMap" else integers.astype(np.uint8)


class _Reader:
    """Reads the elements of a MATLAB file. Each element has a tag with its type and size."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.left = _MAX_BYTES

    def elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yields (type, body) of consecutive elements."""
        position = 0
        while position < len(data):
            kind, size = struct.unpack_from(f"{self.order}II", data, position)
            if kind >> 16:  # up to 4 bytes are stored in the tag itself
                kind, size, start, end = kind & 0xFFFF, kind >> 16, position + 4, position + 8
            else:
                start = position + 8
                end = start + size + (-size % 8 if kind != _COMPRESSED else 0)
            if size > max(0, len(data) - start):
                raise EOFError("an element is larger than the rest of the file")
            yield kind, data[start : start + size]
            position = end

    def decompress(self, data: memoryview) -> memoryview:
        decompressed = zlib.decompressobj().decompress(data, self.left + 1)
        self.left -= len(decompressed)
        if self.left < 0:
            raise ValueError(f"it decompresses to more than {_MAX_BYTES:,} bytes")
        return memoryview(decompressed)

    def numbers(self, element: tuple[int, memoryview]) -> np.ndarray:
        kind, body = element
        return np.frombuffer(body, np.dtype(_NUMBERS[kind]).newbyteorder(self.order))

    def matrix(self, body: memoryview) -> tuple[str, int, list[int], Iterator[tuple[int, memoryview]]]:
        """Returns name, class, shape and the following elements of a matrix."""
        rest = self.elements(body)
        flags, shape, (_, name) = (next(rest, (0, memoryview(b""))) for _ in range(3))
        return (
            bytes(name).decode("latin-1"),
            struct.unpack_from(f"{self.order}I", flags[1])[0] & 0xFF,
            [int(side) for side in self.numbers(shape)],
            rest,
        )

    def values(self, body: memoryview) -> np.ndarray:
        """Returns the values (H, W) of a numeric matrix."""
        _, kind, shape, rest = self.matrix(body)
        values = self.numbers(next(rest))
        if kind not in _NUMERIC or len(shape) != 2 or shape[0] * shape[1] != len(values) or not len(values):
            raise ValueError(f"its label is not a numeric matrix, or its size is not {shape} as declared")
        return values.reshape(shape, order="F")


def _find(data: bytes) -> tuple[str, np.ndarray]:
    """Returns the name of the variable that holds the label, and its values."""
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or data[124:126][:: 1 if order == ">" else -1] != b"\x01\x00":
        raise ValueError("damaged, truncated, or not a MATLAB file of version 5 to 7 (version 7.3: save it with -v7)")
    reader = _Reader(order)
    found: dict[str, memoryview] = {}
    for kind, body in reader.elements(memoryview(data)[128:]):
        if kind == _COMPRESSED:
            kind, body = next(reader.elements(reader.decompress(body)))
        if kind == _MATRIX and (name := reader.matrix(body)[0]) in ("GTcls", "LabelMap", "S"):
            found[name] = body
    for name, body in sorted(found.items()):  # in this order, if a file has several of them
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
    raise ValueError("contains neither GTcls.Segmentation (SBD) nor LabelMap (PASCAL-Context) nor S (COCO-Stuff)")


_CONTEXT = np.zeros(460, np.uint8)
_CONTEXT[list(pascal_context.IDS)] = np.arange(len(pascal_context.IDS))
