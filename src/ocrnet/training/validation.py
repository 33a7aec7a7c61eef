"""Evaluation during training: writes scores to the log and images to TensorBoard, tracks the best score."""

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
from ocrnet.training.run_progress import Progress, score_text
from ocrnet.visualization import side_by_side


class Validation:
    """Evaluates every `eval.interval` steps and at the end of the run.

    The scores are gathered from all ranks, so the best score and early stopping are the same on each of them.
    """

    def __init__(self, evaluator: Evaluator, config: Config, progress: Progress, log: RunLog) -> None:
        self.evaluator = evaluator
        self.config = config
        self.progress = progress
        self.log = log

    def due(self, last: bool) -> bool:
        """Returns whether the current step must be evaluated. `last`: it is the last step of the run."""
        step, interval = self.progress.step, self.config.eval.interval
        return step > self.progress.evaluated and (step % interval == 0 or last)

    def evaluate(self, stop: StopRequest) -> bool:
        """Evaluate, report, and update `progress`. Returns whether the score is the best so far.

        Raises:
            Stopped: a signal stopped the run. `progress` is unchanged.
        """
        started = time.monotonic()
        found = self.evaluator.evaluate(self._show, lambda: stop.signal)
        scores = {"loss": found.loss, "miou": found.matrix.miou, "pixel_accuracy": found.matrix.pixel_accuracy}
        improved = self.progress.add_evaluation(scores[self.progress.best_by])
        self._report(scores, found.matrix, improved, time.monotonic() - started)
        return improved

    def _show(self, prediction: Prediction) -> None:
        """Write the first images of this rank to TensorBoard."""
        if prediction.number // launcher.ranks().size < self.config.eval.tensorboard_images:
            panels = side_by_side(prediction.image, prediction.label, prediction.classes, palette(self.config.data))
            self.log.add_image(self.progress.step, f"image_label_prediction/{prediction.name}", panels)

    def _report(self, scores: dict[str, float], matrix: ConfusionMatrix, improved: bool, seconds: float) -> None:
        step = self.progress.step
        scores = {name: value for name, value in scores.items() if not math.isnan(value)}
        best = "best so far" if improved else f"best: {self.progress.best}" if self.progress.best else "no best yet"
        text = (
            f"step {step}: {', '.join(score_text(name, value) for name, value in scores.items())} on "
            f"{matrix.images} images in {seconds:.0f} s ({best})"
        )
        progress.write(text)
        self.log.write_line(text)
        iou = zip(matrix.classes, matrix.iou, strict=True)
        occurring = {f"val_iou/{name}": value for name, value in iou if math.isfinite(value)}
        self.log.add_scalars(step, {**{f"val/{name}": value for name, value in scores.items()}, **occurring})
