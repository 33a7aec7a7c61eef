"""Faults of long trainings, injected into short ones. The results must equal those of an uninterrupted run."""

import json
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import cv2
import mindspore as ms
import numpy as np
import pytest
from kill_and_resume import STEPS, different, finish, kill_somewhere, outcome, reached, start

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
_TINY = (
    "--ms_mode 1 --batch_size 4 --log_interval 1 --run_eval False --set model.head_channels=16 "
    "--set model.key_channels=8 --set model.context_channels=16 --set data.crop_size=[32,64] --set data.workers=1 "
    "--set schedule.warmup_steps=0"
)
TINY = _TINY.split()


@pytest.fixture(scope="module")
def uninterrupted(demo, tmp_path_factory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish(demo, folder, 1)
    return outcome(folder)


def wait_for(process: subprocess.Popen, folder: Path, step: int) -> None:
    while process.poll() is None and reached(folder / "train.log") < step:
        time.sleep(0.002)
    assert process.poll() is None, (folder.parent / f"{folder.name}.txt").read_text()


def stored_step(folder: Path, name: str = "latest") -> int:
    stored = ms.load_checkpoint(str(folder / "checkpoint" / f"{name}.ckpt"))
    return json.loads(stored["ocrnet.progress"])["step"]


@pytest.mark.slow
def test_a_killed_and_resumed_run_equals_the_uninterrupted_one(uninterrupted, demo, tmp_path):
    """Killed at any moment, and resumed; killed while it writes a checkpoint, and resumed."""
    story = [kill_somewhere(demo, tmp_path / "run", 1, random.Random(), writing=False, last=STEPS // 2)]
    story += [kill_somewhere(demo, tmp_path / "run", 2, random.Random(), writing=True)]
    assert all(part.startswith("killed") for part in story), story
    finish(demo, tmp_path / "run", 1)
    assert different(uninterrupted, outcome(tmp_path / "run")) == [], story


@pytest.mark.slow
def test_sigterm_saves_and_a_damaged_checkpoint_is_replaced_by_the_previous_one(uninterrupted, demo, tmp_path):
    folder = tmp_path / "run"
    process = start(demo, folder, 1)
    wait_for(process, folder, 9)
    process.terminate()
    assert process.wait(timeout=60) == 143
    printed = (tmp_path / "run.txt").read_text()
    step = stored_step(folder)
    assert 9 <= step == reached(folder / "train.log") and f"stopped after step {step}" in printed

    latest = folder / "checkpoint" / "latest.ckpt"
    content = bytearray(latest.read_bytes())
    latest.unlink()  # break the hard link to a numbered checkpoint
    content[len(content) // 2] ^= 16
    latest.write_bytes(content)
    finish(demo, folder, 2)
    printed = (tmp_path / "run.txt").read_text()
    assert "latest.ckpt: damaged: its content does not match its SHA-256" in printed
    before = step // 4 * 4 if step % 4 else step
    assert f"_{before}_rank0.ckpt after step {before}" in printed
    assert (folder / "checkpoint" / "latest.ckpt.damaged.1").read_bytes() == content
    assert different(uninterrupted, outcome(folder)) == []


@pytest.mark.slow
def test_ctrl_c_saves_and_a_second_one_exits_immediately(demo, tmp_path):
    for presses, statuses in ((1, {130}), (2, {130})):
        folder = tmp_path / f"run{presses}"
        process = start(demo, folder, 1, "--ms_mode", "1")
        wait_for(process, folder, 2)
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
            time.sleep(0.005)
        asked = time.monotonic()
        assert process.wait(timeout=60) in statuses and time.monotonic() - asked < 15
        assert "Traceback" not in (tmp_path / f"run{presses}.txt").read_text()
    assert stored_step(tmp_path / "run1") == reached(tmp_path / "run1" / "train.log") >= 2


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs, if this user may mount one, with space for a run: at most 9 checkpoints of 9 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)], capture_output=True
        ).returncode
    ):
        pytest.skip("no permission to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def on_full_disk(small_disk, demo, tmp_path):
    """A run whose disk is full after step 5: (its folder, process, the file that fills the disk)."""
    folder = tmp_path / "run"
    (small_disk / "run").mkdir()
    folder.symlink_to(small_disk / "run")
    process = start(demo, folder, 1)
    wait_for(process, folder, 5)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(1 << 20))  # the last one is written in part
    return folder, process, filler


@pytest.mark.slow
def test_a_full_disk_loses_a_checkpoint_and_nothing_else(uninterrupted, on_full_disk, tmp_path):
    folder, process, filler = on_full_disk
    while b"Training continues" not in (tmp_path / "run.txt").read_bytes() and process.poll() is None:
        time.sleep(0.01)
    filler.unlink()
    assert process.wait(timeout=120) == 0, (tmp_path / "run.txt").read_text()
    ended = outcome(folder)
    assert "no checkpoint could be written" in ended["log"]
    # a best score whose checkpoint could not be written does not count; loss lines were written after freeing space
    lines = [re.findall(r"step \d+/.*", run["log"]) for run in (uninterrupted, ended)]
    assert lines[0] == lines[1] and len(lines[0]) == STEPS
    assert {name for name in different(uninterrupted, ended) if not name.startswith("best ")} <= {"log", "progress"}


@pytest.mark.slow
def test_a_disk_that_stays_full_keeps_the_last_checkpoint(uninterrupted, on_full_disk, demo, tmp_path):
    folder, process, filler = on_full_disk
    assert process.wait(timeout=120) == 2
    printed = (tmp_path / "run.txt").read_text()
    warnings = re.findall(r"warning: step (\d+): no checkpoint could be written in .*: No space left", printed)
    assert len(warnings) >= 5 and "Traceback" not in printed
    kept = int(re.search(rf"error: step {STEPS}: .* The checkpoint of step (\d+) is kept", printed)[1])
    assert stored_step(folder) == kept and not list((folder / "checkpoint").glob("writing*"))
    filler.unlink()
    finish(demo, folder, 1)
    assert different(uninterrupted, outcome(folder)) == []


@pytest.fixture
def train(run_script, demo, tmp_path):
    def run(*flags, data=demo):
        return run_script(
            "train.py", "--config", CONFIG_FILE, "--dataset_dir", data, "--save_dir", tmp_path, *TINY, *flags
        )

    return run


@pytest.mark.slow
def test_a_nonfinite_loss_stops_training_and_keeps_the_last_checkpoint(train, tmp_path):
    flags = ["--set", "checkpoint.interval=1", "--total_step", "9", "--log_interval", "9"]
    assert train(*flags, "--total_step", "2").returncode == 0
    done = train(*flags, "--lr_init", "1e30", "--resume_ckpt", "auto")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(
        r"error: step [34]: .*(the loss is|not finite).*, loss scale 1\. First images of the batch: ", done.stderr
    )
    assert "_leftImg8bit.png" in done.stderr
    kept = ms.load_checkpoint(str(tmp_path / "checkpoint" / "latest.ckpt"))
    assert all(np.isfinite(value.asnumpy()).all() for value in kept.values() if isinstance(value, ms.Parameter))
    assert f"The checkpoint of step {stored_step(tmp_path)} is kept" in done.stderr


@pytest.mark.slow
def test_permanent_overflow_stops_training(train, demo):
    flags = ["--mix", "True", "--ms_loss_scaler", "static", "--ms_loss_scaler_value", "1e30"]
    done = train(*flags, "--set", "train.overflow_limit=3", "--total_step", "9")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert (
        "step 3: the gradients overflowed in 3 consecutive steps" in done.stderr and "loss scale 1e+30" in done.stderr
    )


@pytest.mark.slow
def test_a_bad_pair_stops_training_or_is_replaced_and_reported(train, demo, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo, data)
    images = sorted((data / "leftImg8bit" / "train").rglob("*.png"))
    images[3].write_bytes(images[3].read_bytes()[:-9])
    cv2.imwrite(str(images[7]), np.zeros((16, 16, 3), np.uint8))
    stopped = train("--total_step", "6", data=data)
    assert stopped.returncode == 2 and "Traceback" not in stopped.stderr
    assert re.search("error: .*(truncated|its image)", stopped.stderr)
    label = sorted((data / "gtFine" / "train").rglob("*labelIds.png"))[7]
    label.unlink()  # missing files count as well
    done = train("--total_step", "6", "--set", "data.on_bad_sample=skip", data=data)  # two epochs
    assert done.returncode == 0, done.stderr
    assert "unreadable pairs that were replaced (data.on_bad_sample): 2" in done.stdout
    assert f"2 times: {images[3]}: not a readable image: truncated, a PNG without its IEND chunk" in done.stdout
    assert f"2 times: {label}: label file not found" in done.stdout
