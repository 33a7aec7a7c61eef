"""Check every pair of a data set before a long training.

    python scripts/check_dataset.py --config config/ocrnet/ocrnet_demo.yml

Lists missing, unreadable, truncated, mismatched and out-of-range files of the training and validation splits, the
share of each class in the training labels, and class weights that increase the weight of rare classes. Then it names
mistakes in the data set and the recipe that lower the score, with the lines of the configuration that help. The exit
status is 1 if a file cannot be used or the training cannot be right, 3 if there are only warnings.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from ocrnet.config import command_line
from ocrnet.data.loader import worker_threads
from ocrnet.data.splits import find_pairs
from ocrnet.errors import UserError
from ocrnet.formats.label_values import IGNORED
from ocrnet.preflight.check import all_findings
from ocrnet.preflight.splits import write_lists
from ocrnet.preflight.statistics import SplitStatistics, class_weights, read_split
from ocrnet.runtime import program


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Check every pair of a data set.", uses=("workers", "batch_size", "lr"))
    parser.add_argument(
        "--devices", type=command_line.at_least(1), metavar="N", help="devices of the training; default: any that fits"
    )
    parser.add_argument(
        "--write_lists",
        action="store_true",
        help="write train_checked.lst and val_checked.lst: usable pairs, no image or video in both",
    )
    return parser


def main() -> None:
    args, config = command_line.parse(make_parser())
    if args.write_lists and config.data.format != "list":  # before everything is read
        raise UserError(f"--write_lists: data.format is {config.data.format}, which has no lists")
    splits = {}
    for name in ("train", "val"):
        dataset = find_pairs(config.data, name)
        splits[name] = split = read_split(dataset, worker_threads(config.data.workers), name)
        print_files(name, split)
        if name == "train" and (counts := split.class_counts())[:IGNORED].any():
            print_classes(config.data.classes, counts)
    found = all_findings(config, splits["train"], splits["val"], args.devices)
    for finding in found:
        print(f"\n{finding.text()}")
    if args.write_lists:
        for line in write_lists(config, splits["train"], splits["val"]):
            print(line)
    if any(split.errors for split in splits.values()) or any(finding.is_error for finding in found):
        sys.exit(1)
    sys.exit(3 if found else 0)


def print_files(name: str, split: SplitStatistics) -> None:
    """Prints the unusable files of a split and the number of its usable pairs."""
    for error in split.errors:
        print(f"{error.kind}: {error}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(error.kind for error in split.errors).items())
    print(f"{name}: {len(split.usable)} of {len(split.pairs)} pairs can be used" + (f" ({kinds})" if kinds else ""))


def print_classes(names: list[str], counts: np.ndarray) -> None:
    """Prints the share of each class among the labelled pixels, and suggested class weights in the config's format."""
    share, weights = counts[: len(names)] / counts[: len(names)].sum(), class_weights(counts[: len(names)])
    width = max(12, *(len(name) for name in names))
    print(f"{'class':<{width}}  pixels %  weight")
    for name, part, weight in zip(names, share, weights, strict=True):
        print(f"{name:<{width}}  {f'{100 * part:8.3f}' if part else '  absent'}  {weight:6.2f}")
    print(f"{'ignored':<{width}}  {100 * counts[IGNORED] / counts.sum():8.3f}  (of all pixels)")
    print(f"loss:\n  class_weights: [{', '.join(f'{weight:.2f}' for weight in weights)}]")


if __name__ == "__main__":
    sys.exit(program.run(main))
