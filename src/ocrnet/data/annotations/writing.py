"""Writes the files of annotation programs."""

import json
from collections.abc import Sequence
from pathlib import Path

from ocrnet.data.annotations import cityscapes, coco, cvat, datumaro, labelme
from ocrnet.data.annotations.shapes import Annotation

FORMATS = ("labelme", "coco", "cvat", "datumaro", "cityscapes")
ONE_FILE = {"coco": "instances.json", "cvat": "annotations.xml", "datumaro": "annotations/default.json"}
"""{format: its file, for formats with one file for all images}; the others have a file per image."""


def file_text(kind: str, annotations: Sequence[Annotation], labels: list[str], image: Path = Path()) -> str:
    """Returns the text of a file of a format of FORMATS.

    Args:
        annotations: of all images for the formats of ONE_FILE, otherwise of one image.
        labels: the classes; labelme and cityscapes have no list of them.
        image: for labelme the path of the image, relative to the folder of the file.
    """
    match kind:
        case "cvat":
            return cvat.write(annotations, labels)
        case "coco":
            tree = coco.write(annotations, labels)
        case "datumaro":
            tree = datumaro.write(annotations, labels)
        case "labelme":
            tree = labelme.write(*annotations, image)
        case _:
            tree = cityscapes.write(*annotations)
    return json.dumps(tree, ensure_ascii=False)
