"""The objects of an image, as every annotation program has them: polygons, lines and masks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ocrnet.data.images import MAX_PIXELS, image_size
from ocrnet.errors import UserError

Points = list[tuple[float, float]]

Fill = Literal["outline", "centre"]
"""The pixels of a polygon: those inside or on the outline, or those whose centre is inside."""

_MAX_COORDINATE = 1e6  # pixels; coordinates are clipped to this, because the drawing functions' integers overflow


@dataclass
class Shape:
    """One object: a polygon, with or without holes, a line, or a mask. Points are (x, y) in pixels."""

    label: str
    outline: Points = field(default_factory=list)
    holes: list[Points] = field(default_factory=list)
    is_line: bool = False
    mask: Callable[[], np.ndarray] | None = None
    """Returns (h, w) bool; decoded on demand."""
    corner: tuple[int, int] = (0, 0)
    """(x, y) of the mask's top left pixel."""

    def area(self) -> float:
        """Returns the area of the polygon or mask in pixels; 0 for a line."""
        if self.mask:
            return float(self.mask().sum())
        x, y = np.array(self.outline, np.float64).reshape(-1, 2).T
        return 0.0 if self.is_line else float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


class Annotation(NamedTuple):
    """The objects of one image; later objects cover earlier ones."""

    name: str
    """Name of the label image, without its suffix; may contain folders."""
    width: int
    height: int
    shapes: list[Shape]
    fill: Fill = "outline"
    """"centre" in the files that scripts/masks_to_polygons.py writes: their polygons go along the borders of pixels."""
    suffix: str = ".png"
    """Suffix of the image, for files that name it."""


def check(annotation: Annotation) -> None:
    """Clips the points of an annotation. Raises ValueError if its size, its name or a point is invalid."""
    name, width, height, shapes, fill, _ = annotation
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 < height <= MAX_PIXELS // width):
        raise ValueError(f"{name} is {width!r} x {height!r} pixels; an image must have 1 to {MAX_PIXELS:,}")
    if fill not in ("outline", "centre"):
        raise ValueError(f"pixels {fill!r}: must be outline or centre")
    join(Path(), name)
    for shape in shapes:
        for ring in (shape.outline, *shape.holes):
            points = np.array(ring, np.float64)
            if not np.isfinite(points).all():
                raise ValueError(f"a point of a {shape.label} in {name} is not finite")
            if np.abs(points).max(initial=0) > _MAX_COORDINATE:
                ring[:] = map(tuple, points.clip(-_MAX_COORDINATE, _MAX_COORDINATE))


def pairs(flat: list[float]) -> Points:
    """Returns the points of a list x, y, x, y, ..."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def flat(points: Points) -> list[float]:
    """Returns points as a list x, y, x, y, ..."""
    return [value for point in points for value in point]


def scaled(points: Points, width: float, height: float) -> Points:
    """Returns points in pixels from fractions of an image's size, rounded to hundredths.

    Stored fractions are rounded: 2 would become 1.9999, which Pillow cuts to 1.
    """
    return [(round(x * width, 2), round(y * height, 2)) for x, y in points]


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def ellipse(x: float, y: float, rx: float, ry: float, theta: float = 0.0) -> Points:
    """Returns 64 points of an ellipse with the centre (x, y), turned by `theta` radians clockwise."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return turn([(x + rx * np.cos(angle), y + ry * np.sin(angle)) for angle in angles], (x, y), theta)


def turn(points: Points, centre: tuple[float, float], theta: float) -> Points:
    """Turns points around a centre by `theta` radians; clockwise, as y points down."""
    x, y = np.subtract(points, centre).T
    turned = np.stack([x * np.cos(theta) - y * np.sin(theta), x * np.sin(theta) + y * np.cos(theta)], -1) + centre
    return list(map(tuple, turned.tolist()))


def join(folder: Path, name: str) -> Path:
    """Returns the path of a file name in `folder`. Raises ValueError if it would be outside the folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"the file name {name!r} is outside the folder")
    return folder / name


def size_of(image: Path) -> tuple[int, int]:
    """Returns (width, height) after applying the EXIF orientation, as annotation tools and `read_image` do."""
    try:
        return image_size(image)
    except UserError as error:
        raise UserError(f"{error} (the size of this image is needed; set its folder with --images)") from None
