"""The loss against its definition in float64 NumPy."""

import numpy as np
import pytest
from mindspore import Tensor, ops

from ocrnet.losses import CrossEntropy

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
