"""From masks to polygons and back: every pixel with tolerance 0, no gap with a larger one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ocrnet.data.annotations.reading import read_annotations
from ocrnet.data.annotations.shapes import Annotation, Shape
from ocrnet.data.annotations.writing import FORMATS, file_text
from ocrnet.data.masks import ClassTable, centres_inside, draw_mask

shapely = pytest.importorskip("shapely")
from ocrnet.data.polygons import merge_small, nodes, polygons  # noqa: E402

LABELS = ["sky", "road", "car", "traffic light & <sign>"]
TABLE = ClassTable({label: value for value, label in enumerate(LABELS)})
maps = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 3))
)


def annotation(mask: np.ndarray, tolerance: float = 0) -> Annotation:
    shapes = [Shape(LABELS[value], points) for value, points in polygons(mask, tolerance)]
    return Annotation("a", mask.shape[1], mask.shape[0], shapes, "centre")


def draw(found: Annotation, fill=None) -> np.ndarray:
    return np.asarray(draw_mask(found, TABLE, fill)[0])


def hand_made() -> dict[str, np.ndarray]:
    base = np.zeros((20, 30), np.uint8)
    found = {name: base.copy() for name in ("one class", "holes", "diagonal", "lines", "borders", "checkerboard")}
    found["holes"][2:18, 2:28] = 1
    found["holes"][4:8, 4:8] = found["holes"][10:16, 5:20] = 2
    found["holes"][12:14, 8:12] = 1  # an island in a hole
    found["holes"][4:8, 8:12] = 3  # two holes side by side are one
    found["diagonal"][5, 5] = found["diagonal"][6, 6] = found["diagonal"][7, 5] = 1
    found["diagonal"][10:13, 10:13] = 1
    found["diagonal"][11, 11] = found["diagonal"][10, 10] = 0  # the hole touches the outside at a corner
    found["lines"][3] = 1
    found["lines"][:, 7] = 2
    np.fill_diagonal(found["lines"][:, 8:], 3)
    found["borders"][0], found["borders"][-1], found["borders"][:, 0], found["borders"][:, -1] = 1, 2, 3, 1
    found["checkerboard"][:8:2, :8:2] = found["checkerboard"][1:8:2, 1:8:2] = 1
    return found


@pytest.mark.parametrize("kind", FORMATS)
def test_hand_made_masks_come_back_from_each_format(tmp_path, kind):
    path = tmp_path / ("a.xml" if kind == "cvat" else "a.json")
    for name, mask in hand_made().items():
        for tolerance in (0, 1):
            text = file_text(kind, [annotation(mask, tolerance)], LABELS, Path("a.png"))
            path.write_text(text, encoding="utf-8")
            (found,) = read_annotations(path, "a", tmp_path)
            assert found.fill == "centre"
            back = draw(found)
            assert (back != 255).all(), name
            if tolerance == 0:
                np.testing.assert_array_equal(back, mask, name)


@settings(deadline=None, max_examples=50)
@given(maps)
def test_random_masks_come_back_and_have_no_gaps(mask):
    np.testing.assert_array_equal(draw(annotation(mask)), mask)
    for tolerance in (1, 2):
        found = annotation(mask, tolerance)
        counts = np.zeros(mask.shape, int)
        for shape in found.shapes:
            inside, (x, y) = centres_inside([shape.outline], found.width, found.height)
            counts[y : y + inside.shape[0], x : x + inside.shape[1]] += inside
        assert (counts == 1).all()  # no gap and no overlap


def test_neighbours_share_their_points_and_a_smooth_border_loses_most_of_them():
    rows, columns = np.mgrid[:200, :300]
    mask = (np.hypot(rows - 100, columns - 150) < 80).astype(np.uint8)
    mask[rows > 140] = 2
    exact, simple = annotation(mask), annotation(mask, 1)
    assert sum(len(shape.outline) for shape in simple.shapes) < 0.5 * sum(len(shape.outline) for shape in exact.shapes)
    assert (draw(simple) == mask).mean() > 0.99
    for found in (exact, simple):
        sky, road = (next(shape for shape in found.shapes if shape.label == label) for label in LABELS[:2])
        ground = next(shape for shape in found.shapes if shape.label == "car")
        assert set(road.outline) <= set(sky.outline) | set(ground.outline)
        corners = {(x, y) for shape in found.shapes for x, y in shape.outline}
        assert {(0, 0), (300, 0), (0, 200), (300, 200), (0, 141), (300, 141)} <= corners


def test_outlines_leave_holes_out_for_both_rules():
    mask = hand_made()["holes"]
    for value, outline in polygons(mask):
        inside, (x, y) = centres_inside([outline], 30, 20)
        x2, y2 = np.roll(np.array(outline, float), -1, axis=0).T
        x1, y1 = np.array(outline, float).T
        assert abs((x1 * y2 - x2 * y1).sum()) / 2 == inside.sum()  # the signed area: a hole is subtracted
        assert (mask[y : y + inside.shape[0], x : x + inside.shape[1]][inside] == value).all()
    assert polygons(mask)[0][0] == 1 and [value for value, _ in polygons(mask)].count(2) == 2


def test_pixels_of_a_polygon_are_those_with_their_centre_inside():
    triangle, (x, y) = centres_inside([[(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)]], 10, 10)
    assert (x, y) == (0, 0) and triangle.astype(int).tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0] * 4]
    square = Shape("car", [(-5.0, 2.0), (3.0, 2.0), (3.0, 50.0), (-5.0, 50.0)], [[(1.0, 3.0), (2, 3), (2, 4), (1, 4)]])
    found = Annotation("a", 6, 5, [square, Shape("road", [(4.0, 4.0), (5.0, 4.0)])])
    expected = np.full((5, 6), 255)
    expected[2:, :3], expected[3, 1] = 2, 255
    np.testing.assert_array_equal(draw(found, "centre"), expected)
    assert draw(found)[2, 3] == 2  # on the outline


def test_many_crossings_are_counted_in_several_parts(monkeypatch):
    found = annotation(hand_made()["checkerboard"])
    monkeypatch.setattr("ocrnet.data.masks._CROSSINGS", 3)
    np.testing.assert_array_equal(draw(found), hand_made()["checkerboard"])


def test_small_parts_become_the_neighbour_with_the_longest_border():
    mask = np.zeros((10, 10), np.uint8)
    mask[:, 5:] = 1
    mask[2:4, 4:6] = 2  # 4 pixels; 4 sides with 0, 4 with 1: the last one of the longest
    mask[7, 5:8] = 3  # 1 side with 0, 7 with 1
    mask[0, 0] = 255
    mask[9, 0] = 3
    mask[8, 0] = mask[9, 1] = 255  # only ignored neighbours
    merged = merge_small(mask, 5, {255})
    assert (merged[7, 5:8] == 1).all() and np.isin(merged[2:4, 4:6], [0, 1]).all()
    assert merged[9, 0] == 3 and ((merged == 255) == (mask == 255)).all()
    assert (merge_small(mask, 0, set()) == mask).all()
    pair = np.array([[1, 2]], np.uint8)
    assert len(np.unique(merge_small(pair, 5, set()))) == 1


@given(maps, st.integers(1, 30))
@settings(deadline=None, max_examples=50)
def test_after_merging_no_small_part_is_left(mask, smallest):
    merged = merge_small(mask, smallest, set())
    sizes = [shapely.Polygon(outline).area for _, outline in polygons(merged)]
    assert min(sizes) >= min(smallest, mask.size)


def test_nodes_are_corners_and_junctions():
    mask = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]], np.uint8)
    assert np.argwhere(nodes(mask)).tolist() == [[0, 0], [0, 2], [0, 3], [2, 0], [2, 2], [2, 3], [3, 0], [3, 3]]
