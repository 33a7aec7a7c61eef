"""From a network to class maps of whole images; shared by every entry point that predicts.

One way through for all modes: an image is shown in one or several views (ratio, mirrored or not), each view is read
whole or window by window, and the views' class probabilities are averaged.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from itertools import groupby, islice, product
from pathlib import Path
from typing import NamedTuple

import cv2
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ocrnet.config import Config, DataConfig, EvalConfig
from ocrnet.data import transforms
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.distributed import collectives, launcher
from ocrnet.errors import UserError
from ocrnet.evaluation.metrics import ConfusionMatrix
from ocrnet.models.layers import resize
from ocrnet.models.ocrnet import OCRNet
from ocrnet.models.precision import set_precision
from ocrnet.runtime import device, progress
from ocrnet.weights.ckpt import load_weights


def load_network(config: Config, path: Path) -> OCRNet:
    """The config's network with the weights of a checkpoint, in the config's precision.

    Raises:
        UserError: the file cannot be read, or is of another network or other classes.
    """
    network = OCRNet(config.model, len(config.data.classes))
    if note := load_weights(network, path, config):
        print(note)
    set_precision(network, config.train.amp)
    return network


class TTAView(NamedTuple):
    """One way of showing an image to the network."""

    ratio: float = 1.0
    mirrored: bool = False


def views(config: EvalConfig) -> list[TTAView]:
    """What a config asks for: one ratio or several, with the mirrored image or without."""
    ratios = config.ratios if config.multi_scale else [1.0]
    return [
        TTAView(ratio, mirrored) for ratio, mirrored in product(ratios, [False, True] if config.mirrors else [False])
    ]


class MainLogits(nn.Cell):
    """A network's main logits, resized to (height, width) `size`.

    They go through the size of the images that the network reads, as in mmsegmentation's evaluation: where
    `test_size` enlarged an image this is not the same as going straight to the image's own size.
    """

    def __init__(self, network: nn.Cell, align_corners: bool) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.align_corners = align_corners

    def construct(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        main, _ = self.network(images)
        main = resize(main, images.shape[2:], "bilinear", self.align_corners)
        return resize(main, size, "bilinear", self.align_corners)


class Classes(nn.Cell):
    """The class with the largest logit for each pixel: (N, height, width) int32."""

    def __init__(self, logits: MainLogits) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits
        self.argmax = ops.Argmax(axis=1, output_type=ms.int32)

    def construct(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        return self.argmax(self.logits(images, size))


class FrequentSizes:
    """Which sizes are worth a compiled graph of their own: those that come `COMPILE_AT` times, `most` at most.

    Args:
        first: the first size of all is worth it at once.
        most: sizes in all. The later ones never are: giving up an earlier one would cost its compilation again and
            again where many sizes take turns.
    """

    COMPILE_AT = 5

    def __init__(self, first: bool, most: int) -> None:
        self.first, self.most = first, most
        self.seen: Counter = Counter()
        self.chosen: set = set()

    def __call__(self, size: Hashable) -> bool:
        """Count one more use of `size`; whether it has a graph from now on."""
        self.seen[size] += 1
        repeats = self.seen[size] >= self.COMPILE_AT and len(self.chosen) < self.most
        if repeats or (self.first and not self.chosen):
            self.chosen.add(size)
        return size in self.chosen


class CompileFrequentSizes:
    """Calls a cell; in graph mode only sizes that come often are compiled, the others run in PyNative mode.

    A graph is compiled for one size of its input. Compiling the demo's network takes 4 s and saves 1 s an image
    (W18-small: 7 s and 2.5 s), so a size is worth it from its fifth image on, and before that nobody knows whether
    there will be one. The first size of all is compiled at once: most data sets have no other, and the scores of a
    training then all come from one graph.
    """

    MOST_GRAPHS = 32  # each keeps 20 to 50 MiB of W18-small; their activations share a pool

    def __init__(self, cell: nn.Cell, first: bool) -> None:
        self.cell = cell
        self.compiled = FrequentSizes(first, self.MOST_GRAPHS)

    def __call__(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if self.compiled((images.shape, size)):
            return self.cell(Tensor(images), size).asnumpy()
        with device.pynative():
            return self.cell(Tensor(images), size).asnumpy()


class Predictor:
    """Class maps of images of any size, in the mode that `config.eval` asks for.

    Memory holds the logits of one batch of images at their own size, a few times where views are averaged.

    Args:
        compile_first: in graph mode, compile for the first size at once; False for a few images of any size.
        engine: an `engines.Engine` to run the network in MindSpore's place.
    """

    def __init__(self, network: nn.Cell, config: Config, compile_first: bool = True, engine=None) -> None:
        self.network = network
        self.config = config
        self.views = views(config.eval)
        self._runs_here = engine is None and ms.get_context("device_target") == "CPU"
        self._free = device.available_memory()  # before predictions, whose memory MindSpore keeps for the next
        if engine:
            self._logits, self._classes = engine.logits, engine.classes
            return
        logits = MainLogits(network, config.model.align_corners)
        self._logits = CompileFrequentSizes(logits, compile_first)
        self._classes = CompileFrequentSizes(Classes(logits), compile_first)

    def __call__(self, images: list[np.ndarray]) -> np.ndarray:
        """(H, W, 3) uint8 RGB images of one size to (N, H, W) uint8 classes."""
        self.network.set_train(False)
        if len(self.views) > 1:
            return self.probabilities(images).argmax(axis=1).astype(np.uint8)
        size = images[0].shape[:2]
        images = self._preprocess(images, self.views[0])
        if self.config.eval.window:
            return self._sliding_window(images, size).argmax(axis=1).astype(np.uint8)
        return self._classes(images, size).astype(np.uint8)

    def check_memory(self, path: Path, size: tuple[int, int], images: int = 1) -> None:
        """Refuse an image that memory does not suffice for, before the system ends the program for it.

        Args:
            path: of the image, for the message.
            size: (height, width) of the image.
            images: so many go through the network at once.

        Raises:
            UserError: the least that they need is more than was free when this predictor was made.
        """
        needed = images * self._least_memory(size)
        if self._free is not None and needed > self._free:
            fixes = [f"lower eval.batch_size={images}"] if images > 1 else []
            fixes += [] if self.config.eval.window else ["give eval.window=[512,1024]"]
            raise UserError(
                f"{path}: {size[1]} x {size[0]} pixels need {needed / 1e9:.1f} GB of memory or more, "
                f"{self._free / 1e9:.1f} GB are free: {', '.join([*fixes, 'or cut it into tiles'])}"
            )

    def _least_memory(self, size: tuple[int, int]) -> int:
        """Bytes: the input, and the larger of what the network and what the logits at full size take.

        Measured on a CPU, float32, at 512 x 1024 and 1024 x 2048 pixels, the peaks are 1.0 to 1.2 times this for HRNet
        and 1.8 times for ResNet, whose dilated convolutions need more.
        """
        config = self.config
        shown = [input_size(size, config.data, view.ratio) for view in self.views]
        largest = max(height * width for height, width in shown)
        at_once = min(largest, config.eval.window[0] * config.eval.window[1]) if config.eval.window else largest
        copies = 8 if config.eval.window or len(self.views) > 1 else 6  # 4 bytes each, not all of them whole
        logits = copies * len(config.data.classes) * max(largest if config.eval.window else 0, size[0] * size[1])
        network = 0
        if self._runs_here:
            stride = 4 if self.network.joins_maps else 8
            channels = sum(self.network.backbone.out_channels) + 4 * config.model.head_channels
            network = at_once * (200 + 4 * channels // stride**2)
        return 12 * largest + max(network, logits)

    def probabilities(self, images: list[np.ndarray]) -> np.ndarray:
        """(N, classes, H, W) float32: the mean over the views of a softmax over the classes."""
        self.network.set_train(False)
        total = softmax(self.logits(images, self.views[0]))
        for view in self.views[1:]:
            total += softmax(self.logits(images, view))
        return total / np.float32(len(self.views))

    def logits(self, images: list[np.ndarray], view: TTAView) -> np.ndarray:
        """(N, classes, H, W) float32 logits of one view, mirrored back: left is left again, arms included."""
        images, size = self._preprocess(images, view), images[0].shape[:2]
        logits = self._sliding_window(images, size) if self.config.eval.window else self._logits(images, size)
        if view.mirrored:
            logits = logits[..., ::-1]
            for one, other in self.config.data.flip_pairs:
                logits[:, [one, other]] = logits[:, [other, one]]
        return logits

    def _preprocess(self, images: list[np.ndarray], view: TTAView) -> np.ndarray:
        images = np.stack([prepare(image, self.config.data, view.ratio) for image in images])
        return np.ascontiguousarray(images[..., ::-1]) if view.mirrored else images

    def _sliding_window(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Logits as the mean over the windows that cover a pixel, resized to (height, width) `size`."""
        window, stride = self.config.eval.window, self.config.eval.stride
        total = np.zeros((len(images), len(self.config.data.classes), *images.shape[2:]), np.float32)
        count = np.zeros(images.shape[2:], np.float32)
        for rows, columns in product(*map(window_slices, images.shape[2:], window, stride)):
            part = np.ascontiguousarray(images[..., rows, columns])
            total[..., rows, columns] += self._logits(part, part.shape[2:])
            count[rows, columns] += 1
        total /= count
        return resize(Tensor(total), size, "bilinear", self.config.model.align_corners).asnumpy()


def window_slices(length: int, window: int, stride: int) -> list[slice]:
    """Windows along one side of an image. The last one is moved back until it ends with the image.

    An image smaller than the window is one window of its own size.
    """
    count = max(0, -(-(length - window) // stride)) + 1
    ends = [min(step * stride + window, length) for step in range(count)]
    return [slice(max(0, end - window), end) for end in ends]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the classes of (N, classes, H, W)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def prepare(image: np.ndarray, config: DataConfig, ratio: float = 1.0) -> np.ndarray:
    """(H, W, 3) uint8 RGB to what the network reads: (3, h, w) float32, resized and normalised.

    The image is fitted into `test_size` (its own size without one) times `ratio`. So did mmsegmentation 0.x, which
    the published multi-scale results come from; 1.x applies the ratio to the image's own size always.
    """
    if config.test_size or ratio != 1:
        size = input_size(image.shape[:2], config, ratio)
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(transforms.normalise(image, config.mean, config.std))


def input_size(size: tuple[int, int], config: DataConfig, ratio: float = 1.0) -> tuple[int, int]:
    """(height, width) at which the network reads an image of (height, width) `size`."""
    if not config.test_size and ratio == 1:
        return size
    box = [int(side * ratio + 0.5) for side in config.test_size or size]
    return transforms.fit(size, box, config.keep_ratio)


Predicted = tuple[str, np.ndarray, np.ndarray | None, np.ndarray]
"""Name, image (H, W, 3), label (H, W; None where a split has none) and predicted classes (H, W)."""


def predict_dataset(
    predictor: Predictor, dataset: SegmentationDataset, batch_size: int = 1, failed: list[str] | None = None
) -> Iterator[Predicted]:
    """Every image once, in order, with a progress bar; neighbours of one size go together. One batch in memory.

    Of several ranks each has its share: the images rank, rank + ranks, rank + 2 ranks ...

    Args:
        failed: takes what is wrong with pairs that cannot be read or are too large for the memory, which are left out;
            without it the first of them raises UserError.
    """
    ranks = launcher.ranks()
    mine = range(ranks.rank, len(dataset), ranks.size)

    def read() -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
        for index in mine:
            try:
                image, label = dataset.open(index)
                if failed is not None:
                    predictor.check_memory(dataset.pairs[index][0], image.shape[:2], batch_size)
                sample = dataset.name(index), image[:, :], label
            except UserError as error:
                if failed is None:
                    raise
                failed.append(str(error))
                bar.update(1)
            else:
                yield sample

    with progress.bar(total=len(mine), desc="evaluate", unit="img", leave=False) as bar:
        for _, alike in groupby(read(), key=lambda sample: sample[1].shape):
            while batch := list(islice(alike, batch_size)):
                predictions = predictor([image for _, image, _ in batch])
                bar.update(len(batch))
                yield from ((*sample, prediction) for sample, prediction in zip(batch, predictions, strict=True))


def evaluate(predictor: Predictor, dataset: SegmentationDataset, batch_size: int = 1) -> ConfusionMatrix:
    """Confusion matrix over `dataset`, each image counted once, on whatever rank."""
    matrix = ConfusionMatrix(dataset.classes)
    for _, _, label, prediction in predict_dataset(predictor, dataset, batch_size):
        matrix.update(label, prediction)
    return sum(collectives.gather(matrix), ConfusionMatrix(dataset.classes))
