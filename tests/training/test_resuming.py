"""Runs of train.py that are stopped, resumed and started twice."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mindspore as ms
import pytest

from ocrnet.config import command_line
from ocrnet.config.loading import load_config
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError
from ocrnet.inference.network import load_network
from ocrnet.models.ocrnet import OCRNet
from ocrnet.training.losses import OCRLoss
from ocrnet.training.optimizer import make_optimizer
from ocrnet.training.step import TrainOneStep
from ocrnet.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
_TINY = (
    "--ms_mode 1 --log_interval 1 --set model.head_channels=16 --set model.key_channels=8 "
    "--set model.context_channels=16 --set data.crop_size=[32,64] --set data.workers=1 --set schedule.warmup_steps=0"
)
TINY = _TINY.split()


@pytest.fixture
def train(run_script, demo, tmp_path):
    def run(*flags, data=demo):
        return run_script(
            "train.py", "--config", CONFIG_FILE, "--dataset_dir", data, "--save_dir", tmp_path, *TINY, *flags
        )

    return run


def position(path: Path) -> dict:
    return json.loads(ms.load_checkpoint(str(path))["ocrnet.progress"])


def logged_steps(folder: Path) -> list[int]:
    return [int(step) for step in re.findall(r"^step (\d+)/", (folder / "train.log").read_text(), re.MULTILINE)]


def test_a_damaged_validation_image_loses_no_step_and_resume_repeats_the_evaluation(train, demo, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo, data)
    image = sorted((data / "leftImg8bit" / "val").rglob("*.png"))[2]
    whole = image.read_bytes()
    image.write_bytes(whole[:-30])
    flags = ["--batch_size", "4", "--total_step", "3", "--set", "eval.interval=2", "--resume_ckpt", "auto"]
    failed = train(*flags, data=data)
    assert failed.returncode == 2 and f"error: {image}" in failed.stderr and "Traceback" not in failed.stderr
    folder = tmp_path / "checkpoint"
    assert f"the evaluation after step 2 failed: step 2 is in {folder}; --resume_ckpt auto repeats it" in failed.stderr
    assert position(folder / "latest.ckpt")["step"] == 2 and not (folder / "best.ckpt").exists()
    image.write_bytes(whole)
    done = train(*flags, data=data)
    assert done.returncode == 0 and re.search("step 2: .*mIoU", done.stdout) and "3 steps done" in done.stdout
    assert logged_steps(tmp_path) == [1, 2, 3]
    assert position(folder / "best.ckpt")["best_score"] == position(folder / "latest.ckpt")["best_score"] > 0


@pytest.mark.parametrize(("best_so_far", "improved"), [(0.99, False), (None, True)])
def test_only_a_better_score_writes_best_ckpt(demo, tmp_path, best_so_far, improved):
    flags = [*TINY, "--batch_size", "2", "--total_step", "1", "--dataset_dir", str(demo), "--save_dir", str(tmp_path)]
    _, config = command_line.parse(command_line.config_parser(""), ["--config", str(ROOT / CONFIG_FILE), *flags])
    loss_network = OCRLoss(OCRNet(config.model, 19), config.loss, 19, False)
    step = TrainOneStep(loss_network, make_optimizer(config.optimizer, loss_network), None)
    trainer = Trainer(config, step, open_dataset(config.data, "train"), open_dataset(config.data, "val"))
    trainer.prepare(None)
    trainer.progress.best_score = best_so_far
    trainer.train()
    last = position(tmp_path / "checkpoint" / "latest.ckpt")
    assert (tmp_path / "checkpoint" / "best.ckpt").exists() == improved
    assert last["evaluated"] == 1 and last["best_step"] == improved
    assert 0 < last["best_score"] < 0.5 if improved else last["best_score"] == 0.99


def test_epochs_complete_after_a_batch_size_change_and_a_shorter_total_step_ends_the_run(train, tmp_path):
    first = train("--batch_size", "2", "--set", "train.epochs=1", "--run_eval", "False")
    assert first.returncode == 0 and logged_steps(tmp_path) == [1, 2, 3, 4, 5, 6]
    flags = ["--batch_size", "6", "--run_eval", "False", "--resume_ckpt", "auto"]
    second = train(*flags, "--set", "train.epochs=3")
    assert second.returncode == 0, second.stderr
    assert "train.batch_size 2 -> 6, train.epochs 1 -> 3" in second.stdout
    assert "a step has 6 samples; total_step counts steps of 2, the size at the start of the run" in second.stdout
    assert logged_steps(tmp_path) == list(range(1, 11)) and "10 steps done" in second.stdout
    assert position(tmp_path / "checkpoint" / "latest.ckpt")["samples"] == 36
    third = train(*flags, "--total_step", "4")
    assert third.returncode == 0, third.stderr
    assert "nothing left to train: the run has 10 steps, 3 epochs" in third.stdout


def test_a_second_run_in_the_same_folder_is_refused_and_a_killed_one_leaves_no_lock(train, demo, tmp_path):
    flags = [*TINY, "--batch_size", "4", "--total_step", "500", "--run_eval", "False"]
    command = [sys.executable, ROOT / "train.py", "--config", CONFIG_FILE, "--data_root", demo, "--save_dir", tmp_path]
    null = subprocess.DEVNULL
    with subprocess.Popen(list(map(str, [*command, *flags])), cwd=ROOT, stdout=null, stderr=null) as process:
        while not (tmp_path / "train.log").exists() and process.poll() is None:
            time.sleep(0.05)
        second = train("--total_step", "1")
        process.kill()
    assert second.returncode == 2 and "Traceback" not in second.stderr
    assert f"save_dir {tmp_path}: in use by another run (process {process.pid} on " in second.stderr
    assert not (tmp_path / "earlier.1").exists()
    assert train("--batch_size", "4", "--total_step", "1", "--run_eval", "False").returncode == 0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.align_corners", True, "False in the checkpoint, True in the configuration; set model.align_corners to"),
        ("model.fuse", "nearest", "model.fuse: bilinear in the checkpoint, nearest in the configuration"),
        ("model.head_norm_eps", 1e-4, "model.head_norm_eps: 1e-05 in the checkpoint, 0.0001 in the configuration"),
        ("data.std", [1, 1, 1], "data.std: [58.395, 57.12, 57.375] in the checkpoint, [1.0, 1.0, 1.0] in the"),
        ("data.label_map", {0: 0, 1: 5}, "data.label_map: {0: 255, 1: 255,"),
        ("data.classes", "reversed", "data.classes: 'bicycle' has index 18 in the checkpoint, 0 in the configuration"),
    ],
)  # fmt: skip
def test_evaluation_refuses_a_config_that_differs_from_training(untrained, key, value, message):
    flags = untrained.flags
    small = {name: (int(size), "") for name, size in (flag.split("=") for flag in flags[1::2])}
    changes = {key: (value, "")}
    if value == "reversed":
        label_map = {index: 18 - index for index in range(19)}
        changes = {key: (untrained.config.data.classes[::-1], ""), "data.label_map": (label_map, "")}
    config = load_config(ROOT / CONFIG_FILE, {**small, **changes})
    with pytest.raises(UserError) as caught:
        load_network(config, untrained.path)
    assert message in str(caught.value)


def test_renamed_classes_are_reported(untrained, capsys):
    names = [f"类别{index}" for index in range(19)]
    changes = {"data.classes": (names, ""), "data.label_map": (untrained.config.data.label_map, "")}
    small = {name: (int(size), "") for name, size in (flag.split("=") for flag in untrained.flags[1::2])}
    load_network(load_config(ROOT / CONFIG_FILE, {**small, **changes}), untrained.path)
    assert capsys.readouterr().out == f"changed since {untrained.path} was written: data.classes (other names)\n"


def test_missing_classes_are_reported_once_with_the_label_map(train, demo, tmp_path):
    label_map = {value: 0 if value == 7 else 255 for value in range(34)}
    flags = ["--batch_size", "4", "--total_step", "4", "--run_eval", "False", "--set", f"data.label_map={label_map}"]
    done = train(*flags)
    assert done.returncode == 0, done.stderr
    (note,) = [line for line in done.stdout.splitlines() if "not in the labels" in line]
    assert "not in the labels of the first 12 samples: sidewalk, building, wall," in note and "and 10 more" in note
    assert " 7 -> road, " in note and " 11 -> ignored" in note
