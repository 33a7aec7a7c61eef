"""Pixel-wise cross entropy, focal, Dice and Lovász losses, and the OCRNet training loss."""

import numpy as np
from mindspore import Tensor, float32, int32, nn, ops

from ocrnet.config import LossConfig, OHEMConfig
from ocrnet.distributed.collectives import MeanOverRanks
from ocrnet.formats.label_values import IGNORED
from ocrnet.models.resize import resize


class WeightedNLL(nn.Cell):
    """Sum over pixels of weight * -log softmax(logits)[label], with an explicit gradient.

    MindSpore's automatic gradient scatters into the image and transposes it: five times slower on a CPU.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.channels = Tensor(np.arange(num_classes).reshape(1, num_classes, 1, 1), int32)

    def construct(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """(N, K, H, W) float32, (N, H, W) int32 in 0 .. K - 1, (N, H, W) float32 to a scalar."""
        log_probabilities = ops.gather_elements(ops.log_softmax(logits, axis=1), 1, labels.expand_dims(1))
        return -(log_probabilities.squeeze(1) * weights).sum()

    def bprop(self, logits: Tensor, labels: Tensor, weights: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
        """Gradient of the logits: weight * (softmax - one-hot). Labels and weights get no gradient."""
        # exp(log_softmax) instead of softmax: on a CPU softmax is ten times slower along axis 1
        error = ops.exp(ops.log_softmax(logits, axis=1)) - (labels.expand_dims(1) == self.channels).astype(logits.dtype)
        return error * (weights * dout).expand_dims(1), ops.zeros_like(labels), ops.zeros_like(weights)


class FocalNLL(WeightedNLL):
    """Sum over pixels of weight * -(1 - p)^gamma * log p, p the softmax of the label, with an explicit gradient.

    The focal loss of Lin et al., 2017 (equation 5) for several classes; the weights are its alpha.
    """

    def __init__(self, num_classes: int, gamma: float) -> None:
        super().__init__(num_classes)
        self.gamma = gamma

    def construct(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """As WeightedNLL."""
        log_p = ops.gather_elements(ops.log_softmax(logits, axis=1), 1, labels.expand_dims(1)).squeeze(1)
        return -(ops.pow(self._missing(log_p), self.gamma) * log_p * weights).sum()

    def _missing(self, log_p: Tensor) -> Tensor:
        """Returns 1 - p, not below 0 for a log p that rounding made positive."""
        return ops.maximum(1 - ops.exp(log_p), Tensor(0.0, float32))

    def bprop(self, logits: Tensor, labels: Tensor, weights: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
        """Gradient of the logits: that of WeightedNLL times (1 - p)^gamma * (1 - gamma * p * log(p) / (1 - p)).

        For p = 1 the quotient has the limit -1, but the power is 0; so any finite value will do.
        """
        log_softmax = ops.log_softmax(logits, axis=1)
        log_p = ops.gather_elements(log_softmax, 1, labels.expand_dims(1)).squeeze(1)
        missing = self._missing(log_p)
        quotient = log_p / ops.maximum(missing, Tensor(1e-7, float32))
        factor = ops.pow(missing, self.gamma) * (1 - self.gamma * ops.exp(log_p) * quotient)
        error = ops.exp(log_softmax) - (labels.expand_dims(1) == self.channels).astype(logits.dtype)
        return error * (weights * factor * dout).expand_dims(1), ops.zeros_like(labels), ops.zeros_like(weights)


class SoftTargetNLL(nn.Cell):
    """Sum over pixels and classes of target * -log softmax(logits), with an explicit gradient."""

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(N, K, H, W) float32, twice, to a scalar."""
        return -(ops.log_softmax(logits, axis=1) * targets).sum()

    def bprop(self, logits: Tensor, targets: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
        """Gradient of the logits: softmax * sum of the targets - targets. The targets get no gradient."""
        softmax = ops.exp(ops.log_softmax(logits, axis=1))
        return (softmax * targets.sum(1, keepdims=True) - targets) * dout, ops.zeros_like(targets)


class CrossEntropy(nn.Cell):
    """Pixel-wise cross entropy; label 255 is ignored.

    Args:
        num_classes: channels of the logits.
        class_weights: weight of each class; empty: all 1.
        average: "valid" divides by the (weighted) pixels that are not ignored, as PyTorch's mean does;
            "all" by every pixel, as mmsegmentation does (`avg_non_ignore=False`). The mean is over the pixels of all
            ranks, so it does not depend on how the ranks split a batch.
        smoothing: label smoothing as PyTorch defines it, with the class weights: the target of class c is
            (1 - smoothing) * weight of c if c is the label, plus smoothing / classes * weight of c. The mean divides by
            the same number as without.
        gamma: exponent of the focal loss; 0: cross entropy.
    """

    def __init__(
        self,
        num_classes: int,
        class_weights: list[float] | tuple = (),
        average: str = "valid",
        smoothing: float = 0.0,
        gamma: float = 0.0,
    ) -> None:
        super().__init__()
        weights = np.zeros(IGNORED + 1, np.float32)
        weights[:num_classes] = list(class_weights) or 1.0
        self.weights = Tensor(weights)
        self.average = average
        self.smoothing = smoothing
        self.mean_over_ranks = MeanOverRanks()
        self.nll = FocalNLL(num_classes, gamma) if gamma else WeightedNLL(num_classes)
        if smoothing:
            self.spread = Tensor(smoothing / num_classes * weights[:num_classes].reshape(1, num_classes, 1, 1))
            self.soft_nll = SoftTargetNLL()

    def total(self, logits: Tensor, classes: Tensor, weights: Tensor, counted: Tensor) -> Tensor:
        """Returns the sum of the loss over the pixels that count.

        Args:
            logits: (N, K, H, W) float32.
            classes: (N, H, W) int32 in 0 .. K - 1.
            weights: (N, H, W) float32, the weight of each pixel's class; 0 where it does not count.
            counted: (N, H, W), bool or 0 and 1.
        """
        if self.smoothing == 0:
            return self.nll(logits, classes, weights)
        target = (classes.expand_dims(1) == self.nll.channels).astype(float32) * weights.expand_dims(1)
        spread = self.spread * counted.expand_dims(1).astype(float32)
        return self.soft_nll(logits, (1 - self.smoothing) * target + spread)

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, classes, H, W) float32 and (N, H, W) int32 to a scalar."""
        weights = self.weights[labels]
        classes = ops.where(labels == IGNORED, 0, labels).astype(int32)
        total = self.total(logits, classes, weights, labels != IGNORED)
        if self.average == "all":
            return total / labels.size
        # a batch without a valid pixel has loss 0
        return total / ops.maximum(self.mean_over_ranks(weights.sum()), Tensor(1e-6, float32))


_ONE = 2.0**30


def _fixed_point(values: Tensor) -> Tensor:
    """Float32 in -1.5 .. 1.5 to int32 for `ops.sort`: MindSpore documents that sorting float32 may lose accuracy.

    Exact for values of 2**-7 and more, else to 2**-30.
    """
    return (values * _ONE).astype(int32)


class OHEMCrossEntropy(nn.Cell):
    """Mean cross entropy over the hard pixels: online hard example mining (Shrivastava et al., 2016).

    As in HRNet-OCR: sort the labelled pixels by the probability of their class. Hard pixels are those below
    max(`threshold`, the probability at index `keep`). With fewer pixels, the last index replaces `keep`. Label
    smoothing changes the loss of the hard pixels, not which pixels are hard.
    """

    def __init__(
        self, num_classes: int, config: OHEMConfig, class_weights: list[float] | tuple = (), smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.cross_entropy = CrossEntropy(num_classes, class_weights, smoothing=smoothing)
        self.threshold = config.threshold
        self.keep = config.keep

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, classes, H, W) float32 and (N, H, W) int32 to a scalar."""
        valid = labels != IGNORED
        classes = ops.where(valid, labels, 0).astype(int32)
        log_probabilities = ops.gather_elements(ops.log_softmax(logits, axis=1), 1, classes.expand_dims(1)).squeeze(1)
        probabilities = ops.stop_gradient(ops.where(valid, ops.exp(log_probabilities), 1.5))  # ignored pixels sort last
        index = ops.clamp(valid.astype(int32).sum() - 1, 0, self.keep)
        at_index = ops.sort(_fixed_point(probabilities.reshape(-1)))[0][index].astype(float32) / _ONE
        threshold = ops.maximum(at_index, Tensor(self.threshold, float32))
        hard = ops.logical_and(valid, probabilities < threshold).astype(float32)
        weights = self.cross_entropy.weights[labels] * hard
        return self.cross_entropy.total(logits, classes, weights, hard) / ops.maximum(
            self.cross_entropy.mean_over_ranks(hard.sum()), Tensor(1.0, float32)
        )


class SoftmaxGradient(nn.Cell):
    """Backpropagates a known gradient with respect to the softmax to the logits."""

    def construct(self, logits: Tensor, probabilities: Tensor, value: Tensor, grad: Tensor) -> Tensor:
        """Returns the scalar `value`. `logits` (N, K, H, W), their softmax, and `grad`, its gradient by the softmax."""
        return value

    def bprop(
        self, logits: Tensor, probabilities: Tensor, value: Tensor, grad: Tensor, out: Tensor, dout: Tensor
    ) -> tuple[Tensor, ...]:
        """Gradient of the logits. The other inputs are constants."""
        gradient = probabilities * (grad - (probabilities * grad).sum(1, keepdims=True))
        return gradient * dout, ops.zeros_like(probabilities), ops.zeros_like(value), ops.zeros_like(grad)


class DiceLovaszLoss(nn.Cell):
    """dice * Dice loss + lovasz * Lovász-softmax loss, over the labelled pixels of a device and the classes present.

    Dice (Milletari et al., 2016, without the squares): 1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1), p the probability
    of a class and y its pixels. Lovász-softmax (Berman et al., 2018, equation 9): the errors |y - p| in descending
    order, each times the increase of the Jaccard loss by its pixel. Both are means over the classes.
    """

    def __init__(self, num_classes: int, dice: float, lovasz: float) -> None:
        super().__init__()
        self.channels = Tensor(np.arange(num_classes).reshape(1, num_classes, 1, 1), int32)
        self.dice, self.lovasz = dice, lovasz
        self.through_softmax = SoftmaxGradient()

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, classes, H, W) float32 and (N, H, W) int32 to a scalar."""
        probabilities = ops.stop_gradient(ops.exp(ops.log_softmax(logits, axis=1)))
        labels = labels.expand_dims(1)
        valid = (labels != IGNORED).astype(float32)
        target = (labels == self.channels).astype(float32)
        sizes = target.sum((0, 2, 3), keepdims=True)
        share = (sizes > 0).astype(float32)
        share = share / ops.maximum(share.sum(), Tensor(1.0, float32))  # weight of each class in the mean
        value, grad = Tensor(0.0, float32), ops.zeros_like(probabilities)
        if self.dice > 0:
            numerator = 2 * (probabilities * target).sum((0, 2, 3), keepdims=True) + 1
            denominator = (probabilities * valid).sum((0, 2, 3), keepdims=True) + sizes + 1
            value = value + self.dice * (share * (1 - numerator / denominator)).sum()
            grad = grad + self.dice * share * valid * (numerator / denominator - 2 * target) / denominator
        if self.lovasz > 0:
            signs = 1 - 2 * target
            errors = target + probabilities * signs
            weights = lovasz_weights(errors, target, valid, sizes) * valid * share
            value = value + self.lovasz * (weights * errors).sum()
            grad = grad + self.lovasz * weights * signs
        return self.through_softmax(logits, probabilities, ops.stop_gradient(value), ops.stop_gradient(grad))


def lovasz_weights(errors: Tensor, target: Tensor, valid: Tensor, sizes: Tensor) -> Tensor:
    """Returns (N, K, H, W): the increase of the Jaccard loss of a class by each pixel, in descending order of errors.

    Args:
        errors: (N, K, H, W) |y - p|.
        target: (N, K, H, W) y.
        valid: (N, 1, H, W) 0 where the label is ignored, else 1. Ignored pixels sort last and do not affect the others.
        sizes: (1, K, 1, 1) pixels of each class.
    """
    batch, classes, height, width = errors.shape
    rows = (classes, batch * height * width)
    sortable = _fixed_point(ops.where(valid > 0, errors, -1.0).swapaxes(0, 1).reshape(rows))
    order = ops.sort(sortable, 1, True)[1]
    missed = ops.gather_elements(target.swapaxes(0, 1).reshape(rows), 1, order)
    sizes = sizes.reshape(classes, 1)
    intersection = sizes - ops.cumsum(missed, 1)
    union = sizes + ops.cumsum(1 - missed, 1)
    # a false negative takes 1 from the intersection, a false positive adds 1 to the union: differences in closed form,
    # without cancellation
    steps = ops.where(missed > 0, 1 / union, intersection / (union * ops.maximum(union - 1, Tensor(1.0, float32))))
    weights = ops.tensor_scatter_elements(ops.zeros_like(steps), order, steps, 1)
    return weights.reshape(classes, batch, height, width).swapaxes(0, 1)


class OCRLoss(nn.Cell):
    """A network and its loss: main loss + auxiliary_weight * auxiliary cross entropy.

    The main loss is cross entropy (with OHEM over the hard pixels only) or focal loss, plus the optional Dice and
    Lovász losses.
    """

    def __init__(self, network: nn.Cell, config: LossConfig, num_classes: int, align_corners: bool) -> None:
        super().__init__(auto_prefix=False)  # parameters keep the network's names
        self.network = network
        weights, smoothing = config.class_weights, config.label_smoothing
        self.cross_entropy = CrossEntropy(num_classes, weights, config.average, smoothing)
        self.main_cross_entropy = self.cross_entropy
        if config.ohem:
            self.main_cross_entropy = OHEMCrossEntropy(num_classes, config.ohem, weights, smoothing)
        elif config.focal:
            self.main_cross_entropy = CrossEntropy(num_classes, weights, config.average, gamma=config.focal)
        self.region_loss = (
            DiceLovaszLoss(num_classes, config.dice, config.lovasz) if config.dice or config.lovasz else None
        )
        self.auxiliary_weight = config.auxiliary_weight
        self.align_corners = align_corners

    def construct(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) and (N, H, W) to (loss, main loss, auxiliary loss)."""
        size = labels.shape[1:]
        main, auxiliary = self.network(images)
        main = resize(main, size, "bilinear", self.align_corners)
        main_loss = self.main_cross_entropy(main, labels)
        if self.region_loss is not None:
            main_loss = main_loss + self.region_loss(main, labels)
        auxiliary_loss = self.cross_entropy(resize(auxiliary, size, "bilinear", self.align_corners), labels)
        return main_loss + self.auxiliary_weight * auxiliary_loss, main_loss, auxiliary_loss
