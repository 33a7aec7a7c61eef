"""scripts/check_dataset.py as a user runs it."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"


def test_a_sound_data_set_gives_class_shares_and_weights(run_script, demo):
    done = run_script("scripts/check_dataset.py", "--config", CONFIG_FILE, "--dataset_dir", demo)
    assert done.returncode == 0, done.stderr
    assert "train: 12 of 12 pairs can be used" in done.stdout and "val: 5 of 5" in done.stdout
    assert "Traceback" not in done.stderr and "12/12" in done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("road ", "person ", "train "))]
    shares = {row[0]: row[1] for row in rows}
    labels = [np.asarray(Image.open(file)) for file in (demo / "gtFine" / "train").rglob("*labelIds.png")]
    counted = [label[np.isin(label, [7, 8, *range(11, 14), 17, *range(19, 29), *range(31, 34)])] for label in labels]
    assert float(shares["road"]) == pytest.approx(100 * np.mean(np.concatenate(counted) == 7), abs=6e-4)
    weights = [float(word) for word in done.stdout.partition("class_weights: [")[2].partition("]")[0].split(", ")]
    assert len(weights) == 19 and weights[0] == min(weights) < 1 < max(weights)


def test_every_bad_file_is_listed_with_its_kind(run_script, demo, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo, data)
    images = sorted((data / "leftImg8bit" / "train").rglob("*.png"))
    labels = [str(file) for file in sorted((data / "gtFine" / "train").rglob("*labelIds.png"))]
    Path(labels[0]).unlink()
    images[1].write_bytes(images[1].read_bytes()[:-20])
    flipped = bytearray(images[2].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    images[2].write_bytes(flipped)
    cv2.imwrite(str(images[3]), np.zeros((32, 32, 3), np.uint8))
    raw = np.asarray(Image.open(labels[4])).copy()
    raw[0, 0] = 99
    Image.fromarray(raw).save(labels[4])
    done = run_script("scripts/check_dataset.py", "--config", CONFIG_FILE, "--dataset_dir", data)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    found = dict(line.split(": ")[:2] for line in done.stdout.splitlines() if str(data) in line)
    assert found == {
        "missing": labels[0],
        "truncated": str(images[1]),
        "unreadable": str(images[2]),
        "sizes differ": labels[3],
        "values out of range": labels[4],
    }
    assert "train: 7 of 12 pairs can be used" in done.stdout
