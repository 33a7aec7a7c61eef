"""SIGTERM and Ctrl-C as a wish that is granted when the step is done."""

import os
import signal
import sys
from types import FrameType


class Stopped(Exception):
    """The run was asked to stop and has saved what it had; `number` is the signal."""

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.number = number


class StopRequest:
    """While its context is open the first SIGTERM or SIGINT is kept in `signal`; the next one ends the process."""

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises Stopped when there was a signal."""
        if self.signal:
            raise Stopped(self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        for again in self._before:
            signal.signal(again, signal.SIG_DFL)  # the system's own ending: it waits for nothing
        text = f"\n{signal.Signals(number).name}: this step will be finished and saved; once more leaves at once\n"
        os.write(sys.stderr.fileno(), text.encode())
