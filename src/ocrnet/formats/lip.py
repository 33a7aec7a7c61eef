"""LIP (Look Into Person, single person): 20 classes and file layout.

Source: the data set's README and https://github.com/Engineering-Course/LIP_SSL. "Left" is the person's left, so the
left and right classes must be swapped when an image is flipped.
"""

from pathlib import Path

from ocrnet.formats import layout

# fmt: off
CLASS_NAMES: tuple[str, ...] = (
    "Background", "Hat", "Hair", "Glove", "Sunglasses", "UpperClothes", "Dress", "Coat", "Socks", "Pants",
    "Jumpsuits", "Scarf", "Skirt", "Face", "Left-arm", "Right-arm", "Left-leg", "Right-leg", "Left-shoe",
    "Right-shoe",
)
PALETTE: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0), (128, 0, 0), (255, 0, 0), (0, 85, 0), (170, 0, 51), (255, 85, 0), (0, 0, 85), (0, 119, 221),
    (85, 85, 0), (0, 85, 85), (85, 51, 0), (52, 86, 128), (0, 128, 0), (0, 0, 255), (51, 170, 221), (0, 255, 255),
    (85, 255, 170), (170, 255, 85), (255, 255, 0), (255, 170, 0),
)
# fmt: on

FLIP_PAIRS: tuple[tuple[int, int], ...] = ((14, 15), (16, 17), (18, 19))  # arms, legs, shoes


def find_pairs(root: Path, split: str) -> list[tuple[Path, Path | None]]:
    """Returns (image, label) files of "train" or "val".

    TrainVal_images/SPLIT_images/*.jpg and TrainVal_parsing_annotations/SPLIT_segmentations/*.png.
    """
    root = layout.find_folder(root, "LIP", contains="TrainVal_images")
    images = layout.existing_folder(root / "TrainVal_images" / f"{split}_images")
    labels = root / "TrainVal_parsing_annotations" / f"{split}_segmentations"
    return [(image, labels / f"{image.stem}.png") for image in sorted(images.glob("*.jpg"))]
