"""Shapes, published parameter counts, and the equations of the OCR head."""

from typing import get_args

import numpy as np
import pytest
from mindspore import Tensor

from ocrnet.config import Backbone, ModelConfig
from ocrnet.models import hrnet, precision, resnet
from ocrnet.models.heads import gather_regions
from ocrnet.models.ocrnet import OCRNet

# mmsegmentation's models, millions of parameters: backbone, auxiliary head, OCR head, all
PUBLISHED = {
    ("hrnet_w18_small", 19): (3.861, 0.079, 2.439, 6.378),
    ("hrnet_w18_small", 21): (3.861, None, None, 6.380),
    ("hrnet_w18_small", 150): (3.861, None, None, 6.481),
    ("hrnet_w18", 19): (9.562, 0.079, 2.439, 12.080),
    ("hrnet_w18", 21): (9.562, None, None, 12.082),
    ("hrnet_w18", 150): (9.562, None, None, 12.183),
    ("hrnet_w48", 19): (65.325, 0.534, 4.513, 70.371),
    ("hrnet_w48", 21): (65.325, None, None, 70.374),
    ("hrnet_w48", 150): (65.325, None, None, 70.533),
}


def millions(cell) -> float:
    return round(sum(parameter.size for parameter in cell.trainable_params()) / 1e6, 3)


@pytest.mark.parametrize(("backbone", "classes"), PUBLISHED)
def test_parameter_counts_match_the_published_ones(backbone, classes):
    network = OCRNet(ModelConfig(backbone=backbone), classes)
    counts = tuple(map(millions, (network.backbone, network.aux_head, network.ocr_head, network)))
    for count, published in zip(counts, PUBLISHED[backbone, classes], strict=True):
        assert published is None or count == published


def test_the_config_lists_every_backbone():
    assert {*hrnet.DEPTHS, *resnet._DEPTHS} == set(get_args(Backbone))
    wide = hrnet.HRNet("hrnet_w64")
    assert wide.out_channels == (64, 128, 256, 512)


def test_both_heads_return_float32_logits_at_a_quarter_of_the_resolution():
    network = OCRNet(ModelConfig(backbone="hrnet_tiny", head_channels=16, key_channels=8, context_channels=16), 5)
    main, auxiliary = network.set_train(False)(Tensor(np.zeros((1, 3, 64, 96), np.float32)))
    assert main.shape == auxiliary.shape == (1, 5, 16, 24)
    assert main.dtype == auxiliary.dtype == Tensor(np.zeros(1, np.float32)).dtype


def test_separate_maps_are_for_float32_on_a_cpu_and_give_the_same_logits():
    network = OCRNet(ModelConfig(backbone="hrnet_tiny", head_channels=16, key_channels=8, context_channels=16), 5)
    images = Tensor(np.random.default_rng(0).normal(size=(2, 3, 64, 96)).astype(np.float32))
    network.set_train(False)
    assert network.separate_maps
    separate = network(images)
    precision.cast_network(network, "none", "float16", "Ascend")
    assert not network.separate_maps
    for found, expected in zip(separate, network(images), strict=True):
        np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-4, atol=1e-6)
    network.separate_maps = True
    precision.cast_network(network, "convolutions", "float16", "CPU")
    assert not network.separate_maps


def test_backbone_parameters_have_mindcvs_names():
    from mindcv.models import hrnet_w32

    ours = {p.name: p.shape for p in OCRNet(ModelConfig(backbone="hrnet_w32"), 2).backbone.get_parameters()}
    theirs = {p.name: p.shape for p in hrnet_w32().get_parameters()}
    assert {name.removeprefix("backbone."): shape for name, shape in ours.items()}.items() <= theirs.items()


def test_region_features_are_softmax_weighted_means_of_pixels():
    rng = np.random.default_rng(0)
    pixels, regions = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(2, 6, 3, 5))
    weights = np.exp(regions) / np.exp(regions).sum((2, 3), keepdims=True)
    expected = np.einsum("nkhw,nchw->nck", weights, pixels)
    found = gather_regions(Tensor(pixels.astype(np.float32)), Tensor(regions.astype(np.float32)))
    assert found.shape == (2, 4, 6, 1)
    np.testing.assert_allclose(found.asnumpy()[..., 0], expected, atol=1e-5)
