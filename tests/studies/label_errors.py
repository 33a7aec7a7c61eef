"""Measures how many wrong labels `scripts/find_label_errors.py` finds, in a demo data set with damaged labels.

    python tests/studies/label_errors.py --data data/demo --checkpoint runs/ocrnet_demo/checkpoint/best.ckpt \\
        --output /tmp/label_errors --wrong 10

copies the demo data set and damages some training labels: shifts the whole label, swaps a class, or removes an object.
Then it ranks the images, with the network of --checkpoint, which saw the clean labels, and with --folds networks that
are trained here on the damaged labels, each without the images that it ranks. Prints how many of the damaged labels
are among the first 15 images of images.csv and of regions.csv. Trainings that are finished are not repeated.
"""

import argparse
import csv
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from ocrnet.formats.cityscapes import LABELS, find_pairs  # noqa: E402

KINDS = ("shifted", "class swapped", "object missing")
OBJECTS = [label.id for label in LABELS if label.category in ("human", "vehicle") and label.train_id != 255]
CLASSES = [label.id for label in LABELS if label.train_id not in (-1, 255)]
FIRST = 15
"""Images at which an annotator would look."""


def damage(label: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Returns a copy of a label (H, W) uint8 of Cityscapes' ids with one error of a kind of KINDS."""
    if kind == "shifted":  # by 5 to 10 % of its size, both ways; the border is repeated
        down, right = (int(rng.integers(5, 11) * side / 100) * int(rng.choice([-1, 1])) for side in label.shape)
        rows, columns = (np.arange(side) for side in label.shape)
        rows, columns = (rows - down).clip(0, label.shape[0] - 1), (columns - right).clip(0, label.shape[1] - 1)
        return label[rows[:, None], columns]
    wrong = label.copy()
    if kind == "class swapped":  # all pixels of a class with 1 to 20 % of the image
        share = np.bincount(label.ravel(), minlength=256) / label.size
        chosen = rng.choice([value for value in CLASSES if 0.01 <= share[value] <= 0.2])
        wrong[label == chosen] = rng.choice([value for value in CLASSES if value != chosen])
        return wrong
    parts = []  # connected people and vehicles with 0.4 % of the image or more
    for value in OBJECTS:
        count, regions, boxes, _ = cv2.connectedComponentsWithStats((label == value).astype(np.uint8))
        parts += [regions == n for n in range(1, count) if boxes[n, cv2.CC_STAT_AREA] >= 0.004 * label.size]
    if not parts:
        return damage(label, "class swapped", rng)
    part = parts[rng.integers(len(parts))]
    ring = cv2.dilate(part.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~part
    wrong[part] = np.bincount(label[ring]).argmax()
    return wrong


def make_data(source: Path, folder: Path, wrong: int, seed: int) -> dict[str, str]:
    """Copies the demo data set and damages `wrong` training labels. Returns {image: kind of error}."""
    rng = np.random.default_rng([seed, wrong])
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.json", "*_color.png", "*_instanceIds.png"))
    pairs = find_pairs(folder, "train")
    damaged = {}
    for position, number in enumerate(rng.choice(len(pairs), wrong, replace=False)):
        image, path = pairs[number]
        label, kind = cv2.imread(str(path), cv2.IMREAD_UNCHANGED), KINDS[position % len(KINDS)]
        cv2.imwrite(str(path), damage(label, kind, rng))
        damaged[image.stem] = kind
    return damaged


def find_first(data: Path, output: Path, *flags: object) -> dict[str, list[str]]:
    """Ranks the training images. Returns the names of the FIRST images of each table."""
    config = ROOT / "config/ocrnet/ocrnet_demo.yml"
    command = ["scripts/find_label_errors.py", "--config", config, "--data_root", data, "--output", output, *flags]
    if subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"{output}: the ranking failed")
    first = {}
    for table in ("images", "regions"):
        with (output / f"{table}.csv").open(newline="") as file:
            names = dict.fromkeys(Path(row["image"]).stem for row in csv.DictReader(file))  # each once, in order
        first[table] = list(names)[:FIRST]
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="the demo data set")
    parser.add_argument("--checkpoint", required=True, type=Path, help="trained on it with ocrnet_demo.yml")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--wrong", type=int, default=10, help="damaged labels, default 10")
    parser.add_argument("--folds", type=int, default=2, help="0: only with --checkpoint")
    parser.add_argument("--steps", type=int, default=310, help="of each fold's training, default 310")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    args = parser.parse_args()
    output = args.output.resolve()
    damaged = make_data(args.data, output / "data", args.wrong, args.seed)
    ways = {"seen": ["--ckpt_path", args.checkpoint.resolve()]}
    if args.folds:
        ways["folds"] = ["--folds", args.folds, "--total_step", args.steps]
    for way, flags in ways.items():
        for table, first in find_first(output / "data", output / way, *flags).items():
            kinds = {kind: [image in first for image in damaged if damaged[image] == kind] for kind in KINDS}
            found = ", ".join(f"{kind} {sum(hits)} of {len(hits)}" for kind, hits in kinds.items())
            count = len(damaged.keys() & set(first))
            print(f"{way}, {table}.csv: {count} of {len(damaged)} in {FIRST} images: {found}", flush=True)


if __name__ == "__main__":
    main()
