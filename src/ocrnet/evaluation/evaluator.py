"""Evaluates a network on a data set. Used by training, eval.py and scripts/compare.py."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby, islice
from typing import NamedTuple

import numpy as np

from ocrnet.config import Config
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.read_ahead import read_ahead
from ocrnet.distributed import collectives, launcher
from ocrnet.errors import UserError
from ocrnet.evaluation.metrics import ConfusionMatrix, near_boundaries
from ocrnet.inference.predictor import Predictor
from ocrnet.runtime import progress
from ocrnet.runtime.signals import Stopped


class Prediction(NamedTuple):
    """The prediction for one image of a data set."""

    number: int
    """Index of the image in the data set, from 0."""
    name: str
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    label: np.ndarray | None
    """(H, W) uint8 class indices, 255 for ignored pixels; None in a split without labels."""
    classes: np.ndarray
    """(H, W) uint8 predicted class indices."""
    loss: float
    """Sum of the cross entropies of the labelled pixels; 0 without labels, NaN if the engine computes no loss."""


@dataclass
class Scores:
    """Scores on a data set, over all ranks."""

    matrix: ConfusionMatrix
    boundary: ConfusionMatrix
    """Confusion matrix of the pixels near a boundary, see `eval.boundary`."""
    failed: list[str] = field(default_factory=list)
    """Error messages of the skipped pairs."""
    loss: float = math.nan
    """Mean cross entropy of the main head over the labelled pixels of all images; NaN if it was not computed."""

    def to_dict(self, config: Config) -> dict:
        """Returns the content of `eval.py --result_json`."""
        scores = self.matrix.to_dict()
        if math.isfinite(self.loss):
            scores["loss"] = self.loss
        if self.matrix.images and config.data.categories:
            scores["categories"] = self.matrix.merged(config.data.categories).to_dict()
        if config.eval.boundary:
            scores["boundary"] = self.boundary.to_dict()
        return scores

    def table(self, config: Config) -> str:
        """Returns all scores as text, one class per line; "" without labels."""
        if not self.matrix.images:
            return ""
        parts = [self.matrix.table()]
        if math.isfinite(self.loss):
            parts.append(f"cross entropy {self.loss:.4f}")
        if config.data.categories:
            parts.append(f"\nby category\n{self.matrix.merged(config.data.categories).table()}")
        if config.eval.boundary:
            miou = 100 * self.boundary.miou
            parts.append(f"mIoU within {config.eval.boundary} pixels of a boundary: {miou:.2f} %")
        return "\n".join(parts)


class Evaluator:
    """Predicts each image of a data set once and scores the predictions.

    Args:
        predictor: predicts the class maps.
        dataset: data set. With several ranks, each predicts the images rank, rank + ranks, rank + 2 ranks ...
        config: how to evaluate (`config.eval`).
        skip_failures: skip pairs that cannot be read, do not fit into memory or whose outputs cannot be written, and
            list them in `Scores.failed`. Otherwise the first one raises UserError.
    """

    def __init__(
        self, predictor: Predictor, dataset: SegmentationDataset, config: Config, skip_failures: bool = False
    ) -> None:
        self.predictor = predictor
        self.dataset = dataset
        self.config = config
        self.skip_failures = skip_failures

    def evaluate(
        self,
        on_prediction: Callable[[Prediction], None] = lambda prediction: None,
        stop_signal: Callable[[], int] = lambda: 0,
    ) -> Scores:
        """Evaluate the data set on all ranks.

        Args:
            on_prediction: called with each prediction of this rank.
            stop_signal: called for each image; a value other than 0 stops the evaluation.

        Raises:
            Stopped: a rank was stopped by a signal.
            UserError: a pair cannot be used, without `skip_failures`.
        """
        empty = ConfusionMatrix(self.dataset.classes)
        matrix, boundary, failed = ConfusionMatrix(self.dataset.classes), ConfusionMatrix(self.dataset.classes), []
        loss = 0.0
        for prediction in self._predictions(failed):
            if stop_signal():
                break
            label, classes = prediction.label, prediction.classes
            if label is not None:
                matrix.update(label, classes)
                loss += prediction.loss
                if self.config.eval.boundary:
                    boundary.update(near_boundaries(label, self.config.eval.boundary), classes)
            try:
                on_prediction(prediction)
            except UserError as error:
                if not self.skip_failures:
                    raise
                failed.append(str(error))
        if signal := collectives.all_reduce_max(stop_signal()):
            raise Stopped(signal)
        gathered = collectives.all_gather_object((matrix, boundary, failed, loss))
        matrices, boundaries, failures, losses = zip(*gathered, strict=True)
        total = sum(matrices, empty)
        pixels = int(total.counts.sum())
        mean_loss = sum(losses) / pixels if pixels else math.nan
        return Scores(total, sum(boundaries, empty), list(chain(*failures)), mean_loss)

    def _predictions(self, failed: list[str]) -> Iterator[Prediction]:
        """Yields the predictions of this rank in order. Consecutive images of the same size form batches."""
        batch_size = self.config.eval.batch_size
        ranks = launcher.ranks()
        numbers = range(ranks.rank, len(self.dataset), ranks.size)
        with progress.bar(total=len(numbers), desc="evaluate", unit="img", leave=False) as bar:
            samples = filter(None, read_ahead(partial(self._read, failed, bar.update), numbers, threads=1, ahead=1))
            for _, same_size in groupby(samples, key=lambda sample: sample[1].shape):
                while batch := list(islice(same_size, batch_size)):
                    images, labels = [image for _, image, _ in batch], [label for *_, label in batch]
                    if labels[0] is None:
                        class_maps, loss = self.predictor(images), 0.0
                    else:
                        class_maps, loss = self.predictor.score(images, np.stack(labels))
                    bar.update(len(batch))
                    for (number, image, label), classes in zip(batch, class_maps, strict=True):
                        yield Prediction(number, self.dataset.name(number), image, label, classes, loss / len(batch))

    def _read(
        self, failed: list[str], on_skip: Callable[[int], object], number: int
    ) -> tuple[int, np.ndarray, np.ndarray | None] | None:
        """Returns (number, image, label) of a pair; calls `on_skip(1)` and returns None if it cannot be used."""
        try:
            image, label = self.dataset.open(number)
            if self.skip_failures:
                path, batch_size = self.dataset.pairs[number][0], self.config.eval.batch_size
                self.predictor.check_memory(path, image.shape[:2], batch_size)
            return number, image[:, :], label
        except UserError as error:
            if not self.skip_failures:
                raise
            failed.append(str(error))
            on_skip(1)
            return None
