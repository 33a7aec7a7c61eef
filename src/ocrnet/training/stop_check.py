"""Lets all ranks stop after the same step."""

import time

from ocrnet.distributed import collectives, launcher
from ocrnet.runtime.signals import StopRequest


class StopCheck:
    """Tells all ranks, after the same step, that one of them was asked to stop.

    With several ranks this needs a collective, which waits for the device. So it takes place about once a second, and
    at least every `MOST_STEPS` steps.
    """

    MOST_STEPS = 50

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop
        self._last: tuple[int, float] | None = None  # step and time of the last check
        self._next_step = 0

    def signal(self, step: int) -> int:
        """Returns the signal of a rank, 0 if there is none or if this step has no check. Call it on all ranks."""
        if launcher.ranks().size == 1:
            return self.stop.signal
        if step < self._next_step:
            return 0
        signal = collectives.all_reduce_max(self.stop.signal)
        now, interval = time.monotonic(), 1
        if self._last is not None:
            last_step, last_time = self._last
            milliseconds = collectives.all_reduce_max(int(1000 * (now - last_time)))
            interval = 1000 * (step - last_step) // max(1, milliseconds)
        self._last = (step, now)
        self._next_step = step + min(self.MOST_STEPS, max(1, interval))
        return signal
