"""LabelMe's JSON, a file per image. LabelMe keeps keys that it does not know, such as our `pixels`."""

import base64
from functools import partial
from pathlib import Path

import numpy as np

from ocrnet.data.annotations.packed_masks import png_mask
from ocrnet.data.annotations.shapes import Annotation, Shape, box, ellipse, size_of


def read(tree: dict, name: str, images: Path) -> Annotation:
    shapes = []
    for item in tree["shapes"]:
        label, points = str(item["label"]), [(float(x), float(y)) for x, y in item["points"]]
        match item.get("shape_type") or "polygon":
            case "polygon":
                shapes.append(Shape(label, points))
            case "line" | "linestrip":
                shapes.append(Shape(label, points, is_line=True))
            case "rectangle":
                shapes.append(Shape(label, box(*points[0], *points[1])))
            case "circle":
                radius = float(np.hypot(*np.subtract(points[1], points[0])))
                shapes.append(Shape(label, ellipse(*points[0], radius, radius)))
            case "mask":
                corner = (round(points[0][0]), round(points[0][1]))
                shapes.append(Shape(label, mask=partial(_mask, item["mask"]), corner=corner))
            case _:  # points have no area
                shapes.append(Shape(label))
    width, height = tree.get("imageWidth"), tree.get("imageHeight")
    if not (width and height):
        width, height = size_of(images / Path(str(tree["imagePath"]).replace("\\", "/")).name)
    return Annotation(name, width, height, shapes, tree.get("pixels", "outline"))


def _mask(text: str) -> np.ndarray:
    return png_mask(base64.b64decode(text))


def write(annotation: Annotation, image: Path) -> dict:
    """Args: image: path of the image, relative to the folder of the written file."""
    return {
        "version": "5.0.0",
        "flags": {},
        "shapes": [
            {
                "label": shape.label,
                "points": shape.outline,
                "group_id": None,
                "shape_type": "polygon",
                "flags": {},
            }
            for shape in annotation.shapes
        ],
        "imagePath": image.as_posix(),
        "imageData": None,
        "imageHeight": annotation.height,
        "imageWidth": annotation.width,
        "pixels": annotation.fill,
    }
