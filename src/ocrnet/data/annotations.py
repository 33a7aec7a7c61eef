"""What annotation programs have drawn: outlines, lines and masks of the objects of an image.

Read are Cityscapes' polygons.json, LabelMe, COCO (instances and panoptic), VIA, and Datumaro's JSON, as CVAT exports
it. Files come from elsewhere: nothing in them is run, and no name in them may lead out of its folder.
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
_FAR = 1e6  # pixels; what lies beyond is moved here, before the painter's integers overflow


@dataclass
class Shape:
    """One object: an outline, with holes or without, a line, or a mask. Points are (x, y) in pixels."""

    label: str
    outline: Points = field(default_factory=list)
    holes: list[Points] = field(default_factory=list)
    is_line: bool = False
    mask: Callable[[], np.ndarray] | None = None
    """Makes (h, w) bool, when it is needed."""
    corner: tuple[int, int] = (0, 0)
    """(x, y) of the mask's top left pixel."""

    def area(self) -> float:
        """Pixels inside the outline (of a line none) or of the mask."""
        if self.mask:
            return float(self.mask().sum())
        x, y = np.array(self.outline, np.float64).reshape(-1, 2).T
        return 0.0 if self.is_line else float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


class Annotation(NamedTuple):
    """The objects of one image; later ones lie over earlier ones."""

    name: str
    """Of the label image, without its ending; may lie in folders."""
    width: int
    height: int
    shapes: list[Shape]


def read_annotations(path: Path, name: str, images: Path) -> list[Annotation]:
    """What a file of any of the formats says, told by its content.

    Args:
        name: of the label image where the file is about one image, without its ending.
        images: folder of the images, for formats that do not say their size.

    Raises:
        UserError: the file cannot be read, is of another format, or holds something impossible.
    """
    most = device.available_memory() or 2**34
    try:
        data = files.read_bytes(path, most // 4)
        if (needed := 2 * len(data) + 64 * sum(map(data.count, (b"[", b"{", b",")))) > most:  # an object each
            raise ValueError(f"it would take {needed:,} bytes of memory, {most:,} are free: split it")
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
            raise ValueError("none of Cityscapes' polygons, LabelMe, COCO, VIA or Datumaro (CVAT)")
        for annotation in found:
            _check(annotation)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        reason = f"without {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: not an annotation file, or a damaged one: {reason}") from None
    return found


def _check(annotation: Annotation) -> None:
    name, width, height, shapes = annotation
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 < height <= MAX_PIXELS // width):
        raise ValueError(f"{name} is {width!r} x {height!r} pixels; an image has 1 to {MAX_PIXELS:,}")
    _inside(Path(), name)
    for shape in shapes:
        for ring in (shape.outline, *shape.holes):
            points = np.array(ring, np.float64)
            if not np.isfinite(points).all():
                raise ValueError(f"a point of a {shape.label} in {name} is not finite")
            if np.abs(points).max(initial=0) > _FAR:
                ring[:] = map(tuple, points.clip(-_FAR, _FAR))


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
    """Instances, the largest first, as COCO has no order; or panoptic segments, whose PNGs are in `images`."""
    names = {category["id"]: str(category["name"]) for category in tree["categories"]}
    shapes: dict[Any, list[tuple[float, Shape]]] = {image["id"]: [] for image in tree["images"]}
    for item in tree["annotations"]:
        found = shapes[item["image_id"]]
        for segment in item.get("segments_info", ()):
            inside = partial(_panoptic_mask, _inside(images, item["file_name"]), segment["id"])
            found.append((0.0, Shape(names[segment["category_id"]], mask=inside)))
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
    for region in regions.values() if isinstance(regions, dict) else regions:  # VIA 1 numbers them
        about, outline = region["region_attributes"], region["shape_attributes"]
        if len(about) != 1 and "label" not in about:
            raise ValueError(f"a region of {entry['filename']} has attributes {list(about)}: name the class's «label»")
        label, kind = str(about.get("label", next(iter(about.values())))), outline["name"]
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
        str(Path(entry["filename"]).with_suffix("")), *_image_size(_inside(images, entry["filename"])), shapes
    )


def _pairs(flat: list[float]) -> Points:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _ellipse(x: float, y: float, rx: float, ry: float, theta: float = 0.0) -> Points:
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    across, down = rx * np.cos(turn), ry * np.sin(turn)
    xs, ys = x + across * np.cos(theta) - down * np.sin(theta), y + across * np.sin(theta) + down * np.cos(theta)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _inside(folder: Path, name: str) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"the name {name!r} leaves the folder")
    return folder / name


def _image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the image as annotation programs and `read_image` show it: turned as EXIF says."""
    try:
        return image_size(path)
    except UserError as error:
        raise UserError(f"{error} (this image's size is needed; --images names its folder)") from None


def _base64_mask(text: str) -> np.ndarray:
    try:
        return np.asarray(open_image(Path("a mask"), base64.b64decode(text))[0]) > 0
    except UserError as error:  # whoever draws it knows the file
        raise ValueError(str(error)) from None


def _panoptic_mask(path: Path, number: int) -> np.ndarray:
    return _panoptic_numbers(path) == number


@lru_cache(1)
def _panoptic_numbers(path: Path) -> np.ndarray:
    """(H, W) int32 of COCO's panoptic PNG: red + 256 green + 65536 blue."""
    return read_image(path).astype(np.int32) @ np.array([1, 256, 65536], np.int32)


def _run_length_mask(coded: dict) -> np.ndarray:
    """COCO's run lengths: pixels outside and inside in turn, column by column; a list, or a string of 5-bit digits in
    which each number from the fourth on is the difference to the last but one."""
    (height, width), counts = coded["size"], coded["counts"]
    if isinstance(counts, str):
        numbers, value, shift = [], 0, 0
        for digit in counts.encode("ascii"):
            digit -= 48
            value |= (digit & 31) << shift
            shift += 5
            if shift > 60:
                raise ValueError("a mask's run is longer than any image")
            if not digit & 32:
                value -= (digit & 16) and 1 << shift
                numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
                value = shift = 0
        counts = numbers
    if min(counts, default=0) < 0 or sum(counts) != height * width or height * width > MAX_PIXELS:
        raise ValueError(f"a mask's runs have {sum(counts)} pixels, not {width} x {height}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
