"""Compares the class maps of an exported file with those of a network, on a data set."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ocrnet.config import Config
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.errors import UserError
from ocrnet.evaluation.evaluator import Evaluator, Prediction
from ocrnet.evaluation.metrics import ConfusionMatrix
from ocrnet.inference.predictor import Predictor


@dataclass(frozen=True)
class Agreement:
    images: int
    equal: float
    """Fraction of the pixels with the same class."""
    miou: float
    """mIoU of the network, as eval.py computes it."""
    file_miou: float
    seconds: float
    """Median time of the file per image."""

    def __str__(self) -> str:
        return (
            f"{self.images} images: {100 * self.equal:.3f} % of the pixels have the class of eval.py; "
            f"mIoU {100 * self.file_miou:.2f} %, {100 * (self.file_miou - self.miou):+.2f} points; "
            f"{self.seconds:.3f} s per image"
        )


def compare(
    run: Callable[[np.ndarray], np.ndarray],
    size: tuple[int, int] | None,
    predictor: Predictor,
    dataset: SegmentationDataset,
    config: Config,
) -> Agreement:
    """Predict a data set with a network and with a file.

    Args:
        run: the file: (1, H, W, 3) uint8 RGB to (1, H, W) classes.
        size: the (H, W) that it accepts; None for any.

    Raises:
        UserError: an image has another size, or cannot be read.
    """
    matrix, seconds = ConfusionMatrix(dataset.classes), []
    equal = pixels = 0

    def add(prediction: Prediction) -> None:
        nonlocal equal, pixels
        if size and prediction.image.shape[:2] != size:
            height, width = prediction.image.shape[:2]
            raise UserError(
                f"--verify: {prediction.name} has {height} x {width} pixels, --size is {size[0]} x {size[1]}"
            )
        started = time.perf_counter()
        classes = run(prediction.image[None])[0]
        seconds.append(time.perf_counter() - started)
        equal += int((classes == prediction.classes).sum())
        pixels += classes.size
        if prediction.label is not None:
            matrix.update(prediction.label, classes)

    scores = Evaluator(predictor, dataset, config).evaluate(add)
    return Agreement(len(seconds), equal / pixels, scores.matrix.miou, matrix.miou, float(np.median(seconds)))
