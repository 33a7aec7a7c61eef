"""Findings about training and validation images that are nearly the same, and lists without them."""

import itertools
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from ocrnet.config import Config
from ocrnet.data.datasets import Pairs
from ocrnet.data.splits import write_list
from ocrnet.errors import UserError
from ocrnet.preflight.finding import LISTS, Finding
from ocrnet.preflight.statistics import Pair, SplitStatistics, nearest_hashes

_EQUAL = 16  # of 256 bits; other images of one street scene differ in 70 or more, compressed copies in fewer than 10
_SIMILAR_FRAMES = 0.75  # of the distance of unrelated images: frames of CamVid 0.4 s apart have 0.55
_SIMILAR = 0.5  # the same without frame numbers
_SHARE = 0.2  # of the validation images
_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")


def near_duplicates(config: Config, train: SplitStatistics, val: SplitStatistics) -> list[Finding]:
    """Validation images that are in training too."""
    if not train.usable or not val.usable:
        return []
    distances, positions = nearest_hashes(val.usable, train.usable)
    same = np.flatnonzero(distances <= _EQUAL)
    if not len(same):
        return []
    first = same[distances[same].argmin()]
    examples = f"{val.image(val.usable[first])} and {train.image(train.usable[positions[first]])}"
    seen = (
        f"{len(same)} of {len(val.usable)} validation images have a near-duplicate in training, e.g. {examples} "
        f"({distances[first]:.0f} of 256 bits of the hash differ)"
    )
    why = "the score on them is better than on new images, and the best checkpoint is chosen by it"
    listed, otherwise = "leave them out of training:", "remove them from one of the splits"
    return _of_splits(config, "the same images in training and validation", seen, why, listed, otherwise)


def same_video(config: Config, train: SplitStatistics, val: SplitStatistics) -> list[Finding]:
    """Validation images whose neighbours in a video are in training."""
    found = _leaking(train, val)
    if not found:
        return []
    index, other = found[0]
    seen = (
        f"{len(found)} of {len(val.usable)} validation images are next to a similar training image, e.g. "
        f"{val.image(index)} and {train.image(other)}"
    )
    why = "the score is better than on a new video, and overfitting is not seen"
    listed, otherwise = "split by video (`ocrnet lists --group`):", "split by video"
    return _of_splits(config, "training and validation from the same video", seen, why, listed, otherwise)


def _of_splits(config: Config, title: str, seen: str, why: str, listed: str, otherwise: str) -> list[Finding]:
    """Returns a warning; `listed` is the advice for data sets of lists, whose fix is new lists."""
    if config.data.format == "list":
        return [Finding(title, False, seen, why, listed, LISTS)]
    return [Finding(title, False, seen, why, otherwise)]


def _leaking(train: SplitStatistics, val: SplitStatistics) -> list[tuple[Pair, Pair]]:
    """Returns (validation pair, training pair) of similar neighbours; [] if they are few."""
    shown, known = ([pair for pair in split.usable if pair.hash is not None] for split in (val, train))
    if len(shown) < 2 or len(known) < 2:
        return []
    rng = np.random.default_rng(0)
    left, right = rng.integers(len(shown), size=500), rng.integers(len(known), size=500)
    unrelated = float(np.median([_bits(shown[i], known[j]) for i, j in zip(left, right, strict=True)]))
    frames = _neighbours(train, known, val, shown)
    near = [(pair, other) for pair, other in frames if _bits(pair, other) <= _SIMILAR_FRAMES * unrelated]
    if len(near) >= max(2, _SHARE * len(shown)):
        return near
    distances, positions = nearest_hashes(shown, known)
    similar = np.flatnonzero(distances <= _SIMILAR * unrelated)
    similar = similar[distances[similar] > _EQUAL]  # near-duplicates are another finding
    if len(similar) >= max(2, _SHARE * len(shown)):
        return [(shown[index], known[positions[index]]) for index in similar]
    return []


def _bits(first: Pair, second: Pair) -> int:
    return int((first.hash != second.hash).sum())


def _neighbours(
    train: SplitStatistics, known: list[Pair], val: SplitStatistics, shown: list[Pair]
) -> list[tuple[Pair, Pair]]:
    """Returns each validation frame with the training frame before or after it in the video, by their numbers."""
    videos: defaultdict[str, list[tuple[int, bool, int]]] = defaultdict(list)
    for pairs, split, is_val in ((known, train, False), (shown, val, True)):
        for position, pair in enumerate(pairs):
            if frame := frame_of(split.image(pair)):
                videos[frame[0]].append((frame[1], is_val, position))
    found = {}
    for frames in videos.values():
        frames.sort()
        for before, after in itertools.pairwise(frames):
            if before[1] != after[1]:
                shown_at, known_at = (before[2], after[2]) if before[1] else (after[2], before[2])
                pair, other = shown[shown_at], known[known_at]
                if shown_at not in found or _bits(pair, other) < _bits(pair, found[shown_at][1]):
                    found[shown_at] = pair, other
    return list(found.values())


def frame_of(path: Path) -> tuple[str, int] | None:
    """Returns the video and the number of a frame such as clip_000123.png; None for a name without a number.

    The number is the last one in the name, the rest of the name is the video.
    """
    number = _LAST_NUMBER.search(path.stem)
    return (f"{path.stem[: number.start()]}*{path.stem[number.end() :]}", int(number[0])) if number else None


def separate(train: SplitStatistics, val: SplitStatistics) -> tuple[Pairs, Pairs]:
    """Returns the usable training and validation pairs without what the findings about lists name.

    Of a video in both splits the last frames become validation, as many as before. Otherwise a class that one split
    lacks gets an image of the other, if that has two. Training images that are too similar to a validation image are
    left out.
    """
    splits = [[(part, pair) for pair in part.usable] for part in (train, val)]
    limit, leaking = float(_EQUAL), _leaking(train, val)
    if leaking:
        limit = float(np.median([_bits(pair, other) for pair, other in leaking]))
        every = sorted(splits[0] + splits[1], key=lambda entry: frame_of(entry[0].image(entry[1])) or ("", 0))
        splits = [every[: -len(splits[1])], every[-len(splits[1]) :]]
    else:
        _share_classes(splits)
    distances, _ = nearest_hashes([pair for _, pair in splits[0]], [pair for _, pair in splits[1]])
    splits[0] = [entry for entry, distance in zip(splits[0], distances, strict=True) if distance > limit]
    first, second = ([part.dataset.pairs[pair.index] for part, pair in entries] for entries in splits)
    return first, second


def write_lists(config: Config, train: SplitStatistics, val: SplitStatistics) -> list[str]:
    """Writes the pairs of `separate` to the lists that findings name, in data.root. Returns a line for each list.

    Raises:
        UserError: a list would be empty, or cannot be written.
    """
    data = config.data
    if not train.usable or not val.usable:
        raise UserError("--write_lists: no usable pair is left in one of the splits")
    lines = []
    for (key, name), pairs in zip(LISTS.items(), separate(train, val), strict=True):
        if not pairs:
            raise UserError(f"--write_lists: no pair is left for {key}: its images are all in the other split")
        write_list(data.root / name, data.root, pairs)
        lines.append(f"{len(pairs)} pairs: {data.root / name}")
    return lines


def _share_classes(splits: list[list[tuple[SplitStatistics, Pair]]]) -> None:
    """Moves an image with each class that occurs in only one split, and in two of its images, to the other split."""
    present = [[(entry, entry[0].classes_of(entry[1])) for entry in entries] for entries in splits]
    for index in range(len(splits[0][0][0].dataset.classes)):
        having = [[entry for entry, classes in part if classes[index]] for part in present]
        for giving, lacking in ((0, 1), (1, 0)):
            if len(having[giving]) > 1 and not having[lacking]:
                moved = next(part for part in present[giving] if part[1][index])
                present[giving].remove(moved)
                present[lacking].append(moved)
                break
    splits[:] = [[entry for entry, _ in part] for part in present]
