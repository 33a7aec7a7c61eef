"""Label Studio's JSON, a list of tasks: polygons, rectangles, ellipses and brush masks.

Coordinates are in per cent of the image; a rectangle turns around its top left corner, an ellipse around its centre.
Reference: https://labelstud.io/guide/export and the pages of the tags.
"""

from functools import partial
from math import radians
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

from ocrnet.data.annotations.packed_masks import label_studio_mask
from ocrnet.data.annotations.shapes import Annotation, Shape, box, ellipse, join, scaled, size_of, turn


def read(tasks: list[dict], images: Path) -> list[Annotation]:
    """Reads one annotation of each task: the ground truth, or else the last one. Tasks without one are left out."""
    return [annotation for task in tasks if (annotation := _image(task, images))]


def _image(task: dict, images: Path) -> Annotation | None:
    if "annotations" not in task:
        raise ValueError("a task has no 'annotations': export as JSON, not as JSON-MIN")
    done = [entry for entry in task["annotations"] if not entry.get("was_cancelled")]
    if not done:
        return None
    chosen = next((entry for entry in done if entry.get("ground_truth")), done[-1])
    name, shapes, sizes = _file_name(task["data"]), [], set()
    for item in chosen["result"]:
        value = item.get("value", {})
        labels = next((value[key] for key in value if key.endswith("labels")), None)
        if not labels:  # a choice or a text, or a region whose label is the next item
            continue
        if item.get("image_rotation"):
            raise ValueError(f"{name} was turned in Label Studio: turn the image itself")
        width, height = item["original_width"], item["original_height"]
        sizes.add((width, height))
        shapes.append(_shape(str(labels[0]), value, width, height))
    if len(sizes) > 1:
        raise ValueError(f"{name} has objects for images of different sizes: {sorted(sizes)}")
    width, height = sizes.pop() if sizes else size_of(join(images, name))
    return Annotation(str(Path(name).with_suffix("")), width, height, shapes)


def _file_name(data: dict) -> str:
    """Returns the file name of the image from its address in a task."""
    parts = urlparse(data.get("image") or next((value for value in data.values() if isinstance(value, str)), ""))
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]  # /data/local-files/?d=folder/a.jpg
    return Path(path).name


def _shape(label: str, value: dict, width: int, height: int) -> Shape:
    if "rle" in value:
        return Shape(label, mask=partial(label_studio_mask, value["rle"], width, height))
    scale = width / 100, height / 100
    if "points" in value:
        return Shape(label, scaled(value["points"], *scale))
    theta = radians(value.get("rotation", 0))
    size = value.get("radiusX", value.get("width")), value.get("radiusY", value.get("height"))
    if None in size:  # a key point has only a width
        return Shape(label)
    (x, y), (w, h) = scaled([(value["x"], value["y"]), size], *scale)
    if "radiusX" in value:
        return Shape(label, ellipse(x, y, w, h, theta))
    corners = box(x, y, x + w, y + h)
    return Shape(label, turn(corners, (x, y), theta) if theta else corners)
