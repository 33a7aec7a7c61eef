"""Findings about what label files hold: colours in place of class indices, 0 and 255, the values of another map."""

from collections import Counter
from typing import Any

import numpy as np

from ocrnet.config import Config
from ocrnet.data.colour_labels import rgb
from ocrnet.formats.cityscapes import LABELS
from ocrnet.formats.known import FORMATS
from ocrnet.formats.label_values import IGNORED, INVALID, MAX_CLASSES
from ocrnet.preflight.finding import Finding
from ocrnet.preflight.statistics import OTHER, SplitStatistics

_SMALL = 1e-4  # share of a mask's pixels; colours with fewer pixels inside areas are not proposed as classes
_REDUCED = ("cityscapes", "ade20k")  # public data sets whose labels are often converted to class indices
_CITYSCAPES = {label.id: label.train_id for label in LABELS if label.id >= 0}
Colour = tuple[int, int, int]


def encoding(config: Config, *splits: SplitStatistics) -> list[Finding]:
    """Returns the first problem with the encoding of the labels; the others would follow from it."""
    for find in (colour_masks, zero_and_255, other_values, class_indices):
        if findings := find(config, *splits):
            return findings
    return []


def colour_masks(config: Config, *splits: SplitStatistics) -> list[Finding]:
    """Colour masks that are to be read as class indices, or with colours that are in no list."""
    colours: Counter[int] = Counter()
    inside: Counter[int] = Counter()
    masks = [(split, pair) for split in splits for pair in split.pairs if pair.colours is not None]
    for _, pair in masks:
        colours.update(pair.colours)
        inside.update(pair.inside)
    pixels = colours.total()
    if not masks:
        return []
    example = masks[0][0].label(masks[0][1])
    large = [tuple(rgb(code)) for code, count in inside.most_common() if count >= _SMALL * pixels][: 2 * MAX_CLASSES]
    known = {*config.data.palette, *config.data.ignore_colors}
    if config.data.label_encoding == "color":
        unknown = [colour for colour in large if colour not in known]
        listed = _shares(unknown, colours, pixels)
        rest = sum(count for code, count in colours.items() if code == OTHER or tuple(rgb(code)) not in known)
        return [
            Finding(
                "colours of no class",
                True,
                f"{len(masks)} labels have {rest:,} pixels ({100 * rest / pixels:.2f} %) of colours that are "
                f"neither in data.palette nor in data.ignore_colors, e.g. {example}"
                + (f"; areas of {listed}" if unknown else "; only at edges (anti-aliased)"),
                "training stops at the first of these files",
                "ignore them, or add the colours of classes to data.palette:"
                if unknown
                else "ignore edge pixels (nearest takes the class of the nearest colour):",
                ({"data.ignore_colors": list(map(list, (*config.data.ignore_colors, *unknown)))} if unknown else {})
                | _edges(colours, known | set(unknown)),
            )
        ]
    fix, advice = _palette(config, large)
    return [
        Finding(
            "colour masks in place of class indices",
            True,
            f"{len(masks)} labels have three channels, e.g. {example}; {len(large)} colours: "
            f"{_shares(large, colours, pixels)}",
            "training stops at the first of these files",
            advice,
            fix | _edges(colours, set(large)),
        )
    ]


def _palette(config: Config, found: list[Colour]) -> tuple[dict[str, Any], str]:
    """Returns the keys for masks with these colours, and what to say about them."""
    fix: dict[str, Any] = {"data.label_encoding": "color"}
    given, ignored = list(config.data.palette), config.data.ignore_colors
    if given and len(set(found) & set(given)) >= 2 and len(set(given)) == len(given):
        others = [colour for colour in found if colour not in given]
        if others:
            fix["data.ignore_colors"] = [list(colour) for colour in dict.fromkeys((*ignored, *others))]
        return fix, "read the colours of data.palette:"
    for name, known in FORMATS.items():
        if len(found) > 2 and len(set(known.palette)) == len(known.palette) == len(config.data.classes):
            others = [colour for colour in found if colour not in known.palette]
            if len(found) - len(others) >= 0.7 * len(found):
                fix["data.palette"] = [list(colour) for colour in known.palette]
                if others:
                    fix["data.ignore_colors"] = [list(colour) for colour in others]
                return fix, f"read them with the colours of {name}:"
    fix["data.palette"] = [list(colour) for colour in found[:MAX_CLASSES]]
    if len(found) == len(config.data.classes):
        return fix, "read them; the colours are in the order of their areas: put them into the order of data.classes:"
    fix["data.classes"] = [f"color_{red}_{green}_{blue}" for red, green, blue in found[:MAX_CLASSES]]
    if config.data.categories:
        fix["data.categories"] = []
    if config.loss.class_weights:
        fix["loss.class_weights"] = []
    return fix, "read them; name the classes, and move colours of ignored pixels to data.ignore_colors:"


def _edges(colours: Counter[int], listed: set[Colour]) -> dict[str, Any]:
    """Returns the key that accepts anti-aliased edges, if colours occur that are not listed."""
    others = sum(count for code, count in colours.items() if code == OTHER or tuple(rgb(code)) not in listed)
    return {"data.unknown_colors": "ignore"} if others else {}


def _shares(listed: list[Colour], colours: Counter[int], pixels: int) -> str:
    texts = [f"{list(c)} {100 * colours[c[0] << 16 | c[1] << 8 | c[2]] / pixels:.1f} %" for c in listed[:8]]
    return ", ".join(texts) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def zero_and_255(config: Config, *splits: SplitStatistics) -> list[Finding]:
    """Masks whose object has the value 255, which is ignored or no class."""
    values = _values(*splits)
    table = splits[0].dataset.class_table
    is_list = config.data.format == "list" and not _in_colour(config)
    if not is_list or values != [0, 255] or table[255] < len(config.data.classes):
        return []
    pixels = sum(split.values for split in splits)
    fix: dict[str, Any] = {"data.label_map": {0: 0, 255: 1}, "data.ignore_index": None}
    if len(config.data.classes) != 2:
        fix |= {"data.classes": ["background", "object"], "data.palette": [], "loss.class_weights": []}
    return [
        Finding(
            "masks of 0 and 255",
            True,
            f"the labels have the values 0 and 255 only ({100 * pixels[255] / pixels.sum():.1f} % are 255), e.g. "
            f"{splits[0].example(255)}; 255 {'is ignored' if table[255] == IGNORED else 'is no class'}",
            "the object is not learned: everything is predicted as one class",
            "map 255 to a class:",
            fix,
        )
    ]


def other_values(config: Config, *splits: SplitStatistics) -> list[Finding]:
    """Label values that mean nothing, and the map that fits them."""
    table = splits[0].dataset.class_table
    values = _values(*splits)
    wrong = [value for value in values if table[value] == INVALID]
    if not wrong or _in_colour(config):
        return []
    split = next(split for split in splits if split.values[wrong].any())
    files = sum(bool(pair.values[wrong].any()) for part in splits for pair in part.pairs)
    label_map, advice = _fitting_map(config, sum(part.values for part in splits), wrong)
    return [
        Finding(
            "label values of another map",
            True,
            f"{files} labels have values that are no class: {', '.join(map(str, wrong[:12]))}, e.g. "
            f"{split.example(wrong[0])}; all values: {', '.join(map(str, values[:40]))}",
            "training stops at the first of these files; where values agree by chance, they are the wrong class",
            advice,
            {"data.label_map": label_map},
        )
    ]


def _fitting_map(config: Config, pixels: np.ndarray, wrong: list[int]) -> tuple[dict[int, Any], str]:
    """Returns the label map that fits values with these pixels, (256,), and what to say about it."""
    count, ignore_index = len(config.data.classes), config.data.ignore_index
    present = [value for value in np.flatnonzero(pixels).tolist() if value != ignore_index]
    if config.data.label_map:
        return {**_readable(config.data.label_map), **dict.fromkeys(wrong, "ignore")}, "map them, or ignore them:"
    if count == 19 and max(present) <= 33:
        ids = {value: index for value, index in _CITYSCAPES.items() if value != ignore_index}
        return _readable(ids), "these look like Cityscapes' ids in place of train ids; the map is:"
    if max(present) == count:
        return _one_more(config, pixels)
    if len(present) == count:
        return dict(zip(present, range(count), strict=True)), "there are as many values as classes; in this order:"
    return {**{value: value for value in range(count)}, **dict.fromkeys(wrong, "ignore")}, "map them, or ignore them:"


def _one_more(config: Config, pixels: np.ndarray) -> tuple[dict[int, Any], str]:
    """Returns the label map for values 0 to N of N classes: 0 is no class, as in ADE20K, or N is none, as in CamVid."""
    names, count = config.data.classes, len(config.data.classes)
    without_zero = {0: "ignore", **{value: value - 1 for value in range(1, count + 1)}}
    known = any(list(known.classes) == names and 0 in (known.label_map or {}) for known in FORMATS.values())
    if known or not pixels[0]:
        return without_zero, "these are values from 1, and 0 for other, as in ADE20K's own files; the map is:"
    first = bool(pixels[0] <= pixels[count])
    other = "{0: 0, 1: 1, ...}" if first else "{0: ignore, 1: 0, 2: 1, ...}"
    return (without_zero if first else {**{value: value for value in range(count)}, count: "ignore"}), (
        f"one of the {count + 1} values is no class: {count}, as in CamVid, or 0, as in ADE20K. This map ignores the "
        f"one with fewer pixels; if it is the other, write {other}. `ocrnet samples` shows which is right:"
    )


def class_indices(config: Config, *splits: SplitStatistics) -> list[Finding]:
    """Labels of a public data set that were already converted to class indices, but are mapped once more."""
    count, values = len(config.data.classes), _values(*splits)
    known = FORMATS.get(config.data.format)
    if config.data.format not in _REDUCED or config.data.label_map != dict(known.label_map or {}):
        return []
    if 255 not in values or len(values) < 4 or max(values[:-1]) >= count:
        return []
    ignored = 100 * splits[0].class_counts()[IGNORED] / max(1, splits[0].values.sum())
    return [
        Finding(
            "label values of another map",
            True,
            f"the labels have the values {', '.join(map(str, values[:40]))}, e.g. {splits[0].example(255)}: class "
            f"indices and 255, which {config.data.format}'s own files never have; {ignored:.1f} % are ignored",
            "every class is another one or ignored",
            "read the values as class indices:",
            {"data.label_map": {index: index for index in range(count)}},
        )
    ]


def _values(*splits: SplitStatistics) -> list[int]:
    return np.flatnonzero(sum(split.values for split in splits)).tolist()


def _in_colour(config: Config) -> bool:
    return config.data.label_encoding == "color"


def _readable(label_map: dict[int, int]) -> dict[int, Any]:
    return {value: "ignore" if index == IGNORED else index for value, index in label_map.items()}
