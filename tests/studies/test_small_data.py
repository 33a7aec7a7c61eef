import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

STUDY = Path(__file__).with_name("small_data.py")


def run(*flags: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, STUDY, *map(str, flags)], capture_output=True, text=True)


@pytest.mark.slow
def test_the_study_trains_prints_a_table_and_does_not_repeat_a_run(tmp_path):
    data, rng = tmp_path / "data", np.random.default_rng(0)
    data.mkdir()
    for name in "abcde":
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(data / f"{name}.jpg")
        Image.fromarray(np.kron(rng.integers(0, 12, (3, 4), np.uint8), np.ones((16, 16), np.uint8))).save(
            data / f"{name}.png"
        )
    (data / "train.lst").write_text("".join(f"{name}.jpg {name}.png\n" for name in "abcd"))
    (data / "val.lst").write_text("e.jpg e.png\n")
    flags = ["--output", tmp_path / "runs", "--data", data, "--steps", 2, "--crop", 32, 32, "--set", "ms_mode=1"]
    flags += ["--variants", "baseline", "augmentation", "--seeds", 0]
    done = run(*flags)
    assert (done.returncode, done.stderr) == (0, "")
    scores = json.loads((tmp_path / "runs" / "results.json").read_text())["miou"]
    assert 0 <= scores["baseline"]["0"] <= 100
    assert done.stdout.splitlines()[-2] == f"| baseline | 1 | {scores['baseline']['0']:.2f} |  |"
    assert done.stdout.splitlines()[-1].startswith(f"| augmentation | 1 | {scores['augmentation']['0']:.2f} | ")
    assert "seed 0" in done.stdout and "seed 0" not in run(*flags).stdout
    other = run(*flags, "--steps", 3)
    assert other.returncode == 1 and "these runs had other settings" in other.stderr


def test_without_the_data_the_study_says_what_it_needs(tmp_path):
    done = run("--output", tmp_path, "--data", tmp_path / "nowhere")
    assert done.returncode == 1
    assert (
        done.stderr
        == f"{tmp_path}/nowhere/train.lst: not found. This study needs 64 frames of CamVid there; see --help.\n"
    )
