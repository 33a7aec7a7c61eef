"""COCO-Stuff, 10k and 164k: 171 classes and file layouts.

Source: labels.txt of https://github.com/nightrome/cocostuff: COCO's 91 thing classes are 1 .. 91, eleven of which are
never labelled, and the stuff classes are 92 .. 182. Label values of 10k are these numbers, and 0 for unlabelled; label
values of 164k are these numbers minus 1, and 255 for unlabelled.
"""

from pathlib import Path

from ocrnet.formats import layout
from ocrnet.formats.voc2012 import colour_map

# fmt: off
CLASS_NAMES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush", "banner",
    "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard", "carpet",
    "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain", "desk-stuff",
    "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower",
    "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves",
    "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper", "pavement",
    "pillow", "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road", "rock",
    "roof", "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs",
    "stone", "straw", "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable",
    "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other",
    "waterdrops", "window-blind", "window-other", "wood",
)
# fmt: on

NEVER_LABELLED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # street sign, hat, shoe, eye glasses, plate, ...
_IDS = [number for number in range(1, 183) if number not in NEVER_LABELLED]

PALETTE = colour_map(len(CLASS_NAMES) + 1)[1:]  # without black
LABEL_MAP_10K: dict[int, int] = {0: 255, **{number: index for index, number in enumerate(_IDS)}}
LABEL_MAP_164K: dict[int, int] = {number - 1: index for index, number in enumerate(_IDS)}


def find_pairs_10k(root: Path, split: str) -> list[tuple[Path, Path | None]]:
    """Returns (image, label) files of "train" or "test".

    images/*.jpg and annotations/*.mat, listed in imageLists/SPLIT.txt.
    """
    root = layout.find_folder(root, "cocostuff-10k-v1.1", "dataset", contains="images")
    return [
        (root / "images" / f"{name}.jpg", root / "annotations" / f"{name}.mat")
        for name in layout.read_names(root / "imageLists" / f"{split}.txt")
    ]


def find_pairs_164k(root: Path, split: str) -> list[tuple[Path, Path | None]]:
    """Returns (image, label) files of "train2017" or "val2017": images/SPLIT/*.jpg and annotations/SPLIT/*.png."""
    root = layout.find_folder(root, "dataset", contains="images")
    images = layout.existing_folder(root / "images" / split)
    return [(image, root / "annotations" / split / f"{image.stem}.png") for image in sorted(images.glob("*.jpg"))]
