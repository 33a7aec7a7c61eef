"""Draws label images from annotations: the class of each label, and the drawing order."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw

from ocrnet import files
from ocrnet.data.annotations.shapes import Annotation, Fill, Points
from ocrnet.data.datasets import generated_colour
from ocrnet.errors import UserError
from ocrnet.formats.cityscapes import LABELS
from ocrnet.formats.label_values import IGNORED, MAX_CLASSES

_MAX_BYTES = 2**20  # of a file of class names
_MAX_WIDTH = 10_000  # pixels, of a line
_CROSSINGS = 2**20  # of edges with rows at a time, to bound the memory


@dataclass
class ClassTable:
    """The classes of labels, and how they are drawn."""

    values: dict[str, int | None]
    """{label: value in the label image, or None: not drawn}"""
    background: int = IGNORED
    """Value of the pixels that no object covers."""
    colours: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    widths: dict[str, float] = field(default_factory=dict)
    """{label: line width in pixels}; default 1."""
    suffix: str = ""
    """Appended to the names of the label images."""

    def name(self, label: str) -> str | None:
        """Returns the class of a label (e.g. "car" for Cityscapes' "cargroup"), or None if it is unknown."""
        return next((name for name in (label, label.removesuffix("group")) if name in self.values), None)


def _cityscapes_table(column: str, background: int) -> ClassTable:
    values = {label.name: getattr(label, column) if label.id >= 0 else None for label in LABELS}
    return ClassTable(values, background, suffix="_labelIds" if column == "id" else "_labelTrainIds")


CITYSCAPES_TABLES = {"labelIds": _cityscapes_table("id", 0), "labelTrainIds": _cityscapes_table("train_id", IGNORED)}


def read_classes(path: str) -> ClassTable:
    """Reads class names in the order of their label values, from a file with one name per line, or from YAML with
    entries such as `wire: {color: [255, 80, 0], width: 2}`.

    Pixels that no object covers belong to the class "background"; without this class they are ignored.

    Args:
        path: the file; or labelIds or labelTrainIds for Cityscapes' own tables.

    Raises:
        UserError: the file cannot be read or has other content.
    """
    if path in CITYSCAPES_TABLES:
        return CITYSCAPES_TABLES[path]
    try:
        text = files.read_text(Path(path), _MAX_BYTES)
        tree = yaml.safe_load(text)
        if isinstance(tree, str):  # YAML reads lines of names as one string
            tree = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        known = {"color", "width"}
        entries = [(_text(name), (tree[name] if isinstance(tree, dict) else None) or {}) for name in tree]
        for name, options in entries:
            if not isinstance(options, dict):
                raise ValueError(f"{name}: write its color and width in braces")
            if wrong := options.keys() - known:
                raise ValueError(f"{', '.join(map(_text, wrong))}: unknown; {name} may have color and width")
        if not 0 < len(dict(entries)) == len(entries) <= MAX_CLASSES:
            raise ValueError(
                f"{len(entries)} names, {len(dict(entries))} of them different; 1 to {MAX_CLASSES} different names "
                "are needed"
            )
        table = ClassTable({name: value for value, (name, _) in enumerate(entries)})
        for name, options in entries:
            red, green, blue = bytes([*options.get("color", generated_colour(name))])  # raises if it is not a colour
            table.colours[name] = red, green, blue
            table.widths[name] = float(options.get("width", 1))
            if not 0 <= table.widths[name] <= _MAX_WIDTH:
                raise ValueError(f"width {table.widths[name]} of {name}: must be 0 to {_MAX_WIDTH:,} pixels")
    except (OSError, ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: cannot read class names: {' '.join(str(error).split())}") from None
    table.background = table.values.get("background", IGNORED)
    return table


def _text(name: object) -> str:
    """Converts a YAML name to text. Raises ValueError for lists: nested aliases could make them huge."""
    if isinstance(name, list | dict | tuple | set):
        raise ValueError("a class name must be text, not a list")
    return str(name)


def draw_mask(annotation: Annotation, table: ClassTable, fill: Fill | None = None) -> tuple[Image.Image, int]:
    """Returns the label image (grey, label values) and the number of objects without area, which are not drawn.

    All labels must be in the table. Objects are drawn in their order, later ones over earlier ones.

    Args:
        fill: the pixels of a polygon. "outline": Pillow's polygon, as Cityscapes' scripts draw it: pixels on the
            outline belong to the object. "centre": the pixels whose centre is inside; every pixel has one of the
            polygons that share a border. Default: what the annotation says.
    """
    fill = fill or annotation.fill
    image = Image.new("L", (annotation.width, annotation.height), table.background)
    pen, empty = ImageDraw.Draw(image), 0
    for shape in annotation.shapes:
        name = table.name(shape.label)
        value = table.values[name]
        if value is None:
            continue
        if shape.mask:
            image.paste(value, shape.corner, Image.fromarray(shape.mask()))
        elif len(shape.outline) < 2:
            empty += 1
        elif shape.is_line:
            pen.line(shape.outline, fill=value, width=max(1, round(table.widths.get(name, 1))), joint="curve")
        elif fill == "centre":
            inside, corner = centres_inside([shape.outline, *shape.holes], annotation.width, annotation.height)
            if inside.size:
                image.paste(value, corner, Image.fromarray(inside))
        elif shape.holes:
            stencil = Image.new("1", image.size)
            ImageDraw.Draw(stencil).polygon(shape.outline, fill=1)
            for hole in shape.holes:
                ImageDraw.Draw(stencil).polygon(hole, fill=0)
            image.paste(value, mask=stencil)
        else:
            pen.polygon(shape.outline, fill=value)
    return image, empty


def centres_inside(rings: list[Points], width: int, height: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns the pixels whose centre is inside of an odd number of rings (h, w) bool, and (x, y) of the first one.

    Pixel (row, column) is the square from (column, row) to (column + 1, row + 1). A centre on an edge belongs to the
    side with the larger x. An edge that goes forth and back has no effect. The same edge of two polygons is computed
    in the same way, so polygons without gaps have pixels without gaps.
    """
    start = np.concatenate([np.array(ring, np.float64) for ring in rings])
    end = np.concatenate([np.roll(np.array(ring, np.float64), -1, axis=0) for ring in rings])
    left, right = int(np.floor(start[:, 0].min()).clip(0, width)), int(np.ceil(start[:, 0].max()).clip(0, width))
    upward = start[:, 1] > end[:, 1]
    start[upward], end[upward] = end[upward], start[upward]
    first, stop = (np.ceil(points[:, 1] - 0.5).clip(0, height).astype(np.int64) for points in (start, end))
    top, bottom = int(first.min()), int(stop.max())
    crossed = np.zeros((bottom - top, right - left + 1), bool)  # whether an edge begins or ends the inside here
    counts = np.cumsum(stop - first)  # of the rows that each edge crosses
    for edges in np.split(
        np.arange(len(start)), np.searchsorted(counts, np.arange(_CROSSINGS, counts[-1], _CROSSINGS))
    ):
        edge = np.repeat(edges, (stop - first)[edges])
        row = np.concatenate([np.arange(first[number], stop[number]) for number in edges] or [edge])
        slope = (end[edge, 0] - start[edge, 0]) / (end[edge, 1] - start[edge, 1])
        x = start[edge, 0] + (row + 0.5 - start[edge, 1]) * slope
        np.logical_xor.at(crossed, (row - top, np.ceil(x - 0.5).clip(left, right).astype(np.int64) - left), True)
    return np.logical_xor.accumulate(crossed, axis=1)[:, :-1], (left, top)
