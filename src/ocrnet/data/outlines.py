"""Outlines of the parts of a mask, along the borders of its pixels."""

from collections.abc import Iterator

import cv2
import numpy as np


def part_rings(mask: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yields the outer ring and the holes of each part of a mask (H, W) bool whose pixels share edges.

    A ring is (n, 2) int32, the corners (x, y) of pixels along the outline, one pixel apart; the last one is next to the
    first. Pixel (row, column) is the square from [column, row] to [column + 1, row + 1], so neighbouring parts share
    their borders. Outer rings are counterclockwise and holes clockwise with y pointing down as RFC 7946 counts.
    """
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    for part in range(1, count):
        left, top, width, height = boxes[part, :4]
        inside = parts[top : top + height, left : left + width] == part
        # OpenCV's contours go through the centres of the border pixels. In a mask of twice the size, each corner of a
        # pixel has its own centre.
        twice = inside.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
        contours, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        rings = [(contour[::-1, 0] + 1) // 2 + (left, top) for contour in contours]  # the outer one is first
        yield [ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)] for ring in rings]
