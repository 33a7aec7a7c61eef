import numpy as np
import pytest

from ocrnet.metrics import ConfusionMatrix


def test_rows_are_true_classes_and_ignored_pixels_do_not_count():
    matrix = ConfusionMatrix(["a", "b", "c"])
    matrix.update(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 2]], np.uint8))
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert matrix.counts.dtype == np.int64


def test_absent_classes_are_left_out_of_the_mean():
    matrix = ConfusionMatrix(["a", "b", "absent"])
    matrix.update(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]))
    assert np.isnan(matrix.iou[2])
    assert matrix.miou == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert matrix.pixel_accuracy == 3 / 4
    assert matrix.to_dict()["iou"]["absent"] is None
    assert "absent" in matrix.table()


def test_nothing_counted_gives_zero_and_no_warning():
    assert ConfusionMatrix(["a"]).miou == 0.0
