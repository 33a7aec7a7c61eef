"""JSON of the VGG Image Annotator (VIA), one file for all images: versions 1 and 2, and projects of version 3."""

from pathlib import Path

from ocrnet.data.annotations.shapes import Annotation, Shape, box, ellipse, join, pairs, size_of


def read(tree: dict, images: Path) -> list[Annotation]:
    """Reads a project, or the annotations alone, of VIA 1 or 2."""
    return [_image(entry, images) for entry in tree.get("_via_img_metadata", tree).values()]


def _image(entry: dict, images: Path) -> Annotation:
    regions = entry["regions"]
    shapes = []
    for region in regions.values() if isinstance(regions, dict) else regions:  # VIA 1 has a dict {number: region}
        label, outline = _label(region["region_attributes"], entry["filename"]), region["shape_attributes"]
        kind = outline["name"]
        if kind in ("polygon", "polyline"):
            points = list(zip(outline["all_points_x"], outline["all_points_y"], strict=True))
            shapes.append(Shape(label, points, is_line=kind == "polyline"))
        elif kind == "rect":
            x, y = outline["x"], outline["y"]
            shapes.append(Shape(label, box(x, y, x + outline["width"], y + outline["height"])))
        elif kind in ("circle", "ellipse"):
            radii = [outline[key] for key in (("r", "r") if kind == "circle" else ("rx", "ry"))]
            shapes.append(Shape(label, ellipse(outline["cx"], outline["cy"], *radii, outline.get("theta", 0.0))))
        else:
            shapes.append(Shape(label))
    return _annotation(entry["filename"], images, shapes)


def read_3(tree: dict, images: Path) -> list[Annotation]:
    """Reads a project of VIA 3. Its regions belong to views; a view of an image has that image alone."""
    attributes = tree["attribute"]
    shapes: dict[str, list[Shape]] = {view: [] for view in tree["view"]}
    for region in tree["metadata"].values():
        if region["xy"]:  # without a place, it is about the whole image
            values = {
                attributes[number]["aname"]: attributes[number].get("options", {}).get(value, value)
                for number, value in region["av"].items()  # a choice has the number of its option
            }
            label = _label(values, f"view {region['vid']}")
            kind, *numbers = region["xy"]
            shapes[region["vid"]].append(_shape(label, kind, numbers))
    annotations = []
    for view, found in shapes.items():
        file_ids = tree["view"][view]["fid_list"]
        if len(file_ids) != 1:
            raise ValueError(f"view {view} has {len(file_ids)} images: annotate one image in a view")
        annotations.append(_annotation(tree["file"][str(file_ids[0])]["fname"], images, found))
    return annotations


def _shape(label: str, kind: int, numbers: list[float]) -> Shape:
    match kind:
        case 2 | 8:  # a rectangle, also one of four extreme points
            x, y, width, height = numbers[:4]
            return Shape(label, box(x, y, x + width, y + height))
        case 3 | 9:  # a circle, also one of three points
            x, y, radius = numbers[:3]
            return Shape(label, ellipse(x, y, radius, radius))
        case 4:
            return Shape(label, ellipse(*numbers[:4]))
        case 5 | 6:
            return Shape(label, pairs(numbers), is_line=True)
        case 7:
            return Shape(label, pairs(numbers))
        case _:
            return Shape(label)


def _label(attributes: dict, place: str) -> str:
    if len(attributes) != 1 and "label" not in attributes:
        raise ValueError(
            f"a region of {place} has the attributes {list(attributes)}: name the attribute of the class 'label'"
        )
    return str(attributes.get("label", next(iter(attributes.values()))))


def _annotation(filename: str, images: Path, shapes: list[Shape]) -> Annotation:
    return Annotation(str(Path(filename).with_suffix("")), *size_of(join(images, filename)), shapes)
