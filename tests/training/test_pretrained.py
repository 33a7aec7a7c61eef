"""model.pretrained: published weights are fetched and loaded; where they cannot be had, a warning says so."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ocrnet.config import Config
from ocrnet.config.combinations import IMAGENET_WEIGHTS
from ocrnet.errors import UserError
from ocrnet.models.ocrnet import OCRNet
from ocrnet.training import pretrained
from ocrnet.training.pretrained import load_initial_weights
from ocrnet.weights.ckpt import save_weights
from ocrnet.zoo.published import PUBLISHERS, PublishedFile, backbones
from peers import DATA, Golden

SMALL = {"head_channels": 16, "key_channels": 8, "context_channels": 16}


def config_of(backbone: str, **model: object) -> Config:
    return Config(model={"backbone": backbone, **SMALL, **model})


@pytest.fixture
def offline(tmp_path, monkeypatch) -> Path:
    """The folder of an empty cache; there is no server."""
    monkeypatch.setenv("OCRNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OCRNET_WEIGHTS_URL", "http://127.0.0.1:9")
    return tmp_path / "cache"


@pytest.mark.parametrize("value", ["published", "hrnetv2_w18_small"])
def test_published_weights_are_fetched_converted_and_loaded(value, offline, monkeypatch, capsys):
    tensors = {
        name.removeprefix("backbone."): tensor
        for name, tensor in Golden(DATA / "golden_mmseg_hr18s.npz").tensors().items()
        if name.startswith("backbone.")
    }
    offline.mkdir()
    save_file(tensors, offline / "weights.pth")
    without_checksum = PublishedFile("hrnetv2_w18_small", "https://server/weights.pth", PUBLISHERS["mmseg"])
    monkeypatch.setattr(pretrained, "backbones", lambda: {"hrnetv2_w18_small": without_checksum})
    config = config_of("hrnet_w18_small", pretrained=value)
    network = OCRNet(config.model, 3)
    load_initial_weights(network, config)
    assert "hrnetv2_w18_small.ckpt: ImageNet weights of the backbone loaded" in capsys.readouterr().out
    np.testing.assert_array_equal(network.backbone.conv1.weight.asnumpy(), tensors["conv1.weight"])


def test_without_weights_a_warning_says_so_and_training_starts(offline, capsys):
    config = config_of("hrnet_w18_small", pretrained="published")
    load_initial_weights(OCRNet(config.model, 3), config)
    message = capsys.readouterr().err
    assert "WARNING: the backbone starts from RANDOM weights" in message and "model.pretrained=none" in message
    assert f"copy hrnetv2_w18_small-b5a04e21.pth to {offline}" in message
    tiny = config_of("hrnet_tiny", pretrained="published")
    load_initial_weights(OCRNet(tiny.model, 3), tiny)
    assert "there are no published ImageNet weights of hrnet_tiny" in capsys.readouterr().err


@pytest.mark.parametrize("freeze", [{"freeze": "backbone"}, {"freeze_norm": True}])
def test_a_frozen_backbone_needs_them(freeze, offline):
    config = config_of("hrnet_tiny", pretrained="published", **freeze)
    with pytest.raises(UserError, match="no published ImageNet weights of hrnet_tiny"):
        load_initial_weights(OCRNet(config.model, 3), config)


def test_none_and_a_checkpoint_need_no_download(offline, tmp_path, capsys):
    config = config_of("hrnet_tiny", pretrained="none")
    assert config.model.pretrained is None
    network = OCRNet(config.model, 3)
    before = network.backbone.conv1.weight.asnumpy().copy()
    load_initial_weights(network, config)
    np.testing.assert_array_equal(network.backbone.conv1.weight.asnumpy(), before)
    weights = {name: value.asnumpy() + 1 for name, value in network.parameters_dict().items()}
    save_weights(tmp_path / "all.ckpt", weights)
    config = config_of("hrnet_tiny", pretrained="published", checkpoint=str(tmp_path / "all.ckpt"))
    load_initial_weights(network, config)  # a checkpoint holds a backbone
    np.testing.assert_array_equal(network.backbone.conv1.weight.asnumpy(), before + 1)
    assert capsys.readouterr().err == ""


def test_a_missing_file_is_still_an_error(offline, tmp_path):
    config = config_of("hrnet_tiny", pretrained=str(tmp_path / "no.ckpt"))
    with pytest.raises(UserError, match=r"no\.ckpt: checkpoint not found"):
        load_initial_weights(OCRNet(config.model, 3), config)


def test_every_backbone_with_imagenet_weights_has_a_file():
    assert set(IMAGENET_WEIGHTS.values()) <= backbones().keys()
