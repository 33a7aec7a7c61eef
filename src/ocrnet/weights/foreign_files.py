"""Tensors out of weight files: PyTorch's .pth (without PyTorch), .safetensors and MindSpore's .ckpt.

A .pth file is a pickle, and unpickling may run any code. Here every name in the pickle but the few below becomes an
inert placeholder: nothing that a file names is ever imported or called.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors.numpy import load_file

from ocrnet.errors import UserError
from ocrnet.weights.ckpt import read_checkpoint

Tensors = dict[str, np.ndarray]

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Keys under which training programs keep the tensors, in the order in which they are looked for."""

_SHARED = 4  # tensors may lie in one storage, such as tied weights; on average no number is in more of them
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # PyTorch's own format before 1.6
_STORAGE_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


def read_tensors(path: Path) -> tuple[Tensors, list[str]]:
    """({tensor name: array}, what else the file holds) of a .pth, .safetensors or .ckpt file, told by its content.

    Half precision comes out as float32.

    Raises:
        UserError: the file is missing, damaged or of another kind, or it holds no tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: weight file not found")
    with path.open("rb") as file:
        start = file.read(9)
    try:
        if _is_safetensors(start, path.stat().st_size):
            tensors, others = load_file(path), []
        elif start[:2] == b"PK":
            tensors, others = _state_dict(_read_zip(path))
        elif start[:1] == b"\x80" and path.suffix != ".ckpt":
            tensors, others = _state_dict(_read_legacy(path))
        elif path.suffix == ".safetensors":  # it is none, and its reader says what is wrong
            tensors, others = load_file(path), []
        else:
            entries = read_checkpoint(path)
            tensors = {name: entry.asnumpy() for name, entry in entries.items() if hasattr(entry, "asnumpy")}
            others = [name for name in entries if name not in tensors]
    except UserError:
        raise
    except Exception as error:  # a damaged pickle makes its reader raise whatever it met
        raise UserError(f"{path}: not a readable weight file, damaged or cut short? ({error})") from None
    if not tensors:
        raise UserError(
            f"{path}: no tensors at its top or under {', '.join(WRAPPERS)}. "
            "Save the model's state dict and convert that."
        )
    return {name: _float32(value) for name, value in tensors.items()}, others


def _is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file of `size` bytes begins as safetensors does: the header's length in 8 bytes, then its JSON object.

    The first byte may be any, a pickle's 0x80 or a zip archive's P as well. But no pickle, zip archive or checkpoint
    has a number in its first 8 bytes that is less than its size: their bytes 4 to 8 are not all zero.
    """
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def _float32(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype.kind == "f" else value


class _Inert:
    """Stands for whatever else a pickle names: takes everything, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...


@dataclass
class _Storage:
    """Numbers of one type in a row; read when the first tensor needs them."""

    kind: str
    size: int
    read: Callable[[], bytes]
    numbers: np.ndarray | None = None

    def load(self) -> np.ndarray:
        if self.numbers is None:
            data = self.read()
            if self.kind == "bfloat16":  # the upper half of a float32
                self.numbers = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                self.numbers = np.frombuffer(data, self.kind)
            if len(self.numbers) != self.size:
                raise ValueError(f"a storage of {self.size} numbers holds {len(self.numbers)}")
        return self.numbers


@dataclass
class _StoredTensor:
    """A view of a storage: offset and strides in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        numbers = self.storage.load()
        reach = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or (0 not in self.shape and reach >= len(numbers)):
            raise ValueError("a tensor reaches beyond its storage")
        if int(np.prod(self.shape, dtype=object)) > len(numbers):  # strides of 0 make terabytes of a few bytes
            raise ValueError("a tensor larger than its storage")
        strides = [step * numbers.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides).copy()


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple, *rest: Any) -> _StoredTensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _StoredTensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *rest: Any) -> Any:
    return data


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): type(name, (_Inert,), {"kind": kind}) for name, kind in _STORAGE_TYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Knows tensors, their storages and OrderedDict; `read` gets the bytes of a storage by its key."""

    def __init__(self, file: BinaryIO, read: Callable[[str], bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self._read = read
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN.get((module, name), _Inert)

    def persistent_load(self, identity: Any) -> _Storage:
        tag, storage_type, key, _, size, *view = identity
        kind = getattr(storage_type, "kind", None)
        if tag != "storage" or kind is None or any(part is not None for part in view):
            raise pickle.UnpicklingError("a storage of an unknown kind")
        if key not in self.storages:
            self.storages[key] = _Storage(kind, size, lambda: self._read(key))
        return self.storages[key]


def _read_zip(path: Path) -> Any:
    """PyTorch 1.6 and later: a zip archive with data.pkl and one file a storage."""
    archive = zipfile.ZipFile(path)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise zipfile.BadZipFile("compressed; PyTorch never does that, and it may unpack to any size")
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise zipfile.BadZipFile("no data.pkl in it")
    folder = names[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise zipfile.BadZipFile("big-endian numbers")
    with archive.open(names[0]) as file:
        return _Unpickler(file, lambda key: archive.read(f"{folder}data/{key}")).load()


def _read_legacy(path: Path) -> Any:
    """Before PyTorch 1.6: pickles in a row (magic, version, machine, content, storage keys), then the storages."""
    contents: dict[str, bytes] = {}
    with path.open("rb") as file:
        if _Unpickler(file, contents.__getitem__).load() != _LEGACY_MAGIC:
            raise pickle.UnpicklingError("a pickle, but not PyTorch's")
        _Unpickler(file, contents.__getitem__).load()
        _Unpickler(file, contents.__getitem__).load()
        unpickler = _Unpickler(file, contents.__getitem__)
        tree = unpickler.load()
        for key in _Unpickler(file, contents.__getitem__).load():
            storage = unpickler.storages[key]
            (size,) = struct.unpack("<q", file.read(8))
            width = 2 if storage.kind == "bfloat16" else np.dtype(storage.kind).itemsize
            if size != storage.size:
                raise ValueError(f"a storage of {storage.size} numbers holds {size}")
            contents[key] = file.read(size * width)
    return tree


def _state_dict(tree: Any) -> tuple[Tensors, list[str]]:
    """The tensors of a training program's file, and the names of what lies beside them."""
    others: list[str] = []
    while isinstance(tree, dict) and (key := next((key for key in WRAPPERS if isinstance(tree.get(key), dict)), None)):
        others += [str(other) for other in tree if other != key]
        tree = tree[key]
    if not isinstance(tree, dict):
        return {}, others
    others += [str(name) for name, value in tree.items() if not isinstance(value, _StoredTensor)]
    stored = [value for value in tree.values() if isinstance(value, _StoredTensor)]
    numbers = sum(int(np.prod(value.shape, dtype=object)) for value in stored)
    if numbers > _SHARED * sum({id(value.storage): len(value.storage.load()) for value in stored}.values()):
        raise ValueError("tensors that share their numbers would fill the memory")
    return {name: value.array() for name, value in tree.items() if isinstance(value, _StoredTensor)}, others
