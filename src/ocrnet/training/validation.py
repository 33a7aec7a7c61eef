"""The evaluation in training: scores in the log, images in TensorBoard, the best score."""

import math
import time

from ocrnet.config import Config
from ocrnet.data.datasets import palette
from ocrnet.distributed import launcher
from ocrnet.evaluation.evaluator import Evaluator, Prediction
from ocrnet.evaluation.metrics import ConfusionMatrix
from ocrnet.runtime import progress
from ocrnet.runtime.signals import StopRequest
from ocrnet.training.run_log import RunLog
from ocrnet.training.run_progress import Progress
from ocrnet.visualization import side_by_side


class Validation:
    """Evaluates every `eval.interval` steps and at the end of the run."""

    def __init__(self, evaluator: Evaluator, config: Config, run: Progress, log: RunLog) -> None:
        self.evaluator = evaluator
        self.config = config
        self.run = run
        self.log = log

    def due(self, last: bool) -> bool:
        """Whether the present step, which may be the last one, still has to be evaluated."""
        return self.run.step > self.run.evaluated and (self.run.step % self.config.eval.interval == 0 or last)

    def evaluate(self, stop: StopRequest) -> bool:
        """Evaluate and report; whether the score is the best so far, which `run` then holds.

        Raises:
            Stopped: the run was asked to stop. Nothing is changed.
        """
        started = time.monotonic()
        matrix = self.evaluator.evaluate(self._show, lambda: stop.signal).matrix
        improved = matrix.miou > self.run.best_miou
        if improved:
            self.run.best_miou, self.run.best_step = matrix.miou, self.run.step
        self._report(matrix, improved, time.monotonic() - started)
        self.run.evaluated = self.run.step
        return improved

    def _show(self, prediction: Prediction) -> None:
        """Hand the first images of this rank to TensorBoard."""
        if prediction.number // launcher.ranks().size < self.config.eval.tensorboard_images:
            panels = side_by_side(prediction.image, prediction.label, prediction.classes, palette(self.config.data))
            self.log.image(self.run.step, f"image_label_prediction/{prediction.name}", panels)

    def _report(self, matrix: ConfusionMatrix, improved: bool, seconds: float) -> None:
        step = self.run.step
        text = (
            f"step {step}: mIoU {100 * matrix.miou:.2f} %, pixel accuracy {100 * matrix.pixel_accuracy:.2f} % on "
            f"{matrix.images} images in {seconds:.0f} s ({'best so far' if improved else 'best'}: "
            f"{100 * self.run.best_miou:.2f} %)"
        )
        progress.say(text)
        self.log.line(text)
        iou = zip(matrix.classes, matrix.iou, strict=True)
        occurring = {f"val_iou/{name}": value for name, value in iou if math.isfinite(value)}
        self.log.scalars(step, {"val/miou": matrix.miou, "val/pixel_accuracy": matrix.pixel_accuracy, **occurring})
