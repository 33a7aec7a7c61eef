"""Reads the pairs of a split once, with threads, and keeps what the findings need of each."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ocrnet.data.colour_labels import colour_codes, is_colour_mask, read_colours
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.images import BadFile
from ocrnet.formats.label_values import IGNORED
from ocrnet.runtime import progress

HASH_BITS = 256
_FLAT = 3  # grey levels: an image with a smaller standard deviation has no content to compare
OTHER = -1  # no number of a colour
_MAX_COLOURS = 1000  # per mask; a photograph has more


@dataclass
class Pair:
    """What is kept of one pair."""

    index: int
    values: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    """(256,) pixels of each label value."""
    size: tuple[int, int] | None = None
    """(height, width) of the label."""
    mean: np.ndarray | None = None
    """(3,) RGB mean; None: not read, or one grey level."""
    square: np.ndarray | None = None
    """(3,) mean of the squares."""
    hash: np.ndarray | None = None
    """(256,) bool, see `difference_hash`; None: not read, or no content."""
    error: BadFile | None = None
    colours: Counter[int] | None = None
    """Pixels of each colour (see `colour_codes`) of a colour mask that cannot be read as a label; of the colours that
    are not in `inside` together, under OTHER."""
    inside: Counter[int] = field(default_factory=Counter)
    """Pixels that have the colour of their neighbours, unlike those of an anti-aliased edge."""


class SplitStatistics:
    """The readable and the unusable pairs of a split."""

    def __init__(self, dataset: SegmentationDataset, pairs: Sequence[Pair]) -> None:
        self.dataset = dataset
        self.pairs = list(pairs)
        self.usable = [pair for pair in pairs if pair.error is None]
        self.errors = [pair.error for pair in pairs if pair.error is not None]
        self.values = sum((pair.values for pair in pairs), np.zeros(256, np.int64))
        """(256,) pixels of each label value, also of labels with values that mean nothing."""

    def class_counts(self) -> np.ndarray:
        """Returns the pixels of each class in the usable pairs, (256,) int64; 255: ignored."""
        values = sum((pair.values for pair in self.usable), np.zeros(256, np.int64))
        return np.bincount(self.dataset.class_table, values, 256).astype(np.int64)

    def classes_of(self, pair: Pair) -> np.ndarray:
        """Returns the classes that occur in a pair, (classes,) bool."""
        present = np.unique(self.dataset.class_table[pair.values > 0])
        return np.isin(np.arange(len(self.dataset.classes)), present)

    def image(self, pair: Pair) -> Path:
        return self.dataset.pairs[pair.index][0]

    def label(self, pair: Pair) -> Path | None:
        return self.dataset.pairs[pair.index][1]

    def example(self, value: int) -> Path | None:
        """Returns a label file with this value."""
        return next((self.label(pair) for pair in self.pairs if pair.values[value]), None)


def read_split(dataset: SegmentationDataset, threads: int, name: str) -> SplitStatistics:
    """Reads every pair of a split, with a progress bar of this name."""
    with ThreadPoolExecutor(threads) as pool, progress.bar(total=len(dataset), desc=name, unit="pair") as bar:
        pairs = []
        for pair in pool.map(lambda index: _read(dataset, index), range(len(dataset))):
            pairs.append(pair)
            bar.update(1)
    return SplitStatistics(dataset, pairs)


def read_sample(dataset: SegmentationDataset, threads: int, count: int, seconds: float) -> SplitStatistics:
    """Reads `count` pairs, evenly spaced, but starts no pair after `seconds`."""
    end = time.monotonic() + seconds
    count = min(count, len(dataset))
    indices = [number * len(dataset) // count for number in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda index: _read(dataset, index) if time.monotonic() < end else None, indices)
        return SplitStatistics(dataset, [pair for pair in found if pair])


def _read(dataset: SegmentationDataset, index: int) -> Pair:
    pair = Pair(index)
    try:
        image, raw = dataset.open_values(index)
        pair.size = raw.shape
        # not np.bincount, which blocks the other threads
        pair.values = np.rint(cv2.calcHist([raw], [0], None, [256], [0, 256])[:, 0]).astype(np.int64)
        dataset.to_classes(index, raw)
        pixels = image[:, :]
        pair.hash = difference_hash(pixels)
        if pixels.min() < pixels.max():
            step = max(1, min(pixels.shape[:2]) // 64)
            part = pixels[::step, ::step].reshape(-1, 3).astype(np.float64)
            pair.mean, pair.square = part.mean(0), (part**2).mean(0)
    except BadFile as error:
        pair.error = BadFile(error.kind, str(error))  # a copy: the original's traceback keeps the pixels in memory
        if error.kind == "values out of range":
            _count_colours(pair, dataset.pairs[index][1])
    return pair


def _count_colours(pair: Pair, label: Path) -> None:
    try:
        if not is_colour_mask(label):
            return
        codes = colour_codes(read_colours(label))
    except BadFile:
        return
    inside = _count(codes[:-1, :-1][(codes[:-1, :-1] == codes[1:, :-1]) & (codes[:-1, :-1] == codes[:-1, 1:])])
    if len(inside) <= _MAX_COLOURS:
        counts = _count(codes)
        pair.colours, pair.inside = Counter({code: counts[code] for code in inside}), inside
        pair.colours[OTHER] = codes.size - pair.colours.total()


def _count(codes: np.ndarray) -> Counter[int]:
    found, counts = np.unique(codes, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def difference_hash(image: np.ndarray) -> np.ndarray | None:
    """Returns whether each pixel of the image (H, W, 3), reduced to 16 x 17 grey pixels, is brighter than its left
    neighbour: (256,) bool, the difference hash (dHash) of the library imagehash. None for an image without content.

    Ten lines instead of imagehash, which needs SciPy and PyWavelets for its other hashes.
    """
    grey = cv2.cvtColor(cv2.resize(image, (17, 16), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(int)
    return None if grey.std() < _FLAT else (grey[:, 1:] > grey[:, :-1]).ravel()


def nearest_hashes(pairs: Sequence[Pair], others: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for each of `pairs`, the smallest number of bits in which its hash differs from one of `others`, and the
    position of this one. The number is 256 for an image without a hash.
    """
    right = _signs(others)
    distances, positions = np.empty(len(pairs), np.float32), np.empty(len(pairs), np.int64)
    for start in range(0, len(pairs), 256):  # a part at a time, to limit the memory
        part = slice(start, start + 256)
        left = _signs(pairs[part])
        bits = (HASH_BITS - left @ right.T) / 2
        bits[~left.any(1)] = HASH_BITS
        bits[:, ~right.any(1)] = HASH_BITS
        distances[part], positions[part] = bits.min(1), bits.argmin(1)
    return distances, positions


def _signs(pairs: Sequence[Pair]) -> np.ndarray:
    none = np.zeros(HASH_BITS, np.float32)
    return np.stack([none if pair.hash is None else np.where(pair.hash, 1, -1).astype(np.float32) for pair in pairs])


def class_weights(counts: np.ndarray) -> np.ndarray:
    """Returns class weights for these pixel counts, with a mean of 1 over the classes that occur.

    1 / ln(1.02 + share), as in ENet (Paszke and others, 2016, section 5.1).
    """
    share = counts / counts.sum()
    weights = 1 / np.log(1.02 + share)
    weights /= weights[share > 0].mean()
    weights[share == 0] = 1  # does not occur, so the weight has no effect
    return weights


def labelled(counts: np.ndarray) -> int:
    """Returns the pixels that are not ignored, of (256,) counts by class."""
    return int(counts[:IGNORED].sum())
