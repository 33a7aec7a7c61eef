"""SIGTERM and Ctrl-C as a wish that is granted when the step is done."""

import os
import signal
import sys
from threading import Thread

from ocrnet.distributed import launcher

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """The run was asked to stop and has saved what it had; `number` is the signal."""

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.number = number


class StopRequest:
    """While its context is open the first SIGTERM or SIGINT is kept in `signal`; any other ends the process.

    A thread waits for them. Python's own handlers would not do: while a compiled graph runs, MindSpore has a handler
    that makes a SIGTERM of each SIGINT. With several ranks nothing is said: a launcher ends with SIGTERM the ranks that
    are left when one has failed, and that one's error is the last thing to be read.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._open = self._over = False

    def watch(self) -> "StopRequest":
        """Begin. Before MindSpore and NumPy are imported: their threads must inherit that they get no signals."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        Thread(target=self._wait, daemon=True).start()
        return self

    def __enter__(self) -> "StopRequest":
        self._open = True
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        self._open = False
        self._over = kind is None and launcher.ranks().size > 1  # MindSpore sends SIGTERM when the first rank leaves

    def _wait(self) -> None:
        while True:
            number = signal.sigwait(_SIGNALS)
            if self._over:
                continue
            name = signal.Signals(number).name
            if not self._open or self.signal:
                self._say(f"interrupted by {name}")
                os._exit(128 + number)
            self.signal = number
            self._say(f"{name}: this step will be finished and saved; once more leaves at once")

    def _say(self, text: str) -> None:
        if launcher.ranks().size == 1:
            os.write(sys.stderr.fileno(), f"\n{text}\n".encode())
