"""The loss against its definition in float64 NumPy."""

from itertools import pairwise

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from ocrnet.config import LossConfig, OHEMConfig
from ocrnet.training.losses import CrossEntropy, DiceLovaszLoss, OCRLoss, OHEMCrossEntropy

WEIGHTS = [1.0, 0.5, 2.0]


def example():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    labels = rng.integers(0, 3, (2, 4, 5)).astype(np.int32)
    labels[:, 1] = 255
    return logits, labels


def definition(logits, labels, weights, average):
    """Loss and its gradient, pixel by pixel."""
    logits = logits.astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    total, norm, gradient = 0.0, 0.0, np.zeros_like(logits)
    for n, y, x in np.ndindex(labels.shape):
        label = labels[n, y, x]
        if label != 255:
            total -= weights[label] * np.log(softmax[n, label, y, x])
            norm += weights[label]
            gradient[n, :, y, x] = weights[label] * (softmax[n, :, y, x] - (np.arange(3) == label))
    norm = labels.size if average == "all" else norm
    return total / norm, gradient / norm


@pytest.mark.parametrize("average", ["valid", "all"])
@pytest.mark.parametrize("weights", [[], WEIGHTS])
def test_value_and_gradient_equal_the_definition(average, weights):
    logits, labels = example()
    loss = CrossEntropy(3, weights, average)
    value, gradient = ops.value_and_grad(loss, 0)(Tensor(logits), Tensor(labels))
    expected, expected_gradient = definition(logits, labels, weights or [1.0] * 3, average)
    assert value.asnumpy().item() == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient.asnumpy(), expected_gradient, rtol=1e-4, atol=1e-6)


def smoothed_definition(logits, labels, weights, average, smoothing):
    """PyTorch's label smoothing: value and gradient, pixel by pixel."""
    logits, classes = logits.astype(np.float64), np.arange(3)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    total, norm, gradient = 0.0, 0.0, np.zeros_like(logits)
    for n, y, x in np.ndindex(labels.shape):
        label = labels[n, y, x]
        if label != 255:
            target = np.array(weights) * ((1 - smoothing) * (classes == label) + smoothing / 3)
            total -= target @ np.log(softmax[n, :, y, x])
            norm += weights[label]
            gradient[n, :, y, x] = target.sum() * softmax[n, :, y, x] - target
    norm = labels.size if average == "all" else norm
    return total / norm, gradient / norm


@pytest.mark.parametrize("average", ["valid", "all"])
@pytest.mark.parametrize("weights", [[], WEIGHTS, [0.0, 0.5, 2.0]])
def test_label_smoothing_is_that_of_pytorch(average, weights):
    logits, labels = example()
    loss = CrossEntropy(3, weights, average, smoothing=0.1)
    value, gradient = ops.value_and_grad(loss, 0)(Tensor(logits), Tensor(labels))
    expected, expected_gradient = smoothed_definition(logits, labels, weights or [1.0] * 3, average, 0.1)
    assert value.asnumpy().item() == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient.asnumpy(), expected_gradient, rtol=1e-5, atol=1e-7)
    # torch 2.13: cross_entropy(logits, labels, weight=weights, ignore_index=255, label_smoothing=0.1), float64
    known = {0: (1.4384079720534986, 0.015342795788811722), 1: (1.352673744110852, 0.02535461981700638)}
    if average == "valid" and weights in ([], WEIGHTS):
        torch_value, torch_gradient = known[len(weights) // 3]
        assert value.asnumpy().item() == pytest.approx(torch_value, rel=1e-6)
        assert gradient.asnumpy()[0, 0, 0, 0] == pytest.approx(torch_gradient, rel=1e-5)


def test_label_smoothing_applies_to_the_hard_pixels_and_to_both_losses():
    logits, labels = example()
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    hard = np.take_along_axis(softmax, np.where(labels == 255, 0, labels)[:, None], 1)[:, 0] < 0.4
    kept = np.where(hard, labels, 255)
    total, gradient = smoothed_definition(logits, kept, WEIGHTS, "all", 0.2)
    cell = OHEMCrossEntropy(3, OHEMConfig(threshold=0.4, keep=0), WEIGHTS, smoothing=0.2)
    value, measured = ops.value_and_grad(cell, 0)(Tensor(logits), Tensor(labels))
    scale = kept.size / (kept != 255).sum()
    assert value.asnumpy().item() == pytest.approx(total * scale, rel=1e-5)
    np.testing.assert_allclose(measured.asnumpy(), gradient * scale, rtol=1e-5, atol=1e-7)
    both = OCRLoss(Logits(), LossConfig(class_weights=WEIGHTS, label_smoothing=0.2), 3, False)
    _, main, auxiliary = both(Tensor(logits), Tensor(labels))
    for found, scale in ((main, 1), (auxiliary, 0.5)):
        expected, _ = smoothed_definition(scale * logits, labels, WEIGHTS, "valid", 0.2)
        assert found.asnumpy().item() == pytest.approx(expected, rel=1e-6)


def focal_definition(logits, labels, weights, average, gamma):
    """Value and gradient, pixel by pixel; the gradient by the derivative of the loss by p."""
    logits = logits.astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    total, norm, gradient = 0.0, 0.0, np.zeros_like(logits)
    for n, y, x in np.ndindex(labels.shape):
        label = labels[n, y, x]
        if label != 255:
            p = softmax[n, label, y, x]
            total -= weights[label] * (1 - p) ** gamma * np.log(p)
            norm += weights[label]
            by_p = gamma * (1 - p) ** (gamma - 1) * np.log(p) - (1 - p) ** gamma / p
            gradient[n, :, y, x] = weights[label] * by_p * p * ((np.arange(3) == label) - softmax[n, :, y, x])
    norm = labels.size if average == "all" else norm
    return total / norm, gradient / norm


@pytest.mark.parametrize("average", ["valid", "all"])
@pytest.mark.parametrize("weights", [[], WEIGHTS])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_and_its_gradient_equal_the_definition(gamma, weights, average):
    logits, labels = example()
    loss = CrossEntropy(3, weights, average, gamma=gamma)
    value, gradient = ops.value_and_grad(loss, 0)(Tensor(logits), Tensor(labels))
    expected, expected_gradient = focal_definition(logits, labels, weights or [1.0] * 3, average, gamma)
    assert value.asnumpy().item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient.asnumpy(), expected_gradient, rtol=1e-5, atol=1e-7)
    config = LossConfig(class_weights=weights, average=average, focal=gamma)
    _, main, auxiliary = OCRLoss(Logits(), config, 3, False)(Tensor(logits), Tensor(labels))
    assert main.asnumpy() == value.asnumpy()
    plain, _ = definition(0.5 * logits, labels, weights or [1.0] * 3, average)
    assert auxiliary.asnumpy().item() == pytest.approx(plain, rel=1e-6)  # cross entropy


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_is_finite_for_probabilities_of_0_and_1(gamma):
    scores = np.array([1000.0, 20.0, 1.0, -20.0, -1000.0], np.float32)  # of the label; the other two classes have 0
    logits = np.zeros((1, 3, 1, 5), np.float32)
    logits[0, 1, 0] = scores
    labels = np.ones((1, 1, 5), np.int32)
    value, gradient = ops.value_and_grad(CrossEntropy(3, gamma=gamma), 0)(Tensor(logits), Tensor(labels))
    x = scores.astype(np.float64)
    log_p = -np.logaddexp(0, np.log(2) - x)
    missing = np.exp(-np.logaddexp(0, x - np.log(2)))  # 1 - p without cancellation
    p = np.exp(log_p)
    assert value.asnumpy().item() == pytest.approx(np.mean(-(missing**gamma) * log_p), rel=1e-5)
    quotient = np.divide(log_p, missing, out=np.full(5, -1.0), where=missing > 0)
    of_label = -(missing ** (gamma + 1)) * (1 - gamma * p * quotient) / 5
    np.testing.assert_allclose(gradient.asnumpy()[0, 1, 0], of_label, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("options", [{"smoothing": 0.1}, {"gamma": 2.0}])
def test_graph_mode_gives_the_same_value_and_gradient(options):
    logits, labels = map(Tensor, example())
    value, gradient = ops.value_and_grad(CrossEntropy(3, WEIGHTS, **options), 0)(logits, labels)
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        compiled, its_gradient = ops.value_and_grad(CrossEntropy(3, WEIGHTS, **options), 0)(logits, labels)
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    assert compiled.asnumpy() == pytest.approx(value.asnumpy(), rel=1e-6)
    np.testing.assert_allclose(its_gradient.asnumpy(), gradient.asnumpy(), rtol=1e-6, atol=1e-8)


def test_focal_loss_excludes_ohem_and_label_smoothing():
    for other in ({"ohem": {}}, {"label_smoothing": 0.1}):
        with pytest.raises(ValueError, match=f"loss.focal, loss.{next(iter(other))}: .* Keep one of them"):
            LossConfig(focal=2.0, **other)


def test_a_batch_without_labelled_pixels_has_zero_loss():
    logits, labels = example()
    for loss in (CrossEntropy(3), CrossEntropy(3, smoothing=0.1), CrossEntropy(3, gamma=2.0)):
        value, gradient = ops.value_and_grad(loss, 0)(Tensor(logits), Tensor(np.full_like(labels, 255)))
        assert value.asnumpy() == 0 and not gradient.asnumpy().any()


@pytest.mark.parametrize("weights", [[], WEIGHTS])
@pytest.mark.parametrize(("threshold", "keep"), [(0.4, 5), (0.4, 20), (0.9, 5), (0.05, 0), (0.05, 1000)])
def test_ohem_selects_the_pixels_of_hrnet_ocr(threshold, keep, weights):
    logits, labels = example()
    softmax = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(1, keepdims=True)
    pixels = [(n, labels[n, y, x], y, x) for n, y, x in np.ndindex(labels.shape) if labels[n, y, x] != 255]
    probabilities = sorted(softmax[pixel] for pixel in pixels)
    bound = max(threshold, probabilities[min(keep, len(pixels) - 1)])
    hard = [pixel for pixel in pixels if softmax[pixel] < bound]
    factors = weights or [1.0] * 3
    loss, gradient = 0.0, np.zeros_like(softmax)
    for n, label, y, x in hard:
        loss -= factors[label] * np.log(softmax[n, label, y, x])
        gradient[n, :, y, x] = factors[label] * (softmax[n, :, y, x] - (np.arange(3) == label))
    cell = OHEMCrossEntropy(3, OHEMConfig(threshold=threshold, keep=keep), weights)
    value, measured = ops.value_and_grad(cell, 0)(Tensor(logits), Tensor(labels))
    assert value.asnumpy().item() == pytest.approx(loss / max(1, len(hard)), rel=1e-5)
    np.testing.assert_allclose(measured.asnumpy(), gradient / max(1, len(hard)), rtol=1e-4, atol=1e-6)


def test_ohem_of_a_batch_without_labelled_pixels_is_zero():
    logits, labels = example()
    cell = OHEMCrossEntropy(3, OHEMConfig())
    value, gradient = ops.value_and_grad(cell, 0)(Tensor(logits), Tensor(np.full_like(labels, 255)))
    assert value.asnumpy() == 0 and not gradient.asnumpy().any()


def jaccard_losses(wrong, target):
    """Jaccard loss of a class when the pixels in `wrong` (bool) are predicted wrongly, by counting."""
    predicted = target ^ wrong
    union = (predicted | target).sum()
    return 1 - (predicted & target).sum() / union if union else 0.0


def region_definition(logits, labels, dice, lovasz):
    """Both losses in float64; Lovász as the integral over a threshold of the Jaccard loss of the larger errors."""
    logits = logits.astype(np.float64)
    softmax = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).transpose(1, 0, 2, 3)
    valid = labels != 255
    losses = []
    for label in np.unique(labels[valid]):
        probabilities, target = softmax[label][valid], labels[valid] == label
        errors = np.abs(target - probabilities)
        bounds = np.concatenate([[0], np.sort(errors)])
        area = sum((high - low) * jaccard_losses(errors > low, target) for low, high in pairwise(bounds))
        losses.append(
            dice * (1 - (2 * probabilities[target].sum() + 1) / (probabilities.sum() + target.sum() + 1))
            + lovasz * area
        )
    return np.mean(losses)


@pytest.mark.parametrize(("dice", "lovasz"), [(1, 0), (0, 1), (0.5, 2)])
def test_region_losses_and_their_gradients_equal_the_definition(dice, lovasz):
    logits, labels = example()
    labels[labels == 2] = 0  # a class that does not occur does not count
    value, gradient = ops.value_and_grad(DiceLovaszLoss(3, dice, lovasz), 0)(Tensor(logits), Tensor(labels))
    assert value.asnumpy().item() == pytest.approx(region_definition(logits, labels, dice, lovasz), rel=1e-5)
    expected = np.zeros_like(logits, np.float64)
    for place in np.ndindex(logits.shape):
        ends = []
        for step in (1e-5, -1e-5):
            moved = logits.astype(np.float64)
            moved[place] += step
            ends.append(region_definition(moved, labels, dice, lovasz))
        expected[place] = (ends[0] - ends[1]) / 2e-5
    assert np.abs(expected).max() > 0.005 and not expected[:, :, 1].any()  # the ignored row
    np.testing.assert_allclose(gradient.asnumpy(), expected, atol=2e-6)


def test_region_losses_are_zero_without_labelled_pixels_and_for_perfect_predictions():
    logits, labels = example()
    value, gradient = ops.value_and_grad(DiceLovaszLoss(3, 1, 1), 0)(Tensor(logits), Tensor(np.full_like(labels, 255)))
    assert value.asnumpy() == 0 and not gradient.asnumpy().any()
    sure = 50 * (labels[:, None] == np.arange(3).reshape(1, 3, 1, 1)).astype(np.float32)
    assert DiceLovaszLoss(3, 1, 1)(Tensor(sure), Tensor(labels)).asnumpy() == pytest.approx(0, abs=1e-5)


class Logits(nn.Cell):
    def construct(self, images):
        return images, 0.5 * images


def test_the_main_losses_add_up():
    logits, labels = example()
    ohem = OHEMConfig(threshold=0.4, keep=5)
    both = OCRLoss(Logits(), LossConfig(class_weights=WEIGHTS, ohem=ohem, dice=0.5, lovasz=2), 3, False)
    alone = OCRLoss(Logits(), LossConfig(class_weights=WEIGHTS, ohem=ohem), 3, False)
    added = both(Tensor(logits), Tensor(labels))[1].asnumpy() - alone(Tensor(logits), Tensor(labels))[1].asnumpy()
    assert added == pytest.approx(region_definition(logits, labels, 0.5, 2), rel=1e-4)
