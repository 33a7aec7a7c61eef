"""Reads tensors from weight files: .pth (without PyTorch), .pdparams, .safetensors and MindSpore's .ckpt.

A .pth file is a pickle, and unpickling may run any code. Here all names in the pickle except the few below are replaced
by a placeholder that does nothing: nothing that a file names is imported or called.
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
from ocrnet.weights.paddle_files import read_paddle
from ocrnet.weights.pickles import Placeholder, SafeUnpickler

Tensors = dict[str, np.ndarray]

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Keys under which training programs store the state dict, in the order in which they are tried."""

_MAX_SHARED = 4  # tensors may share a storage, such as tied weights; a number is in at most 4 tensors on average
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # PyTorch's own format before 1.6
_LEGACY_START = pickle.dumps(_LEGACY_MAGIC, 2)[2:9]  # after the two bytes with the pickle protocol
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
    """Returns ({tensor name: array}, names of the other entries) of a .pth, .pdparams, .safetensors or .ckpt file.

    The format is detected by the content. Half precision is converted to float32.

    Raises:
        UserError: the file is missing, damaged, of another format, or has no tensors.
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
        elif start[:1] == b"\x80" and start[2:] == _LEGACY_START:
            tensors, others = _state_dict(_read_legacy(path))
        elif start[:1] == b"\x80" and path.suffix != ".ckpt":
            tensors, others = read_paddle(path)
        elif path.suffix == ".safetensors":  # not a valid one: its reader raises the error
            tensors, others = load_file(path), []
        else:
            entries = read_checkpoint(path)
            tensors = {name: entry.asnumpy() for name, entry in entries.items() if hasattr(entry, "asnumpy")}
            others = [name for name in entries if name not in tensors]
    except UserError:
        raise
    except Exception as error:  # a damaged pickle raises any kind of exception
        raise UserError(f"{path}: not a readable weight file, damaged or truncated ({error})") from None
    if not tensors:
        raise UserError(
            f"{path}: no tensors at its top level or under {', '.join(WRAPPERS)}. "
            "Save the model's state dict and convert that file."
        )
    return {name: _float32(value) for name, value in tensors.items()}, others


def _is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file of `size` bytes starts like safetensors: the header's length in 8 bytes, then its JSON object.

    The first byte can have any value, also a pickle's 0x80 or a zip archive's P. But the first 8 bytes of a pickle, zip
    archive or checkpoint are never a number smaller than the file: their bytes 4 to 8 are not all zero.
    """
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def _float32(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype.kind == "f" else value


@dataclass
class _Storage:
    """A one-dimensional array of numbers, read when the first tensor needs it."""

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
                raise ValueError(f"a storage of {self.size} numbers has {len(self.numbers)}")
        return self.numbers


@dataclass
class _StoredTensor:
    """A view of a storage; offset and strides are counted in numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        numbers = self.storage.load()
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or (0 not in self.shape and last >= len(numbers)):
            raise ValueError("a tensor extends beyond its storage")
        if int(np.prod(self.shape, dtype=object)) > len(numbers):  # strides of 0 turn a few bytes into terabytes
            raise ValueError("a tensor is larger than its storage")
        strides = [step * numbers.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides).copy()


def rebuild_tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple, *rest: Any) -> _StoredTensor:
    """Replaces torch._utils._rebuild_tensor of a pickle."""
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor has no storage")
    return _StoredTensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *rest: Any) -> Any:
    return data


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): type(name, (Placeholder,), {"kind": kind}) for name, kind in _STORAGE_TYPES.items()},
}


class _Unpickler(SafeUnpickler):
    """Unpickles tensors, storages and OrderedDict only; `read` returns the bytes of a storage by its key."""

    def __init__(self, file: BinaryIO, read: Callable[[str], bytes]) -> None:
        super().__init__(file, _KNOWN)
        self._read = read
        self.storages: dict[str, _Storage] = {}

    def persistent_load(self, identity: Any) -> _Storage:
        tag, storage_type, key, _, size, *view = identity
        kind = getattr(storage_type, "kind", None)
        if tag != "storage" or kind is None or any(part is not None for part in view):
            raise pickle.UnpicklingError("a storage has an unknown type")
        if key not in self.storages:
            self.storages[key] = _Storage(kind, size, lambda: self._read(key))
        return self.storages[key]


def _read_zip(path: Path) -> Any:
    """Reads the format of PyTorch 1.6 and later: a zip archive with data.pkl and one file per storage."""
    archive = zipfile.ZipFile(path)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise zipfile.BadZipFile("compressed; PyTorch does not compress, and the unpacked size is unlimited")
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise zipfile.BadZipFile("it has no data.pkl")
    folder = names[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise zipfile.BadZipFile("big-endian numbers are not supported")
    with archive.open(names[0]) as file:
        return _Unpickler(file, lambda key: archive.read(f"{folder}data/{key}")).load()


def _read_legacy(path: Path) -> Any:
    """Reads the format before PyTorch 1.6: pickles (magic, version, machine, content, storage keys), then storages."""
    contents: dict[str, bytes] = {}
    with path.open("rb") as file:
        if _Unpickler(file, contents.__getitem__).load() != _LEGACY_MAGIC:
            raise pickle.UnpicklingError("a pickle, but not a PyTorch file")
        _Unpickler(file, contents.__getitem__).load()
        _Unpickler(file, contents.__getitem__).load()
        unpickler = _Unpickler(file, contents.__getitem__)
        tree = unpickler.load()
        for key in _Unpickler(file, contents.__getitem__).load():
            storage = unpickler.storages[key]
            (size,) = struct.unpack("<q", file.read(8))
            width = 2 if storage.kind == "bfloat16" else np.dtype(storage.kind).itemsize
            if size != storage.size:
                raise ValueError(f"a storage of {storage.size} numbers has {size}")
            contents[key] = file.read(size * width)
    return tree


def _state_dict(tree: Any) -> tuple[Tensors, list[str]]:
    """Returns the state dict of a training program's file, and the names of the other entries."""
    others: list[str] = []
    while isinstance(tree, dict) and (key := next((key for key in WRAPPERS if isinstance(tree.get(key), dict)), None)):
        others += [str(other) for other in tree if other != key]
        tree = tree[key]
    if not isinstance(tree, dict):
        return {}, others
    others += [str(name) for name, value in tree.items() if not isinstance(value, _StoredTensor)]
    stored = [value for value in tree.values() if isinstance(value, _StoredTensor)]
    numbers = sum(int(np.prod(value.shape, dtype=object)) for value in stored)
    if numbers > _MAX_SHARED * sum({id(value.storage): len(value.storage.load()) for value in stored}.values()):
        raise ValueError("too many tensors share a storage; they could fill the memory")
    return {name: value.array() for name, value in tree.items() if isinstance(value, _StoredTensor)}, others
