"""Predictions are written as the data set's own label files: label values, or colours."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from ocrnet.config import Config
from ocrnet.data.splits import open_dataset
from ocrnet.evaluation.evaluator import Prediction
from ocrnet.evaluation.outputs import Outputs, ResultFile

CLASSES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
PALETTE = [[0, 0, 0], [250, 10, 20], [30, 40, 50]]


@pytest.mark.parametrize(
    ("settings", "mode", "first_row"),
    [
        ({"label_map": {3: 0, 5: 1, 7: 2}}, "L", [3, 5, 7]),
        ({"palette": PALETTE, "label_encoding": "color"}, "RGB", PALETTE),
    ],
)
def test_a_written_prediction_is_a_label_file(tmp_path, settings, mode, first_row):
    data = {"format": "list", "root": tmp_path, "val": "val.lst", "classes": ["a", "b", "c"], **settings}
    config = Config(data=data, save_dir=tmp_path)
    image = np.zeros((2, 3, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    (tmp_path / "out").mkdir()
    Image.fromarray(CLASSES).save(tmp_path / "out" / "image.png")  # replaced by the prediction
    (tmp_path / "val.lst").write_text("image.png out/image.png\n")
    dataset = open_dataset(config.data, "val")
    Outputs(config, dataset, tmp_path / "out").add(Prediction(0, "image", image, None, CLASSES, None))
    with Image.open(tmp_path / "out" / "image.png") as written:
        assert written.mode == mode and np.asarray(written)[0].tolist() == first_row
    np.testing.assert_array_equal(dataset.read(0)[1], CLASSES)


def test_the_result_names_the_checkpoint_as_it_was_before_the_evaluation(tmp_path):
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_bytes(b"weights")
    result_file = ResultFile(tmp_path / "result.json", Config(data={"root": tmp_path}), checkpoint, "val")
    checkpoint.unlink()  # or replaced by a training that goes on
    result_file.write({"miou": 0.5}, ["a.png: cannot be read"])
    assert json.loads((tmp_path / "result.json").read_text()) == {
        "evaluated": {
            "checkpoint": str(checkpoint),
            "sha256": hashlib.sha256(b"weights").hexdigest(),
            "data_root": str(tmp_path),
            "split": "val",
            "failed": ["a.png: cannot be read"],
        },
        "miou": 0.5,
    }
