"""Label images of annotations: which class each label means, and what is painted over what."""

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

_MOST = 2**20
"""Bytes of a file of class names."""
_WIDEST = 10_000  # pixels


@dataclass
class ClassTable:
    """What becomes of each label."""

    values: dict[str, int | None]
    """{label: value in the label image, or None: not drawn}"""
    background: int = IGNORED
    """Value of what no object covers."""
    colours: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    widths: dict[str, float] = field(default_factory=dict)
    """Of lines, in pixels; 1 where nothing is said."""
    suffix: str = ""
    """Ends the names of the label images."""

    def name(self, label: str) -> str | None:
        """The class that a label means, Cityscapes' «cargroup» a car; None when it is unknown."""
        return next((name for name in (label, label.removesuffix("group")) if name in self.values), None)


def _cityscapes_table(column: str, background: int) -> ClassTable:
    values = {label.name: getattr(label, column) if label.id >= 0 else None for label in LABELS}
    return ClassTable(values, background, suffix="_labelIds" if column == "id" else "_labelTrainIds")


CITYSCAPES_TABLES = {"labelIds": _cityscapes_table("id", 0), "labelTrainIds": _cityscapes_table("train_id", IGNORED)}


def read_classes(path: str) -> ClassTable:
    """Classes in the order of their label values: a name a line, or YAML with `wire: {color: [255, 80, 0], width: 2}`.

    What no object covers is of the class «background», ignored where there is none. Instead of a file: labelIds or
    labelTrainIds, Cityscapes' own tables.

    Raises:
        UserError: no such file, or something else is in it.
    """
    if path in CITYSCAPES_TABLES:
        return CITYSCAPES_TABLES[path]
    try:
        text = files.read_text(Path(path), _MOST)
        tree = yaml.safe_load(text)
        if isinstance(tree, str):  # to YAML, names in lines are one string
            tree = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        known = {"color", "width"}
        entries = [(_text(name), (tree[name] if isinstance(tree, dict) else None) or {}) for name in tree]
        for name, about in entries:
            if not isinstance(about, dict):
                raise ValueError(f"{name}: a class has color and width, in braces")
            if wrong := about.keys() - known:
                raise ValueError(f"{', '.join(map(_text, wrong))}: a class has color and width ({name})")
        if not 0 < len(dict(entries)) == len(entries) <= MAX_CLASSES:
            raise ValueError(
                f"{len(entries)} names, of which {len(dict(entries))} differ; 1 to {MAX_CLASSES} are needed"
            )
        table = ClassTable({name: value for value, (name, _) in enumerate(entries)})
        for name, about in entries:
            red, green, blue = bytes([*about.get("color", generated_colour(name))])  # refuses what is no colour
            table.colours[name] = red, green, blue
            table.widths[name] = float(about.get("width", 1))
            if not 0 <= table.widths[name] <= _WIDEST:
                raise ValueError(f"width {table.widths[name]} of {name}: a number of pixels up to {_WIDEST:,}")
    except (OSError, ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: cannot read class names here: {' '.join(str(error).split())}") from None
    table.background = table.values.get("background", IGNORED)
    return table


def _text(name: object) -> str:
    """A name in YAML as text. Lists are refused: aliases of aliases would make them endless."""
    if isinstance(name, list | dict | tuple | set):
        raise ValueError("a class name is a word, this one is a list")
    return str(name)


def draw(annotation: Annotation, table: ClassTable) -> tuple[Image.Image, int]:
    """A grey image of label values, and how many objects had nothing to draw. All labels must be in the table.

    Objects are painted one over another, in their order, as Cityscapes' own program does (Pillow's polygon: a pixel on
    the outline belongs to the object).
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
