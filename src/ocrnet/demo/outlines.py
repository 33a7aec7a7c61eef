"""Outlines of classes as GeoJSON."""

import numpy as np

from ocrnet.data.outlines import part_rings

Ring = list[list[int]]


def geojson(classes: np.ndarray, names: list[str], palette: np.ndarray) -> dict:
    """Returns the outlines of a class map as a GeoJSON FeatureCollection with one MultiPolygon per class.

    A position is [x, y] in pixels from the top left corner of the image; y points down. Pixel (row, column) is the
    square from [column, row] to [column + 1, row + 1]. So the area of a class is its number of pixels, and neighbouring
    classes share their borders. Pixels that touch only at a corner belong to different polygons, so that every polygon
    is valid. Outer rings are counterclockwise and holes clockwise in these coordinates, as RFC 7946 asks.

    Args:
        classes: (H, W) uint8 class indices.
        names: class names.
        palette: (classes, 3) uint8 RGB.
    """
    features = [
        {
            "type": "Feature",
            "properties": {
                "class": names[index],
                "index": int(index),
                "colour": "#" + bytes(palette[index]).hex(),
                "pixels": int(np.count_nonzero(classes == index)),
            },
            "geometry": {"type": "MultiPolygon", "coordinates": _polygons(classes == index)},
        }
        for index in np.unique(classes)
    ]
    return {"type": "FeatureCollection", "features": features}


def _polygons(mask: np.ndarray) -> list[list[Ring]]:
    return [[_ring(corners) for corners in rings] for rings in part_rings(mask)]


def _ring(corners: np.ndarray) -> Ring:
    """Returns (n, 2) corners as a closed ring: without those that lie on a line between two others."""
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    corners = corners[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return [*corners.tolist(), corners[0].tolist()]
