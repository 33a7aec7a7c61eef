"""Pixel-wise cross entropy and the sum that OCRNet is trained with."""

import numpy as np
from mindspore import Tensor, float32, int32, nn, ops

from ocrnet.collectives import MeanOverRanks
from ocrnet.config import IGNORED, LossConfig, OHEMConfig
from ocrnet.models.layers import resize


class WeightedNLL(nn.Cell):
    """Sum over pixels of weight * -log softmax(logits)[label], with the gradient written down.

    The framework's own gradient scatters into the picture and transposes it: five times slower on a CPU.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.channels = Tensor(np.arange(num_classes).reshape(1, num_classes, 1, 1), int32)

    def construct(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """(N, K, H, W) float32, (N, H, W) int32 in 0 .. K - 1, (N, H, W) float32 to a scalar."""
        picked = ops.gather_elements(ops.log_softmax(logits, axis=1), 1, labels.expand_dims(1))
        return -(picked.squeeze(1) * weights).sum()

    def bprop(self, logits: Tensor, labels: Tensor, weights: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
        """Gradient of the logits: weight * (softmax - one-hot). Labels and weights are data."""
        # exp(log_softmax) and not softmax: on a CPU the latter takes ten times longer along axis 1
        wrong = ops.exp(ops.log_softmax(logits, axis=1)) - (labels.expand_dims(1) == self.channels).astype(logits.dtype)
        return wrong * (weights * dout).expand_dims(1), ops.zeros_like(labels), ops.zeros_like(weights)


class CrossEntropy(nn.Cell):
    """Cross entropy over pixels, label 255 ignored.

    Args:
        num_classes: channels of the logits.
        class_weights: a factor a class; empty: all 1.
        average: "valid" divides by the (weighted) pixels that are not ignored, as PyTorch's mean does;
            "all" by every pixel, as mmsegmentation does (`avg_non_ignore=False`). The mean is over the pixels of all
            ranks, so that it does not depend on how a batch is divided among them.
    """

    def __init__(self, num_classes: int, class_weights: list[float] | tuple = (), average: str = "valid") -> None:
        super().__init__()
        weights = np.zeros(IGNORED + 1, np.float32)
        weights[:num_classes] = list(class_weights) or 1.0
        self.weights = Tensor(weights)
        self.average = average
        self.over_ranks = MeanOverRanks()
        self.nll = WeightedNLL(num_classes)

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, classes, H, W) float32 and (N, H, W) int32 to a scalar."""
        weights = self.weights[labels]
        total = self.nll(logits, ops.where(labels == IGNORED, 0, labels).astype(int32), weights)
        if self.average == "all":
            return total / labels.size
        # a batch without a valid pixel costs nothing
        return total / ops.maximum(self.over_ranks(weights.sum()), Tensor(1e-6, float32))


class HardExamples(nn.Cell):
    """Cross entropy, its mean taken over the hard pixels: online hard example mining (Shrivastava and others, 2016).

    As HRNet-OCR: with the labelled pixels in the order of their class's probability, those below the larger one of
    `threshold` and the probability at place `keep` (counted from 0; the last one if there are fewer).
    """

    def __init__(self, num_classes: int, config: OHEMConfig, class_weights: list[float] | tuple = ()) -> None:
        super().__init__()
        self.cross_entropy = CrossEntropy(num_classes, class_weights)
        self.threshold = config.threshold
        self.keep = config.keep

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, classes, H, W) float32 and (N, H, W) int32 to a scalar."""
        valid = labels != IGNORED
        classes = ops.where(valid, labels, 0).astype(int32)
        log_likely = ops.gather_elements(ops.log_softmax(logits, axis=1), 1, classes.expand_dims(1)).squeeze(1)
        likely = ops.stop_gradient(ops.where(valid, ops.exp(log_likely), 2.0))  # the ignored ones come last
        place = ops.clamp(valid.astype(int32).sum() - 1, 0, self.keep)
        bound = ops.maximum(ops.sort(likely.reshape(-1))[0][place], Tensor(self.threshold, float32))
        hard = ops.logical_and(valid, likely < bound).astype(float32)
        weights = self.cross_entropy.weights[labels] * hard
        return self.cross_entropy.nll(logits, classes, weights) / ops.maximum(
            self.cross_entropy.over_ranks(hard.sum()), Tensor(1.0, float32)
        )


class OCRLoss(nn.Cell):
    """A network and its loss: main cross entropy + auxiliary_weight * auxiliary cross entropy."""

    def __init__(self, network: nn.Cell, config: LossConfig, num_classes: int, align_corners: bool) -> None:
        super().__init__(auto_prefix=False)  # tensors keep the network's own names
        self.network = network
        self.cross_entropy = CrossEntropy(num_classes, config.class_weights, config.average)
        self.main_cross_entropy = self.cross_entropy
        if config.ohem:
            self.main_cross_entropy = HardExamples(num_classes, config.ohem, config.class_weights)
        self.auxiliary_weight = config.auxiliary_weight
        self.align_corners = align_corners

    def construct(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) and (N, H, W) to (loss, main loss, auxiliary loss)."""
        size = labels.shape[1:]
        main, auxiliary = self.network(images)
        main_loss = self.main_cross_entropy(resize(main, size, "bilinear", self.align_corners), labels)
        auxiliary_loss = self.cross_entropy(resize(auxiliary, size, "bilinear", self.align_corners), labels)
        return main_loss + self.auxiliary_weight * auxiliary_loss, main_loss, auxiliary_loss
