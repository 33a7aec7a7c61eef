"""scripts/find_label_errors.py as a user starts it."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ocrnet.config.loading import load_config
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import find_label_errors

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
SCRIPT = "scripts/find_label_errors.py"


def read_csv(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_labels_of_a_split_are_ranked_and_a_bad_pair_does_not_stop_the_others(run_script, untrained, demo, tmp_path):
    data = load_config(Path(CONFIG_FILE), {"data.root": (demo, "")}).data
    pairs = open_dataset(data, "val").pairs
    root = tmp_path / "data"
    for number, (image, label) in enumerate(pairs):
        for kind, path in (("images", image), ("labels", label)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            (root / kind / f"{number}.png").write_bytes(path.read_bytes() if number else b"no image")
    names = [f"images/{number}.png labels/{number}.png" for number in range(len(pairs))]
    (root / "val.lst").write_text("\n".join(names))
    done = run_script(
        SCRIPT, "--config", CONFIG_FILE, "--data_root", root, "--set", "data.format=list", "--set", "data.val=val.lst",
        "--set", f"data.classes={list(data.classes)}", "--set", f"data.label_map={data.label_map}",
        "--ckpt_path", untrained.path, *untrained.flags, "--ms_mode", "1", "--split", "val", "--count", "3",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 2 and "1 of 5 images failed" in done.stderr and "images/0.png" in done.stderr
    assert "4 images ranked" in done.stdout and "Traceback" not in done.stderr
    rows = read_csv(tmp_path / "out" / "images.csv")
    qualities = [float(row["label_quality"]) for row in rows]
    assert len(rows) == 4 and qualities == sorted(qualities) and 0 < qualities[0] < 1
    listed = (tmp_path / "out" / "suspicious.lst").read_text().splitlines()
    assert listed == [f"images/{Path(row['image']).name} labels/{Path(row['image']).name}" for row in rows[:3]]
    config = data.model_copy(update={"format": "list", "root": root, "val": tmp_path / "out" / "suspicious.lst"})
    assert len(open_dataset(config, "val")) == 3  # the list can be used at once
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == 3
    for row in rows[:3]:
        predicted = np.asarray(Image.open(tmp_path / "out" / "predictions" / Path(row["image"]).name))
        assert predicted.shape == (64, 128) and predicted.max() < 19
    assert (tmp_path / "out" / "index.html").read_text().count('class="stage"') == 3


@pytest.mark.slow
def test_images_without_labels_are_ranked(run_script, untrained, demo, tmp_path):
    done = run_script(
        SCRIPT, "--model", untrained.path, "--ms_mode", "1", "--images", demo / "leftImg8bit" / "val", "--output",
        tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    values = [float(row["uncertainty"]) for row in read_csv(tmp_path / "images.csv")]
    assert len(values) == 5 and values == sorted(values, reverse=True) and 0 < values[-1] < values[0] <= 1
    assert not (tmp_path / "suspicious.lst").exists()


@pytest.mark.slow
def test_each_fold_is_ranked_by_a_network_that_has_not_seen_it(run_script, untrained, demo, tmp_path):
    flags = ["--config", CONFIG_FILE, "--data_root", demo, *untrained.flags, "--ms_mode", "1", "--run_eval", "False"]
    flags += ["--set", "data.crop_size=[64,64]", "--batch_size", "2", "--output", tmp_path, "--folds", "2"]
    done = run_script(SCRIPT, *flags, "--total_step", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 images, 19 classes") == 2 and "12 images ranked" in done.stdout
    assert len(read_csv(tmp_path / "images.csv")) == 12
    for fold in range(2):
        run = load_config(tmp_path / "folds" / f"fold_{fold}_of_2" / "config.yml")
        assert run.data.held_out_fold == (fold, 2) and run.train.total_step == 1
    again = run_script(SCRIPT, *flags, "--total_step", "1")
    assert again.returncode == 0 and again.stdout.count("nothing left to train") == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--folds", "1"], "not a number from 2 on"),
        (["--folds", "2", "--split", "val"], "--folds: is for --split train"),
        (["--folds", "2", "--ckpt_path", "x.ckpt"], "--folds: trains its own networks"),
        (["--folds", "2", "--set", "data.held_out_fold=[0,2]"], "--folds: sets data.held_out_fold itself"),
        (["--images", "x", "--split", "val"], "--images, --split val: give one of them"),
        (["--count", "0"], "not a number from 1 on"),
    ],
)
def test_flags_that_exclude_each_other(monkeypatch, flags, message):
    monkeypatch.setattr("sys.argv", ["labels", "--config", CONFIG_FILE, *flags])
    with pytest.raises(UserError, match=message):
        find_label_errors.parse()
