"""Checks the results of training steps for non-finite losses and overflowed gradients."""

import math
from collections.abc import Callable

import numpy as np
from mindspore import Tensor

from ocrnet.errors import UserError
from ocrnet.training.run_progress import Progress

StepResult = tuple[Tensor, Tensor, Tensor]
"""The result of `TrainOneStep`: main loss, auxiliary loss, whether the weights were updated."""


class StepMonitor:
    """Stores the results of the steps until `read`, because reading a result waits for the device.

    Args:
        progress: counts the skipped steps.
        overflow_limit: consecutive overflowed steps at which training stops.
        describe: returns details of a step for an error message.
    """

    def __init__(self, progress: Progress, overflow_limit: int, describe: Callable[[int], str]) -> None:
        self.progress = progress
        self.overflow_limit = overflow_limit
        self.describe = describe
        self._unread: list[tuple[int, list[StepResult]]] = []

    def add(self, step: int, results: list[StepResult]) -> None:
        """Store the results of a step, one per batch."""
        self._unread.append((step, results))

    def read(self) -> tuple[float, float]:
        """Check all steps since the last call. Returns main and auxiliary loss of the last step; nan without a step.

        Raises:
            UserError: a loss is not finite, or too many consecutive steps overflowed.
        """
        main = auxiliary = math.nan
        for step, results in self._unread:
            mains, auxiliaries, updates = zip(*([value.asnumpy() for value in part] for part in results), strict=True)
            main, auxiliary, updated = np.mean(mains).item(), np.mean(auxiliaries).item(), updates[-1].item()
            if updated and not math.isfinite(main + auxiliary):
                raise UserError(
                    f"step {step}: the loss is {main:g} (main), {auxiliary:g} (auxiliary){self.describe(step)} "
                    "Lower schedule.lr, or set train.clip_grad=1, and resume."
                )
            self._count(step, skipped=not updated)
        self._unread.clear()
        return main, auxiliary

    def _count(self, step: int, skipped: bool) -> None:
        progress = self.progress
        progress.skipped += skipped
        progress.skipped_in_row = progress.skipped_in_row + 1 if skipped else 0
        if progress.skipped_in_row >= self.overflow_limit:
            raise UserError(
                f"step {step}: the gradients overflowed in {progress.skipped_in_row} consecutive steps "
                f"(train.overflow_limit){self.describe(step)} Lower train.loss_scale.value or schedule.lr, "
                "or check these images, and resume."
            )
