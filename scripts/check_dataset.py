"""Check every pair of a data set before a long training.

    python scripts/check_dataset.py --config config/ocrnet/ocrnet_demo.yml

Lists missing, unreadable, truncated, mismatched and out-of-range files of the training and validation splits, the
share of each class in the training labels, and class weights that increase the weight of rare classes. The exit status
is 1 if a file cannot be used.
"""

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from ocrnet.config import command_line
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.images import BadFile
from ocrnet.data.loader import worker_threads
from ocrnet.data.splits import find_pairs
from ocrnet.formats.label_values import IGNORED
from ocrnet.runtime import program, progress


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    return command_line.config_parser("Check every pair of a data set.", uses=("workers",))


def main() -> None:
    _, config = command_line.parse(make_parser())
    problems = 0
    for split in ("train", "val"):
        dataset = find_pairs(config.data, split)
        counts, bad = read_all(dataset, worker_threads(config.data.workers), split)
        problems += len(bad)
        for error in bad:
            print(f"{error.kind}: {error}")
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(error.kind for error in bad).items())
        print(
            f"{split}: {len(dataset) - len(bad)} of {len(dataset)} pairs can be used" + (f" ({kinds})" if bad else "")
        )
        if split == "train" and counts[:IGNORED].any():
            print_classes(config.data.classes, counts)
    sys.exit(1 if problems else 0)


def read_all(dataset: SegmentationDataset, threads: int, name: str) -> tuple[np.ndarray, list[BadFile]]:
    """Returns the pixels of each class, (256,) int64 (255: ignored), and the errors of unusable pairs."""
    counts, bad = np.zeros(256, np.int64), []

    def read(index: int) -> np.ndarray | BadFile:
        try:
            label = dataset.read(index)[1].ravel()
            parts = np.array_split(label, 1 + label.size // 2**24)  # np.bincount takes 8 bytes per value
            return sum(np.bincount(part, minlength=256) for part in parts)
        except BadFile as error:
            return BadFile(error.kind, str(error))  # a copy: the original's traceback keeps the pixels in memory

    with ThreadPoolExecutor(threads) as pool, progress.bar(total=len(dataset), desc=name, unit="pair") as bar:
        for result in pool.map(read, range(len(dataset))):
            if isinstance(result, BadFile):
                bad.append(result)
            else:
                counts += result
            bar.update(1)
    return counts, bad


def class_weights(counts: np.ndarray) -> np.ndarray:
    """Returns class weights for these pixel counts, with a mean of 1 over the classes that occur.

    1 / ln(1.02 + share), as in ENet (Paszke and others, 2016, section 5.1).
    """
    share = counts / counts.sum()
    weights = 1 / np.log(1.02 + share)
    weights /= weights[share > 0].mean()
    weights[share == 0] = 1  # does not occur, so the weight has no effect
    return weights


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
