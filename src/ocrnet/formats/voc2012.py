"""PASCAL VOC 2012 with the augmented training labels of SBD: 21 classes and file layout.

Source: the development kit (VOClabelcolormap.m) and http://home.bharathh.info/pubs/codes/SBD. Label values are the
classes 0 .. 20, and 255 for object borders, which are ignored.
"""

from pathlib import Path

from ocrnet.formats import layout

# fmt: off
CLASS_NAMES: tuple[str, ...] = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on


def colour_map(count: int) -> tuple[tuple[int, int, int], ...]:
    """Returns the development kit's RGB colours: each channel consists of every third bit of the class index."""

    def channel(index: int, first: int) -> int:
        return sum((index >> (3 * bit + first) & 1) << (7 - bit) for bit in range(3))

    return tuple((channel(index, 0), channel(index, 1), channel(index, 2)) for index in range(count))


PALETTE = colour_map(len(CLASS_NAMES))


def find_pairs(root: Path, split: str) -> list[tuple[Path, Path | None]]:
    """Returns (image, label) files of ImageSets/Segmentation/SPLIT.txt, in its order.

    Labels are in SegmentationClass, or in SegmentationClassAug (scripts/make_voc_aug.py) if VOC has no label.
    """
    root = layout.find_folder(root, "VOCdevkit/VOC2012", "VOC2012", contains="JPEGImages")
    hint = " scripts/make_voc_aug.py writes trainaug." if split in ("aug", "trainaug") else ""
    pairs: list[tuple[Path, Path | None]] = []
    for name in layout.read_names(root / "ImageSets" / "Segmentation" / f"{split}.txt", hint):
        label = root / "SegmentationClass" / f"{name}.png"
        if not label.exists():
            label = root / "SegmentationClassAug" / f"{name}.png"
        pairs.append((root / "JPEGImages" / f"{name}.jpg", label))
    return pairs
