"""Packed data sets: all training pairs decoded in one file, so that a crop is read without decoding the whole image.

File format: `_MAGIC`; image (H x W x 3 bytes) and label (H x W class indices) of each pair; the index as JSON; the
offset of the index in the last 8 bytes. The file is memory-mapped, so all data threads share the system's page cache.
"""

import json
import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ocrnet.config import DataConfig
from ocrnet.data.datasets import SegmentationDataset, mark_values
from ocrnet.errors import UserError

_MAGIC = b"ocrnet-packed-1\n"


def _label_settings(config: DataConfig) -> dict:
    """Returns the settings that the class indices in a packed file depend on."""
    if config.label_encoding == "color":
        colours = {"classes", "palette", "label_encoding", "ignore_colors", "unknown_colors"}
        return config.model_dump(mode="json", include=colours)
    settings = config.model_dump(mode="json", include={"classes", "label_map", "ignore_index"})
    if config.ignore_index is not None and config.ignore_index < len(config.classes):
        settings["version"] = 2  # before, a target of `label_map` equal to ignore_index meant ignored
    return settings


def pack(dataset: SegmentationDataset, path: Path, order: Iterable[int]) -> None:
    """Writes the pairs of `dataset` with the indices `order` to a packed file. The file is replaced atomically.

    Raises:
        BadFile: a pair cannot be read.
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.writing")
    entries = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(_MAGIC)
            for number in order:
                image, label = dataset.read(number)
                names = [os.path.relpath(part, dataset.config.root) for part in dataset.pairs[number]]
                entries.append([*names, *label.shape, file.tell()])
                file.write(np.ascontiguousarray(image).data)
                file.write(np.ascontiguousarray(label).data)
            offset = file.tell()
            file.write(json.dumps({"meaning": _label_settings(dataset.config), "pairs": entries}).encode())
            file.write(struct.pack("<Q", offset))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot write this file: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


class PackedDataset(SegmentationDataset):
    """A data set that reads its pairs from a packed file.

    Raises:
        UserError: the file is missing, truncated, or packed with other classes than those of `config`.
    """

    def __init__(self, path: Path, config: DataConfig) -> None:
        fix = f"write it with scripts/pack_dataset.py --output {path}"
        try:
            self._bytes = np.asarray(np.memmap(path, np.uint8, "r"))
            (offset,) = struct.unpack("<Q", self._bytes[-8:].tobytes())
            index = json.loads(self._bytes[offset:-8].tobytes())
            if self._bytes[: len(_MAGIC)].tobytes() != _MAGIC:
                raise ValueError
        except OSError as error:
            raise UserError(f"data.packed {path}: cannot read it: {error.strerror}; {fix}") from None
        except (ValueError, struct.error):
            raise UserError(f"data.packed {path}: not a packed data set, or truncated; {fix}") from None
        if index["meaning"] != json.loads(json.dumps(_label_settings(config))):
            key = "data.palette" if config.label_encoding == "color" else "data.label_map"
            raise UserError(f"data.packed {path}: was packed with other classes or another {key}; {fix}")
        super().__init__([(config.root / image, config.root / label) for image, label, *_ in index["pairs"]], config)
        self._entries = [entry[2:] for entry in index["pairs"]]  # (height, width, offset) of each pair
        self.class_table = np.arange(256, dtype=np.uint8)  # the file's labels are class indices

    def subset(self, numbers: Sequence[int]) -> "PackedDataset":
        """See `SegmentationDataset.subset`."""
        part = super().subset(numbers)
        part._entries = [self._entries[number] for number in numbers]
        return part

    def open(self, index: int, seen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See `SegmentationDataset.open`; the arrays are views of the memory-mapped file."""
        image, label = self.open_values(index)
        if seen is not None:
            mark_values(label, seen)
        return image, label

    def open_values(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SegmentationDataset.open_values`; the values are class indices."""
        height, width, offset = self._entries[index]
        middle, end = offset + 3 * height * width, offset + 4 * height * width
        image, label = self._bytes[offset:middle].reshape(height, width, 3), self._bytes[middle:end]
        return image, label.reshape(height, width)
