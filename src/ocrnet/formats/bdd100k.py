"""BDD100K's semantic segmentation (Yu and others, CVPR 2020): Cityscapes' 19 classes and file layout.

Source: https://doc.bdd100k.com/format.html. Label values are the classes 0 .. 18, and 255 for ignored.
"""

from pathlib import Path

from ocrnet.formats import layout
from ocrnet.formats.cityscapes import CATEGORIES, CLASS_NAMES, PALETTE

__all__ = ["CATEGORIES", "CLASS_NAMES", "PALETTE", "find_pairs"]


def find_pairs(root: Path, split: str) -> list[tuple[Path, Path | None]]:
    """Returns (image, label) files of "train" or "val": images/10k/SPLIT/*.jpg and labels/sem_seg/masks/SPLIT/*.png."""
    root = layout.find_folder(root, "bdd100k", contains="images")
    images = layout.existing_folder(root / "images" / "10k" / split)
    labels = root / "labels" / "sem_seg" / "masks" / split
    return [(image, labels / f"{image.stem}.png") for image in sorted(images.glob("*.jpg"))]
