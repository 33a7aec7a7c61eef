"""Reads the files of annotation tools: polygons, lines and masks of the objects of an image.

Supported formats: Cityscapes' polygons.json, LabelMe, COCO (instances and panoptic), VIA, and Datumaro's JSON, as
exported by CVAT. The files are not trusted: no code in them is run, and file names in them must stay in their folder.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ocrnet import files
from ocrnet.data.images import MAX_PIXELS, image_size, open_image, read_image
from ocrnet.errors import UserError
from ocrnet.runtime import device

Points = list[tuple[float, float]]
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


def read_annotations(path: Path, name: str, images: Path) -> list[Annotation]:
    """Reads an annotation file. The format is detected by the content.

    Args:
        name: name of the label image, without its suffix, if the file describes a single image.
        images: folder of the images, for formats that do not store the image size.

    Raises:
        UserError: the file cannot be read, has an unknown format, or contains invalid values.
    """
    limit = device.available_memory() or 2**34
    try:
        data = files.read_bytes(path, limit // 4)
        if (needed := 2 * len(data) + 64 * sum(map(data.count, (b"[", b"{", b",")))) > limit:  # one object for each
            raise ValueError(f"it needs {needed:,} bytes of memory, {limit:,} are free: split the file")
        tree = json.loads(data)
    except OSError as error:
        raise UserError(f"{path}: not a readable JSON file: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON file: {error}") from None
    keys = set(tree) if isinstance(tree, dict) else set()
    try:
        if {"objects", "imgWidth"} <= keys:
            found = [_cityscapes(tree, name)]
        elif "shapes" in keys:
            found = [_labelme(tree, name, images)]
        elif {"images", "annotations"} <= keys:
            found = _coco(tree, path.with_suffix(""))
        elif {"items", "categories"} <= keys:
            found = [_datumaro(item, tree["categories"]["label"]["labels"]) for item in tree["items"]]
        elif keys and all(isinstance(entry, dict) for entry in tree.values()):
            entries = tree.get("_via_img_metadata", tree).values()
            found = [_via(entry, images) for entry in entries]
        else:
            raise ValueError("unknown format; supported: Cityscapes' polygons, LabelMe, COCO, VIA, Datumaro (CVAT)")
        for annotation in found:
            _check(annotation)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        reason = f"key {error} is missing" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: not a valid annotation file: {reason}") from None
    return found


def _check(annotation: Annotation) -> None:
    name, width, height, shapes = annotation
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 < height <= MAX_PIXELS // width):
        raise ValueError(f"{name} is {width!r} x {height!r} pixels; an image must have 1 to {MAX_PIXELS:,}")
    _join(Path(), name)
    for shape in shapes:
        for ring in (shape.outline, *shape.holes):
            points = np.array(ring, np.float64)
            if not np.isfinite(points).all():
                raise ValueError(f"a point of a {shape.label} in {name} is not finite")
            if np.abs(points).max(initial=0) > _MAX_COORDINATE:
                ring[:] = map(tuple, points.clip(-_MAX_COORDINATE, _MAX_COORDINATE))


def _cityscapes(tree: dict, name: str) -> Annotation:
    shapes = []
    for item in tree["objects"]:
        polygon = item["polygon"]
        rings = polygon if polygon and isinstance(polygon[0][0], list) else [polygon]  # outline and holes
        if not item.get("deleted"):
            outline, *holes = ([(x, y) for x, y in ring] for ring in rings)
            shapes.append(Shape(str(item["label"]), outline, holes))
    return Annotation(name.removesuffix("_polygons"), tree["imgWidth"], tree["imgHeight"], shapes)


def _labelme(tree: dict, name: str, images: Path) -> Annotation:
    shapes = []
    for item in tree["shapes"]:
        label, points = str(item["label"]), [(float(x), float(y)) for x, y in item["points"]]
        match item.get("shape_type") or "polygon":
            case "polygon":
                shapes.append(Shape(label, points))
            case "line" | "linestrip":
                shapes.append(Shape(label, points, is_line=True))
            case "rectangle":
                shapes.append(Shape(label, _box(*points[0], *points[1])))
            case "circle":
                radius = float(np.hypot(*np.subtract(points[1], points[0])))
                shapes.append(Shape(label, _ellipse(*points[0], radius, radius)))
            case "mask":
                corner = (round(points[0][0]), round(points[0][1]))
                shapes.append(Shape(label, mask=partial(_base64_mask, item["mask"]), corner=corner))
            case _:  # points have no area
                shapes.append(Shape(label))
    width, height = tree.get("imageWidth"), tree.get("imageHeight")
    if not (width and height):
        width, height = _image_size(images / Path(str(tree["imagePath"]).replace("\\", "/")).name)
    return Annotation(name, width, height, shapes)


def _coco(tree: dict, images: Path) -> list[Annotation]:
    """Reads instances, largest first, because COCO has no order; or panoptic segments, whose PNGs are in `images`."""
    names = {category["id"]: str(category["name"]) for category in tree["categories"]}
    shapes: dict[Any, list[tuple[float, Shape]]] = {image["id"]: [] for image in tree["images"]}
    for item in tree["annotations"]:
        found = shapes[item["image_id"]]
        for segment in item.get("segments_info", ()):
            mask = partial(_panoptic_mask, _join(images, item["file_name"]), segment["id"])
            found.append((0.0, Shape(names[segment["category_id"]], mask=mask)))
        outlines = item.get("segmentation", ())
        area, label = float(item.get("area", 0)), names[item["category_id"]] if "category_id" in item else ""
        if isinstance(outlines, dict):
            found.append((area, Shape(label, mask=partial(_run_length_mask, outlines))))
        else:
            found.extend((area, Shape(label, _pairs(flat))) for flat in outlines)
    return [
        Annotation(
            str(Path(image["file_name"]).with_suffix("")),
            image["width"],
            image["height"],
            [shape for _, shape in sorted(shapes[image["id"]], key=lambda entry: -entry[0])],
        )
        for image in tree["images"]
    ]


def _datumaro(item: dict, labels: list[dict]) -> Annotation:
    shapes = []
    for entry in sorted(item["annotations"], key=lambda entry: entry.get("z_order", 0)):
        label, kind = labels[entry["label_id"]]["name"], entry["type"]
        if kind in ("polygon", "polyline"):
            shapes.append(Shape(label, _pairs(entry["points"]), is_line=kind == "polyline"))
        elif kind == "mask":
            shapes.append(Shape(label, mask=partial(_run_length_mask, entry["rle"])))
        elif kind == "bbox":
            x, y, width, height = entry["bbox"]
            shapes.append(Shape(label, _box(x, y, x + width, y + height)))
        else:
            shapes.append(Shape(label))
    height, width = item["image"]["size"]
    return Annotation(str(item["id"]), width, height, shapes)


def _via(entry: dict, images: Path) -> Annotation:
    regions = entry["regions"]
    shapes = []
    for region in regions.values() if isinstance(regions, dict) else regions:  # VIA 1 has a dict {number: region}
        attributes, outline = region["region_attributes"], region["shape_attributes"]
        if len(attributes) != 1 and "label" not in attributes:
            raise ValueError(
                f"a region of {entry['filename']} has the attributes {list(attributes)}: name the attribute of the "
                "class 'label'"
            )
        label, kind = str(attributes.get("label", next(iter(attributes.values())))), outline["name"]
        if kind in ("polygon", "polyline"):
            points = list(zip(outline["all_points_x"], outline["all_points_y"], strict=True))
            shapes.append(Shape(label, points, is_line=kind == "polyline"))
        elif kind == "rect":
            x, y = outline["x"], outline["y"]
            shapes.append(Shape(label, _box(x, y, x + outline["width"], y + outline["height"])))
        elif kind in ("circle", "ellipse"):
            radii = [outline[key] for key in (("r", "r") if kind == "circle" else ("rx", "ry"))]
            shapes.append(Shape(label, _ellipse(outline["cx"], outline["cy"], *radii, outline.get("theta", 0.0))))
        else:
            shapes.append(Shape(label))
    return Annotation(
        str(Path(entry["filename"]).with_suffix("")), *_image_size(_join(images, entry["filename"])), shapes
    )


def _pairs(flat: list[float]) -> Points:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _ellipse(x: float, y: float, rx: float, ry: float, theta: float = 0.0) -> Points:
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    dx, dy = rx * np.cos(angles), ry * np.sin(angles)
    xs, ys = x + dx * np.cos(theta) - dy * np.sin(theta), y + dx * np.sin(theta) + dy * np.cos(theta)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _join(folder: Path, name: str) -> Path:
    """Returns the path of a file name in `folder`. Raises ValueError if it would be outside the folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"the file name {name!r} is outside the folder")
    return folder / name


def _image_size(path: Path) -> tuple[int, int]:
    """Returns (width, height) after applying the EXIF orientation, as annotation tools and `read_image` do."""
    try:
        return image_size(path)
    except UserError as error:
        raise UserError(f"{error} (the size of this image is needed; set its folder with --images)") from None


def _base64_mask(text: str) -> np.ndarray:
    try:
        return np.asarray(open_image(Path("a mask"), base64.b64decode(text))[0]) > 0
    except UserError as error:  # the caller adds the file name
        raise ValueError(str(error)) from None


def _panoptic_mask(path: Path, segment_id: int) -> np.ndarray:
    return _panoptic_ids(path) == segment_id


@lru_cache(1)
def _panoptic_ids(path: Path) -> np.ndarray:
    """Returns the segment ids (H, W) int32 of COCO's panoptic PNG: red + 256 green + 65536 blue."""
    return read_image(path).astype(np.int32) @ np.array([1, 256, 65536], np.int32)


def _run_length_mask(rle: dict) -> np.ndarray:
    """Decodes COCO's run-length encoding: alternating counts of background and foreground pixels, column by column.

    The counts are a list, or a string of 5-bit digits in which each count from the fourth on is the difference to the
    count before the previous one.
    """
    (height, width), counts = rle["size"], rle["counts"]
    if isinstance(counts, str):
        numbers, value, shift = [], 0, 0
        for digit in counts.encode("ascii"):
            digit -= 48
            value |= (digit & 31) << shift
            shift += 5
            if shift > 60:
                raise ValueError("a count of a run-length mask is larger than any image")
            if not digit & 32:
                value -= (digit & 16) and 1 << shift
                numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
                value = shift = 0
        counts = numbers
    if min(counts, default=0) < 0 or sum(counts) != height * width or height * width > MAX_PIXELS:
        raise ValueError(f"a run-length mask has {sum(counts)} pixels, not {width} x {height}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
