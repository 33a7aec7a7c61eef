"""Evaluation during training with planted scores: log, best checkpoint, early stopping and its resume."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import pytest
from count_device_work import OneConvolution

from ocrnet.config import command_line
from ocrnet.data.splits import open_dataset
from ocrnet.evaluation.evaluator import Evaluator, Scores
from ocrnet.training.losses import OCRLoss
from ocrnet.training.optimizer import make_optimizer
from ocrnet.training.step import TrainOneStep
from ocrnet.training.trainer import Trainer

CONFIG_FILE = Path(__file__).resolve().parents[2] / "config" / "ocrnet" / "ocrnet_demo.yml"


def planted(score: float, loss: float | None = None) -> Scores:
    """A pixel accuracy and mIoU of `score`, and a loss of 1 - `score`."""
    matrix = SimpleNamespace(miou=score, pixel_accuracy=score, images=5, classes=["a"], iou=[score])
    return Scores(matrix, matrix, loss=1 - score if loss is None else loss)


@pytest.fixture
def train(demo, tmp_path, monkeypatch, capsys):
    """Returns a function that trains up to 8 steps, evaluates each with the next planted score, and returns stdout."""

    def run(scores: list[float], *settings: str, resume: str | None = None, loss: float | None = None) -> str:
        remaining = iter(scores)
        monkeypatch.setattr(Evaluator, "evaluate", lambda *_: planted(next(remaining), loss))
        flags = ["--config", str(CONFIG_FILE), "--data_root", str(demo), "--save_dir", str(tmp_path), "--ms_mode", "1"]
        flags += ["--total_step", "8", "--batch_size", "2", "--log_interval", "1"]
        for setting in ("data.crop_size=[16,32]", "data.workers=1", "eval.interval=1", *settings):
            flags += ["--set", setting]
        _, config = command_line.parse(command_line.config_parser(""), flags)
        loss_network = OCRLoss(OneConvolution(19), config.loss, 19, False)
        step = TrainOneStep(loss_network, make_optimizer(config.optimizer, loss_network), None)
        trainer = Trainer(config, step, open_dataset(config.data, "train"), open_dataset(config.data, "val"))
        trainer.prepare(resume)
        trainer.train()
        trainer.checkpoints._lock.close()
        assert list(remaining) == []
        return capsys.readouterr().out

    return run


def progress(folder: Path, name: str = "latest") -> dict:
    return json.loads(ms.load_checkpoint(str(folder / "checkpoint" / f"{name}.ckpt"))["ocrnet.progress"])


def log(folder: Path) -> list[str]:
    lines = (folder / "train.log").read_text().splitlines()
    return [re.sub(r" in \d+ s", "", line) for line in lines if re.match(r"step \d+:", line)]


def test_a_run_ends_after_patience_evaluations_without_a_better_score_and_so_does_its_resume(train, tmp_path):
    stopped = "stopped early: no better mIoU in 2 evaluations (best mIoU 60.00 % at step 2); a larger train.patience"
    text = train([0.5, 0.6, 0.6, 0.55], "train.patience=2")
    assert stopped in text and "4 steps done" in text
    assert log(tmp_path)[2:] == [
        "step 3: loss 0.4000, mIoU 60.00 %, pixel accuracy 60.00 % on 5 images (best: mIoU 60.00 % at step 2)",
        "step 4: loss 0.4500, mIoU 55.00 %, pixel accuracy 55.00 % on 5 images (best: mIoU 60.00 % at step 2)",
    ]
    assert (
        progress(tmp_path)["step"] == progress(tmp_path)["evaluated"] == 4 and progress(tmp_path, "best")["step"] == 2
    )
    before = (tmp_path / "checkpoint" / "latest.ckpt").read_bytes()

    text = train([], "train.patience=2", resume="auto")
    assert stopped in text and "after step 4" in text and "4 steps done" in text
    assert (tmp_path / "checkpoint" / "latest.ckpt").read_bytes() == before

    text = train([0.1, 0.2], "train.patience=4", resume="auto")  # two of the four were before
    assert "no better mIoU in 4 evaluations" in text and "6 steps done" in text
    text = train([0.7, 0.1], resume="auto")
    assert "stopped early" not in text and "8 steps done" in text and progress(tmp_path)["best_step"] == 7


@pytest.mark.parametrize(("name", "best"), [("loss", 2), ("pixel_accuracy", 2), ("miou", 2)])
def test_the_best_checkpoint_has_the_best_score_of_the_chosen_kind(train, tmp_path, name, best):
    train([0.5, 0.75, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5], f"eval.best_by={name}")
    found = progress(tmp_path, "best")
    value = 0.25 if name == "loss" else 0.75
    assert (found["step"], found["best_by"], found["best_score"]) == (best, name, value)
    assert progress(tmp_path)["evaluations_since_best"] == 6


def test_another_best_by_starts_anew(train, tmp_path):
    train([0.9, 0.8, 0.7], "train.patience=2")
    text = train([0.2, 0.1, 0.1], "train.patience=2", "eval.best_by=loss", resume="auto")
    assert "eval.best_by is loss, the best was mIoU 90.00 % at step 1: the next evaluation sets a new best" in text
    assert "no better loss in 2 evaluations (best loss 0.8000 at step 4)" in text
    assert progress(tmp_path, "best")["step"] == 4


def test_a_nan_is_no_score_and_not_in_the_log(train, tmp_path):
    text = train([0.5, 0.6], "train.patience=2", "eval.best_by=loss", loss=math.nan)
    assert "no better loss in 2 evaluations (none so far)" in text and not (tmp_path / "checkpoint/best.ckpt").exists()
    assert log(tmp_path)[0] == "step 1: mIoU 50.00 %, pixel accuracy 50.00 % on 5 images (no best yet)"


@pytest.mark.slow
def test_train_py_ends_early_with_status_0_and_its_resume_trains_nothing(run_script, untrained, demo, tmp_path):
    """No weight changes at this learning rate, so the second evaluation is not better than the first."""
    flags = ["--config", CONFIG_FILE, "--data_root", demo, "--save_dir", tmp_path, "--ms_mode", "1", *untrained.flags]
    settings = {
        "data.crop_size": "[32,64]",
        "model.checkpoint": untrained.path,
        "model.freeze_norm": True,
        "schedule.kind": "constant",
        "schedule.lr": 1e-30,
        "schedule.warmup_steps": 0,
        "eval.interval": 1,
        "eval.images": 2,
        "train.ema": 0.5,
        "train.patience": 1,
    }
    for key, value in settings.items():
        flags += ["--set", f"{key}={value}"]
    for number in range(2):
        done = run_script("train.py", *flags, "--total_step", "5", "--log_interval", "1", "--resume_ckpt", "auto")
        assert done.returncode == 0, done.stderr
        assert "stopped early: no better mIoU in 1 evaluations (best mIoU " in done.stdout
        assert "2 steps done" in done.stdout and ("after step 2" in done.stdout) == (number == 1)
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.split(",")[0].split(":")[0] for line in lines] == ["step 1/5", "step 1", "step 2/5", "step 2"]
    assert "on 2 images" in lines[1] and "on 2 images" in lines[3]
