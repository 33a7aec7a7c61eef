"""COCO's JSON, one file for all images: instances, and panoptic segments, whose PNGs are in a folder next to it."""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ocrnet.data.annotations.packed_masks import coco_mask
from ocrnet.data.annotations.shapes import Annotation, Shape, flat, join, pairs
from ocrnet.data.images import read_image


def read(tree: dict, segments: Path) -> list[Annotation]:
    """Reads instances, largest first, because COCO has no order; or panoptic segments, whose PNGs are in `segments`."""
    names = {category["id"]: str(category["name"]) for category in tree["categories"]}
    shapes: dict[Any, list[tuple[float, Shape]]] = {image["id"]: [] for image in tree["images"]}
    for item in tree["annotations"]:
        found = shapes[item["image_id"]]
        for segment in item.get("segments_info", ()):
            mask = partial(_panoptic_mask, join(segments, item["file_name"]), segment["id"])
            found.append((0.0, Shape(names[segment["category_id"]], mask=mask)))
        outlines = item.get("segmentation", ())
        area, label = float(item.get("area", 0)), names[item["category_id"]] if "category_id" in item else ""
        if isinstance(outlines, dict):
            found.append((area, Shape(label, mask=partial(coco_mask, outlines))))
        else:
            found.extend((area, Shape(label, pairs(outline))) for outline in outlines)
    return [
        Annotation(
            str(Path(image["file_name"]).with_suffix("")),
            image["width"],
            image["height"],
            [shape for _, shape in sorted(shapes[image["id"]], key=lambda entry: -entry[0])],
            tree.get("info", {}).get("pixels", "outline"),
        )
        for image in tree["images"]
    ]


def write(annotations: list[Annotation], labels: list[str]) -> dict:
    """Args: labels: the categories 1, 2, ..."""
    categories = {label: number for number, label in enumerate(labels, 1)}
    images, items = [], []
    for number, annotation in enumerate(annotations, 1):
        file_name = annotation.name + annotation.suffix
        images.append({"id": number, "file_name": file_name, "width": annotation.width, "height": annotation.height})
        for shape in annotation.shapes:
            left, top = np.min(shape.outline, axis=0).tolist()
            right, bottom = np.max(shape.outline, axis=0).tolist()
            items.append(
                {
                    "id": len(items) + 1,
                    "image_id": number,
                    "category_id": categories[shape.label],
                    "segmentation": [flat(shape.outline)],
                    "area": shape.area(),
                    "bbox": [left, top, right - left, bottom - top],
                    "iscrowd": 0,
                }
            )
    fill = annotations[0].fill if annotations else "outline"
    return {
        "info": {"pixels": fill},
        "images": images,
        "categories": [{"id": number, "name": label} for label, number in categories.items()],
        "annotations": items,
    }


def _panoptic_mask(path: Path, segment_id: int) -> np.ndarray:
    return _panoptic_ids(path) == segment_id


@lru_cache(1)
def _panoptic_ids(path: Path) -> np.ndarray:
    """Returns the segment ids (H, W) int32 of COCO's panoptic PNG: red + 256 green + 65536 blue."""
    return read_image(path).astype(np.int32) @ np.array([1, 256, 65536], np.int32)
