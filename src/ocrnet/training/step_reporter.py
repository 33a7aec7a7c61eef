"""Reports training steps: progress bar, lines in train.log, curves in TensorBoard."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ocrnet.config import Config
from ocrnet.runtime import progress
from ocrnet.training.run_log import RunLog


class StepReporter:
    """Reports to the log every `train.log_interval` steps and to the progress bar once a second.

    Durations are means over the steps since the last line of the log, or since the last change of the bar: steps run
    asynchronously, so the duration of a single one is unknown.

    Args:
        first: steps done so far.
        last: steps of the whole run.
        step_samples: samples per step over all ranks.
    """

    def __init__(self, config: Config, log: RunLog, first: int, last: int, step_samples: int) -> None:
        self.config = config
        self.log = log
        self.last = last
        self.step_samples = step_samples
        self.bar = progress.bar(
            total=last,
            initial=first,
            desc="train",
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )
        if first < last:
            self.bar.set_postfix_str("compiling the network, once" if config.ms_mode == 0 else "starting")
        self._shown = self._logged = (first, time.monotonic())  # step and time of the last report

    def logs(self, step: int) -> bool:
        """Returns whether the step gets a line in the log."""
        return step % self.config.train.log_interval == 0 or step == 1

    def due(self, step: int) -> bool:
        """Returns whether to report the step. Reading its losses takes time, so read them only then."""
        return self.logs(step) or time.monotonic() - self._shown[1] > _BAR_INTERVAL

    def report(self, step: int, main: float, auxiliary: float, lr: float, loss_scale: float) -> None:
        """Report a step that is due. `main`, `auxiliary`: its losses, read from the device."""
        loss = main + self.config.loss.auxiliary_weight * auxiliary
        rate = self.step_samples / _seconds_per_step(self._shown, step)
        self._shown = (step, time.monotonic())
        # the following `advance` redraws the bar
        self.bar.set_postfix_str(f"loss {loss:.4f}, lr {lr:.6f}, {rate:.1f} img/s", refresh=False)
        if not self.logs(step):
            return
        seconds = _seconds_per_step(self._logged, step)
        self._logged = self._shown
        self.log.write_line(
            f"step {step}/{self.last}, loss: {loss:.6f}, main: {main:.6f}, aux: {auxiliary:.6f}, "
            f"cur_lr: {lr:.8f}, loss_scale: {loss_scale:g}, cost {1000 * seconds:.1f} ms"
        )
        values = {
            "loss/total": loss,
            "loss/main": main,
            "loss/auxiliary": auxiliary,
            "learning_rate": lr,
            "loss_scale": loss_scale,
            "images_per_second": self.step_samples / seconds,
        }
        self.log.add_scalars(step, values)

    def advance(self) -> None:
        """Advance the bar by one step."""
        self.bar.update(1)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Context whose duration is not counted as training."""
        began = time.monotonic()
        try:
            yield
        finally:
            pause = time.monotonic() - began
            self._shown, self._logged = ((step, at + pause) for step, at in (self._shown, self._logged))

    def __enter__(self) -> "StepReporter":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()


_BAR_INTERVAL = 1  # seconds


def _seconds_per_step(since: tuple[int, float], step: int) -> float:
    return (time.monotonic() - since[1]) / (step - since[0])
