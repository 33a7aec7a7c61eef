"""All findings of a configuration and its data set: of every pair, or of a few pairs before a training."""

import sys

from ocrnet.config import Config
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.loader import worker_threads
from ocrnet.data.packed import PackedDataset
from ocrnet.distributed import launcher
from ocrnet.preflight import classes, encoding, images, recipe, splits
from ocrnet.preflight.finding import Finding
from ocrnet.preflight.statistics import SplitStatistics, read_sample

_SAMPLE, _SECONDS = 16, 1.0
"""Pairs that are read before a training, and the time for it."""


def all_findings(
    config: Config, train: SplitStatistics, val: SplitStatistics, devices: int | None = None
) -> list[Finding]:
    """Returns the findings of two splits that were read completely, errors first.

    Args:
        devices: number of devices of the training; None: not known.
    """
    found = _both(config, train, val, devices)
    found += splits.near_duplicates(config, train, val) + splits.same_video(config, train, val)
    if not encoding.encoding(config, train, val):  # otherwise the classes of the labels mean nothing
        found += classes.absent(config, train, val) + classes.rare(config, train)
    return sorted(found, key=lambda finding: not finding.is_error)


def print_short(config: Config, training: SegmentationDataset) -> None:
    """Prints what the recipe and a few training pairs show, on stderr of rank 0. It never stops a training."""
    ranks = launcher.ranks()
    if not ranks.is_main:
        return
    try:
        if isinstance(training, PackedDataset):  # its labels were checked when they were packed
            found = _recipe(config, ranks.size)
        else:
            sample = read_sample(training, worker_threads(config.data.workers), _SAMPLE, _SECONDS)
            found = _both(config, sample, None, ranks.size)
    except Exception as error:  # an error of this check is no reason to stop a training
        print(f"note: the data set was not checked: {error!r}", file=sys.stderr)
        return
    for finding in found:
        print(finding.text(), file=sys.stderr)
    if found:
        print("note: `ocrnet check` reads the whole data set, and may find more", file=sys.stderr)


def _recipe(config: Config, devices: int | None) -> list[Finding]:
    return [*classes.unreachable(config), *recipe.learning_rate(config, devices), *recipe.random_weights(config)]


def _both(config: Config, train: SplitStatistics, val: SplitStatistics | None, devices: int | None) -> list[Finding]:
    """Returns the findings that need a few pairs only."""
    parts = [train, val] if val else [train]
    encoded = encoding.encoding(config, *parts)
    return [
        *encoded,
        *images.label_sizes(config, *parts),
        *([] if encoded else classes.ignored(config, train)),
        *images.image_sizes(config, train),
        *images.padding(config, train),
        *images.normalisation(config, train),
        *_recipe(config, devices),
    ]
