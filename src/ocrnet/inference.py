"""From a network to class maps of whole pictures; shared by every entry point that predicts."""

from collections.abc import Iterator
from itertools import groupby, islice

import cv2
import numpy as np
from mindspore import Tensor, nn

from ocrnet import progress
from ocrnet.config import Config, DataConfig
from ocrnet.data import transforms
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.metrics import ConfusionMatrix
from ocrnet.models.layers import resize


class MainLogits(nn.Cell):
    """A network's main logits, resized to (height, width) `size`.

    They go through the size of the images that the network reads, as in every published evaluation: where
    `test_scale` enlarged a picture this is not the same as going straight to the picture's own size.
    """

    def __init__(self, network: nn.Cell, align_corners: bool) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.align_corners = align_corners

    def construct(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        main, _ = self.network(images)
        main = resize(main, images.shape[2:], "bilinear", self.align_corners)
        return resize(main, size, "bilinear", self.align_corners)


class Predictor:
    """Class maps of pictures of any size."""

    def __init__(self, network: nn.Cell, config: Config) -> None:
        self.network = network
        self.config = config
        self._logits = MainLogits(network, config.model.align_corners)

    def __call__(self, pictures: list[np.ndarray]) -> np.ndarray:
        """(H, W, 3) uint8 RGB pictures of one size to (N, H, W) uint8 classes."""
        images = np.stack([prepare(picture, self.config.data) for picture in pictures])
        self.network.set_train(False)
        logits = self._logits(Tensor(images), pictures[0].shape[:2])
        return logits.argmax(axis=1).asnumpy().astype(np.uint8)


def prepare(picture: np.ndarray, config: DataConfig) -> np.ndarray:
    """(H, W, 3) uint8 RGB to what the network reads: (3, h, w) float32, fitted into `test_scale` and normalised."""
    if config.test_scale:
        size = transforms.fit(picture.shape[1::-1], config.test_scale, config.keep_ratio)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(transforms.normalise(picture, config.mean, config.std))


Predicted = tuple[str, np.ndarray, np.ndarray, np.ndarray]
"""Name, picture (H, W, 3), label (H, W) and predicted classes (H, W)."""


def predict_dataset(predictor: Predictor, dataset: SegmentationDataset, batch_size: int = 1) -> Iterator[Predicted]:
    """Every picture once, in order, with a progress bar; neighbours of one size go together. One batch in memory."""
    read = ((dataset.name(index), *dataset.read(index)) for index in range(len(dataset)))
    with progress.bar(total=len(dataset), desc="evaluate", unit="img", leave=False) as bar:
        for _, alike in groupby(read, key=lambda sample: sample[1].shape):
            while batch := list(islice(alike, batch_size)):
                predictions = predictor([picture for _, picture, _ in batch])
                bar.update(len(batch))
                yield from ((*sample, prediction) for sample, prediction in zip(batch, predictions, strict=True))


def evaluate(predictor: Predictor, dataset: SegmentationDataset, batch_size: int = 1) -> ConfusionMatrix:
    """Confusion matrix over `dataset`, each picture counted once."""
    matrix = ConfusionMatrix(dataset.classes)
    for _, _, label, prediction in predict_dataset(predictor, dataset, batch_size):
        matrix.update(label, prediction)
    return matrix
