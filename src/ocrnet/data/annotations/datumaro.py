"""Datumaro's JSON, one file for all images, as CVAT exports and imports it."""

from functools import partial

from ocrnet.data.annotations.packed_masks import coco_mask
from ocrnet.data.annotations.shapes import Annotation, Shape, box, ellipse, flat, pairs


def read(tree: dict) -> list[Annotation]:
    labels = [label["name"] for label in tree["categories"]["label"]["labels"]]
    fill = tree.get("info", {}).get("pixels", "outline")
    annotations = []
    for item in tree["items"]:
        entries = sorted(item["annotations"], key=lambda entry: entry.get("z_order", 0))
        height, width = item["image"]["size"]
        shapes = [_shape(labels[entry["label_id"]], entry) for entry in entries]
        annotations.append(Annotation(str(item["id"]), width, height, shapes, fill))
    return annotations


def _shape(label: str, entry: dict) -> Shape:
    match entry["type"]:
        case "polygon" | "polyline" as kind:
            return Shape(label, pairs(entry["points"]), is_line=kind == "polyline")
        case "mask":
            return Shape(label, mask=partial(coco_mask, entry["rle"]))
        case "bbox":
            x, y, width, height = entry["bbox"]
            return Shape(label, box(x, y, x + width, y + height))
        case "ellipse":
            left, top, right, bottom = entry["points"]
            return Shape(label, ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2))
        case _:
            return Shape(label)


def write(annotations: list[Annotation], labels: list[str]) -> dict:
    """Args: labels: all labels, in the order of their numbers 0, 1, ..."""
    numbers = {label: number for number, label in enumerate(labels)}
    return {
        "info": {"pixels": annotations[0].fill if annotations else "outline"},
        "categories": {"label": {"labels": [{"name": label, "parent": "", "attributes": []} for label in labels]}},
        "items": [
            {
                "id": annotation.name,
                "annotations": [
                    {
                        "id": number,
                        "type": "polygon",
                        "label_id": numbers[shape.label],
                        "points": flat(shape.outline),
                        "z_order": 0,
                        "attributes": {},
                        "group": 0,
                    }
                    for number, shape in enumerate(annotation.shapes)
                ],
                "image": {
                    "path": annotation.name + annotation.suffix,
                    "size": [annotation.height, annotation.width],
                },
            }
            for annotation in annotations
        ],
    }
