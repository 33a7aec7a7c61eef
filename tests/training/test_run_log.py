"""train.log and TensorBoard events have no duplicate and no incomplete entries after a resume."""

import numpy as np
import pytest

from faults.kill_and_resume import tensorboard
from ocrnet.errors import UserError
from ocrnet.training.run_log import RunLog


def write(folder, first, last, after):
    log = RunLog(folder, after, 0)
    for step in range(first, last + 1):
        log.write_line(f"step {step}/9, loss: {step / 10}")
        log.add_scalars(step, {"loss/total": step / 8})
    log.close()


def test_a_resumed_run_truncates_the_logs_after_its_step(tmp_path):
    write(tmp_path, 1, 6, 0)
    write(tmp_path, 5, 7, 4)
    write(tmp_path, 6, 9, 5)
    expected = list(range(1, 10))
    assert (tmp_path / "train.log").read_text().splitlines() == [f"step {n}/9, loss: {n / 10}" for n in expected]
    assert tensorboard(tmp_path / "tensorboard") == [(n, "loss/total", n / 8) for n in expected]


@pytest.mark.parametrize("evaluated", [2, 4])
def test_an_evaluation_that_will_be_repeated_is_truncated_and_its_step_is_kept(tmp_path, evaluated):
    """A kill between the two checkpoints of an evaluated step leaves events of the evaluation in the log."""
    log = RunLog(tmp_path, 0, 0)
    for step in (2, 4):
        log.write_line(f"step {step}/9, loss: 1.0")
        log.add_scalars(step, {"loss/total": 1.0})
        log.add_image(step, "image_label_prediction/a", np.zeros((2, 2, 3), np.uint8))
        log.add_scalars(step, {"val/miou": 0.5, "val_iou/road": 0.5})
        log.write_line(f"step {step}: mIoU 50.00 %")
    log.close()
    RunLog(tmp_path, 4, evaluated).close()
    steps = ["step 2/9", "step 2: ", "step 4/9", "step 4: "]
    names = ["loss/total", "image_label_prediction/a", "val/miou", "val_iou/road"]
    kept = 4 if evaluated == 4 else 3
    assert [line[:8] for line in (tmp_path / "train.log").read_text().splitlines()] == steps[:kept]
    expected = [(2, name) for name in names] + [(4, name) for name in (names if evaluated == 4 else names[:1])]
    assert [entry[:2] for entry in tensorboard(tmp_path / "tensorboard")] == expected


def test_an_evaluation_repeated_by_a_resumed_run_is_kept_by_the_next_resume(tmp_path):
    """The resumed run starts a file of events before the evaluation of its first step."""
    write(tmp_path, 1, 2, 0)
    log = RunLog(tmp_path, 2, 0)
    log.add_scalars(2, {"val/miou": 0.5})
    log.add_scalars(3, {"loss/total": 0.25})
    log.close()
    RunLog(tmp_path, 2, 2).close()
    expected = [(1, "loss/total", 0.125), (2, "loss/total", 0.25), (2, "val/miou", 0.5)]
    assert tensorboard(tmp_path / "tensorboard") == expected


def test_incomplete_lines_and_events_are_truncated(tmp_path):
    write(tmp_path, 1, 3, 0)
    (tmp_path / "train.log").open("a").write("step 4/9, lo")
    (events,) = (tmp_path / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-3])
    write(tmp_path, 4, 4, 3)
    lines = (tmp_path / "train.log").read_text().split("\n")
    assert [line[:6] for line in lines] == ["step 1", "step 2", "step 3", "step 4", ""]
    assert [entry[0] for entry in tensorboard(tmp_path / "tensorboard")] == [1, 2, 4]


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write train\.log and tensorboard here"):
        RunLog(tmp_path, 0, 0)
