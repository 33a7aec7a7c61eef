"""PASCAL-Context: the 59 most frequent classes (60 with background) and file layout.

Source: labels.txt (459 classes) of https://cs.stanford.edu/~roozbeh/pascal-context, and HRNet-OCR's selection of 59
classes, in the order of their numbers among the 459.
"""

from pathlib import Path

from ocrnet.formats import layout
from ocrnet.formats.voc2012 import colour_map

# fmt: off
CLASS_NAMES: tuple[str, ...] = (
    "background", "aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle",
    "building", "bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow", "cup", "curtain",
    "dog", "door", "fence", "floor", "flower", "food", "grass", "ground", "horse", "keyboard", "light", "motorbike",
    "mountain", "mouse", "person", "plate", "platform", "pottedplant", "road", "rock", "sheep", "shelves", "sidewalk",
    "sign", "sky", "snow", "sofa", "table", "track", "train", "tree", "truck", "tvmonitor", "wall", "water", "window",
    "wood",
)
IDS: tuple[int, ...] = (  # ids of these classes among the original 459; all others are background
    0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158,
    159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368,
    397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)
# fmt: on

PALETTE = colour_map(len(CLASS_NAMES))
LABEL_MAP_59: dict[int, int] = {0: 255, **{value: value - 1 for value in range(1, 60)}}
"""For training without background: 0 is ignored."""


def find_pairs(root: Path, split: str) -> list[tuple[Path, Path | None]]:
    """Returns (image, label) files of "train" or "val".

    The original layout: trainval/*.mat in the folder that contains VOCdevkit/VOC2010, with the splits
    ImageSets/Main/SPLIT.txt. The other common layout: SegmentationClassContext/*.png (0 .. 59) and
    ImageSets/SegmentationContext/SPLIT.txt in VOC2010.
    """
    voc = layout.find_folder(root, "VOCdevkit/VOC2010", "VOC2010", contains="JPEGImages")
    if (voc / "SegmentationClassContext").is_dir():
        labels, list_folder, suffix = voc / "SegmentationClassContext", "SegmentationContext", "png"
    else:
        labels = layout.find_folder(root, "..", "../..", contains="trainval") / "trainval"
        list_folder, suffix = "Main", "mat"
    names = layout.read_names(voc / "ImageSets" / list_folder / f"{split}.txt")
    return [(voc / "JPEGImages" / f"{name}.jpg", labels / f"{name}.{suffix}") for name in names]
