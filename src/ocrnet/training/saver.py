"""Saves the state of a run; all ranks learn whether it worked."""

import sys
from collections.abc import Callable

import numpy as np
from mindspore import Parameter

from ocrnet.distributed import collectives, launcher
from ocrnet.errors import UserError
from ocrnet.training.checkpoint import CheckpointFolder
from ocrnet.training.run_log import RunLog
from ocrnet.training.run_progress import Progress


class Saver:
    """Writes checkpoints on rank 0.

    Args:
        on_saved: called after each checkpoint.
    """

    def __init__(
        self, checkpoints: CheckpointFolder, run: Progress, log: RunLog, on_saved: Callable[[], None] = lambda: None
    ) -> None:
        self.checkpoints = checkpoints
        self.run = run
        self.log = log
        self.on_saved = on_saved
        self.step = run.step
        """Of the newest checkpoint."""

    def save(self, parameters: dict[str, Parameter], is_best: bool, must: bool) -> bool:
        """Write a checkpoint of the present step; False, with a warning, when there is no room for it.

        Raises:
            UserError: it cannot be written, and it must be, because the run ends here.
        """
        step = self.run.step
        self.log.sync()  # before the checkpoint, so that the log holds the steps that the checkpoint stands for
        reason = ""
        if launcher.ranks().first:
            reason = self.checkpoints.save(parameters, self.run, is_best)
        reason = collectives.gather(reason)[0]
        if not reason:
            self.step = step
            self.on_saved()
            return True
        warning = f"step {step}: no checkpoint could be written in {self.checkpoints.path}: {reason}."
        if must:
            raise UserError(f"{warning} The one of step {self.step} stays; fix this and use --resume_ckpt auto.")
        self.log.line(warning)
        if launcher.ranks().first:
            print(f"\nwarning: {warning} Training goes on and tries again at the next interval.", file=sys.stderr)
        return False


def first_not_finite(parameters: dict[str, Parameter]) -> str:
    """The name of a parameter with inf or nan, or "": a checkpoint with it would replace a good one."""
    for name, parameter in parameters.items():
        value = parameter.asnumpy()
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return name
    return ""
