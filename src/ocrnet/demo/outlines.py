"""Outlines of classes as GeoJSON."""

from collections.abc import Iterator

import cv2
import numpy as np

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
            "geometry": {"type": "MultiPolygon", "coordinates": list(_polygons(classes == index))},
        }
        for index in np.unique(classes)
    ]
    return {"type": "FeatureCollection", "features": features}


def _polygons(mask: np.ndarray) -> Iterator[list[Ring]]:
    """Yields the outer ring and the holes of each part of a mask (H, W) bool whose pixels share edges."""
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    for part in range(1, count):
        left, top, width, height = boxes[part, :4]
        inside = parts[top : top + height, left : left + width] == part
        # OpenCV's contours go through the centres of the border pixels. In a mask of twice the size, each corner of a
        # pixel has its own centre.
        twice = inside.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
        contours, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        yield [_ring((contour[::-1, 0] + 1) // 2 + (left, top)) for contour in contours]  # the outer one is first


def _ring(corners: np.ndarray) -> Ring:
    """Returns (n, 2) corners as a closed ring: without those that repeat another or lie on a line between two."""
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    corners = corners[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return [*corners.tolist(), corners[0].tolist()]
