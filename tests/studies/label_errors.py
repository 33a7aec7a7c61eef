"""Measures how many wrong labels `scripts/find_label_errors.py` finds: labels of the demo data set, damaged on purpose.

    python tests/studies/label_errors.py --data data/demo --checkpoint runs/ocrnet_demo/checkpoint/best.ckpt \\
        --output /tmp/label_errors --wrong 10

copies the demo data set and damages some training labels: shifts the whole label, swaps a class, or removes an object.
Then it ranks the images, with the network of --checkpoint, which saw the clean labels, and with --folds networks that
are trained here on the damaged labels, each without the images that it ranks. Prints how many of the damaged labels
are among the first 15. Trainings that are finished are not repeated.
"""

import argparse
import csv
import json
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
