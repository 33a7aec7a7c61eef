"""The official Cityscapes evaluation of eval.py's PNGs gives the same scores as eval.py, to the last digit."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ocrnet.evaluation.metrics import ConfusionMatrix
from ocrnet.formats.cityscapes import CATEGORIES, CLASS_NAMES, LABELS

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
OFFICIAL = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"


def official(dataset, predictions, folder) -> tuple[str, dict]:
    """Returns the output of the official command and the JSON that it writes."""
    folder.mkdir()
    places = {"CITYSCAPES_DATASET": dataset, "CITYSCAPES_RESULTS": predictions, "CITYSCAPES_EXPORT_DIR": folder}
    environment = {**os.environ, **{key: str(value) for key, value in places.items()}}
    command = [sys.executable, "-W", "ignore", "-m", OFFICIAL]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "resultPixelLevelSemanticLabeling.json").read_text())


def test_scores_equal_the_official_scores_per_class_and_category(run_script, demo, untrained, tmp_path):
    pytest.importorskip("cityscapesscripts")
    result, predictions = tmp_path / "result.json", tmp_path / "predictions"
    done = run_script(
        "eval.py", "--config", CONFIG_FILE, "--dataset_dir", demo, "--ckpt_path", untrained.path, *untrained.flags,
        "--save_predictions", predictions, "--result_json", result, "--ms_mode", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed, theirs = official(demo, predictions, tmp_path / "official")
    ours = json.loads(result.read_text())
    ids = [label.id for label in sorted(LABELS, key=lambda label: label.train_id) if 0 <= label.train_id < 255]
    assert np.array(theirs["confMatrix"])[np.ix_(ids, ids)].tolist() == ours["confusion_matrix"]
    assert_same(ours["iou"], theirs["classScores"], printed)
    assert_same(ours["categories"]["iou"], theirs["categoryScores"], printed)
    assert ours["miou"] == pytest.approx(theirs["averageScoreClasses"], abs=1e-12)
    assert ours["categories"]["miou"] == pytest.approx(theirs["averageScoreCategories"], abs=1e-12)


def test_scores_of_shifted_labels_equal_the_official_scores(demo, tmp_path):
    """Shifted labels simulate a good network: every class has correct and wrong pixels."""
    pytest.importorskip("cityscapesscripts")
    matrix, table = ConfusionMatrix(list(CLASS_NAMES)), official_ids()
    for path in (demo / "gtFine" / "val").glob("*/*_labelIds.png"):
        ids = np.asarray(Image.open(path))
        prediction = np.roll(ids, (2, 3), axis=(0, 1))
        prediction = np.where(table[prediction] == 255, 7, prediction)
        file = tmp_path / "predictions" / path.name
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(prediction).save(file)
        matrix.update(table[ids], table[prediction])
    printed, theirs = official(demo, tmp_path / "predictions", tmp_path / "official")
    assert_same(matrix.to_dict()["iou"], theirs["classScores"], printed)
    groups = matrix.merged(list(CATEGORIES))
    assert_same(groups.to_dict()["iou"], theirs["categoryScores"], printed)
    assert matrix.miou == pytest.approx(theirs["averageScoreClasses"], abs=1e-12)


def official_ids() -> np.ndarray:
    from cityscapesscripts.helpers.labels import labels

    table = np.full(256, 255, np.uint8)
    for label in labels:
        if label.id >= 0 and 0 <= label.trainId < 255:
            table[label.id] = label.trainId
    return table


def assert_same(ours: dict, theirs: dict, printed: str) -> None:
    for name, score in ours.items():
        if score is None:
            assert np.isnan(theirs[name]), name
        else:
            assert score == pytest.approx(theirs[name], abs=1e-12), name
            line = re.search(rf"^{re.escape(name)} *: +(\S+)", printed, re.M)
            assert line and line[1] == f"{score:.3f}", name


def test_the_test_split_needs_no_labels_and_writes_a_submission(run_script, demo, untrained, tmp_path):
    root = tmp_path / "data" / "leftImg8bit"
    root.mkdir(parents=True)
    (root / "test").symlink_to(demo / "leftImg8bit" / "val")
    base = ["--config", CONFIG_FILE, "--dataset_dir", root.parent, "--ckpt_path", untrained.path, *untrained.flags]
    done = run_script("eval.py", *base, "--split", "test", "--save_predictions", tmp_path / "out", "--ms_mode", "1")
    assert done.returncode == 0, done.stderr
    written = sorted((tmp_path / "out").glob("*.png"))
    names = sorted(path.name for path in (demo / "leftImg8bit" / "val").glob("*/*.png"))
    assert [path.name for path in written] == names
    table = official_ids() if pytest.importorskip("cityscapesscripts") else None
    for path in written:
        ids = np.asarray(Image.open(path))
        assert ids.shape == (64, 128) and ids.dtype == np.uint8 and (table[ids] != 255).all()
    refused = run_script("eval.py", *base, "--split", "test", "--result_json", tmp_path / "x.json")
    assert refused.returncode == 2 and "has no labels, so no scores" in refused.stderr
