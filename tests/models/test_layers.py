import numpy as np
import pytest
from mindspore import Tensor, ops

from ocrnet.models.layers import resize


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("size", "to"), [((4, 8), (16, 32)), ((5, 7), (33, 20)), ((12, 9), (5, 4)), ((1, 3), (4, 1))])
def test_bilinear_resize_and_its_gradient_equal_the_frameworks(size, to, align_corners):
    rng = np.random.default_rng(0)
    x = Tensor(rng.normal(size=(2, 3, *size)).astype(np.float32))
    weight = Tensor(rng.normal(size=(2, 3, *to)).astype(np.float32))

    def ours(x):
        return (resize(x, to, "bilinear", align_corners) * weight).sum()

    def theirs(x):
        return (ops.interpolate(x, size=to, mode="bilinear", align_corners=align_corners) * weight).sum()

    value, gradient = ops.value_and_grad(ours)(x)
    expected, expected_gradient = ops.value_and_grad(theirs)(x)
    assert value.asnumpy().item() == pytest.approx(expected.asnumpy().item(), rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(gradient.asnumpy(), expected_gradient.asnumpy(), atol=2e-5)


def test_nearest_repeats_pixels():
    x = Tensor(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2))
    assert resize(x, (4, 4), "nearest").asnumpy()[0, 0, :, 0].tolist() == [0, 0, 2, 2]
