"""Operations on logits (N, classes, H, W) in the memory where the network has computed them.

On an accelerator the logits of a 1024 x 2048 image with 19 classes take 160 MB per view, so they stay on the device. On
a CPU NumPy is three to thirty times faster than MindSpore's operators, which run one by one outside of a graph.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from ocrnet.formats.label_values import IGNORED

_SMALLEST = np.float32(1e-37)
"""Lower limit of a probability in a logarithm."""


class HostLogits:
    """Logits in NumPy arrays, for networks on the CPU."""

    def take(self, logits: Tensor | np.ndarray) -> np.ndarray:
        """Returns the output of a network or an inference engine as an array."""
        return logits.asnumpy() if isinstance(logits, Tensor) else logits

    def zeros(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape, np.float32)

    def mirror(self, logits: np.ndarray, order: list[int]) -> np.ndarray:
        """Mirrors left and right, and puts class `order[i]` at index i."""
        logits = logits[..., ::-1]
        return logits if order == sorted(order) else logits[:, order]

    def softmax(self, logits: np.ndarray) -> np.ndarray:
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        exponentials /= exponentials.sum(axis=1, keepdims=True)
        return exponentials

    def cross_entropy(self, probabilities: np.ndarray, labels: np.ndarray) -> float:
        """Returns the sum of -log(probability of the label) over the pixels; labels (N, H, W) uint8, 255 ignored."""
        valid = labels != IGNORED
        of_label = np.take_along_axis(probabilities, np.where(valid, labels, 0)[:, None], axis=1)[:, 0]
        return float(-np.log(np.maximum(of_label[valid], _SMALLEST)).sum(dtype=np.float64))

    def divide(self, total: np.ndarray, divisor: np.ndarray) -> np.ndarray:
        return total / divisor

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Returns the index of the largest class: (N, H, W) uint8 on the host."""
        return values.argmax(axis=1).astype(np.uint8)


class DeviceLogits:
    """Logits in tensors on the device, with the same operations as `HostLogits`."""

    def take(self, logits: Tensor) -> Tensor:
        return logits

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        return ops.zeros(shape, ms.float32)

    def mirror(self, logits: Tensor, order: list[int]) -> Tensor:
        logits = ops.flip(logits, (3,))
        return logits if order == sorted(order) else ops.gather(logits, Tensor(order, ms.int32), 1)

    def softmax(self, logits: Tensor) -> Tensor:
        return ops.softmax(logits, axis=1)

    def cross_entropy(self, probabilities: Tensor, labels: np.ndarray) -> float:
        valid = labels != IGNORED
        index = Tensor(np.where(valid, labels, 0).astype(np.int32)).expand_dims(1)
        of_label = ops.gather_elements(probabilities, 1, index).squeeze(1)
        loss = -ops.log(ops.maximum(of_label, Tensor(_SMALLEST))) * Tensor(valid.astype(np.float32))
        return float(loss.sum(axis=2).asnumpy().sum(dtype=np.float64))  # of rows: see `ClassesAndLoss`

    def divide(self, total: Tensor, divisor: np.ndarray) -> Tensor:
        return total / Tensor(divisor)

    def largest(self, values: Tensor) -> np.ndarray:
        return ops.cast(ops.Argmax(axis=1, output_type=ms.int32)(values), ms.uint8).asnumpy()
