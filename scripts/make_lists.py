"""Pair images with labels, split them, and write lists and a config for training.

    python scripts/make_lists.py --root data/mine --images 'images/*.jpg' --labels 'masks/*.png' \\
        --classes classes.yml --group '(.*)_frame' --config config/ocrnet/mine.yml

Writes ROOT/train.lst, val.lst and test.lst, with `image label` per line, and a config based on ocrnet_own_data.yml with
class names, colours, class weights and a crop size that fits the images. --label_encoding color is for masks that have
the colours of the class file. A * (or **, any folders) matches the same text
in the names of image and label. --group is a regular expression: images with the same groups (the text in brackets),
such as the frames of one video, are kept in the same split.
"""

import argparse
import json
import random
import re
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from ocrnet import errors
from ocrnet.config import DataConfig, yaml_syntax
from ocrnet.config.loading import load_config
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.masks import ClassTable, read_classes
from ocrnet.data.splits import write_list
from ocrnet.errors import UserError
from ocrnet.formats.label_values import IGNORED
from ocrnet.preflight.statistics import class_weights, read_split
from ocrnet.runtime import device, program

TEMPLATE = Path(__file__).resolve().parents[1] / "config" / "ocrnet" / "ocrnet_own_data.yml"
SPLITS = ("train", "val", "test")
Pairs = list[tuple[str, str]]


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder of images and labels")
    parser.add_argument("--images", required=True, metavar="PATTERN", help="e.g. 'images/*.jpg', relative to --root")
    parser.add_argument("--labels", required=True, metavar="PATTERN", help="e.g. 'masks/*.png', relative to --root")
    parser.add_argument("--classes", required=True, metavar="FILE", help="class names; see polygons_to_masks.py")
    parser.add_argument("--group", metavar="REGEX", help="images with the same groups are kept in the same split")
    parser.add_argument("--split", default="80,20,0", metavar="N,N,N", help="shares of train, val, test (80,20,0)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the split (default 0)")
    parser.add_argument("--config", type=Path, metavar="FILE.yml", help="config to write; default: write lists only")
    parser.add_argument(
        "--label_encoding", choices=["index", "color"], default="index", help="what the label files hold (index)"
    )
    return parser


def main() -> None:
    args = make_parser().parse_args()

    table = read_classes(args.classes)
    pairs, unlabelled = find_pairs(args.root, args.images, args.labels)
    if not pairs:
        missing = f"; the label of {unlabelled[0][0]} would be {unlabelled[0][1]}" if unlabelled else ""
        raise UserError(f"--images {args.images}: no image under {args.root} has a label{missing}")
    splits = split(pairs, args.group, shares(args.split), args.seed)
    for name, members in splits.items():
        pairs_of_split = ((args.root / image, args.root / label) for image, label in members)
        write_list(args.root / f"{name}.lst", args.root, pairs_of_split)
    sizes = ", ".join(f"{len(members)} {name}" for name, members in splits.items())
    print(f"{len(pairs)} pairs in {args.root}: {sizes}")
    if unlabelled:
        print(f"{len(unlabelled)} images have no label, e.g. {unlabelled[0][0]} ({unlabelled[0][1]} not found)")
    if args.config:
        write_config(args.config, args.root, table, splits, args.label_encoding)
        print(f"next: python train.py --config {args.config}")


def find_pairs(root: Path, images: str, labels: str) -> tuple[Pairs, Pairs]:
    """Returns (image, label) names relative to `root`: the pairs, and the images without a label file."""
    pieces = re.split(r"(\*\*/|\*)", images)
    if len(pieces) // 2 != len(re.findall(r"\*\*/|\*", labels)):
        raise UserError(f"--labels {labels}: must have as many * as --images {images}")
    pattern = "".join({"*": "([^/]*)", "**/": "((?:.*/)?)"}.get(piece, re.escape(piece)) for piece in pieces)
    found = (re.fullmatch(pattern, file.relative_to(root).as_posix()) for file in sorted(root.glob(images)))
    pairs, unlabelled = [], []
    for match in filter(None, found):
        parts = iter(match.groups())
        label = re.sub(r"\*\*/|\*", lambda _: next(parts), labels)  # noqa: B023 (called at once)
        for name in (match[0], label):
            if len(name.split("#")[0].split()) != 1 or "#" in name:
                raise UserError(f"{root / name}: names with spaces or # are not supported in lists: rename the file")
        (pairs if (root / label).is_file() else unlabelled).append((match[0], label))
    return pairs, unlabelled


def shares(text: str) -> list[float]:
    """Converts "80,20" or "80,10,10" to three shares with a sum of 1."""
    try:
        parts = [float(part) for part in text.split(",")]
        if not 2 <= len(parts) <= 3 or min(parts) < 0 or parts[0] <= 0:
            raise ValueError
    except ValueError:
        raise UserError(f"--split {text}: write shares of train, val and test, e.g. 80,10,10") from None
    return [part / sum(parts) for part in [*parts, 0.0][:3]]


def split(pairs: Pairs, group: str | None, fractions: list[float], seed: int) -> dict[str, Pairs]:
    """Splits the pairs without dividing groups: the largest groups first, each to the split that lacks most images."""
    try:
        expression = re.compile(group or "(.*)")
    except re.error as error:
        raise UserError(f"--group {group}: not a regular expression: {error}") from None
    groups = defaultdict(list)
    for pair in pairs:
        match = expression.search(pair[0])
        if not match:
            raise UserError(f"--group {group}: {pair[0]} does not match")
        groups[match.groups() or match[0]].append(pair)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    order.sort(key=len, reverse=True)
    splits: dict[str, Pairs] = {name: [] for name, share in zip(SPLITS, fractions, strict=True) if share}
    for members in order:
        lacking = {
            name: share * len(pairs) - len(splits[name]) for name, share in zip(SPLITS, fractions, strict=True) if share
        }
        splits[max(lacking, key=lacking.get)] += members
    if empty := [name for name, members in splits.items() if not members]:
        raise UserError(f"--group {group}: {len(groups)} groups are too few, no images for {', '.join(empty)}")
    return {name: sorted(members) for name, members in splits.items()}


def write_config(path: Path, root: Path, table: ClassTable, splits: dict[str, Pairs], encoding: str) -> None:
    """Fills in the template. Class weights and crop size are computed from the training pairs."""
    names = [name for name, value in table.values.items() if value is not None and value != IGNORED]
    palette = [table.colours[name] for name in names] if table.colours else []
    if encoding == "color" and not palette:
        raise UserError(
            "--label_encoding color: give each class a color in --classes, e.g. wire: {color: [255, 80, 0]}"
        )
    data = DataConfig(format="list", root=root, classes=names, palette=palette, label_encoding=encoding)
    dataset = SegmentationDataset([(root / image, root / label) for image, label in splits["train"]], data)
    found = read_split(dataset, device.cores(), "train")
    if found.errors:
        raise UserError(
            f"{len(found.errors)} of {len(dataset)} training pairs cannot be used, e.g.\n  {found.errors[0]}"
        )
    counts, shapes = found.class_counts(), [pair.size for pair in found.pairs[:50]]
    crop = [max(32, min(512, int(side) // 32 * 32)) for side in np.median(shapes, axis=0)]
    weights = ", ".join(f"{weight:.2f}" for weight in class_weights(counts[: len(names)]))
    values = {
        "root": json.dumps(str(root), ensure_ascii=False),
        **{name: f"{name}.lst" for name in splits},
        "classes": yaml_syntax.dump(names, default_flow_style=True, width=10**6).strip(),
        "palette": list(map(list, palette)),
        "label_encoding": encoding,
        "crop_size": crop,
        "class_weights": f"[{weights}]  # from the share of each class in the training pixels; []: none",
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text[text.index("data:") :]
    for key, value in values.items():
        text, found = re.subn(rf"^  {key}: .*$", lambda _: f"  {key}: {value}", text, flags=re.MULTILINE)  # noqa: B023
        if found != 1:
            raise AssertionError(f"{TEMPLATE}: {found} lines {key}:")
    command = f"#   python train.py --config {path}\n"
    errors.write_text(path, f"# Written by scripts/make_lists.py for {root}.\n{command}{text}")
    load_config(path)


if __name__ == "__main__":
    sys.exit(program.run(main))
