"""Reads PaddlePaddle's .pdparams without PaddlePaddle: a pickle of {name: NumPy array} that contains the numbers.

No code in the file is run, see `pickles.py`. An array is made after all sizes were compared with the size of the file.
"""

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from ocrnet.weights.pickles import SafeUnpickler

_KINDS = ("f8", "f4", "f2", "u2", "i8", "i4", "i2", "i1", "u1", "b1")
_BFLOAT16 = "u2"  # PaddlePaddle has no uint16: it is the upper half of a float32
_SPLIT = "UnpackBigParamInfor@@"  # {name: {OriginShape, slices}} of tensors of 1 GiB and more, with protocols 2 and 3
_MAX_SIDES = 32  # NumPy's own limit
_MAX_SHARED = 4  # tensors may share their numbers; those of the file are in at most 4 tensors on average


class _Kind:
    """Replaces numpy.dtype."""

    def __init__(self, name: str, *rest: Any) -> None:
        self.name, self.order = name, "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = ">" if state[1] == ">" else "<"


class _Latin1:
    """Replaces _codecs.encode: with protocol 2 the bytes are a text, one character per byte."""

    def __init__(self, text: str, encoding: str) -> None:
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("numbers in an unknown encoding")
        self.text = text


class _Array:
    """Replaces numpy.ndarray."""

    def __init__(self) -> None:
        self.state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    @property
    def size(self) -> int:
        """Size in bytes of the numbers in the file."""
        data = self._data
        return len(data.text if isinstance(data, _Latin1) else data)

    @property
    def _data(self) -> bytes | str | _Latin1:
        data = self.state[4]
        if not isinstance(data, bytes | str | _Latin1):
            raise ValueError("an array has no numbers")
        return data

    def load(self) -> np.ndarray:
        _, shape, kind, column_order, _ = self.state
        if not isinstance(kind, _Kind) or kind.name not in _KINDS:
            raise ValueError("an array has an unknown type")
        dtype = np.dtype(kind.order + kind.name)
        possible = len(shape) <= _MAX_SIDES and all(type(side) is int and 0 <= side < 2**63 for side in shape)
        if not possible or math.prod(shape) * dtype.itemsize != self.size:  # Python's integers do not overflow
            raise ValueError("an array's shape does not fit its numbers")
        data = self._data.text if isinstance(self._data, _Latin1) else self._data
        if isinstance(data, str):
            data = data.encode("latin1")
        values = np.frombuffer(data, dtype).reshape(shape, order="F" if column_order else "C")
        if kind.name == _BFLOAT16:
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(dtype.newbyteorder("="))  # a copy: bytes are read-only


def _new_array(*arguments: Any) -> _Array:
    return _Array()


def _named(pair: Any) -> Any:
    """Replaces tuple: outside a state dict, a tensor is (name, array)."""
    return pair


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,  # NumPy 2
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _Latin1,
    ("builtins", "tuple"): _named,
    ("__builtin__", "tuple"): _named,  # protocol 2
}


def read_paddle(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns ({tensor name: array}, names of the other entries) of a .pdparams file.

    Raises:
        Exception: of any kind, if the file is damaged or is not one.
    """
    with path.open("rb") as file:
        tree = SafeUnpickler(file, _KNOWN, encoding="latin1").load()
    if not isinstance(tree, dict):
        raise ValueError("a pickle, but neither a PyTorch nor a PaddlePaddle file")
    entries = {str(name): _without_name(value) for name, value in tree.items()}
    stored = {name: value for name, value in entries.items() if isinstance(value, _Array)}
    if sum(value.size for value in stored.values()) > _MAX_SHARED * path.stat().st_size:
        raise ValueError("too many tensors share their numbers; they could fill the memory")
    split = entries.pop(_SPLIT, {})
    others = [name for name in entries if name not in stored]
    tensors = {name: value.load() for name, value in stored.items()}
    for name, parts in split.items():
        slices = [tensors.pop(part) for part in parts["slices"]]
        tensors[name] = np.concatenate(slices).reshape(parts["OriginShape"])
    return tensors, others


def _without_name(value: Any) -> Any:
    return value[1] if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) else value
