"""Exported networks and other engines give the same results as MindSpore."""

import json
import os
from pathlib import Path

import cv2
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ocrnet.config import ModelConfig
from ocrnet.inference import engines
from ocrnet.inference.engines import Engine
from ocrnet.inference.exported import logits_model
from ocrnet.inference.folding import fold_batch_norm
from ocrnet.inference.logit_arrays import HostLogits
from ocrnet.inference.network import MainLogits
from ocrnet.models.ocrnet import OCRNet
from ocrnet.weights.ckpt import load_weights

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
NETWORKS = {
    "published": dict(backbone="hrnet_tiny", dropout=0.1),
    "hrnet_ocr": dict(backbone="hrnet_tiny", align_corners=True, conv_bias=True),
    "mindspore_lab": dict(backbone="hrnet_tiny", fuse="nearest", context_channels=32, context_kernel=3),
    "paddleseg": dict(
        backbone="hrnet_tiny", fuse="bilinear_once", stride_padding="same", conv_bias=True, attention_bias=True
    ),
    "no_stem_relu": dict(backbone="hrnet_tiny", stem_relu=False, align_corners=True),
    "resnet": dict(backbone="resnet50_v1c_d8", aux_channels=32, aux_kernel=3),
    "resnet_mindcv": dict(backbone="resnet50_d8", aux_channels=32),
}


def network(name: str) -> OCRNet:
    """Returns a network with random BatchNorm statistics and scales."""
    rng = np.random.default_rng(0)
    ms.set_seed(0)
    cell = OCRNet(ModelConfig(**NETWORKS[name], head_channels=32, key_channels=16), 19).set_train(False)
    for parameter in cell.get_parameters():
        if any(part in parameter.name for part in ("moving", "gamma", "beta")):
            parameter.set_data(Tensor(rng.uniform(0.5, 1, parameter.shape).astype(np.float32)))
    return cell


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_and_onnx_logits_equal_the_networks_at_any_size(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    cell = network(name)
    logits = MainLogits(cell, cell.align_corners)
    batches = [images(2, 3, 64, 96), images(1, 3, 65, 131), images(2, 3, 33, 20)]
    expected = [logits(Tensor(batch), batch.shape[2:]).asnumpy() for batch in batches]
    fold_batch_norm(cell)
    assert not [part for _, part in cell.cells_and_names() if isinstance(part, nn.BatchNorm2d)]
    model = logits_model(cell)
    operators = [node.op_type for node in model.graph.node]
    fuse = 1 + 3 + 6
    resizes = {"resnet": 1, "resnet_mindcv": 1, "published": 2 * fuse + 3 + 1}.get(name, fuse + 3 + 1)
    assert operators.count("Resize") == resizes and "BatchNormalization" not in operators
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for batch, theirs in zip(batches, expected, strict=True):
        tolerance = {"rtol": 0, "atol": 1e-3 * np.abs(theirs).max()}
        np.testing.assert_allclose(logits(Tensor(batch), batch.shape[2:]).asnumpy(), theirs, **tolerance)
        np.testing.assert_allclose(session.run(None, {"images": batch})[0], theirs, **tolerance)


@pytest.mark.parametrize(("size", "resizes"), [((64, 96), 14), ((64, 97), 24), ((33, 96), 24)])
def test_a_fixed_size_divisible_by_32_needs_one_resize_per_fused_branch(size, resizes):
    onnxruntime = pytest.importorskip("onnxruntime")
    cell = network("published")
    batch = images(1, 3, *size)
    expected = MainLogits(cell, False)(Tensor(batch), size).asnumpy()
    model = logits_model(fold_batch_norm(cell), (1, *size))
    assert [node.op_type for node in model.graph.node].count("Resize") == resizes
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": batch})[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_engines_predict_the_same_classes_as_mindspore(name):
    pytest.importorskip(name)
    cell = network("published")
    cases = [((128, 160), (128, 160)), ((128, 160), (99, 70)), ((125, 251), (125, 251)), ((33, 9), (40, 7))]
    batches = [images(1, 3, *size) for size, _ in cases]
    logits = MainLogits(cell, False)
    expected = [logits(Tensor(batch), to).asnumpy() for batch, (_, to) in zip(batches, cases, strict=True)]
    engine = Engine(cell, name)
    for batch, (_, to), theirs in zip(batches, cases, expected, strict=True):
        found = engine.logits(batch, to)
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
        assert (engine.classes(batch, to) == theirs.argmax(axis=1)).mean() >= 0.9995
        found = engine.add_probabilities(batch, np.ones_like(theirs))
        np.testing.assert_allclose(found, 1 + HostLogits().softmax(theirs), rtol=0, atol=1e-4)


def resident_memory() -> float:
    """Returns the resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_images_of_many_sizes_do_not_fill_the_memory(monkeypatch):
    pytest.importorskip("openvino")
    fixed = []
    real = engines._fixed
    monkeypatch.setattr(engines, "_fixed", lambda model, size: (fixed.append(size), real(model, size))[1])
    engine = Engine(network("published"), "openvino")
    engine.classes(images(1, 3, 32, 32), (32, 32))
    before = resident_memory()
    for height in range(33, 73):
        engine.classes(images(1, 3, height, 33), (height, 33))
    assert fixed == [((1, 3, 32, 32),)]
    assert resident_memory() - before < 200  # 49 with one graph for all rare sizes, 526 with one graph for each
    batch = images(1, 3, 72, 33)
    rare = engine.classes(batch, (72, 33))
    for _ in range(4):
        often = engine.classes(batch, (72, 33))
    assert fixed == [((1, 3, 32, 32),), ((1, 3, 72, 33),)]
    assert (rare == often).mean() >= 0.9995


def test_low_precision_is_close_to_float32():
    pytest.importorskip("openvino")
    cell = network("published")
    batch = images(1, 3, 128, 160)
    exact = Engine(cell, "openvino").logits(batch, (128, 160))
    near = Engine(cell, "openvino", "bf16").logits(batch, (128, 160))
    assert 0 <= np.abs(near - exact).max() < 0.05 * np.abs(exact).max()
    pytest.importorskip("nncf")
    engine = Engine(cell, "openvino", "int8", lambda: (images(1, 3, 128, 160) for _ in range(4)))
    quantized = engine.logits(batch, (128, 160))
    assert np.abs(quantized - exact).max() > 0 and np.corrcoef(quantized.ravel(), exact.ravel())[0, 1] > 0.95
    probabilities = engine.add_probabilities(batch, np.zeros((1, *exact.shape[1:2], 99, 70), np.float32))
    assert (probabilities.sum(axis=1) - 1).max() < 1e-2 and (probabilities.argmax(axis=1) > 0).any()


@pytest.mark.parametrize("kind", ["onnx", pytest.param("mindir", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fixed", [True, False])
def test_exported_files_give_the_same_results(untrained, run_script, tmp_path, kind, fixed):
    path = tmp_path / f"network.{kind}"
    flags = ["--batch", 1, "--size", 64, 128] if fixed else []
    flags += ["--argmax", fixed, "--format", kind, "--output", path, "--ckpt_path", untrained.path]
    done = run_script("scripts/export.py", "--config", CONFIG_FILE, *untrained.flags, *flags)
    assert done.returncode == 0, done.stderr
    cell = OCRNet(untrained.config.model, 19).set_train(False)
    load_weights(cell, untrained.path, untrained.config)
    for shape in [(1, 3, 64, 128)] if fixed else [(1, 3, 64, 128), (2, 3, 96, 64), (1, 3, 33, 125), (1, 3, 97, 20)]:
        batch = images(*shape)
        theirs = MainLogits(cell, untrained.config.model.align_corners)(Tensor(batch), shape[2:]).asnumpy()
        if kind == "onnx":
            session = pytest.importorskip("onnxruntime").InferenceSession(path)
            ours = session.run(None, {"images": batch})[0]
        else:
            ms.set_context(mode=0)
            ours = nn.GraphCell(ms.load(str(path)))(Tensor(batch)).asnumpy()
            ms.set_context(mode=1)
        if fixed:
            assert (ours == theirs.argmax(axis=1)).mean() >= 0.9999
        else:
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_eval_and_predict_take_an_engine(demo, untrained, run_script, tmp_path):
    pytest.importorskip("onnxruntime")
    flags = ["--config", CONFIG_FILE, *untrained.flags, "--ckpt_path", untrained.path, "--dataset_dir", demo]
    scores = []
    for engine in ("mindspore", "onnxruntime"):
        path = tmp_path / f"{engine}.json"
        done = run_script("eval.py", *flags, "--engine", engine, "--result_json", path)
        assert done.returncode == 0, done.stderr
        scores.append(np.array(json.loads(path.read_text())["confusion_matrix"]))
    assert scores[0].sum() == scores[1].sum() > 0
    assert np.abs(scores[0] - scores[1]).sum() <= 2e-4 * scores[0].sum()
    images = demo / "leftImg8bit" / "val"
    done = run_script(
        "scripts/predict.py", *flags, "--engine", "onnxruntime", "--input", images, "--output", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert len([cv2.imread(str(file), 0) for file in (tmp_path / "out" / "raw").rglob("*.png")]) == 5


def test_an_unsupported_precision_is_an_error(untrained, demo, run_script):
    flags = ["--config", CONFIG_FILE, *untrained.flags, "--ckpt_path", untrained.path, "--dataset_dir", demo]
    done = run_script("eval.py", *flags, "--engine", "onnxruntime", "--precision", "int8")
    assert done.returncode == 2 and "--precision int8: onnxruntime supports fp32" in done.stderr
    assert "Traceback" not in done.stderr


def test_error_for_a_missing_package_names_its_installation(monkeypatch):
    from ocrnet import errors

    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(errors.UserError, match=r"openvino is not installed: .*pip install '\.\[openvino\]'"):
        engines.Engine(network("published"), "openvino")
