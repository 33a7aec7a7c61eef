"""A cached training step trains like a compiled one, from any weights; a step of another config is not reused."""

import shutil

import numpy as np
import pytest
from mindspore import Parameter

from ocrnet.config import Config
from ocrnet.training import compile_cache
from ocrnet.weights.ckpt import read_checkpoint

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
SIZES = {"data.crop_size": "[32,64]", "model.head_channels": 16, "model.key_channels": 8, "model.context_channels": 16}


@pytest.mark.slow
def test_a_resumed_run_with_the_cached_step_has_the_same_losses(demo, run_script, tmp_path):
    flags = [
        "--config",
        CONFIG_FILE,
        "--dataset_dir",
        demo,
        "--total_step",
        4,
        "--log_interval",
        1,
        "--run_eval",
        "False",
    ]
    for key, value in {**SIZES, "checkpoint.interval": 2, "train.ema": 0.9}.items():
        flags += ["--set", f"{key}={value}"]
    cache = ["--compile_cache", tmp_path / "cache"]
    for run, more in (("plain", []), ("cached", cache)):
        done = run_script("train.py", *flags, "--save_dir", tmp_path / run, *more)
        assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "cache").iterdir()
    graphs = {file: file.stat().st_mtime_ns for file in folder.rglob("*.mindir")}
    assert graphs
    shutil.rmtree(tmp_path / "cached")
    second = tmp_path / "plain" / "checkpoint" / "OCRNet_hrnet_tiny_2_rank0.ckpt"
    done = run_script("train.py", *flags, "--save_dir", tmp_path / "again", "--resume_ckpt", second, *cache)
    assert done.returncode == 0, done.stderr
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*.mindir")} == graphs  # loaded, not rewritten

    def losses(run: str) -> list[float]:
        lines = (tmp_path / run / "train.log").read_text().splitlines()
        return [float(line.split("loss: ")[1].split(",")[0]) for line in lines if "loss: " in line]

    np.testing.assert_array_equal(losses("again"), losses("plain")[2:])
    # two steps with a wrong momentum may give the same loss
    again, plain = (read_checkpoint(tmp_path / run / "checkpoint" / "latest.ckpt") for run in ("again", "plain"))
    different = [
        name
        for name, value in plain.items()
        if isinstance(value, Parameter) and not np.array_equal(value.asnumpy(), again[name].asnumpy())
    ]
    assert different == []


@pytest.mark.parametrize(
    "settings",
    [{"model": {"dropout": 0.1}}, {"train": {"accumulate_steps": 2}}, {"train": {"loss_scale": {"kind": "dynamic"}}}],
)
def test_a_step_with_unregistered_parameters_is_not_cached(settings, tmp_path, capsys):
    compile_cache.compile_step(None, Config(**settings), tmp_path)
    assert "not supported with dropout" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_the_fingerprint_depends_on_the_config_but_not_on_save_dir(tmp_path, monkeypatch):
    def name(**settings):
        return compile_cache._fingerprint(Config(**settings))

    assert name(save_dir="a") == name(save_dir="b")
    assert name(train={"batch_size": 4}) != name() != name(loss={"auxiliary_weight": 1.0})
    before = name()
    monkeypatch.setattr("ocrnet.__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "losses.py").write_text("other code")
    assert name() != before
