"""Which checkpoint a run resumes from, and what happens to the others. Two numbers replace the network."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from ocrnet.config import Config
from ocrnet.errors import UserError
from ocrnet.training.checkpoint import CheckpointFolder, resume
from ocrnet.training.run_progress import Progress

CLASSES = {"format": "list", "classes": ["a", "b"]}


def configuration(folder: Path, **changes) -> Config:
    return Config(**{"save_dir": folder, "data": CLASSES, "checkpoint": {"interval": 2}, **changes})


def weights(value: float) -> dict[str, Parameter]:
    return {"weight": Parameter(Tensor([value, value], ms.float32), "weight")}


def write_run(folder: Path, scores: dict[int, float], steps: int = 8) -> CheckpointFolder:
    """Write a run of `steps` steps whose weights after step n are n. `scores`: mIoU of the evaluated steps."""
    run = CheckpointFolder(configuration(folder))
    progress, _ = run.open(None, {})
    for step in range(1, steps + 1):
        progress.step, progress.samples = step, 4 * step
        improved = step in scores and progress.add_evaluation(scores[step])
        if step % 2 == 0 or step in scores:
            assert run.save(weights(step), progress, improved) == ""
    (folder / "train.log").write_text("".join(f"step {step}/{steps}, loss: 1\n" for step in range(1, steps + 1)))
    run._lock.close()
    return run


def reopen(folder: Path, resume_from: str | None, **changes) -> tuple[CheckpointFolder, Progress, list[str], float]:
    run, parameters = CheckpointFolder(configuration(folder, **changes)), weights(0)
    progress, notes = run.open(resume_from, parameters)
    run._lock.close()
    return run, progress, notes, float(parameters["weight"].asnumpy()[0])


def content(path: Path) -> float:
    return float(ms.load_checkpoint(str(path))["weight"].asnumpy()[0])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("trouble", ["open files", "input/output"])
def test_io_errors_move_no_checkpoint_and_start_no_run(tmp_path, trouble):
    run = write_run(tmp_path, {4: 0.5})
    if trouble == "input/output":
        run.latest.unlink()
        run.latest.symlink_to("/proc/self/mem")  # its first page cannot be read
    before = {name for name in files(tmp_path / "checkpoint")} if trouble == "open files" else None
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        if trouble == "open files":
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            with pytest.raises(UserError, match="cannot read this checkpoint: Too many open files"):
                resume(weights(0), run.latest, run.config)
        with pytest.raises(UserError, match=r"Too many open files|cannot read this checkpoint: Input/output error"):
            reopen(tmp_path, "auto")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not list(tmp_path.rglob("*.damaged.*")) and not list(tmp_path.glob("earlier.*"))
    assert before is None or before == set(files(tmp_path / "checkpoint"))


def resume_with_little_memory(folder: str) -> None:
    run = CheckpointFolder(configuration(Path(folder)))
    run.open(None, {})
    large = {"weight": Parameter(Tensor(np.ones(30_000_000, np.float32)), "weight")}
    run.save(large, Progress(step=2), is_best=True)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000, limits[1]))
        with pytest.raises(UserError) as caught:
            resume(large, run.latest, run.config)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert type(caught.value) is UserError and "memory" in str(caught.value)


def test_out_of_memory_is_not_reported_as_a_damaged_checkpoint(tmp_path):
    """In a process of its own: this one may still have memory that other tests have freed."""
    code = "import sys; from test_checkpoint import resume_with_little_memory as check; check(sys.argv[1])"
    here = Path(__file__).resolve().parent
    path = os.pathsep.join(map(str, (here, here.parents[1] / "src")))
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_with_only_damaged_checkpoints_nothing_is_started_or_moved(tmp_path):
    run = write_run(tmp_path, {4: 0.5})
    for path in (tmp_path / "checkpoint").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    before = files(tmp_path / "checkpoint")
    for _ in range(2):  # a restarted job must not start a new run either
        with pytest.raises(UserError, match=r"none of the 6 checkpoints can be read, so nothing was started or moved"):
            reopen(tmp_path, "auto")
    assert files(tmp_path / "checkpoint") == before and run.latest.exists()


def test_auto_restores_a_run_that_a_start_without_resume_archived(tmp_path):
    write_run(tmp_path, {4: 0.5})
    before = {name: data for name, data in files(tmp_path).items() if name != ".lock"}
    _, _, notes, _ = reopen(tmp_path, None)
    assert notes == [
        f"an earlier run was here; it is now in {tmp_path}/earlier.1 (--resume_ckpt auto would have resumed it)"
    ]
    (tmp_path / "train.log").write_text("step 1/8, loss: 9\n")
    _, progress, notes, weight = reopen(tmp_path, "auto")
    assert (progress.step, weight) == (8, 8.0)
    assert f"an earlier run in {tmp_path}/earlier.1: it was restored" in notes[1]
    assert before.items() <= files(tmp_path).items() and not (tmp_path / "earlier.1").exists()
    assert (tmp_path / "earlier.2" / "train.log").read_text() == "step 1/8, loss: 9\n"


def test_resuming_an_older_step_archives_later_checkpoints_and_restores_its_best(tmp_path):
    write_run(tmp_path, {2: 0.3, 4: 0.5, 8: 0.7})
    older = tmp_path / "checkpoint" / "OCRNet_hrnet_w18_small_6_rank0.ckpt"
    run, progress, notes, weight = reopen(tmp_path, str(older))
    assert (progress.step, progress.best_score, progress.best_step, weight) == (6, 0.5, 4, 6.0)
    assert notes[1] == f"checkpoints after step 6 are now in {tmp_path}/earlier.1"
    assert (content(run.latest), content(run.best)) == (6.0, 4.0)
    archive = tmp_path / "earlier.1"
    assert {content(path) for path in (archive / "checkpoint").iterdir()} == {8.0}
    archived = {path.name for path in (archive / "checkpoint").iterdir()}
    assert archived >= {"latest.ckpt", "best.ckpt", "OCRNet_hrnet_w18_small_8_rank0.ckpt"}
    assert max(step for step, _ in run.numbered()) == 6
    assert "step 8/8" in (archive / "train.log").read_text()
    _, progress, _, weight = reopen(tmp_path, "auto")  # killed before its first save
    assert (progress.step, weight) == (6, 6.0)


def test_a_missing_best_checkpoint_resets_the_best_score(tmp_path):
    """`best` must not have weights with a lower score than recorded, nor may a lost score block new ones."""
    write_run(tmp_path, {3: 0.5, 7: 0.7})
    older = tmp_path / "checkpoint" / "OCRNet_hrnet_w18_small_6_rank0.ckpt"
    run, progress, notes, _ = reopen(tmp_path, str(older))
    assert (progress.best_score, progress.best_step) == (None, 0) and not run.best.exists()
    assert "the checkpoint of the best score before this step (mIoU 50.00 % at step 3) no longer exists" in notes[-1]


def test_a_checkpoint_of_another_folder_brings_its_best_and_archives_the_local_run(tmp_path):
    other = write_run(tmp_path / "other", {4: 0.5})
    write_run(tmp_path / "here", {2: 0.9}, steps=2)
    run, progress, notes, weight = reopen(tmp_path / "here", str(other.latest))
    assert (progress.step, weight, content(run.best), content(run.latest)) == (8, 8.0, 4.0, 8.0)
    assert "earlier.1" in notes[1] and content(tmp_path / "here" / "earlier.1" / "checkpoint" / "best.ckpt") == 2.0
    assert content(other.best) == 4.0


def test_the_newest_intact_checkpoint_is_resumed_and_damaged_ones_are_renamed(tmp_path, capsys):
    run = write_run(tmp_path, {4: 0.5})
    whole = run.latest.read_bytes()
    run.latest.unlink()  # break the hard link
    run.latest.write_bytes(whole[:-40])
    _, progress, notes, _ = reopen(tmp_path, "auto")
    assert progress.step == 8 and "OCRNet_hrnet_w18_small_8_rank0.ckpt after step 8" in notes[0]
    assert (tmp_path / "checkpoint" / "latest.ckpt.damaged.1").read_bytes() == whole[:-40]
    assert "trying the previous checkpoint" in capsys.readouterr().err


def test_unknown_progress_keys_of_newer_versions_are_ignored(tmp_path):
    run = write_run(tmp_path, {})
    stored = ms.load_checkpoint(str(run.latest))
    position = json.loads(stored["ocrnet.progress"])
    assert Progress.from_dict({**position, "something": 1}) == Progress.from_dict(position)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"align_corners": True}},
         "model.align_corners: False in the checkpoint, True in the configuration; set model.align_corners to False"),
        ({"model": {"fuse": "nearest"}}, "model.fuse: bilinear in the checkpoint, nearest in the configuration"),
        ({"data": {**CLASSES, "mean": [0, 0, 0]}}, "data.mean: [123.675, 116.28, 103.53] in the checkpoint"),
        ({"data": {**CLASSES, "classes": ["b", "a"]}}, "data.classes: 'b' has index 1 in the checkpoint, 0 in the"),
        ({"data": {**CLASSES, "label_map": {0: 1, 1: 0}}}, "data.label_map: {} in the checkpoint, {0: 1, 1: 0} in"),
        ({"seed": 7}, "seed: 1234 in the checkpoint, 7 in the configuration; set seed to 1234"),
    ],
)  # fmt: skip
def test_resume_refuses_changed_keys_that_affect_results(tmp_path, changes, message):
    write_run(tmp_path, {})
    before = files(tmp_path)
    with pytest.raises(UserError) as caught:
        reopen(tmp_path, "auto", **changes)
    assert message in str(caught.value)
    assert {name: data for name, data in files(tmp_path).items() if name != ".lock"} == {
        name: data for name, data in before.items() if name != ".lock"
    }


def test_harmless_config_changes_are_reported_in_one_line(tmp_path):
    write_run(tmp_path, {})
    changes = {
        "schedule": {"lr": 0.5},
        "data": {**CLASSES, "classes": ["猫", "狗"], "workers": 3},
        "checkpoint": {"interval": 2, "keep": 9},
    }
    _, progress, notes, _ = reopen(tmp_path, "auto", **changes)
    latest = tmp_path / "checkpoint" / "latest.ckpt"
    assert progress.step == 8
    assert notes[1:] == [f"changed since {latest} was written: data.classes (other names), schedule.lr 0.01 -> 0.5"]


def ema_state(raw: float, average: float, updates: int) -> dict[str, Parameter]:
    """What `TrainOneStep.state` has with `train.ema`."""
    count = Parameter(Tensor(updates, ms.int32), "ema.updates")
    return {
        **weights(average),
        "raw.weight": weights(raw)["weight"],
        "moment": weights(0)["weight"],
        "ema.updates": count,
    }


def test_a_resumed_run_can_turn_the_average_on_and_off(tmp_path):
    run = CheckpointFolder(configuration(tmp_path))
    run.open(None, {})
    run.save(ema_state(raw=3, average=5, updates=7), Progress(step=1), is_best=True)
    off = {**weights(0), "moment": weights(0)["weight"]}
    _, note = resume(off, run.best, run.config)
    assert off["weight"].asnumpy()[0] == 3
    assert note == "train.ema is off: training goes on with the weights, without their average"

    same = ema_state(0, 0, 0)
    _, note = resume(same, run.best, run.config)
    found = [same[name].asnumpy().max() for name in ("raw.weight", "weight", "ema.updates")]
    assert found == [3, 5, 7] and note == ""

    run.save(off, Progress(step=2), is_best=True)
    on = ema_state(0, 0, 0)
    _, note = resume(on, run.best, run.config)
    assert [on[name].asnumpy().max() for name in ("raw.weight", "weight", "ema.updates")] == [3, 3, 0]
    assert note == "train.ema: the average starts from these weights"
    with pytest.raises(UserError, match=r"raw\.other: missing in the file"):
        resume({**on, "raw.other": weights(0)["weight"]}, run.best, run.config)
