"""Convert SBD's labels to the augmented training set of PASCAL VOC 2012: 10582 instead of 1464 images.

    python scripts/make_voc_aug.py --sbd data/benchmark_RELEASE/dataset --voc data/VOCdevkit/VOC2012

SBD (Semantic Boundaries Dataset, Hariharan and others, ICCV 2011) has labels as cls/*.mat. They are converted to
SegmentationClassAug/NAME.png. Writes aug.txt (the images of SBD that are not in VOC's train or val) and trainaug.txt
(train, then aug) to ImageSets/Segmentation.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from PIL import Image

from ocrnet import errors
from ocrnet.data.mat_labels import read_mat
from ocrnet.errors import UserError
from ocrnet.formats import layout, voc2012
from ocrnet.runtime import program, progress


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sbd", required=True, type=Path, metavar="DIR", help="SBD: the folder that contains cls/")
    parser.add_argument("--voc", required=True, type=Path, metavar="DIR", help="VOC2012: the folder with JPEGImages/")
    return parser


def main() -> None:
    args = make_parser().parse_args()
    try:
        sbd = layout.find_folder(args.sbd, "dataset", "benchmark_RELEASE/dataset", contains="cls")
        voc = layout.find_folder(args.voc, "VOC2012", "VOCdevkit/VOC2012", contains="JPEGImages")
        lists = voc / "ImageSets" / "Segmentation"
        train, val = layout.read_names(lists / "train.txt"), layout.read_names(lists / "val.txt")
    except FileNotFoundError as error:
        raise UserError(str(error)) from None

    files = sorted((sbd / "cls").glob("*.mat"))
    if not files:
        raise UserError(f"{sbd / 'cls'}: no .mat files found; set --sbd to the unpacked data set")
    target = voc / "SegmentationClassAug"
    try:
        target.mkdir(exist_ok=True)
        for file in progress.bar(iterable=files, desc="SBD labels", unit="file"):
            convert(file, target / f"{file.stem}.png")
    except OSError as error:
        raise UserError(f"{target}: cannot write here: {error}") from None

    aug = sorted({file.stem for file in files} - {*train, *val})
    errors.write_text(lists / "aug.txt", "".join(f"{name}\n" for name in aug))
    errors.write_text(lists / "trainaug.txt", "".join(f"{name}\n" for name in [*train, *aug]))
    print(f"{len(files)} labels in {target}; {lists / 'trainaug.txt'}: {len(train)} + {len(aug)} images")


def convert(file: Path, target: Path) -> None:
    """Writes one label as a palette image. An existing target is replaced atomically."""
    try:
        values = read_mat(file)
    except ValueError as error:
        raise UserError(f"{file}: not a label of SBD: {error}") from None
    if values.max() >= len(voc2012.CLASS_NAMES):
        raise UserError(f"{file}: label value {values.max()} is not one of VOC's 21 classes, 0 to 20")
    image = Image.fromarray(values)
    image.putpalette([level for colour in voc2012.PALETTE for level in colour])
    temporary = target.with_suffix(".writing")
    image.save(temporary, format="PNG")
    temporary.replace(target)


if __name__ == "__main__":
    sys.exit(program.run(main))
