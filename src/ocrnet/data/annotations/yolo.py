"""YOLO's labels, a text file per image: in each line the number of a class and a polygon or a box.

Coordinates are fractions of the width and the height. Reference: https://docs.ultralytics.com/datasets/segment/.
"""

from pathlib import Path

import yaml

from ocrnet import files
from ocrnet.data.annotations.shapes import Annotation, Shape, box, pairs, scaled, size_of
from ocrnet.data.images import SUFFIXES

CLASS_FILES = ("data.yaml", "dataset.yaml", "classes.txt")
"""Files with the names of the classes, the first one is taken."""
_MAX_BYTES = 2**20  # of a file of class names


def read(text: str, path: Path, name: str, images: Path) -> Annotation:
    """Args: name: path of the file without its suffix; path: the file, in a folder below that of the class names."""
    width, height = size_of(_find_image(path, name, images))
    names, shapes = _class_names(path), []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        index, *values = line.split()
        if index not in names:
            raise ValueError(f"line {number}: class {index} is not in the file of class names (0 to {len(names) - 1})")
        numbers = [float(value) for value in values]
        if len(numbers) == 4:
            x, y, w, h = numbers
            outline = box(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        elif len(numbers) >= 6 and len(numbers) % 2 == 0:
            outline = pairs(numbers)
        else:
            raise ValueError(f"line {number} has {len(numbers)} numbers; a box has 4, a polygon x y for each point")
        shapes.append(Shape(names[index], scaled(outline, width, height)))
    return Annotation(name, width, height, shapes)


def _find_image(path: Path, name: str, images: Path) -> Path:
    """Returns the image of a label file: in `images`, next to it, or in `images/` where it is in `labels/`."""
    folders = [images / Path(name).parent, images, path.parent]
    folders += [Path(*("images" if part == "labels" else part for part in path.parent.parts))]
    found = (folder / f"{path.stem}{suffix}" for folder in folders for suffix in SUFFIXES)
    return next((image for image in found if image.is_file()), images / f"{path.stem}.jpg")


def _class_names(path: Path) -> dict[str, str]:
    """Returns {number: name} of data.yaml or classes.txt in the folder of a label file, or in one of three above it."""
    folders = list(path.absolute().parents)[:4]
    file = next((folder / name for folder in folders for name in CLASS_FILES if (folder / name).is_file()), None)
    if file is None:
        raise ValueError("YOLO's class names are missing: put data.yaml or classes.txt above the folder of the labels")
    text = files.read_text(file, _MAX_BYTES)
    try:
        names = yaml.safe_load(text)["names"] if file.suffix == ".yaml" else text.split("\n")
    except (yaml.YAMLError, TypeError, KeyError):
        raise ValueError(f"{file}: no 'names' of the classes") from None
    numbered = names.items() if isinstance(names, dict) else enumerate(names)
    return {str(number): str(label).strip() for number, label in numbered if str(label).strip()}
