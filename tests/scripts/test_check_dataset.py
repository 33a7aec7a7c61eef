"""scripts/check_dataset.py from the command line."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from ocrnet.config.loading import load_config

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
CROP = ("--set", "data.crop_size=[32,64]")  # fits the small scenes of these tests


def test_class_shares_and_weights_of_a_valid_data_set(run_script, demo):
    done = run_script("scripts/check_dataset.py", "--config", CONFIG_FILE, "--dataset_dir", demo, *CROP)
    assert done.returncode == 0, done.stdout + done.stderr
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
    listed = done.stdout.partition("train: ")[0].splitlines()  # the findings follow
    found = dict(line.split(": ")[:2] for line in listed if str(data) in line)
    assert found == {
        "missing": labels[0],
        "truncated": str(images[1]),
        "unreadable": str(images[2]),
        "sizes differ": labels[3],
        "values out of range": labels[4],
    }
    assert "train: 7 of 12 pairs can be used" in done.stdout


def test_warnings_and_usage_errors_have_statuses_of_their_own(run_script, demo):
    done = run_script("scripts/check_dataset.py", "--config", CONFIG_FILE, "--dataset_dir", demo)
    assert done.returncode == 3 and "warning: crops are larger than images" in done.stdout, done.stderr
    assert done.stdout.endswith("          data:\n            crop_size: [64, 128]\n")
    assert done.stdout.count("warning: ") == 1 and "error: " not in done.stdout
    for flags in (["--devices", "0"], ["--write_lists"], ["--set", "data.crop=3"]):
        done = run_script("scripts/check_dataset.py", "--config", CONFIG_FILE, "--dataset_dir", demo, *CROP, *flags)
        assert done.returncode == 2 and "Traceback" not in done.stderr, flags


def test_colour_masks_are_named_with_the_palette_that_was_found(run_script, demo, tmp_path):
    """The colours of Cityscapes' own colour masks are known."""
    images = sorted((demo / "leftImg8bit").rglob("*.png"))
    lines = []
    for image in images:
        mask = str(image).replace("leftImg8bit", "gtFine").removesuffix(".png") + "_color.png"
        shutil.copy(image, tmp_path / image.name)
        shutil.copy(mask, tmp_path / f"{image.stem}_mask.png")
        lines.append(f"{image.name} {image.stem}_mask.png\n")
    (tmp_path / "train.lst").write_text("".join(lines[:-5]))
    (tmp_path / "val.lst").write_text("".join(lines[-5:]))
    config = tmp_path / "mine.yml"
    classes = load_config(CONFIG_FILE).data.classes
    config.write_text(
        f"data: {{format: list, root: {tmp_path}, train: train.lst, val: val.lst, classes: {classes}, "
        "crop_size: [32, 64]}\nmodel: {backbone: hrnet_tiny}\nschedule: {lr: 0.05}\n"
    )
    done = run_script("scripts/check_dataset.py", "--config", config)
    assert done.returncode == 1, done.stderr
    assert "error: colour masks in place of class indices" in done.stdout
    assert "read them with the colours of cityscapes:" in done.stdout
    advice = done.stdout[done.stdout.index("          data:\n") :]
    keys = yaml.safe_load(advice)["data"]
    assert keys["label_encoding"] == "color" and keys["palette"][13] == [0, 0, 142]
    flags = [word for key, value in keys.items() for word in ("--set", f"data.{key}={value}")]
    done = run_script("scripts/check_dataset.py", "--config", config, *flags)
    assert "train: 12 of 12 pairs can be used" in done.stdout and "error: " not in done.stdout, done.stdout
