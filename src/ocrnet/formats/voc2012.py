"""PASCAL VOC 2012 with the augmented training labels of SBD: 21 classes and file layout.

Source: the development kit (VOClabelcolormap.m) and http://home.bharathh.info/pubs/codes/SBD. Label files hold the
classes 0 .. 20, and 255 on object borders, which are ignored.
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
    """The development kit's RGB colours: every third bit of the class index, lowest first, fills a channel."""

    def channel(number: int, first: int) -> int:
        return sum((number >> (3 * place + first) & 1) << (7 - place) for place in range(3))

    return tuple((channel(number, 0), channel(number, 1), channel(number, 2)) for number in range(count))


PALETTE = colour_map(len(CLASS_NAMES))


def find_pairs(root: Path, split: str) -> list[tuple[Path, Path | None]]:
    """(image, label) files of ImageSets/Segmentation/SPLIT.txt, in its order.

    Labels are those of SegmentationClass, and of SegmentationClassAug (scripts/make_voc_aug.py) where VOC has none.
    """
    root = layout.folder(root, "VOCdevkit/VOC2012", "VOC2012", holds="JPEGImages")
    hint = " scripts/make_voc_aug.py writes trainaug." if split in ("aug", "trainaug") else ""
    pairs: list[tuple[Path, Path | None]] = []
    for name in layout.names(root / "ImageSets" / "Segmentation" / f"{split}.txt", hint):
        label = root / "SegmentationClass" / f"{name}.png"
        if not label.exists():
            label = root / "SegmentationClassAug" / f"{name}.png"
        pairs.append((root / "JPEGImages" / f"{name}.jpg", label))
    return pairs
