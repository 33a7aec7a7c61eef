"""Write masks as polygons for annotation programs: predictions, or label images.

    python scripts/masks_to_polygons.py --input predictions --output polygons --format labelme --config FILE.yml
    python scripts/masks_to_polygons.py --input masks --output polygons --format cvat --classes classes.yml

--input is a mask, a folder of masks, or the output of scripts/predict.py, whose folder raw/ is read. --classes is a
file of class names as in polygons_to_masks.py, or labelIds or labelTrainIds for Cityscapes' own tables; --config takes
the class names of a configuration. Pixels that are ignored (255) or of a class `background` get no polygon.

Neighbours share their borders. A hole is cut out: the outline goes to it and comes back on the same way. labelme and
cityscapes are a file per image; coco, cvat (CVAT for images 1.1) and datumaro are one file. polygons_to_masks.py makes
masks of them again; with --tolerance 0 they are equal to --input in every pixel.

Needs the extra `polygons`: pip install '.[polygons]'. The exit status is 2 if a mask cannot be used; the others are
written.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from ocrnet.config.loading import load_config
from ocrnet.data.annotations.shapes import Annotation, Shape
from ocrnet.data.annotations.writing import FORMATS, ONE_FILE, file_text
from ocrnet.data.images import SUFFIXES, image_size, read_label
from ocrnet.data.masks import ClassTable, read_classes
from ocrnet.errors import UserError, write_text
from ocrnet.formats.label_values import IGNORED
from ocrnet.runtime import device, program, progress

MASKS = (".png", ".bmp", ".tif", ".tiff")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, type=Path, metavar="DIR|FILE", help="masks of class indices")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the polygons")
    parser.add_argument("--format", required=True, choices=FORMATS)
    names = parser.add_mutually_exclusive_group(required=True)
    names.add_argument("--classes", metavar="FILE|labelIds|labelTrainIds")
    names.add_argument("--config", metavar="FILE.yml", help="for predictions: the configuration of the network")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images: their suffixes, and for labelme their place"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1.0,
        help="0: every pixel; larger: fewer points, borders move by about this many pixels (default 1)",
    )
    parser.add_argument(
        "--smallest", type=int, default=0, metavar="PIXELS", help="smaller parts become their neighbour's (default 0)"
    )
    return parser


def main() -> None:
    args = make_parser().parse_args()
    import ocrnet.data.polygons  # noqa: F401 (here, so that a missing library is one error message)

    if not (0 <= args.tolerance < np.inf and args.smallest >= 0):
        raise UserError(f"--tolerance {args.tolerance}, --smallest {args.smallest}: must be 0 or larger")
    table = read_classes(args.classes) if args.classes else config_classes(args.config)
    masks = find_masks(args.input, table.suffix)
    images = find_images(args.images) if args.images else None
    work = partial(annotate, table=table, images=images, tolerance=args.tolerance, smallest=args.smallest)
    labels = list(class_labels(table).values())
    annotations, problems, with_ignored = [], [], 0
    with ProcessPoolExecutor(device.cores()) as pool, progress.bar(total=len(masks), unit="file") as bar:
        for annotation, image, ignored, problem in pool.map(work, masks.items(), chunksize=4):
            bar.update(1)
            if not annotation:
                problems.append(problem)
                continue
            with_ignored += ignored
            if args.format in ONE_FILE:
                annotations.append(annotation)
                continue
            suffix = "_polygons.json" if args.format == "cityscapes" else ".json"
            path = args.output / f"{annotation.name}{suffix}"
            place = Path(os.path.relpath(image or path.with_suffix(".png"), path.parent))
            write_text(path, file_text(args.format, [annotation], labels, place))
    if args.format in ONE_FILE:
        write_text(args.output / ONE_FILE[args.format], file_text(args.format, annotations, labels))
    print(f"{len(masks) - len(problems)} of {len(masks)} masks written as polygons: {args.output}")
    if with_ignored and table.background != IGNORED:
        print(f"{with_ignored} masks have ignored pixels (255): they get no polygon, so they are read as background")
    if problems:
        raise UserError(f"{len(problems)} of {len(masks)} masks cannot be used", problems)


def config_classes(path: str) -> ClassTable:
    """Returns the classes of a configuration; their values are the class indices."""
    values = {name: index for index, name in enumerate(load_config(path).data.classes)}
    return ClassTable(dict(values), values.get("background", IGNORED))


def class_labels(table: ClassTable) -> dict[int, str]:
    """Returns {value: label} of what gets polygons, in the order of the values."""
    names: dict[int, str] = {}
    for name, value in table.values.items():
        if value not in (None, IGNORED, table.background):
            names.setdefault(value, name)
    return dict(sorted(names.items()))


def find_masks(path: Path, suffix: str) -> dict[str, Path]:
    """Returns {name: mask}. The name has the folders below `path`, but neither `suffix` nor that of the file."""
    root = path if path.is_dir() else path.parent
    if (root / "raw").is_dir():  # of scripts/predict.py
        root = root / "raw"
    files = sorted(root.rglob("*")) if path.is_dir() else [path]
    masks: dict[str, Path] = {}
    for file in files:
        if file.suffix.lower() in MASKS and file.stem.endswith(suffix):
            name = file.relative_to(root).with_suffix("").as_posix().removesuffix(suffix)
            if name in masks:
                raise UserError(f"{file}: {masks[name]} would have the same polygons: rename one of them")
            masks[name] = file
    if not masks:
        raise UserError(f"--input {path}: no masks (*{suffix}{'|'.join(MASKS)}) found")
    return masks


def find_images(folder: Path) -> dict[str, Path]:
    """Returns {path in the folder without suffix: image}."""
    images = {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES
    }
    if not images:
        raise UserError(f"--images {folder}: no images found")
    return images


def annotate(
    job: tuple[str, Path], table: ClassTable, images: dict[str, Path] | None, tolerance: float, smallest: int
) -> tuple[Annotation | None, Path | None, bool, str]:
    """Returns (polygons of a mask, its image, whether it has ignored pixels, error of the mask or "")."""
    from ocrnet.data.polygons import merge_small, polygons

    name, path = job
    labels, without = class_labels(table), {IGNORED, table.background}
    try:
        mask = read_label(path)
        present = {int(value) for value in np.unique(mask)}
        if wrong := sorted(present - labels.keys() - without):
            raise UserError(f"{path}: value {wrong[0]} is no class; there are {', '.join(map(str, labels))}")
        height, width = mask.shape
        image = None
        if images is not None:
            if name not in images:
                raise UserError(f"{path}: --images has no {name}.jpg, .png, ...")
            image = images[name]
            if (size := image_size(image)) != (width, height):
                raise UserError(f"{path}: {width} x {height} pixels, but {image} has {size[0]} x {size[1]}")
        if smallest > 1:
            mask = merge_small(mask, smallest, without)
        shapes = [Shape(labels[value], points) for value, points in polygons(mask, tolerance) if value in labels]
        suffix = image.suffix if image else ".png"
        return Annotation(name, width, height, shapes, "centre", suffix), image, IGNORED in present, ""
    except UserError as error:
        return None, None, False, str(error)


if __name__ == "__main__":
    sys.exit(program.run(main))
