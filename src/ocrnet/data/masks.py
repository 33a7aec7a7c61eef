"""Draws label images from annotations: the class of each label, and the drawing order."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml
from PIL import Image, ImageDraw

from ocrnet import files
from ocrnet.data.annotations import Annotation
from ocrnet.data.datasets import generated_colour
from ocrnet.errors import UserError
from ocrnet.formats.cityscapes import LABELS
from ocrnet.formats.label_values import IGNORED, MAX_CLASSES

_MAX_BYTES = 2**20  # of a file of class names
_MAX_WIDTH = 10_000  # pixels, of a line


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


def draw_mask(annotation: Annotation, table: ClassTable) -> tuple[Image.Image, int]:
    """Returns the label image (grey, label values) and the number of objects without area, which are not drawn.

    All labels must be in the table. Objects are drawn in their order, later ones over earlier ones, as Cityscapes'
    scripts do (Pillow's polygon: pixels on the outline belong to the object).
    """
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
        elif shape.holes:
            stencil = Image.new("1", image.size)
            ImageDraw.Draw(stencil).polygon(shape.outline, fill=1)
            for hole in shape.holes:
                ImageDraw.Draw(stencil).polygon(hole, fill=0)
            image.paste(value, mask=stencil)
        else:
            pen.polygon(shape.outline, fill=value)
    return image, empty
