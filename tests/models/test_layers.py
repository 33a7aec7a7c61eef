import numpy as np
import pytest
from mindspore import Tensor, float16, ops

from ocrnet.models.layers import Dropout2d, MultiScaleConv2d, draw_dropout, has_matrices, resize


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("size", "to"), [((4, 8), (16, 32)), ((5, 7), (33, 20)), ((12, 9), (5, 4)), ((1, 3), (4, 1))])
def test_bilinear_resize_and_its_gradient_match_mindspore(size, to, align_corners):
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


@pytest.mark.parametrize(
    ("size", "factor", "to"), [((7, 8), 2, (13, 16)), ((3, 1), 8, (17, 3)), ((1, 4), 4, (1, 15)), ((5, 3), 4, (18, 10))]
)
def test_a_factor_upsamples_first_and_then_resizes(size, factor, to):
    x = Tensor(np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32))
    weight = Tensor(np.random.default_rng(1).normal(size=(2, 3, *to)).astype(np.float32))
    upsampled = tuple(side * factor for side in size)

    def ours(x):
        resized = resize(x, to, factor=factor)
        return (resized * weight).sum(), resized

    def two_steps(x):
        resized = ops.interpolate(ops.interpolate(x, size=upsampled, mode="bilinear"), size=to, mode="bilinear")
        return (resized * weight).sum(), resized

    (_, found), gradient = ops.value_and_grad(ours, has_aux=True)(x)
    (_, expected), expected_gradient = ops.value_and_grad(two_steps, has_aux=True)(x)
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), atol=2e-6)
    np.testing.assert_allclose(gradient.asnumpy(), expected_gradient.asnumpy(), atol=2e-5)
    assert np.abs(found.asnumpy() - resize(x, to).asnumpy()).max() > 0.02  # one resize gives another result
    half = resize(x.astype(float16), to, factor=factor)
    assert half.dtype == float16
    np.testing.assert_allclose(half.asnumpy(), expected.asnumpy(), atol=5e-3)


def test_a_factor_is_bitwise_identical_for_exact_multiples():
    x = Tensor(np.random.default_rng(0).normal(size=(1, 3, 16, 24)).astype(np.float32))
    for factor in (2, 4, 8):
        to = (16 * factor, 24 * factor)
        np.testing.assert_array_equal(resize(x, to, factor=factor).asnumpy(), resize(x, to).asnumpy())


@pytest.mark.parametrize(("factor", "to"), [(1, 9_999), (2, 9_999), (1, 20_000)])
def test_wide_images_are_resized_without_matrices(monkeypatch, factor, to):
    """A width of 70,000 pixels took 10 GB and minutes with matrices."""
    x = Tensor(np.random.default_rng(0).normal(size=(1, 2, 2, 5_000)).astype(np.float32))
    expected = resize(x, (4, to), factor=factor).asnumpy()
    monkeypatch.setattr("ocrnet.models.layers._MAX_MATRIX_SIZE", 2**24)
    monkeypatch.setattr("ocrnet.models.layers._interpolation", None)
    np.testing.assert_allclose(resize(x, (4, to), factor=factor).asnumpy(), expected, atol=2e-3)
    assert resize(x.astype(float16), (4, to), factor=factor).dtype == float16


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(
    "sizes", [[(8, 12), (4, 6), (2, 3), (1, 2)], [(13, 9), (7, 5), (4, 3), (2, 2)], [(2, 2), (1, 1)]]
)
def test_a_convolution_of_maps_equals_the_one_of_their_resized_concatenation(sizes, kernel, align_corners):
    rng = np.random.default_rng(0)
    maps = [Tensor(rng.normal(size=(2, 3 + i, *size)).astype(np.float32)) for i, size in enumerate(sizes)]
    weight = Tensor(rng.normal(size=(2, 5, *sizes[0])).astype(np.float32))
    convolution = MultiScaleConv2d(
        sum(x.shape[1] for x in maps), 5, kernel, pad_mode="pad", padding=kernel // 2, has_bias=True,
        bias_init="normal", align_corners=align_corners,
    )  # fmt: skip

    def separate(*maps):
        out = convolution(list(maps))
        return (out * weight).sum(), out

    def joined(*maps):
        resized = [ops.interpolate(x, size=sizes[0], mode="bilinear", align_corners=align_corners) for x in maps]
        out = convolution(ops.cat(resized, axis=1))
        return (out * weight).sum(), out

    places, parameters = tuple(range(len(maps))), convolution.trainable_params()
    (_, found), gradients = ops.value_and_grad(separate, places, parameters, has_aux=True)(*maps)
    (_, expected), expected_gradients = ops.value_and_grad(joined, places, parameters, has_aux=True)(*maps)
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), atol=1e-5)
    assert [len(part) for part in gradients] == [len(maps), 2]
    for some, others in zip(gradients, expected_gradients, strict=True):
        for gradient, other in zip(some, others, strict=True):
            np.testing.assert_allclose(gradient.asnumpy(), other.asnumpy(), atol=5e-5)


def test_large_images_have_no_matrices():
    assert has_matrices((1, 3, 1024, 2048)) and not has_matrices((1, 3, 64, 70_000))


def test_nearest_resize_matches_mindspore_labs_operator():
    for fine in range(1, 90):
        for halvings in (1, 2, 3):
            coarse = -(-fine // 2**halvings)
            x = Tensor(np.arange(coarse * coarse, dtype=np.float32).reshape(1, 1, coarse, coarse))
            expected = ops.ResizeNearestNeighbor((fine, fine))(x).asnumpy()
            np.testing.assert_array_equal(resize(x, (fine, fine), "nearest").asnumpy(), expected)


def test_nearest_repeats_pixels():
    x = Tensor(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2))
    assert resize(x, (4, 4), "nearest").asnumpy()[0, 0, :, 0].tolist() == [0, 0, 2, 2]


def test_dropout_depends_on_the_sample_number_and_drops_whole_channels():
    layer = Dropout2d(0.25, 400, "test.dropout")
    images = Tensor(np.ones((2, 400, 3, 5), np.float32))

    def step(*samples: int, seed: int = 7) -> np.ndarray:
        draw_dropout([layer], seed, range(samples[0], samples[-1] + 1))
        return layer(images).asnumpy()

    layer.set_train(True)
    first = step(10, 11)
    assert np.all((first == 0) | np.isclose(first, 1 / 0.75)) and np.all(first == first[:, :, :1, :1])
    assert np.mean(first == 0) == pytest.approx(0.25, abs=0.06)
    np.testing.assert_array_equal(step(11, 12)[0], first[1])  # at any position in the batch
    assert not np.array_equal(step(12, 13), first) and not np.array_equal(step(10, 11, seed=8), first)
    assert not layer.parameters_dict()  # not in checkpoints
    layer.set_train(False)
    np.testing.assert_array_equal(layer(images).asnumpy(), images.asnumpy())
