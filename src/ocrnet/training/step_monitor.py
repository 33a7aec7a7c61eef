"""Looks at what the training steps returned: losses that are not finite, and gradients that overflowed."""

import math
from collections.abc import Callable

import numpy as np
from mindspore import Tensor

from ocrnet.errors import UserError
from ocrnet.training.run_progress import Progress

StepResult = tuple[Tensor, Tensor, Tensor]
"""What `TrainOneStep` returns: main loss, auxiliary loss, whether the weights were updated."""


class StepMonitor:
    """Keeps the results of the steps until somebody asks for them, because reading a result waits for the device.

    Args:
        progress: takes the number of skipped steps.
        overflow_limit: steps in a row that may overflow.
        describe: completes an error message with the circumstances of a step.
    """

    def __init__(self, progress: Progress, overflow_limit: int, describe: Callable[[int], str]) -> None:
        self.progress = progress
        self.overflow_limit = overflow_limit
        self.describe = describe
        self._unread: list[tuple[int, list[StepResult]]] = []

    def add(self, step: int, results: list[StepResult]) -> None:
        """Keep the results of a step, one for each of its batches."""
        self._unread.append((step, results))

    def read(self) -> tuple[float, float]:
        """Check all steps since the last call; the main and the auxiliary loss of the last of them, nan without any.

        Raises:
            UserError: a loss is not finite, or too many steps in a row overflowed.
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
                f"step {step}: the gradients overflowed in {progress.skipped_in_row} steps in a row "
                f"(train.overflow_limit){self.describe(step)} Lower train.loss_scale.value or schedule.lr, "
                "or look at these images, and resume."
            )
