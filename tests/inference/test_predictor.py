"""Inference modes on networks with known outputs."""

import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from ocrnet.config import Config
from ocrnet.inference import graphs
from ocrnet.inference.graphs import CompileFrequentSizes, FrequentSizes
from ocrnet.inference.logit_arrays import DeviceLogits
from ocrnet.inference.network import Logits, MainLogits
from ocrnet.inference.outputs import NetworkOutputs
from ocrnet.inference.predictor import Predictor
from ocrnet.inference.preprocessing import preprocess, window_slices
from ocrnet.inference.tta import TTAView
from ocrnet.runtime import device


class Tiled(nn.Cell):
    """A network whose receptive field is a 32 x 32 tile: it mixes all pixels of a tile and none of different tiles.

    Its weights are small integers, so sums are exact in any order.
    """

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.pixel = Tensor(rng.integers(-3, 4, (1, 3, classes)).astype(np.float32))
        self.tile = Tensor(rng.integers(-1, 2, (32, 32, classes)).astype(np.float32))

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        batch, _, height, width = images.shape
        pixels = ops.matmul(images.transpose(0, 2, 3, 1).reshape(batch, -1, 3), self.pixel)
        grey = images.sum(axis=1).reshape(batch, height // 32, 32, width // 32, 32).transpose(0, 1, 3, 2, 4)
        tiles = ops.matmul(grey.reshape(-1, 1024), self.tile.reshape(1024, -1)).reshape(batch, height // 32, 1, -1)
        tiles = ops.tile(tiles.reshape(batch, height // 32, 1, width // 32, 1, -1), (1, 1, 32, 1, 32, 1))
        logits = pixels.reshape(batch, height, width, -1) + tiles.reshape(batch, height, width, -1)
        logits = logits.transpose(0, 3, 1, 2)
        return logits, logits


class PositionDependent(nn.Cell):
    """Pixel-wise logits; those of the last class depend on the column, so left and right differ."""

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        column = ops.zeros_like(images[:, :1]) + ops.arange(images.shape[3]).astype(images.dtype) / images.shape[3]
        logits = ops.cat([images * 3, images[:, :1] + column], axis=1)
        return logits, logits


class Convolution(nn.Cell):
    """A convolution with the same weights each time."""

    def __init__(self) -> None:
        super().__init__()
        weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
        self.convolution = nn.Conv2d(3, 4, 3, stride=2, weight_init=Tensor(weight))

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.convolution(images)
        return logits, logits


INTEGER_INPUT = {"mean": (128, 128, 128), "std": (1, 1, 1)}


def config_for(classes: int, data: dict | None = None, **evaluation) -> Config:
    names = [f"class {number}" for number in range(classes)]
    return Config(data={"format": "list", "classes": names, **(data or {})}, eval=evaluation)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (64, 96, 3)).astype(np.uint8)


def test_adjacent_windows_equal_the_whole_image_if_the_receptive_field_fits(image):
    network = Tiled()
    whole = Predictor(network, config_for(5, INTEGER_INPUT)).logits([image], TTAView())
    windows = Predictor(network, config_for(5, INTEGER_INPUT, window=[32, 32], stride=[32, 32])).logits(
        [image], TTAView()
    )
    np.testing.assert_array_equal(windows, whole)
    assert len(np.unique(whole.argmax(1))) > 1


def test_windows_cover_every_pixel_and_the_last_ends_at_the_border():
    assert window_slices(100, 40, 30) == [slice(0, 40), slice(30, 70), slice(60, 100)]
    assert window_slices(95, 40, 30) == [slice(0, 40), slice(30, 70), slice(55, 95)]
    assert window_slices(20, 40, 30) == [slice(0, 20)]


def test_logits_of_overlapping_windows_are_averaged(image):
    network, config = Tiled(), config_for(5, INTEGER_INPUT, window=[64, 64], stride=[64, 32])
    predictor = Predictor(network, config)
    inputs = preprocess(image, config.data)[None]
    parts = [network(Tensor(np.ascontiguousarray(inputs[..., left : left + 64])))[0].asnumpy() for left in (0, 32)]
    expected = np.concatenate(
        [parts[0][..., :32], (parts[0][..., 32:] + parts[1][..., :32]) / 2, parts[1][..., 32:]], axis=3
    )
    np.testing.assert_array_equal(predictor.logits([image], TTAView()), expected)


@pytest.mark.parametrize("data", [{}, {"test_size": (80, 150)}])
def test_ratio_1_without_flip_equals_single_scale(image, data):
    single = Predictor(PositionDependent(), config_for(4, data))
    multi = Predictor(PositionDependent(), config_for(4, data, multi_scale=True, ratios=[1.0], flip=False))
    np.testing.assert_array_equal(multi([image]), single([image]))
    np.testing.assert_array_equal(multi.logits([image], TTAView(1.0)), single.logits([image], TTAView()))


def test_flip_makes_predictions_equivariant(image):
    flipping = Predictor(PositionDependent(), config_for(4, flip=True))
    plain = Predictor(PositionDependent(), config_for(4))
    mirrored = np.ascontiguousarray(image[:, ::-1])
    np.testing.assert_array_equal(flipping.probabilities([mirrored]), flipping.probabilities([image])[..., ::-1])
    assert (plain([mirrored]) != plain([image])[..., ::-1]).any()  # differs without the flip


def test_flip_swaps_left_and_right_classes(image):
    plain = Predictor(PositionDependent(), config_for(4))
    swapping = Predictor(PositionDependent(), config_for(4, {"flip_pairs": [(1, 3)]}))
    logits = plain.logits([image], TTAView(mirrored=True))
    np.testing.assert_array_equal(swapping.logits([image], TTAView(mirrored=True)), logits[:, [0, 3, 2, 1]])


def test_probabilities_are_the_mean_softmax_of_the_views(image):
    predictor = Predictor(PositionDependent(), config_for(4, multi_scale=True, ratios=[0.5, 1.0]))
    assert predictor.views == [TTAView(0.5), TTAView(0.5, True), TTAView(1.0), TTAView(1.0, True)]
    parts = [ops.softmax(Tensor(predictor.logits([image], view)), axis=1).asnumpy() for view in predictor.views]
    np.testing.assert_allclose(predictor.probabilities([image]), np.mean(parts, axis=0), atol=1e-6)


def test_a_ratio_scales_test_size():
    config = config_for(2, {"test_size": (100, 200)}).data
    assert preprocess(np.zeros((50, 60, 3), np.uint8), config).shape == (3, 100, 120)
    assert preprocess(np.zeros((50, 60, 3), np.uint8), config, 0.5).shape == (3, 50, 60)


def test_the_number_of_compiled_sizes_is_limited():
    compiled = FrequentSizes(first=True, most=3)
    uses = [size for _ in range(7) for size in range(10)]
    answers = {size: [] for size in range(10)}
    for size in uses:
        answers[size].append(compiled(size))
    assert answers[0] == [True] * 7  # the first size immediately, two more from their fifth use on
    assert answers[1] == answers[2] == [False] * 4 + [True] * 3
    assert not any(any(answers[size]) for size in range(3, 10))


@pytest.fixture
def uncompiled(monkeypatch) -> list[int]:
    """Gets an entry for each call without a graph."""
    calls, real = [], device.pynative
    monkeypatch.setattr(graphs.device, "pynative", lambda: (calls.append(1), real())[1])
    return calls


def test_frequent_sizes_are_compiled(uncompiled):
    small, large, like = (Tensor(np.zeros(shape, np.float32)) for shape in ((1, 3, 4, 4), (1, 3, 8, 8), (1, 6, 6)))
    call = CompileFrequentSizes(Logits(MainLogits(PositionDependent(), False)), first=True)
    for image in [small, large, small, large, large, large, large, large]:
        assert call(image, like).shape == (1, 4, 6, 6)
    assert len(uncompiled) == 4  # the large size before its fifth use
    assert call.compiled.chosen == {(small.shape, like.shape), (large.shape, like.shape)}


@pytest.mark.parametrize(("first", "before"), [(True, 0), (False, 4)])
def test_on_a_cpu_all_sizes_have_one_graph(uncompiled, first, before):
    outputs = NetworkOutputs(Convolution(), config_for(4), compile_first=first)
    with device.execution_mode(0):
        for number in range(6):
            image = np.random.default_rng(number).normal(size=(1, 3, 5 + number, 9)).astype(np.float32)
            found = outputs.logits(image, (11, 4 + number))
            with device.execution_mode(1):
                expected = MainLogits(Convolution(), False)(Tensor(image), (11, 4 + number))
            np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), atol=1e-5)
        assert len(uncompiled) == before
        one_size = outputs._logits.compiled.chosen
        assert len(one_size) == first  # the very first size has a graph of its own
        outputs.logits(np.zeros((1, 3, 1, 8193), np.float32), (1, 8193))
    assert len(uncompiled) == before + 1  # too large for interpolation matrices


@pytest.mark.parametrize(
    "settings", [{}, {"window": [64, 64], "stride": [64, 32]}, {"multi_scale": True, "ratios": [0.5, 1.0]}]
)
@pytest.mark.parametrize("on_device", [False, True])
def test_loss_is_the_cross_entropy_of_the_labelled_pixels(image, settings, on_device):
    predictor = Predictor(PositionDependent(), config_for(4, {"test_size": (80, 150)}, **settings))
    if on_device:
        predictor.arrays = DeviceLogits()
    labels = np.random.default_rng(0).integers(0, 4, (2, *image.shape[:2])).astype(np.uint8)
    labels[0, 10:30] = 255
    images = [image, image[::-1]]
    classes, loss = predictor.score(images, labels)
    np.testing.assert_array_equal(classes, predictor(images))
    probabilities = predictor.probabilities(images)
    probabilities = probabilities.asnumpy() if on_device else probabilities
    expected = 0.0
    for index, label in np.ndenumerate(labels):
        if label != 255:
            expected -= np.log(np.float64(probabilities[index[0], label, index[1], index[2]]))
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"multi_scale": True, "ratios": [0.5, 1.0]},
        {"window": [64, 64], "stride": [64, 32]},
        {"window": [64, 64], "stride": [64, 32], "flip": True},
    ],
)
def test_operations_on_the_device_give_the_classes_of_those_on_the_host(image, settings, monkeypatch):
    """On an accelerator views and windows are combined on the device, and only classes are read; a CPU can run both."""
    data = {"flip_pairs": [(1, 3)], "test_size": (80, 150)}
    host = Predictor(PositionDependent(), config_for(4, data, **settings))
    on_device = Predictor(PositionDependent(), config_for(4, data, **settings))
    on_device.arrays = DeviceLogits()
    probabilities = on_device.probabilities([image])
    assert isinstance(probabilities, Tensor)
    np.testing.assert_allclose(probabilities.asnumpy(), host.probabilities([image]), atol=1e-6)
    reads, asnumpy = [], Tensor.asnumpy

    def counted(tensor: Tensor) -> np.ndarray:
        reads.append(tensor.nbytes)
        return asnumpy(tensor)

    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "asnumpy", counted)
        classes = on_device([image])
    assert sum(reads) == image.shape[0] * image.shape[1]
    assert classes.dtype == np.uint8 and len(np.unique(classes)) > 1
    np.testing.assert_array_equal(classes, host([image]))
