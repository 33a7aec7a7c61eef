"""scripts/convert_weights.py and ocrnet.load: converted weights give the logits of the source project."""

import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import save_file

import ocrnet
from ocrnet.config.loading import load_config
from ocrnet.errors import UserError
from ocrnet.models.hrnet import HRNet
from ocrnet.models.resnet import ResNet
from ocrnet.weights.ckpt import load_backbone, load_weights
from peers import DATA, Golden, golden_input

SCRIPT = "scripts/convert_weights.py"
SOURCE = str(Path(ocrnet.__file__).parents[1])


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden(DATA / "golden_mmseg_hr18s.npz")


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("config") / "hr18s.yml"
    file.write_text("model: {backbone: hrnet_w18_small}\n")
    return file


def test_logits_of_a_converted_checkpoint_equal_the_reference(tmp_path, golden, config_file, run_script) -> None:
    """The names start with `module.`, as saved by DataParallel."""
    save_file({f"module.{name}": value for name, value in golden.tensors().items()}, tmp_path / "peer.safetensors")
    output = tmp_path / "sub" / "ocrnet.ckpt"
    run = run_script(
        *(SCRIPT, "--source", "mmseg", "--input", tmp_path / "peer.safetensors"),
        *("--config", config_file, "--output", output),
    )
    assert run.returncode == 0, run.stderr
    assert "used: 769 tensors" in run.stdout
    assert "not used: 153 tensors, PyTorch's batch counter" in run.stdout
    assert [file.name for file in output.parent.iterdir()] == ["ocrnet.ckpt"]

    network = ocrnet.load(config_file, weights=output).network
    assert not network.training
    main, auxiliary = network(Tensor(golden_input()))
    assert np.abs(main.asnumpy()[:, :, golden.rows] - golden.main).max() <= 5 * golden.error[0]
    assert np.abs(auxiliary.asnumpy()[:, :, golden.auxiliary_rows] - golden.auxiliary).max() <= 5 * golden.error[1]
    with pytest.raises(UserError, match="does not fit"):
        load_weights(HRNet("hrnet_tiny"), output, load_config(config_file))


def test_missing_tensors_and_wrong_shapes_are_errors(tmp_path, golden, config_file, run_script) -> None:
    tensors = golden.tensors()
    del tensors["decode_head.1.bottleneck.conv.weight"]
    tensors["decode_head.1.conv_seg.weight"] = np.zeros((21, 512, 1, 1), np.float32)
    save_file(tensors, tmp_path / "peer.safetensors")
    output = tmp_path / "ocrnet.ckpt"
    run = run_script(
        *(SCRIPT, "--source", "mmseg", "--input", tmp_path / "peer.safetensors"),
        *("--config", config_file, "--output", output),
    )
    assert run.returncode == 2 and not output.exists()
    assert "ocr_head.pixels.conv.weight: missing in the file, shape (512, 270, 3, 3) in the network" in run.stderr
    assert "ocr_head.classifier.weight: shape (21, 512, 1, 1) in the file, (19, 512, 1, 1) in the network" in run.stderr


def test_weights_of_a_larger_network_are_errors(tmp_path, golden, config_file, run_script) -> None:
    """Weights of W18 have all tensors of W18-small in the same shapes, and more."""
    larger = {"backbone.layer1.2.conv1.weight": np.zeros((64, 256, 1, 1), np.float32)}
    larger |= {"decode_head.1.bottleneck.conv.bias": np.zeros(512, np.float32)}
    save_file({**golden.tensors(), **larger}, tmp_path / "peer.safetensors")
    output = tmp_path / "ocrnet.ckpt"
    run = run_script(
        *(SCRIPT, "--source", "mmseg", "--input", tmp_path / "peer.safetensors"),
        *("--config", config_file, "--output", output),
    )
    assert run.returncode == 2 and not output.exists()
    for name in larger:
        assert f"{name}: in the file, but" in run.stderr


def test_imagenet_weights_of_mmsegmentation(tmp_path, golden, config_file, run_script) -> None:
    tensors = {
        name.removeprefix("backbone."): value
        for name, value in golden.tensors().items()
        if name.startswith("backbone.")
    }
    tensors |= {"incre_modules.0.0.conv1.weight": np.zeros(1, np.float32), "classifier.bias": np.zeros(9, np.float32)}
    save_file(tensors, tmp_path / "imagenet.safetensors")
    output = tmp_path / "backbone.ckpt"
    run = run_script(
        *(SCRIPT, "--source", "mmseg", "--input", tmp_path / "imagenet.safetensors", "--backbone"),
        *("--config", config_file, "--output", output),
    )
    assert run.returncode == 0, run.stderr
    assert "2 tensors, part of an ImageNet classification head" in run.stdout
    backbone = HRNet("hrnet_w18_small")
    load_backbone(backbone, output)
    assert (backbone.conv1.weight.asnumpy() == tensors["conv1.weight"]).all()
    assert (backbone.bn1.moving_variance.asnumpy() == tensors["bn1.running_var"]).all()


@pytest.mark.parametrize("name", ["hrnet_w32", "resnet50"])
def test_imagenet_weights_of_mindcv(tmp_path, name: str) -> None:
    from mindcv.models import create_model

    theirs = create_model(name)
    ms.save_checkpoint(theirs, str(tmp_path / "mindcv.ckpt"))
    backbone = HRNet(name) if name.startswith("hrnet") else ResNet(f"{name}_d8")
    load_backbone(backbone, tmp_path / "mindcv.ckpt")
    assert (backbone.conv1.weight.asnumpy() == theirs.conv1.weight.asnumpy()).all()


def test_error_for_a_pytorch_file_names_the_converter() -> None:
    with pytest.raises(UserError, match=r"resnet50_v1c\.pth: .*convert_weights\.py --backbone"):
        load_backbone(ResNet("resnet50_v1c_d8"), Path("resnet50_v1c.pth"))


def test_importing_the_package_and_listing_models_does_not_import_mindspore() -> None:
    """The environment must be prepared before MindSpore is imported."""
    code = "import sys, ocrnet; ocrnet.list_models(); sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": SOURCE}).returncode == 0


def test_mindcv_needs_the_backbone_flag(tmp_path, config_file, run_script) -> None:
    run = run_script(SCRIPT, "--source", "mindcv", "--input", "x", "--config", config_file, "--output", "y.ckpt")
    assert run.returncode == 2 and "--backbone" in run.stderr
