"""Fine-tuning with other classes, freezing, and gradient accumulation."""

import resource
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from ocrnet.config import Config, LossConfig, ModelConfig, OptimizerConfig
from ocrnet.errors import UserError
from ocrnet.models.layers import freeze
from ocrnet.models.ocrnet import OCRNet
from ocrnet.training.losses import OCRLoss
from ocrnet.training.optimizer import make_optimizer
from ocrnet.training.step import TrainOneStep
from ocrnet.weights.ckpt import load_for_fine_tuning, save_weights

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
SMALL = {"backbone": "hrnet_tiny", "head_channels": 16, "key_channels": 8, "context_channels": 16, "aux_channels": 16}
CLASSIFIERS = [f"{head}.classifier.{kind}" for head in ("aux_head", "ocr_head") for kind in ("weight", "bias")]


def values(network) -> dict[str, np.ndarray]:
    return {name: value.asnumpy().copy() for name, value in network.parameters_dict().items()}


def configuration(classes: str, **changes: int) -> Config:
    return Config(data={"format": "list", "classes": [*classes]}, model={**SMALL, **changes})


@pytest.fixture
def five(tmp_path):
    """The file and the weights of a network for five classes."""
    network = values(OCRNet(ModelConfig(**SMALL), 5))
    save_weights(tmp_path / "five.ckpt", network, configuration("abcde"))
    save_weights(tmp_path / "nameless.ckpt", network)
    return tmp_path / "five.ckpt", network


@pytest.mark.parametrize(
    ("file", "classes", "fresh"),
    [("five", "abcde", False), ("five", "abcdf", True), ("five", "abc", True),
     ("nameless", "vwxyz", False), ("nameless", "ab", True)],
)  # fmt: skip
def test_only_classifiers_of_other_classes_are_reinitialized(five, file, classes, fresh):
    network = OCRNet(ModelConfig(**SMALL), len(classes))
    before = values(network)
    message = load_for_fine_tuning(network, five[0].with_stem(file), configuration(classes))
    for name, value in values(network).items():
        expected = before[name] if fresh and name in CLASSIFIERS else five[1][name]
        np.testing.assert_array_equal(value, expected, err_msg=name)
    rest = len(before) - 4
    new = (
        f"{rest} tensors loaded; randomly initialized for {len(classes)} classes instead of 5: {', '.join(CLASSIFIERS)}"
    )
    assert message.endswith(new if fresh else f"all {rest + 4} tensors loaded, including the classifiers")


def test_a_checkpoint_of_another_network_is_refused(five):
    network = OCRNet(ModelConfig(**{**SMALL, "head_channels": 24}), 3)
    before = values(network)
    pattern = (
        r"model\.checkpoint .*five\.ckpt: does not fit this network\n"
        r"  model\.head_channels: 16 in the checkpoint, 24 in the configuration; set model\.head_channels to 16\n"
        r"  ocr_head"
    )
    with pytest.raises(UserError, match=pattern):
        load_for_fine_tuning(network, five[0], configuration("abc", head_channels=24))
    for name, value in values(network).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(("part", "norm"), [("none", False), ("backbone", False), ("none", True)])
def test_frozen_parameters_do_not_change_and_the_others_do(part, norm):
    network = OCRNet(ModelConfig(**SMALL), 3)
    freeze(network, part, norm)
    loss = OCRLoss(network, LossConfig(), 3, False)
    step = TrainOneStep(loss, make_optimizer(OptimizerConfig(), loss), None).set_train(True)
    lr = Tensor(1e4, ms.float32)  # some gradients of a fresh network are tiny
    before, rng = values(network), np.random.default_rng(0)
    images = Tensor(rng.normal(1, 2, (2, 3, 32, 64)).astype(np.float32))
    step(images, Tensor(rng.integers(0, 3, (2, 32, 64)).astype(np.int32)), lr)
    same = {name for name, value in values(network).items() if (value == before[name]).all()}
    statistics = {name for name in before if "moving_" in name}
    backbone = {name for name in before if name.startswith("backbone.")}
    expected = backbone if part == "backbone" else statistics if norm else set()
    assert same == expected


def test_gradients_with_frozen_statistics_match_the_formula():
    """y = gamma * (x - mean) / sqrt(variance + eps) + beta, with mean and variance constant."""
    norm = ms.nn.BatchNorm2d(2, moving_mean_init=Tensor([0.5, -1.0]), moving_var_init=Tensor([4.0, 0.25]))
    freeze(norm, "none", True)
    norm.set_train(True)
    rng = np.random.default_rng(0)
    x, up = (rng.normal(size=(3, 2, 4, 4)).astype(np.float32) for _ in range(2))
    parameters = [norm.gamma, norm.beta]
    forward = ms.value_and_grad(lambda x: (norm(x) * Tensor(up)).sum(), 0, parameters)
    _, (to_x, (to_gamma, to_beta)) = forward(Tensor(x))
    scale = 1 / np.sqrt(np.array([4.0, 0.25]) + norm.eps).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(to_x.asnumpy(), up * scale, rtol=1e-5)
    shifted = x - np.array([0.5, -1.0]).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(to_gamma.asnumpy(), (up * shifted * scale).sum((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(to_beta.asnumpy(), up.sum((0, 2, 3)), rtol=1e-4)


@pytest.mark.slow
def test_two_accumulated_batches_of_two_equal_one_batch_of_four(run_script, demo, tmp_path):
    """Same images, learning rates, log and weights, with frozen BatchNorm statistics."""
    flags = [word for key, value in SMALL.items() for word in ("--set", f"model.{key}={value}")]
    settings = ("model.freeze_norm=True", "loss.average=all", "data.crop_size=[32,64]", "schedule.warmup_steps=0")
    flags += [word for setting in settings for word in ("--set", setting)]
    flags += ["--total_step", "3", "--log_interval", "1", "--run_eval", "False", "--lr_init", "0.02", "--seed", "3"]
    flags += ["--config", CONFIG_FILE, "--dataset_dir", demo, "--set", "checkpoint.interval=3"]
    save_weights(tmp_path / "start.ckpt", values(OCRNet(ModelConfig(**SMALL), 19)))
    flags += ["--set", f"model.checkpoint={tmp_path / 'start.ckpt'}"]  # freeze_norm needs statistics
    logs, weights = [], []
    for name, batches in (("one", "--batch_size 4"), ("two", "--batch_size 2 --set train.accumulate_steps=2")):
        done = run_script("train.py", *flags, *batches.split(), "--save_dir", tmp_path / name)
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / name / "train.log").read_text().splitlines()
        logs.append([[float(part.split(": ")[1]) for part in line.split(", ")[1:5]] for line in lines])
        stored = ms.load_checkpoint(str(tmp_path / name / "checkpoint" / "OCRNet_hrnet_tiny_3_rank0.ckpt"))
        assert '"step": 3, "samples": 12' in stored["ocrnet.progress"]
        weights.append({name: value.asnumpy() for name, value in stored.items() if isinstance(value, ms.Parameter)})
    assert len(logs[0]) == 3
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-4)
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=1e-3, atol=2e-5, err_msg=name)


@pytest.mark.slow
def test_out_of_memory_error_names_the_keys_to_lower(demo, tmp_path):
    command = [sys.executable, ROOT / "train.py", "--config", CONFIG_FILE, "--data_root", demo, "--save_dir", tmp_path]
    command += ["--set", "data.crop_size=[2048,4096]", "--total_step", "1", "--run_eval", "False"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, preexec_fn=limit)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "error: out of memory (" in done.stderr and "Lower train.batch_size" in done.stderr
