"""What a network computes for images on MindSpore's device: logits, classes, loss, sums of probabilities."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ocrnet.config import Config
from ocrnet.inference.graphs import CompileAllSizes, CompileFrequentSizes
from ocrnet.inference.network import AddProbabilities, Classes, ClassesAndLoss, Logits, MainLogits


class NetworkOutputs:
    """The outputs of a network for batches of preprocessed images (N, 3, h, w) float32.

    In graph mode, a CPU compiles one graph for all sizes, and graphs of their own for very frequent sizes. An
    accelerator compiles one for each frequent size; other sizes run in PyNative mode.

    Args:
        compile_first: compile for the very first images; False for a few images of any size.
    """

    def __init__(self, network: nn.Cell, config: Config, compile_first: bool) -> None:
        on_cpu = ms.get_context("device_target") == "CPU"
        main = MainLogits(network, config.model.align_corners, in_graph=on_cpu)
        images = Tensor(shape=[None, 3, None, None], dtype=ms.float32)

        def compiled(
            kind: type[nn.Cell], shape: list[int | None], dtype: ms.Type, one_size: bool = True
        ) -> CompileFrequentSizes:
            """`one_size`: images usually have one size."""
            if not on_cpu:
                return CompileFrequentSizes(kind(main), compile_first)
            inputs = images, Tensor(shape=shape, dtype=dtype)
            all_sizes = CompileAllSizes(kind(main), inputs, compile_at=1 if compile_first else 5)
            return CompileFrequentSizes(kind(main), compile_first and one_size, all_sizes, compile_at=50)

        self._logits = compiled(Logits, [1, None, None], ms.uint8)
        self._classes = compiled(Classes, [1, None, None], ms.uint8)
        self._score = compiled(ClassesAndLoss, [None, None, None], ms.int32)
        sums = [None, len(config.data.classes), None, None]
        self._add_probabilities = compiled(AddProbabilities, sums, ms.float32, one_size=False)

    def logits(self, images: np.ndarray, size: tuple[int, int]) -> Tensor:
        """Returns (N, classes, *size) float32."""
        return self._logits(Tensor(images), _of_size(size))

    def classes(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Returns (N, *size) uint8."""
        return self._classes(Tensor(images), _of_size(size)).asnumpy()

    def score(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
        """Returns (N, H, W) uint8 classes and the summed cross entropy with labels (N, H, W) uint8, 255 ignored."""
        classes, loss = self._score(Tensor(images), Tensor(labels.astype(np.int32)))
        return classes.asnumpy(), float(loss.asnumpy().sum(dtype=np.float64))

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Returns zeros, to which `add_probabilities` adds."""
        return ops.zeros(shape, ms.float32)

    def add_probabilities(self, images: np.ndarray, total: Tensor) -> Tensor:
        """Returns `total` (N, classes, H, W) plus the class probabilities of the images, resized to H and W."""
        return self._add_probabilities(Tensor(images), total)


def _of_size(size: tuple[int, int]) -> Tensor:
    return Tensor(np.zeros((1, *size), np.uint8))
