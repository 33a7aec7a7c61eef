"""Outlines of classes: exact, valid, and in the order that RFC 7946 asks for."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ocrnet.demo.outlines import geojson

NAMES, PALETTE = ["sky", "road", "car"], np.array([[70, 130, 180], [128, 64, 128], [0, 0, 142]], np.uint8)
maps = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 2))
)


def area(ring: list) -> float:
    """Area of a closed ring; positive if it is counterclockwise."""
    (x, y), (x2, y2) = np.array(ring[:-1]).T, np.array(ring[1:]).T
    return (x * y2 - x2 * y).sum() / 2


def fill(rings: list, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels whose centre has an odd number of edges to its left."""
    inside = np.zeros(shape, bool)
    for ring in rings:
        for (x, y), (x2, y2) in pairwise(ring):
            if x == x2:
                inside[min(y, y2) : max(y, y2), x:] ^= True
    return inside


@given(maps)
def test_polygons_cover_exactly_the_pixels_of_their_class(classes):
    features = geojson(classes, NAMES, PALETTE)["features"]
    assert [feature["properties"]["index"] for feature in features] == np.unique(classes).tolist()
    for feature in features:
        of_class = classes == feature["properties"]["index"]
        covered = np.zeros(classes.shape, int)
        for polygon in feature["geometry"]["coordinates"]:
            covered += fill(polygon, classes.shape)
            assert area(polygon[0]) > 0 and all(area(hole) < 0 for hole in polygon[1:])
            for ring in polygon:  # simple: closed, no corner twice, no corner without a turn
                assert ring[0] == ring[-1] and len({tuple(corner) for corner in ring}) == len(ring) - 1 >= 4
                steps = np.diff(np.array([*ring, ring[1]]), axis=0)
                assert (np.count_nonzero(steps, axis=1) == 1).all()
                assert ((steps[1:, 0] == 0) != (steps[:-1, 0] == 0)).all()
        np.testing.assert_array_equal(covered, of_class)
        assert feature["properties"]["pixels"] == of_class.sum()


def test_a_hole_and_a_corner():
    classes = np.ones((3, 4), np.uint8)
    classes[1, 1] = classes[0, 2] = 2  # they touch at a corner
    road, car = geojson(classes, NAMES, PALETTE)["features"]
    assert road["properties"] == {"class": "road", "index": 1, "colour": "#804080", "pixels": 10}
    assert [len(polygon) for polygon in road["geometry"]["coordinates"]] == [2]
    assert sorted(min(polygon[0]) for polygon in car["geometry"]["coordinates"]) == [[1, 1], [2, 0]]
    assert car["geometry"]["type"] == "MultiPolygon"
