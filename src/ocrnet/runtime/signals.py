"""Stops a run on SIGTERM or Ctrl-C after the current step."""

import os
import signal
import sys
from threading import Thread

from ocrnet.distributed import launcher

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A signal stopped the run; its state was saved. `number`: the signal."""

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.number = number


class StopRequest:
    """Stores the first SIGTERM or SIGINT in `signal` while its context is open; any other one ends the process.

    A thread waits for the signals. Python's signal handlers do not work here: while a compiled graph runs, MindSpore's
    handler turns each SIGINT into a SIGTERM. With several ranks nothing is printed: when a rank fails, the launcher
    sends SIGTERM to the others, and the error of the failed rank must be the last output.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._open = self._over = False

    def watch(self) -> "StopRequest":
        """Start the thread. Call before importing MindSpore and NumPy: their threads must inherit the signal mask."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        Thread(target=self._wait, daemon=True).start()
        return self

    def __enter__(self) -> "StopRequest":
        self._open = True
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        self._open = False
        self._over = kind is None and launcher.ranks().size > 1  # MindSpore sends SIGTERM when the first rank exits

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
            self._say(f"{name}: finishing and saving this step; send it again to exit immediately")

    def _say(self, text: str) -> None:
        if launcher.ranks().size == 1:
            os.write(sys.stderr.fileno(), f"\n{text}\n".encode())
