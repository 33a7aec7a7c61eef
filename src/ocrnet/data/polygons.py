"""From masks to polygons that annotation programs can edit: neighbours share their borders, also simplified ones."""

import cv2
import numpy as np

from ocrnet.data.annotations.shapes import Points
from ocrnet.data.outlines import part_rings
from ocrnet.errors import UserError

try:
    import shapely
except ImportError:
    raise UserError("shapely is not installed: in the clone, pip install '.[polygons]'") from None

_STEP = 1.225  # root of 1.5 pixels, the triangle over a step that is one pixel high and three long


def polygons(mask: np.ndarray, tolerance: float = 0.0) -> list[tuple[int, Points]]:
    """Returns (value, outline) of each part of a mask whose pixels share edges, the largest first.

    An outline goes along the borders of the pixels; its points have integer coordinates, and pixel (row, column) is the
    square from (column, row) to (column + 1, row + 1). Where three parts meet, each of them has a point. An outline has
    no holes: it goes to a hole and comes back on the same way.

    Args:
        mask: (H, W) uint8.
        tolerance: 0: the outlines of the pixels. Larger: points are left out whose triangle with their neighbours is
            small (Visvalingam and Whyatt 1993), in both parts alike (`shapely.coverage_simplify`), so that there is no
            gap and no overlap: up to 1.5 pixels for tolerance 1, which straightens steps up to 3 pixels long, and
            tolerance * tolerance times as much for another one. The image keeps its borders.
    """
    is_node = nodes(mask)
    values, parts = [], []
    for value in np.unique(mask):
        for rings in part_rings(mask == value):
            outer, *holes = ([*ring[is_node[ring[:, 1], ring[:, 0]]]] for ring in rings)
            values.append(int(value))
            parts.append(shapely.Polygon(outer, holes))
    if tolerance:
        parts = shapely.coverage_simplify(parts, _STEP * tolerance, simplify_boundary=False)
    order = np.argsort(-shapely.area(parts), kind="stable")
    return [(values[index], without_holes(parts[index])) for index in order]


def nodes(mask: np.ndarray) -> np.ndarray:
    """Returns the corners of pixels where an outline turns, or where more than two parts meet: (H + 1, W + 1) bool."""
    framed = np.pad(mask.astype(np.int16), 1, constant_values=-1)
    above_left, above_right, below_left, below_right = (
        framed[:-1, :-1],
        framed[:-1, 1:],
        framed[1:, :-1],
        framed[1:, 1:],
    )
    horizontal = (above_left == above_right) & (below_left == below_right)  # a straight border, or none
    vertical = (above_left == below_left) & (above_right == below_right)
    return ~(horizontal | vertical)


def without_holes(polygon: "shapely.Polygon") -> Points:
    """Returns one ring with the pixels of a polygon. It goes from a point to a hole, around it and back.

    The rings' directions are opposite, so both common rules (even-odd and nonzero) leave the hole out.
    """
    polygon = shapely.orient_polygons(polygon)
    shapely.prepare(polygon)
    outline, *holes = (np.array(ring.coords)[:-1] for ring in (polygon.exterior, *polygon.interiors))
    # From left to right: then the leftmost point of a hole sees a point of the outline, which has the holes before it.
    for hole in sorted(holes, key=lambda ring: ring[:, 0].min()):
        hole = np.roll(hole, -hole[:, 0].argmin(), axis=0)
        distances = np.square(outline - hole[0]).sum(axis=1)
        nearest = np.argsort(distances, kind="stable")
        at = next(at for at in nearest if distances[at] == 0 or polygon.covers(_segment(outline[at], hole[0])))
        way = [hole[1:], hole[:1]] if distances[at] == 0 else [hole, hole[:1], outline[at : at + 1]]
        outline = np.concatenate([outline[: at + 1], *way, outline[at + 1 :]])
    return [(int(x), int(y)) for x, y in outline]


def _segment(start: np.ndarray, end: np.ndarray) -> "shapely.LineString":
    return shapely.LineString([start, end])


def merge_small(mask: np.ndarray, smallest: int, keep: set[int]) -> np.ndarray:
    """Returns a mask (H, W) uint8 whose small parts have the value of a larger neighbour: that with the longest border.

    Args:
        mask: (H, W) uint8.
        smallest: parts with fewer pixels are small.
        keep: values without objects; their parts stay, and no part becomes one of them.
    """
    mask = mask.copy()
    while True:
        ids, values, sizes = _parts(mask)
        small = (sizes < smallest) & ~np.isin(values, [*keep])
        neighbours = (ids[:, :-1], ids[:, 1:]), (ids[:-1], ids[1:])
        sides = np.concatenate([np.stack([a[a != b], b[a != b]], -1) for a, b in neighbours])
        sides = np.concatenate([sides, sides[:, ::-1]])
        here, there = sides.T
        rank = np.lexsort((np.arange(len(sizes)), sizes)).argsort()  # a part only becomes one that is larger
        sides = sides[small[here] & (rank[there] > rank[here]) & ~np.isin(values[there], [*keep])]
        if not len(sides):
            return mask
        borders, lengths = np.unique(sides, axis=0, return_counts=True)
        new = values.copy()
        for index in np.argsort(lengths, kind="stable"):  # the longest last
            new[borders[index, 0]] = values[borders[index, 1]]
        mask = new[ids]


def _parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the part of each pixel (H, W) int32, and the values (parts,) uint8 and pixels of the parts."""
    ids, values, sizes = np.zeros(mask.shape, np.int32), [], []
    for value in np.unique(mask):
        count, found, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=4)
        ids += np.where(found > 0, found - 1 + len(values), 0)
        values += [value] * (count - 1)
        sizes += stats[1:, cv2.CC_STAT_AREA].tolist()
    return ids, np.array(values, np.uint8), np.array(sizes)
