"""Compares preprocessing and training transforms with those of the published projects.

mmseg_test_pipeline.npz was made with mmsegmentation 1.2.2, mmengine 0.10.7, mmcv-lite 2.2.0 and PyTorch 2.13.0 (CPU)
in a separate environment: the images of `random_image` below were written as PNG and processed by `test_pipeline` and
`data_preprocessor` of ocrnet_hr18_4xb2-40k_cityscapes-512x1024, ocrnet_hr18_4xb4-80k_ade20k-512x512 and
ocrnet_hr18_4xb4-20k_voc12aug-512x512. The file has shape, channel means and standard deviations, four rows (the first
and last 24 columns of each), and every 89th pixel of every 97th row.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mindspore import Tensor, nn

from ocrnet.config import DataConfig, PhotometricConfig
from ocrnet.config.loading import load_config
from ocrnet.data import transforms
from ocrnet.inference.network import MainLogits
from ocrnet.inference.preprocessing import preprocess
from ocrnet.models.resize import resize

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {  # image: (seed, height, width, config)
    "cityscapes": (0, 1024, 2048, "ocrnet_hrnet_w18_cityscapes_mmseg_40k"),
    "ade20k": (1, 512, 683, "ocrnet_hrnet_w18_ade20k_mmseg_80k"),
    "voc2012": (2, 375, 500, "ocrnet_hrnet_w18_voc2012aug_mmseg_20k"),
}


def random_image(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", CONFIGS)
def test_network_input_equals_that_of_mmsegmentation(name):
    seed, height, width, config_file = CONFIGS[name]
    images = preprocess(
        random_image(seed, height, width), load_config(ROOT / "config" / "ocrnet" / f"{config_file}.yml").data
    )
    expected = np.load(Path(__file__).with_name("mmseg_test_pipeline.npz"))
    assert images.dtype == np.float32
    assert images.shape == tuple(expected[f"{name}_shape"])
    _, rows, columns = images.shape
    ends = [*range(24), *range(columns - 24, columns)]
    tolerance = {"rtol": 0, "atol": 1e-5}
    np.testing.assert_allclose(images[:, [0, 1, rows // 2, -1]][:, :, ends], expected[f"{name}_rows"], **tolerance)
    np.testing.assert_allclose(images[:, ::97, ::89], expected[f"{name}_grid"], **tolerance)
    np.testing.assert_allclose(images.mean((1, 2), np.float64), expected[f"{name}_mean"], **tolerance)
    np.testing.assert_allclose(images.std((1, 2), np.float64), expected[f"{name}_std"], **tolerance)


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [  # as mmcv.imrescale
        ((375, 500), (512, 2048), (512, 683)),
        ((500, 375), (512, 2048), (683, 512)),
        ((512, 683), (512, 2048), (512, 683)),
        ((1024, 2048), (1024, 2048), (1024, 2048)),
        ((300, 3000), (512, 2048), (205, 2048)),
        ((333, 500), (520, 520), (346, 520)),
    ],
)
def test_rescale_size_equals_mmcv(size, box, expected):
    assert transforms.rescale_size(size, box) == expected
    assert transforms.rescale_size(size, box, keep_ratio=False) == box


class FixedGenerator:
    """A random generator that returns given numbers."""

    def __init__(self, uniform=(), integers=(), random=()):
        self.draws = {"uniform": list(uniform), "integers": list(integers), "random": list(random)}
        self.ranges = []

    def _draw(self, kind, *limits):
        self.ranges.append(limits)
        return self.draws[kind].pop(0)

    def uniform(self, low, high):
        return self._draw("uniform", low, high)

    def integers(self, low, high):
        return self._draw("integers", low, high)

    def random(self):
        return self._draw("random")


def test_random_size_rounds_the_box_down_first():
    rng = FixedGenerator(uniform=[0.7501])  # box (1536.2, 384.05) -> (1536, 384)
    assert transforms.random_size((375, 500), (512, 2048), (0.5, 2.0), rng) == (384, 512)
    assert rng.ranges == [(0.5, 2.0)]
    assert transforms.random_size((375, 500), (473, 473), (0.5, 1.6), FixedGenerator(uniform=[0.5]), False) == (
        236,
        236,
    )


def test_crop_draws_up_to_ten_more_windows_and_ignores_ignored_pixels():
    label = np.zeros((8, 100), np.uint8)
    label[:, 50:54], label[:, 54:58] = 1, 2
    rng = FixedGenerator(integers=[0, 0] + [0, 10] * 9 + [0, 50])  # the eleventh window has two classes
    assert np.unique(label[transforms.random_crop_window(label, (8, 8), 0.75, rng)]).tolist() == [1, 2]
    rng = FixedGenerator(integers=[0, 0] * 11)
    assert (label[transforms.random_crop_window(label, (8, 8), 0.75, rng)] == 0).all() and not rng.draws["integers"]
    rng = FixedGenerator(integers=[0, 3])  # no limit
    assert label[transforms.random_crop_window(label, (8, 8), 1.0, rng)].shape == (8, 8)
    label[:, 8:] = 255  # one class and ignored pixels: still one class
    rng = FixedGenerator(integers=[0, 4] * 11)
    transforms.random_crop_window(label, (8, 8), 0.75, rng)
    assert not rng.draws["integers"]


def test_photometric_distortion_has_the_published_order_and_ranges():
    image = random_image(3, 6, 7)
    rng = FixedGenerator(random=[0, 0, 0, 0, 0], uniform=[20.5, 1.3, 0.6], integers=[-18])
    result = transforms.photometric_distortion(image, PhotometricConfig(), rng)
    assert [limits for limits in rng.ranges if limits] == [(-32, 32), (0.5, 1.5), (0.5, 1.5), (-18, 18)]

    def clipped(values):
        return np.clip(values, 0, 255).astype(np.uint8)

    expected = clipped(clipped(image.astype(np.float32) + np.float32(20.5)).astype(np.float32) * np.float32(1.3))
    hsv = cv2.cvtColor(expected, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = clipped(hsv[..., 1].astype(np.float32) * np.float32(0.6))
    hsv[..., 0] = (hsv[..., 0].astype(int) - 18) % 180
    np.testing.assert_array_equal(result, cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    rng = FixedGenerator(random=[1, 1, 1, 1, 0], uniform=[0.5])  # contrast last, and nothing else
    np.testing.assert_array_equal(
        transforms.photometric_distortion(image, PhotometricConfig(), rng), clipped(image * 0.5)
    )


def test_padding_is_at_the_right_and_bottom_with_the_mean_colour_or_black():
    image, label = random_image(4, 20, 30), np.full((20, 30), 3, np.uint8)
    settings = {"base_size": (30, 30), "scale_range": (1, 1), "crop_size": (24, 40), "flip": 0, "photometric": None}
    for pad, fill in (("mean", [0, 0, 0]), ("black", [-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375])):
        config = DataConfig(**settings, pad=pad)
        images, labels = transforms.training_transform(image, label, config, np.random.default_rng(0))
        assert images.shape == (3, 24, 40) and images.dtype == np.float32 and labels.dtype == np.int32
        inside = transforms.normalise(image, config.mean, config.std)
        np.testing.assert_array_equal(images[:, :20, :30], inside)
        for strip in (images[:, 20:], images[:, :, 30:]):
            np.testing.assert_allclose(strip, np.broadcast_to(np.reshape(fill, (3, 1, 1)), strip.shape), atol=1e-6)
        assert (labels[20:] == 255).all() and (labels[:, 30:] == 255).all() and (labels[:20, :30] == 3).all()


def test_flip_swaps_left_and_right_classes():
    label = np.array([[0, 13, 14, 15, 16, 17, 18, 19, 255]], np.uint8)
    image = np.repeat(label[..., None], 3, axis=2)
    config = DataConfig(
        format="lip",
        base_size=(1, 9),
        scale_range=(1, 1),
        crop_size=(1, 9),
        flip=1,
        photometric=None,
        cat_max_ratio=1,
    )
    images, labels = transforms.training_transform(image, label, config, np.random.default_rng(0))
    assert labels.tolist() == [[255, 18, 19, 16, 17, 14, 15, 13, 0]]
    np.testing.assert_array_equal(images, transforms.normalise(image[:, ::-1], config.mean, config.std))
    config = config.replace({"flip_pairs": []})
    assert transforms.training_transform(image, label, config, np.random.default_rng(0))[1][0, 1] == 19
    config = config.replace({"flip": 0.0})
    assert transforms.training_transform(image, label, config, np.random.default_rng(0))[1].tolist() == label.tolist()


class CoarseNetwork(nn.Cell):
    """A network whose logits are the first two channels of its input, at a quarter of its size."""

    def construct(self, images):
        return images[:, :2, ::4, ::4], images


def test_logits_are_resized_to_the_input_size_first():
    images = Tensor(np.random.RandomState(5).randn(1, 3, 24, 32).astype(np.float32))
    logits = MainLogits(CoarseNetwork(), align_corners=False)(images, (13, 17)).asnumpy()
    coarse = images[:, :2, ::4, ::4]
    np.testing.assert_allclose(logits, resize(resize(coarse, (24, 32)), (13, 17)).asnumpy(), atol=1e-6)
    assert np.abs(logits - resize(coarse, (13, 17)).asnumpy()).max() > 0.01
