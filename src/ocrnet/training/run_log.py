"""The logs of a run: train.log and TensorBoard event files.

Both are in step order; the evaluation of a step follows the step. A resumed run truncates what was written after its
checkpoint, so no step appears twice. Writes are unbuffered. On a full disk, lines wait in memory and the run continues.
"""

import contextlib
import os
import re
import socket
import struct
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import image, scalar

from ocrnet.errors import UserError

# tags written by the evaluation during training
_EVALUATION_TAGS = ("val/", "val_iou/", "image_label_prediction/")


class _Position(NamedTuple):
    """A position in a log: after a step, or after its evaluation. Later positions compare greater."""

    step: int
    evaluated: bool


class RunLog:
    """The log of a run under `save_dir`. Rank 0 writes train.log and TensorBoard events, rank 1 train_rank1.log, etc.

    Truncates existing logs after `step`, from which the run resumes.

    Args:
        evaluated: step of the last evaluation. If it is not `step`, the evaluation of `step` is truncated, too, because
            it will be repeated.

    Raises:
        UserError: the files cannot be written.
    """

    def __init__(self, save_dir: Path, step: int, evaluated: int, rank: int = 0) -> None:
        log, folder = save_dir / (f"train_rank{rank}.log" if rank else "train.log"), save_dir / "tensorboard"
        self._events = None
        position = _Position(step, evaluated == step)
        try:
            save_dir.mkdir(parents=True, exist_ok=True)
            if log.exists():
                os.truncate(log, _log_end(log.read_bytes(), position))
            self._log = _AppendOnlyFile(log)
            if rank:
                return
            folder.mkdir(exist_ok=True)
            for events in folder.glob("*tfevents*"):
                os.truncate(events, _events_end(events.read_bytes(), position))
            name = f"events.out.tfevents.{time.time_ns() / 1e9:020.9f}.{socket.gethostname()}"
            self._events = _AppendOnlyFile(folder / name)
        except OSError as error:
            raise UserError(f"{save_dir}: cannot write {log.name} and tensorboard here: {error.strerror}") from None
        self._event(Event(file_version="brain.Event:2"))
        if step:  # a running TensorBoard then drops the later steps that it has already read
            self._event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def write_line(self, text: str) -> None:
        """Write a line to train.log; lines of a step begin with `step N`."""
        self._log.append(f"{text}\n".encode(errors="backslashreplace"))  # file names may not be valid UTF-8

    def add_scalars(self, step: int, values: dict[str, float]) -> None:
        """Write the scalars of a step to TensorBoard."""
        for name, value in values.items():
            self._event(Event(step=step, summary=scalar(name, value)))

    def add_image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Write an image (H, W, 3) uint8 RGB of a step to TensorBoard."""
        self._event(Event(step=step, summary=image(name, pixels, dataformats="HWC")))

    def _event(self, event: Event) -> None:
        if self._events is None:
            return
        event.wall_time = time.time()
        data = event.SerializeToString()
        size = struct.pack("<Q", len(data))
        checksums = [struct.pack("<I", masked_crc32c(part)) for part in (size, data)]
        self._events.append(size + checksums[0] + data + checksums[1])

    def sync(self) -> None:
        """Flush all files to disk, as far as there is space."""
        for file in self._files():
            file.sync()

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        for file in self._files():
            file.file.close()

    def _files(self) -> list["_AppendOnlyFile"]:
        return [file for file in (self._log, self._events) if file]


class _AppendOnlyFile:
    """An append-only file. Data that does not fit on the disk waits for the next write."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("ab", buffering=0)
        self._waiting = b""

    def append(self, data: bytes) -> None:
        self._waiting += data
        with contextlib.suppress(OSError):  # the checkpoint's warning says that the disk is full
            while self._waiting:
                self._waiting = self._waiting[self.file.write(self._waiting) :]

    def sync(self) -> None:
        self.append(b"")
        with contextlib.suppress(OSError):
            os.fsync(self.file.fileno())


def _log_end(content: bytes, position: _Position) -> int:
    """Returns the offset of the first line after `position`, or of an incomplete line that a kill left."""
    end = 0
    for line in content.splitlines(keepends=True):
        match = re.match(rb"step (\d+)(.?)", line)  # "step 3/9, loss" of a step, "step 3: mIoU" of its evaluation
        if not line.endswith(b"\n") or (match and _Position(int(match[1]), match[2] == b":") > position):
            break
        end += len(line)
    return end


def _events_end(content: bytes, position: _Position) -> int:
    """Returns the offset of the first record after `position`, or of an incomplete record that a kill left."""
    end = 0
    while end + 12 <= len(content):
        (size,) = struct.unpack_from("<Q", content, end)
        after = end + 12 + size + 4  # size, its checksum, the event, its checksum
        try:
            if after > len(content) or _event_position(content[end + 12 : after - 4]) > position:
                break
        except DecodeError:  # damaged: keep everything
            return len(content)
        end = after
    return end


def _event_position(data: bytes) -> _Position:
    event = Event.FromString(data)
    if event.HasField("session_log"):  # written when a run resumes, with the step after its checkpoint
        return _Position(event.step - 1, False)
    return _Position(event.step, any(value.tag.startswith(_EVALUATION_TAGS) for value in event.summary.value))
