"""Bilinear and nearest resize, and the convolution of resized maps."""

import numpy as np
import pytest
from mindspore import GRAPH_MODE, Tensor, float16, float32, nn, ops

from ocrnet.models.resize import convolve_resized, resize
from ocrnet.runtime import device


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
def test_resize_through_another_size(size, factor, to):
    x = Tensor(np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32))
    weight = Tensor(np.random.default_rng(1).normal(size=(2, 3, *to)).astype(np.float32))
    upsampled = tuple(side * factor for side in size)

    def ours(x):
        resized = resize(x, to, through=upsampled)
        return (resized * weight).sum(), resized

    def two_steps(x):
        resized = ops.interpolate(ops.interpolate(x, size=upsampled, mode="bilinear"), size=to, mode="bilinear")
        return (resized * weight).sum(), resized

    (_, found), gradient = ops.value_and_grad(ours, has_aux=True)(x)
    (_, expected), expected_gradient = ops.value_and_grad(two_steps, has_aux=True)(x)
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), atol=2e-6)
    np.testing.assert_allclose(gradient.asnumpy(), expected_gradient.asnumpy(), atol=2e-5)
    assert np.abs(found.asnumpy() - resize(x, to).asnumpy()).max() > 0.02  # one resize gives another result
    half = resize(x.astype(float16), to, through=upsampled)
    assert half.dtype == float16
    np.testing.assert_allclose(half.asnumpy(), expected.asnumpy(), atol=5e-3)


def test_resize_through_its_own_size_is_bitwise_identical():
    x = Tensor(np.random.default_rng(0).normal(size=(1, 3, 16, 24)).astype(np.float32))
    for factor in (2, 4, 8):
        to = (16 * factor, 24 * factor)
        np.testing.assert_array_equal(resize(x, to, through=to).asnumpy(), resize(x, to).asnumpy())


@pytest.mark.parametrize(("through", "to"), [(None, 9_999), ((4, 10_000), 9_999), (None, 20_000)])
def test_wide_images_are_resized_without_matrices(monkeypatch, through, to):
    """A width of 70,000 pixels took 10 GB and minutes with matrices."""
    x = Tensor(np.random.default_rng(0).normal(size=(1, 2, 2, 5_000)).astype(np.float32))
    expected = resize(x, (4, to), through=through).asnumpy()
    monkeypatch.setattr("ocrnet.models.resize.MAX_MATRIX_SIZE", 2**24)
    monkeypatch.setattr("ocrnet.models.resize._resize_matrix", None)
    np.testing.assert_allclose(resize(x, (4, to), through=through).asnumpy(), expected, atol=2e-3)
    assert resize(x.astype(float16), (4, to), through=through).dtype == float16


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


CHANNELS = (3, 4, 5, 6)
SIZES = {
    "multiples of 8": [(16, 24), (8, 12), (4, 6), (2, 3)],
    "odd": [(17, 33), (9, 17), (5, 9), (3, 5)],
    "one pixel": [(8, 1), (4, 1), (2, 1), (1, 1)],
}


class Joined(nn.Cell):
    """Resize, concatenation and convolution; with `first` by `convolve_resized`."""

    def __init__(self, first: int, align_corners: bool, bias: bool = True) -> None:
        super().__init__()
        rng = np.random.default_rng(3)
        weight = Tensor(rng.normal(size=(7, sum(CHANNELS), 3, 3)).astype(np.float32))
        same = dict(pad_mode="pad", padding=1)
        self.convolution = nn.Conv2d(sum(CHANNELS), 7, 3, **same, weight_init=weight, has_bias=bias, bias_init="ones")
        self.first, self.align_corners = first, align_corners

    def construct(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        maps = [a, b, c, d]
        if self.first:
            return convolve_resized(self.convolution, maps, self.first, self.align_corners)
        size = a.shape[2:]
        return self.convolution(ops.cat([resize(x, size, "bilinear", self.align_corners) for x in maps], axis=1))


def maps_of(sizes: list[tuple[int, int]]) -> list[Tensor]:
    rng = np.random.default_rng(1)
    shapes = ((2, channels, *size) for channels, size in zip(CHANNELS, sizes, strict=True))
    return [Tensor(rng.normal(size=shape).astype(np.float32)) for shape in shapes]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_convolution_of_resized_maps_and_its_gradients(first, sizes, align_corners):
    maps = maps_of(sizes)
    weight = Tensor(np.random.default_rng(2).normal(size=(2, 7, *sizes[0])).astype(np.float32))
    results = []
    for cell in (Joined(0, align_corners), Joined(first, align_corners)):

        def loss(*maps, cell=cell):
            out = cell(*maps)
            return (out * weight).sum(), out

        gradient = ops.value_and_grad(loss, (0, 1, 2, 3), cell.trainable_params(), has_aux=True)
        (_, out), (of_maps, of_weights) = gradient(*maps)
        results.append([out, *of_maps, *of_weights])
    for found, expected in zip(results[1], results[0], strict=True):
        scale = np.abs(expected.asnumpy()).max()
        np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), atol=2e-6 * scale)


class Resized(nn.Cell):
    """Resize of x, through the size of `middle`, to the size of `like`, with matrices in a graph of any size."""

    def construct(self, x: Tensor, middle: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        both = resize(x, like.shape[1:], through=middle.shape[1:], in_graph=True)
        return both, resize(x, like.shape[1:], align_corners=True, in_graph=True)


def of_size(size: tuple[int, int]) -> Tensor:
    return Tensor(np.zeros((1, *size), np.float32))


def test_one_graph_for_all_sizes():
    """Its matrices are those of the sizes that the images have."""
    split, resized = Joined(2, False), Resized()
    cases = [((5, 7), (20, 31), (18, 29)), ((9, 1), (4, 4), (1, 5)), ((3, 300), (12, 1200), (13, 1111))]
    images = [Tensor(np.random.default_rng(0).normal(size=(1, 2, *x)).astype(np.float32)) for x, *_ in cases]
    expected, expected_split = [], []
    with device.pynative():
        for x, (_, middle, like) in zip(images, cases, strict=True):
            expected.append(resized(x, of_size(middle), of_size(like)))
        for sizes in SIZES.values():
            expected_split.append(split(*maps_of(sizes)).asnumpy())
    with device.execution_mode(GRAPH_MODE):
        any_image = Tensor(shape=[1, None, None], dtype=float32)
        resized.set_inputs(Tensor(shape=[None, 2, None, None], dtype=float32), any_image, any_image)
        split.set_inputs(*(Tensor(shape=[None, channels, None, None], dtype=float32) for channels in CHANNELS))
        for x, (_, middle, like), results in zip(images, cases, expected, strict=True):
            for found, result in zip(resized(x, of_size(middle), of_size(like)), results, strict=True):
                np.testing.assert_allclose(found.asnumpy(), result.asnumpy(), atol=2e-6)
        for sizes, result in zip(SIZES.values(), expected_split, strict=True):
            np.testing.assert_allclose(split(*maps_of(sizes)).asnumpy(), result, atol=5e-5)
