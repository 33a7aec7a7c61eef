"""The operators of the compiled graphs: which devices have them, and their types in mixed precision.

MindSpore's front end compiles for every device, so its graph shows what Ascend and GPU get, though only a CPU is here.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
import yaml
from mindspore import Tensor, nn

from ocrnet.config import TrainConfig
from ocrnet.errors import UserError
from ocrnet.models import precision
from ocrnet.models.layers import ConvBNReLU

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import operator_report

REPORT = yaml.safe_load(operator_report.REPORT.read_text(encoding="utf-8"))
_TYPED = re.compile(r"^ +%\d+\([^)]*\) = (?:PrimFunc_)?(\w+)\(.*\n +: \((.*)\) -> \((.*)\)$", re.MULTILINE)


def types(text: str) -> dict[str, set[str]]:
    """Returns {operator: "types of the inputs -> type of the first output"} of a graph's text."""
    found = defaultdict(set)
    for name, inputs, outputs in _TYPED.findall(text):
        inputs, (output, *_) = (re.findall(r"Tensor\[(\w+)\]", part) or [""] for part in (inputs, outputs))
        found[name].add(f"{' '.join(inputs)} -> {output}")
    return found


@pytest.fixture(scope="module", autouse=True)
def graph_mode() -> Iterator[None]:
    """Networks are built in graph mode, as in the report: it changes a few operators."""
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture(scope="module")
def step() -> str:
    """The training step with bfloat16, all losses and a loss scale."""
    scale = {"kind": "dynamic"}
    config = operator_report.make_config("hrnet_tiny", "all", "all", amp_dtype="bfloat16", loss_scale=scale)
    return operator_report.graph(config)


def check(text: str) -> None:
    if not ms.__version__.startswith("2.10."):  # its front end has other operators, such as Split for SplitWithSize
        pytest.skip(f"{operator_report.REPORT.name} was made with MindSpore 2.10")
    names = operator_report.operators(text)
    assert {name: operator_report.missing(name) for name in names if operator_report.missing(name)} == {}
    for name in names:
        assert name in REPORT["operators"], f"run scripts/operator_report.py: {name} is not in {operator_report.REPORT}"
        entry = REPORT["operators"][name]
        assert {key: entry[key] for key in ("documented_as", "platforms", "gpu")} == operator_report.describe(name)


def test_ascend_and_gpu_have_every_operator_of_the_training_step(step):
    check(step)
    counts = operator_report.operators(step)
    biases = 2
    assert counts["SGD"] == counts["Conv2D"] + 2 * counts["BatchNorm"] + biases  # one for each parameter


@pytest.mark.slow
def test_adamw_is_one_operator_for_each_parameter():
    text = operator_report.graph(operator_report.make_config("hrnet_tiny", "none", "adamw"))
    check(text)
    counts, biases = operator_report.operators(text), 2
    assert counts["AdamWeightDecay"] == counts["Conv2D"] + 2 * counts["BatchNorm"] + biases
    assert counts.total() == REPORT["launches"]["hrnet_tiny"]["none, adamw"]


@pytest.mark.slow
def test_ascend_and_gpu_have_every_operator_of_the_focal_loss():
    check(operator_report.graph(operator_report.make_config("hrnet_tiny", "none", "focal")))


def test_ascend_and_gpu_have_every_operator_of_the_table():
    """The table includes the step of one of two ranks, which tests/distributed/checks.py compiles."""
    assert {"AllGather", "AllReduce"} <= set(REPORT["operators"])
    assert {name: lacking for name in REPORT["operators"] if (lacking := operator_report.missing(name))} == {}


def test_integers_are_sorted(step):
    """MindSpore documents that sorting float32 may lose accuracy on Ascend."""
    assert types(step)["Sort"] == {"Int32 -> Int32"}


def test_an_operator_that_a_device_lacks_is_found():
    assert operator_report.missing("SyncBatchNorm") == ["Ascend", "GPU"]  # internal, without a GPU kernel
    assert operator_report.missing("MaxPool3DGradWithArgmax") == ["Ascend", "GPU"]
    assert operator_report.missing("Conv2D") == []


def test_convolutions_are_in_bfloat16_and_batch_norm_loss_and_update_in_float32(step):
    found = types(step)
    for name in ("Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput", "ReLU", "BiasAdd"):
        assert all("Float32" not in signature.replace("BFloat16", "") for signature in found[name]), name
    for name in ("BatchNorm", "BatchNormGrad", "LogSoftmax", "GatherD", "Exp", "SGD"):
        assert all("BFloat16" not in signature for signature in found[name]), name
    # the soft regions in float32, the attention in bfloat16; the logits are resized in float32, the maps in bfloat16
    assert found["Softmax"] == {"Float32 -> Float32", "BFloat16 -> BFloat16"}
    for name in ("MatMul", "BatchMatMul"):
        assert found[name] == {"Float32 Float32 -> Float32", "BFloat16 BFloat16 -> BFloat16"}


@pytest.mark.parametrize(
    ("amp", "dtype", "target", "convolution", "batch_norm"),
    [
        ("none", "float16", "Ascend", "Float32", "Float32"),
        ("convolutions", "float16", "Ascend", "Float16", "Float32"),
        ("convolutions", "bfloat16", "Ascend", "BFloat16", "Float32"),
        ("all", "float16", "CPU", "Float16", "Float32"),
        ("all", "float16", "Ascend", "Float16", "Float16"),
        ("all", "float16", "GPU", "Float16", "Float16"),
        ("all", "bfloat16", "Ascend", "BFloat16", "Float32"),
    ],
)
def test_types_of_a_layer(amp, dtype, target, convolution, batch_norm):
    layer = nn.SequentialCell(ConvBNReLU(3, 4, 3)).set_train()
    precision.cast_network(layer, amp, dtype, target)
    text = operator_report.graph_text(layer, Tensor(np.zeros((1, 3, 8, 8), np.float32)))
    found = types(text)
    assert found["Conv2D"] == {f"{convolution} {convolution} -> {convolution}"}
    assert found["BatchNorm"] == {f"{batch_norm} Float32 Float32 Float32 Float32 -> {batch_norm}"}
    if (amp, batch_norm) == ("all", "Float16"):
        assert operator_report.operators(text)["Cast"] == 2  # image and weight; none around BatchNorm


@pytest.mark.parametrize(
    ("target", "chip", "reason"),
    [
        ("CPU", "", "has no convolutions in bfloat16 on a CPU"),
        ("GPU", "", "has no convolutions in bfloat16 on a GPU"),
        ("Ascend", "ascend910", r"this Ascend \(ascend910\) has no bfloat16"),
        ("Ascend", "ascend910b", None),
        ("Ascend", "ascend910_93", None),
    ],
)
def test_bfloat16_is_refused_on_a_device_without_it(monkeypatch, target, chip, reason):
    monkeypatch.setattr(precision.ms, "get_context", lambda key: target)
    context = SimpleNamespace(get_ascend_soc_version=lambda: chip)
    monkeypatch.setattr("mindspore._c_expression.MSContext", SimpleNamespace(get_instance=lambda: context))
    config = TrainConfig(amp="convolutions", amp_dtype="bfloat16")
    if reason is None:
        precision.set_precision(nn.Conv2d(1, 1, 1), config)
        return
    with pytest.raises(UserError, match=f"train.amp_dtype bfloat16: .*{reason}. Set train.amp_dtype=float16, or "):
        precision.set_precision(nn.Conv2d(1, 1, 1), config)
    precision.set_precision(nn.Conv2d(1, 1, 1), TrainConfig(amp_dtype="bfloat16"))  # without train.amp


@pytest.mark.slow
@pytest.mark.parametrize("backbone", operator_report.GRAPHS)
def test_reported_launches_are_up_to_date(backbone):
    """In float32 with the plain loss; the other steps have the operators of `step` above."""
    text = operator_report.graph(operator_report.make_config(backbone))
    check(text)
    assert operator_report.operators(text).total() == REPORT["launches"][backbone]["none, plain"]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", operator_report.GRAPHS)
def test_inference_operators_are_reported(backbone):
    text = operator_report.graph(operator_report.make_config(backbone), training=False)
    check(text)
    assert operator_report.operators(text).total() == REPORT["launches"][backbone]["inference"]
