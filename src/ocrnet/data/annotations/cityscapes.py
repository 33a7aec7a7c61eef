"""Cityscapes' polygons.json, a file per image."""

from ocrnet.data.annotations.shapes import Annotation, Shape


def read(tree: dict, name: str) -> Annotation:
    shapes = []
    for item in tree["objects"]:
        polygon = item["polygon"]
        rings = polygon if polygon and isinstance(polygon[0][0], list) else [polygon]  # outline and holes
        if not item.get("deleted"):
            outline, *holes = ([(x, y) for x, y in ring] for ring in rings)
            shapes.append(Shape(str(item["label"]), outline, holes))
    name = name.removesuffix("_polygons")
    return Annotation(name, tree["imgWidth"], tree["imgHeight"], shapes, tree.get("pixels", "outline"))


def write(annotation: Annotation) -> dict:
    return {
        "imgHeight": annotation.height,
        "imgWidth": annotation.width,
        "pixels": annotation.fill,
        "objects": [{"label": shape.label, "polygon": shape.outline} for shape in annotation.shapes],
    }
