"""Cityscapes label table and file layout.

Source of the table: `cityscapesscripts/helpers/labels.py` of
https://github.com/mcordts/cityscapesScripts. A train id of 255 is ignored by loss and metric.
"""

from pathlib import Path
from typing import NamedTuple

from ocrnet.formats import layout


class Label(NamedTuple):
    """One row of the table; `color` is RGB, 0 .. 255."""

    name: str
    id: int
    train_id: int
    category: str
    has_instances: bool
    color: tuple[int, int, int]


# fmt: off
LABELS: tuple[Label, ...] = (
    Label("unlabeled", 0, 255, "void", False, (0, 0, 0)),
    Label("ego vehicle", 1, 255, "void", False, (0, 0, 0)),
    Label("rectification border", 2, 255, "void", False, (0, 0, 0)),
    Label("out of roi", 3, 255, "void", False, (0, 0, 0)),
    Label("static", 4, 255, "void", False, (0, 0, 0)),
    Label("dynamic", 5, 255, "void", False, (111, 74, 0)),
    Label("ground", 6, 255, "void", False, (81, 0, 81)),
    Label("road", 7, 0, "flat", False, (128, 64, 128)),
    Label("sidewalk", 8, 1, "flat", False, (244, 35, 232)),
    Label("parking", 9, 255, "flat", False, (250, 170, 160)),
    Label("rail track", 10, 255, "flat", False, (230, 150, 140)),
    Label("building", 11, 2, "construction", False, (70, 70, 70)),
    Label("wall", 12, 3, "construction", False, (102, 102, 156)),
    Label("fence", 13, 4, "construction", False, (190, 153, 153)),
    Label("guard rail", 14, 255, "construction", False, (180, 165, 180)),
    Label("bridge", 15, 255, "construction", False, (150, 100, 100)),
    Label("tunnel", 16, 255, "construction", False, (150, 120, 90)),
    Label("pole", 17, 5, "object", False, (153, 153, 153)),
    Label("polegroup", 18, 255, "object", False, (153, 153, 153)),
    Label("traffic light", 19, 6, "object", False, (250, 170, 30)),
    Label("traffic sign", 20, 7, "object", False, (220, 220, 0)),
    Label("vegetation", 21, 8, "nature", False, (107, 142, 35)),
    Label("terrain", 22, 9, "nature", False, (152, 251, 152)),
    Label("sky", 23, 10, "sky", False, (70, 130, 180)),
    Label("person", 24, 11, "human", True, (220, 20, 60)),
    Label("rider", 25, 12, "human", True, (255, 0, 0)),
    Label("car", 26, 13, "vehicle", True, (0, 0, 142)),
    Label("truck", 27, 14, "vehicle", True, (0, 0, 70)),
    Label("bus", 28, 15, "vehicle", True, (0, 60, 100)),
    Label("caravan", 29, 255, "vehicle", True, (0, 0, 90)),
    Label("trailer", 30, 255, "vehicle", True, (0, 0, 110)),
    Label("train", 31, 16, "vehicle", True, (0, 80, 100)),
    Label("motorcycle", 32, 17, "vehicle", True, (0, 0, 230)),
    Label("bicycle", 33, 18, "vehicle", True, (119, 11, 32)),
    Label("license plate", -1, -1, "vehicle", False, (0, 0, 142)),
)
# fmt: on

_EVALUATED = sorted((label for label in LABELS if 0 <= label.train_id < 255), key=lambda label: label.train_id)

CLASS_NAMES: tuple[str, ...] = tuple(label.name for label in _EVALUATED)
PALETTE: tuple[tuple[int, int, int], ...] = tuple(label.color for label in _EVALUATED)
CATEGORIES: tuple[str, ...] = tuple(label.category for label in _EVALUATED)

# "license plate" (-1) cannot be stored in a uint8 label image, so it need not be mapped.
LABEL_MAP: dict[int, int] = {label.id: label.train_id for label in LABELS if label.id >= 0}


def find_pairs(root: Path, split: str) -> list[tuple[Path, Path | None]]:
    """Returns (image, label) files of a split.

    leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_labelIds.png. The labels of the split "test" are
    None, because they are not public. "trainval" is both labelled splits.
    """
    if split == "trainval":
        return find_pairs(root, "train") + find_pairs(root, "val")
    root = layout.find_folder(root, "cityscapes", contains="leftImg8bit")
    pairs: list[tuple[Path, Path | None]] = []
    for image in sorted(layout.existing_folder(root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png")):
        name = image.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        label = root / "gtFine" / split / image.parent.name / name
        pairs.append((image, None if split == "test" else label))
    return pairs
