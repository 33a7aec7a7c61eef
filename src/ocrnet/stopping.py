"""SIGTERM and Ctrl-C as a wish that is granted when the step is done."""

import os
import signal
import sys
from threading import Thread

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """The run was asked to stop and has saved what it had; `number` is the signal."""

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.number = number


class StopRequest:
    """While its context is open the first SIGTERM or SIGINT is kept in `signal`; any other ends the process.

    A thread waits for them. Python's own handlers would not do: while a compiled graph runs, MindSpore has a handler
    that makes a SIGTERM of each SIGINT.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._open = False

    def watch(self) -> "StopRequest":
        """Begin. Before MindSpore and NumPy are imported: their threads must inherit that they get no signals."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        Thread(target=self._wait, daemon=True).start()
        return self

    def __enter__(self) -> "StopRequest":
        self._open = True
        return self

    def __exit__(self, *error: object) -> None:
        self._open = False

    def check(self) -> None:
        """Raises Stopped when there was a signal."""
        if self.signal:
            raise Stopped(self.signal)

    def _wait(self) -> None:
        while True:
            number = signal.sigwait(_SIGNALS)
            name = signal.Signals(number).name
            if not self._open or self.signal:
                os.write(sys.stderr.fileno(), f"\ninterrupted by {name}\n".encode())
                os._exit(128 + number)
            self.signal = number
            text = f"\n{name}: this step will be finished and saved; once more leaves at once\n"
            os.write(sys.stderr.fileno(), text.encode())
