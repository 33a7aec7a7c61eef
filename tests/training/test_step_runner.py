"""Training steps follow each other without waiting for the device."""

import os
import subprocess
import sys
from pathlib import Path

from ocrnet.distributed import launcher
from ocrnet.distributed.launcher import Ranks
from ocrnet.runtime.signals import StopRequest
from ocrnet.training import stop_check
from ocrnet.training.stop_check import StopCheck

ROOT = Path(__file__).resolve().parents[2]


def test_a_step_reads_nothing_from_the_device_and_runs_no_operator_outside_its_graph(demo, tmp_path):
    """In 100 steps only the three that are logged read the losses and the loss scale."""
    flags = ["--dataset_dir", str(demo), "--save_dir", str(tmp_path), "--total_step", "100", "--batch_size", "1"]
    flags += ["--set", "data.crop_size=[32,64]", "--set", "train.log_interval=50", "--ms_loss_scaler", "dynamic"]
    ended = subprocess.run(
        [sys.executable, "tests/training/count_device_work.py", "--config", "config/ocrnet/ocrnet_demo.yml", *flags],
        cwd=ROOT,
        env={**os.environ, "MS_SUBMODULE_LOG_v": "{PYNATIVE:0}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    before, *steps = ended.stderr.partition("END")[0].split("STEP\n")
    assert len(steps) == 100 and operators(before) >= 2  # two operators are run on purpose
    assert [number for number, step in enumerate(steps, 1) if operators(step)] == []
    assert [number for number, step in enumerate(steps, 1) if "READ\n" in step] == [1, 50, 100]


def operators(log: str) -> int:
    """Returns the number of operators that ran in PyNative mode."""
    return log.count("RunOp name: ") + log.count("DispatchOp] PyBoost")


def test_ranks_agree_about_once_a_second_whether_to_stop(monkeypatch):
    stop, asked, now = StopRequest(), [], 0.0

    def all_reduce_max(number: int) -> int:
        asked.append(number)
        return number

    monkeypatch.setattr(launcher, "_stored", (Ranks(0, 2, 0, 2), None))
    monkeypatch.setattr(stop_check.collectives, "all_reduce_max", all_reduce_max)
    monkeypatch.setattr(stop_check.time, "monotonic", lambda: now)
    check, checked = StopCheck(stop), []
    for step in range(60):  # the first two steps take 30 s each, the others 0.1 s
        asked.clear()
        assert check.signal(step) == 0
        checked += [step] if asked else []
        now += 30 if step < 2 else 0.1
    assert checked == [0, 1, 2, 3, 13, 23, 33, 43, 53]
    stop.signal = 15
    assert [check.signal(step) for step in range(60, 64)] == [0, 0, 0, 15]
