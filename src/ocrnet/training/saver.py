"""Saves the state of a run and tells all ranks whether it succeeded."""

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
        self,
        checkpoints: CheckpointFolder,
        progress: Progress,
        log: RunLog,
        on_saved: Callable[[], None] = lambda: None,
    ) -> None:
        self.checkpoints = checkpoints
        self.progress = progress
        self.log = log
        self.on_saved = on_saved
        self.step = progress.step
        """Step of the newest checkpoint."""

    def save(self, parameters: dict[str, Parameter], is_best: bool, required: bool) -> bool:
        """Write a checkpoint of the current step. If that fails, warns and returns False.

        Args:
            required: raise instead of warn, because the run ends here.

        Raises:
            UserError: a required checkpoint cannot be written.
        """
        step = self.progress.step
        self.log.sync()  # before the checkpoint, so that the log has every step of the checkpoint
        reason = ""
        if launcher.ranks().is_main:
            reason = self.checkpoints.save(parameters, self.progress, is_best)
        reason = collectives.all_gather_object(reason)[0]
        if not reason:
            self.step = step
            self.on_saved()
            return True
        warning = f"step {step}: no checkpoint could be written in {self.checkpoints.path}: {reason}."
        if required:
            raise UserError(
                f"{warning} The checkpoint of step {self.step} is kept; fix this and use --resume_ckpt auto."
            )
        self.log.write_line(warning)
        if launcher.ranks().is_main:
            print(f"\nwarning: {warning} Training continues and retries at the next interval.", file=sys.stderr)
        return False

    def kept(self) -> str:
        """Returns which checkpoint remains after an error, as a sentence."""
        return f"The checkpoint of step {self.step} is kept." if self.step else "There is no checkpoint yet."


def first_nonfinite(parameters: dict[str, Parameter]) -> str:
    """Returns the name of a parameter with inf or nan, or "". A checkpoint with it would replace a good one."""
    for name, parameter in parameters.items():
        value = parameter.asnumpy()
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return name
    return ""
