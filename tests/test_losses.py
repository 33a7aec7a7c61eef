"""The loss against its definition in float64 NumPy."""

import numpy as np
import pytest
from mindspore import Tensor, ops

from ocrnet.config import OHEMConfig
from ocrnet.losses import CrossEntropy, HardExamples

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


def test_a_batch_without_a_labelled_pixel_costs_nothing():
    logits, labels = example()
    value, gradient = ops.value_and_grad(CrossEntropy(3), 0)(Tensor(logits), Tensor(np.full_like(labels, 255)))
    assert value.asnumpy() == 0 and not gradient.asnumpy().any()


@pytest.mark.parametrize("weights", [[], WEIGHTS])
@pytest.mark.parametrize(("threshold", "keep"), [(0.4, 5), (0.4, 20), (0.9, 5), (0.05, 0), (0.05, 1000)])
def test_hard_examples_are_those_of_hrnet_ocr(threshold, keep, weights):
    logits, labels = example()
    softmax = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(1, keepdims=True)
    pixels = [(n, labels[n, y, x], y, x) for n, y, x in np.ndindex(labels.shape) if labels[n, y, x] != 255]
    likely = sorted(softmax[pixel] for pixel in pixels)
    bound = max(threshold, likely[min(keep, len(pixels) - 1)])
    hard = [pixel for pixel in pixels if softmax[pixel] < bound]
    factors = weights or [1.0] * 3
    loss, gradient = 0.0, np.zeros_like(softmax)
    for n, label, y, x in hard:
        loss -= factors[label] * np.log(softmax[n, label, y, x])
        gradient[n, :, y, x] = factors[label] * (softmax[n, :, y, x] - (np.arange(3) == label))
    cell = HardExamples(3, OHEMConfig(threshold=threshold, keep=keep), weights)
    value, measured = ops.value_and_grad(cell, 0)(Tensor(logits), Tensor(labels))
    assert value.asnumpy().item() == pytest.approx(loss / max(1, len(hard)), rel=1e-5)
    np.testing.assert_allclose(measured.asnumpy(), gradient / max(1, len(hard)), rtol=1e-4, atol=1e-6)


def test_hard_examples_of_a_batch_without_a_labelled_pixel_cost_nothing():
    logits, labels = example()
    cell = HardExamples(3, OHEMConfig())
    value, gradient = ops.value_and_grad(cell, 0)(Tensor(logits), Tensor(np.full_like(labels, 255)))
    assert value.asnumpy() == 0 and not gradient.asnumpy().any()
