"""What a run writes line by line: train.log and TensorBoard's event files.

Both are in the order of the steps, and the evaluation of a step follows it. A resumed run cuts what was written after
its checkpoint, so nothing stands twice. Nothing is buffered in the process, and a full disk
makes lines wait, not the run end.
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

# what the trainer's evaluation writes
_OF_EVALUATION = ("val/", "val_iou/", "image_label_prediction/")


class _Position(NamedTuple):
    """A place in a log: after a step, or after its evaluation. The later one is the greater."""

    step: int
    evaluated: bool


class RunLog:
    """The log of a run under `save_dir` that is resumed after `step`; what stands there of later steps is cut.

    So is the evaluation of `step`, unless it is the step that was `evaluated` last: it will be repeated.
    Every rank has one of its own: train.log and TensorBoard's events of rank 0, train_rank1.log and so on.

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
            self._log = _Appended(log)
            if rank:
                return
            folder.mkdir(exist_ok=True)
            for events in folder.glob("*tfevents*"):
                os.truncate(events, _events_end(events.read_bytes(), position))
            name = f"events.out.tfevents.{time.time_ns() / 1e9:020.9f}.{socket.gethostname()}"
            self._events = _Appended(folder / name)
        except OSError as error:
            raise UserError(f"{save_dir}: cannot write {log.name} and tensorboard here: {error.strerror}") from None
        self._event(Event(file_version="brain.Event:2"))
        if step:  # a TensorBoard that is running forgets what it has read of later steps
            self._event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def line(self, text: str) -> None:
        """A line of train.log; those of a step begin with `step N`."""
        self._log.append(f"{text}\n".encode(errors="backslashreplace"))  # names of files need not be text

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Values of a step for TensorBoard."""
        for name, value in values.items():
            self._event(Event(step=step, summary=scalar(name, value)))

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """An image (H, W, 3) uint8 RGB of a step for TensorBoard."""
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
        """Bring all to the disk, as far as it has room."""
        for file in self._files():
            file.sync()

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        for file in self._files():
            file.file.close()

    def _files(self) -> list["_Appended"]:
        return [file for file in (self._log, self._events) if file]


class _Appended:
    """A file that grows. What does not fit on the disk waits for the next time."""

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
    """Where the first line after `position` begins, or one that a kill cut short."""
    end = 0
    for line in content.splitlines(keepends=True):
        match = re.match(rb"step (\d+)(.?)", line)  # "step 3/9, loss" of a step, "step 3: mIoU" of its evaluation
        if not line.endswith(b"\n") or (match and _Position(int(match[1]), match[2] == b":") > position):
            break
        end += len(line)
    return end


def _events_end(content: bytes, position: _Position) -> int:
    """Where the first record after `position` begins, or one that a kill cut short."""
    end = 0
    while end + 12 <= len(content):
        (size,) = struct.unpack_from("<Q", content, end)
        after = end + 12 + size + 4  # size, its checksum, the event, its checksum
        try:
            if after > len(content) or _event_position(content[end + 12 : after - 4]) > position:
                break
        except DecodeError:  # damaged: not ours to throw away
            return len(content)
        end = after
    return end


def _event_position(data: bytes) -> _Position:
    event = Event.FromString(data)
    return _Position(event.step, any(value.tag.startswith(_OF_EVALUATION) for value in event.summary.value))
