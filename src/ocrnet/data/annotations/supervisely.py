"""Supervisely's JSON, a file per image: polygons with holes, bitmaps, rectangles and lines.

Reference: https://docs.supervisely.com/customization-and-integration/00_ann_format_navi/04_supervisely_format_objects.
"""

import base64
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from ocrnet.data.annotations.packed_masks import png_mask
from ocrnet.data.annotations.shapes import Annotation, Shape, box
from ocrnet.data.images import MAX_BYTES


def read(tree: dict, name: str) -> Annotation:
    """Args: name: file name without `.json`; it ends with the suffix of the image."""
    name = str(Path(name).with_suffix(""))
    return Annotation(name, tree["size"]["width"], tree["size"]["height"], [_shape(item) for item in tree["objects"]])


def _shape(item: dict) -> Shape:
    label, kind = str(item["classTitle"]), item["geometryType"]
    if kind == "bitmap":
        x, y = map(int, item["bitmap"]["origin"])
        return Shape(label, mask=partial(_mask, item["bitmap"]["data"]), corner=(x, y))
    if kind not in ("polygon", "rectangle", "line"):
        return Shape(label)
    outline, *holes = (
        [(float(x), float(y)) for x, y in ring]
        for ring in (item["points"]["exterior"], *item["points"].get("interior", ()))
    )
    if kind == "rectangle":
        return Shape(label, box(*outline[0], *outline[1]))
    return Shape(label, outline, holes, is_line=kind == "line")


def _mask(text: str) -> np.ndarray:
    return png_mask(zlib.decompressobj().decompress(base64.b64decode(text), MAX_BYTES))
