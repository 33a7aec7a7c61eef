"""A data set's training pairs in one file, decoded, from which crops are read without touching the rest.

The file: `_MAGIC`, for each pair its image (H x W x 3 bytes) and its label (H x W class indices), then the index as
JSON, and in the last 8 bytes where that begins. It is mapped into memory, so all data threads share the system's cache.
"""

import json
import os
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ocrnet.config import DataConfig
from ocrnet.data.datasets import SegmentationDataset, mark_values
from ocrnet.errors import UserError

_MAGIC = b"ocrnet-packed-1\n"


def _meaning(config: DataConfig) -> dict:
    """What the class indices in a packed file depend on."""
    meaning = config.model_dump(mode="json", include={"classes", "label_map", "ignore_index"})
    if config.ignore_index is not None and config.ignore_index < len(config.classes):
        meaning["version"] = 2  # before, `label_map` meant ignored where it named a class of this number
    return meaning


def pack(dataset: SegmentationDataset, path: Path, order: Iterable[int]) -> None:
    """Write the pairs of `dataset` whose numbers are in `order`, whole or not at all.

    Raises:
        BadFile: a pair cannot be read.
        UserError: the file cannot be written.
    """
    scratch = path.with_name(f"{path.name}.writing")
    entries = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            file.write(_MAGIC)
            for number in order:
                image, label = dataset.read(number)
                names = [os.path.relpath(part, dataset.config.root) for part in dataset.pairs[number]]
                entries.append([*names, *label.shape, file.tell()])
                file.write(np.ascontiguousarray(image).data)
                file.write(np.ascontiguousarray(label).data)
            place = file.tell()
            file.write(json.dumps({"meaning": _meaning(dataset.config), "pairs": entries}).encode())
            file.write(struct.pack("<Q", place))
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise UserError(f"{path}: cannot write this file: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)


class PackedDataset(SegmentationDataset):
    """The pairs of a packed file, in its order.

    Raises:
        UserError: the file is missing, cut short or packed with other classes than `config` has.
    """

    def __init__(self, path: Path, config: DataConfig) -> None:
        fix = f"write it with scripts/pack_dataset.py --output {path}"
        try:
            self._bytes = np.asarray(np.memmap(path, np.uint8, "r"))
            (place,) = struct.unpack("<Q", self._bytes[-8:].tobytes())
            index = json.loads(self._bytes[place:-8].tobytes())
            if self._bytes[: len(_MAGIC)].tobytes() != _MAGIC:
                raise ValueError
        except OSError as error:
            raise UserError(f"data.packed {path}: cannot read it: {error.strerror}; {fix}") from None
        except (ValueError, struct.error):
            raise UserError(f"data.packed {path}: no packed data set, or cut short; {fix}") from None
        if index["meaning"] != json.loads(json.dumps(_meaning(config))):
            raise UserError(f"data.packed {path}: was packed with other classes or another data.label_map; {fix}")
        super().__init__([(config.root / image, config.root / label) for image, label, *_ in index["pairs"]], config)
        self._places = [entry[2:] for entry in index["pairs"]]
        self.class_table = np.arange(256, dtype=np.uint8)  # the file's labels are class indices

    def open(self, index: int, seen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As a data set of files, with arrays that are views of the mapped file."""
        height, width, place = self._places[index]
        middle, end = place + 3 * height * width, place + 4 * height * width
        image, label = self._bytes[place:middle].reshape(height, width, 3), self._bytes[middle:end]
        label = label.reshape(height, width)
        if seen is not None:
            mark_values(label, seen)
        return image, label
