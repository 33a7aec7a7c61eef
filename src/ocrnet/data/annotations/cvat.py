"""CVAT's XML «CVAT for images 1.1», one file for all images.

Specification: https://docs.cvat.ai/docs/dataset_management/formats/xml-format/. In it, coordinates are in pixels from
the top left corner of the image, and run lengths go row by row through the box of a mask.
"""

from functools import partial
from math import radians
from pathlib import Path
from xml.etree import ElementTree

from ocrnet.data.annotations.packed_masks import cvat_mask
from ocrnet.data.annotations.shapes import Annotation, Points, Shape, box, ellipse, turn


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses document types: entities could make a small file a huge one."""

    def doctype(self, name: str, public_id: str | None, system: str | None) -> None:
        raise ValueError("an annotation file has no DOCTYPE")


def parse(data: bytes) -> ElementTree.Element:
    """Parses XML. Raises ElementTree.ParseError or ValueError."""
    return ElementTree.fromstring(data, ElementTree.XMLParser(target=_NoDoctype()))


def read(root: ElementTree.Element) -> list[Annotation]:
    if root.tag != "annotations":
        raise ValueError(f"<{root.tag}> is unknown XML; CVAT's begins with <annotations>")
    if root.find("track") is not None:
        raise ValueError("this is 'CVAT for video': export it as 'CVAT for images 1.1'")
    fill = root.findtext("meta/pixels", "outline")
    annotations = []
    for image in root.iter("image"):
        shapes = sorted(image, key=lambda element: int(element.get("z_order", 0)))
        annotations.append(
            Annotation(
                str(Path(image.attrib["name"]).with_suffix("")),
                int(image.attrib["width"]),
                int(image.attrib["height"]),
                [_shape(element) for element in shapes if element.tag != "tag"],  # a tag is about the whole image
                fill,
            )
        )
    return annotations


def _shape(element: ElementTree.Element) -> Shape:
    label = element.attrib["label"]

    def numbers(*keys: str) -> list[float]:
        return [float(element.attrib[key]) for key in keys]

    theta = radians(float(element.get("rotation", 0)))
    match element.tag:
        case "polygon" | "polyline" as kind:
            return Shape(label, _points(element.attrib["points"]), is_line=kind == "polyline")
        case "box":
            left, top, right, bottom = numbers("xtl", "ytl", "xbr", "ybr")
            corners = box(left, top, right, bottom)
            return Shape(label, turn(corners, ((left + right) / 2, (top + bottom) / 2), theta) if theta else corners)
        case "ellipse":
            return Shape(label, ellipse(*numbers("cx", "cy", "rx", "ry"), theta))
        case "mask":
            left, top, width, height = map(int, numbers("left", "top", "width", "height"))
            mask = partial(cvat_mask, element.attrib["rle"], width, height)
            return Shape(label, mask=mask, corner=(left, top))
        case _:  # points, skeletons and cuboids have no area in the image
            return Shape(label)


def _points(text: str) -> Points:
    pairs = (point.split(",") for point in text.split(";"))
    return [(float(x), float(y)) for x, y in pairs]


def write(annotations: list[Annotation], labels: list[str]) -> str:
    """Args: labels: all labels of the task."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    meta = ElementTree.SubElement(root, "meta")
    ElementTree.SubElement(meta, "pixels").text = annotations[0].fill if annotations else "outline"
    names = ElementTree.SubElement(ElementTree.SubElement(meta, "task"), "labels")
    for label in labels:
        ElementTree.SubElement(ElementTree.SubElement(names, "label"), "name").text = label
    for number, annotation in enumerate(annotations):
        image = ElementTree.SubElement(
            root,
            "image",
            id=str(number),
            name=annotation.name + annotation.suffix,
            width=str(annotation.width),
            height=str(annotation.height),
        )
        for shape in annotation.shapes:
            points = ";".join(f"{x},{y}" for x, y in shape.outline)
            ElementTree.SubElement(
                image, "polygon", label=shape.label, source="file", occluded="0", points=points, z_order="0"
            )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
