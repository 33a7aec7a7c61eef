"""Reads the files of annotation programs; the format is found out from the content."""

import json
from pathlib import Path
from xml.etree import ElementTree

from ocrnet import files
from ocrnet.data.annotations import cityscapes, coco, cvat, datumaro, label_studio, labelme, supervisely, via, yolo
from ocrnet.data.annotations.shapes import Annotation, check
from ocrnet.errors import UserError
from ocrnet.runtime import device

SUFFIXES = (".json", ".xml", ".txt")
"""Of annotation files; .txt are YOLO's."""

_MARKS = {"JSON": (b"[", b"{", b","), "XML": (b"<", b"="), "text": (b" ",)}
_BYTES = {"JSON": 64, "XML": 200, "text": 64}  # of memory for each of these marks
_SUPPORTED = "Cityscapes' polygons, LabelMe, COCO, VIA, Datumaro, CVAT for images, Label Studio, Supervisely, YOLO"


def read_annotations(path: Path, name: str, images: Path) -> list[Annotation]:
    """Reads an annotation file. The format is detected by the content.

    Args:
        name: name of the label image, without its suffix, if the file describes a single image.
        images: folder of the images, for formats that do not store the image size.

    Raises:
        UserError: the file cannot be read, has an unknown format, or contains invalid values.
    """
    kind = {".xml": "XML", ".txt": "text"}.get(path.suffix.lower(), "JSON")
    limit = device.available_memory() or 2**34
    try:
        data = files.read_bytes(path, limit // 4)
        objects = sum(map(data.count, _MARKS[kind]))
        if (needed := 2 * len(data) + _BYTES[kind] * objects) > limit:
            raise ValueError(f"it needs {needed:,} bytes of memory, {limit:,} are free: split the file")
        tree = {"XML": cvat.parse, "text": bytes.decode, "JSON": json.loads}[kind](data)
    except OSError as error:
        raise UserError(f"{path}: not a readable {kind} file: {error.strerror}") from None
    except (ValueError, RecursionError, ElementTree.ParseError) as error:
        raise UserError(f"{path}: not a readable {kind} file: {error}") from None
    try:
        if kind == "XML":
            found = cvat.read(tree)
        elif kind == "text":
            found = [yolo.read(tree, path, name, images)]
        else:
            found = _read_json(tree, path, name, images)
        for annotation in found:
            check(annotation)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, OSError) as error:
        reason = f"key {error} is missing" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: not a valid annotation file: {reason}") from None
    return found


def _read_json(tree: object, path: Path, name: str, images: Path) -> list[Annotation]:
    keys = set(tree) if isinstance(tree, dict) else set()
    if {"objects", "imgWidth"} <= keys:
        return [cityscapes.read(tree, name)]
    if {"objects", "size"} <= keys:
        return [supervisely.read(tree, name)]
    if "shapes" in keys:
        return [labelme.read(tree, name, images)]
    if {"images", "annotations"} <= keys:
        return coco.read(tree, path.with_suffix(""))
    if {"items", "categories"} <= keys:
        return datumaro.read(tree)
    if {"project", "view", "metadata"} <= keys:
        return via.read_3(tree, images)
    if keys and all(isinstance(entry, dict) for entry in tree.values()):
        return via.read(tree, images)
    if isinstance(tree, list) and tree and all(isinstance(task, dict) and "data" in task for task in tree):
        return label_studio.read(tree, images)
    raise ValueError(f"unknown format; supported: {_SUPPORTED}")
