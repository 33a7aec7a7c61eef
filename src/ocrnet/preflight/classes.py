"""Findings about classes: never labelled, rare; and pixels of no class. Fixes that change the list of classes."""

from typing import Any

import numpy as np

from ocrnet.config import Config
from ocrnet.data.datasets import generated_colour
from ocrnet.formats.known import FORMATS
from ocrnet.formats.label_values import IGNORED, class_table
from ocrnet.preflight.finding import LISTS, Finding
from ocrnet.preflight.statistics import SplitStatistics, labelled

RARE = 1e-4
"""Share of the labelled pixels below which a class is rare: 13 pixels of a crop of 256 x 512."""
_MANY_IMAGES = 100  # in fewer images of a public data set, some of its classes may be missing
_MUCH_IGNORED = 0.5


def unreachable(config: Config) -> list[Finding]:
    """Classes that no label value or colour means."""
    data = config.data
    if data.label_encoding == "color":
        return []
    reached = set(class_table(data.label_map, data.ignore_index, data.classes).tolist())
    names = [name for index, name in enumerate(data.classes) if index not in reached]
    if not names:
        return []
    return [
        Finding(
            "a class never occurs",
            True,
            f"no label value is mapped to {_join(names)}: data.label_map has classes "
            f"{sorted(set(data.label_map.values()) - {IGNORED})} of 0 to {len(data.classes) - 1}",
            "the network cannot learn it; if the labels of the validation have it, its IoU is 0",
            "map its label value, or leave the class out:",
            without_classes(config, names),
        )
    ]


def absent(config: Config, train: SplitStatistics, val: SplitStatistics | None) -> list[Finding]:
    """Classes without a pixel in the labels of a split."""
    names, counts = config.data.classes, train.class_counts()
    in_val = val.class_counts() if val else None
    reached = np.isin(np.arange(len(names)), train.dataset.class_table)
    findings = []
    missing = [index for index in range(len(names)) if not counts[index] and reached[index]]
    if missing and labelled(counts) and _complete(config, train):
        scored = [index for index in missing if in_val is not None and in_val[index]]
        examples = f"; validation has {_join([names[index] for index in scored])}" if scored else ""
        movable = (
            config.data.format == "list" and scored == missing and all(_images_with(val, index) > 1 for index in scored)
        )
        findings.append(
            Finding(
                "a class never occurs in training",
                bool(scored),
                f"{_join([names[index] for index in missing])}: no pixel in {len(train.usable)} training labels"
                + examples,
                "its IoU is 0 and lowers mIoU" if scored else "the network has an output that learns nothing",
                "move images with it from validation to training:"
                if movable
                else "add images with it, or leave the class out:",
                LISTS if movable else without_classes(config, _names(names, missing)),
            )
        )
    if val is None or not labelled(in_val) or not _complete(config, val):
        return findings
    missing = [index for index in range(len(names)) if counts[index] and not in_val[index]]
    if missing:
        movable = config.data.format == "list" and all(_images_with(train, index) > 1 for index in missing)
        findings.append(
            Finding(
                "a class never occurs in validation",
                False,
                f"{_join(_names(names, missing))}: no pixel in {len(val.usable)} validation labels",
                "its IoU is not measured: mIoU is the mean of the other classes, and the best checkpoint is chosen "
                "without it",
                "move an image with it from training to validation:"
                if movable
                else "move images with it to validation, or leave the class out:",
                LISTS if movable else without_classes(config, _names(names, missing)),
            )
        )
    return findings


def rare(config: Config, train: SplitStatistics) -> list[Finding]:
    """Classes with few pixels that nothing in the configuration favours."""
    data, weights = config.data, config.loss.class_weights
    if _is_published(config) or data.balanced_crop:
        return []
    counts = train.class_counts()[: len(data.classes)]
    share = counts / max(1, counts.sum())
    favoured = set(data.rare_classes if data.rare_crop else ())
    found = [
        index
        for index, name in enumerate(data.classes)
        if 0 < share[index] < RARE and name not in favoured and not (weights and weights[index] >= 2)
    ]
    if not found:
        return []
    shares = ", ".join(f"{data.classes[index]} {100 * share[index]:.4f} %" for index in found[:8])
    value = int(np.flatnonzero(train.dataset.class_table == found[0])[0])
    return [
        Finding(
            "a class has few pixels",
            False,
            f"{shares} of the labelled training pixels, e.g. in {train.example(value)}",
            "most crops have none of it: the network learns to never predict it",
            "put half of the crops around these classes:",
            {
                "data.rare_classes": [*data.rare_classes, *_names(data.classes, found)],
                "data.rare_crop": data.rare_crop or 0.5,
            },
        )
    ]


def ignored(config: Config, train: SplitStatistics) -> list[Finding]:
    """Label values that are ignored and cover much."""
    values, table = train.values, train.dataset.class_table
    total = int(values.sum())
    if not total or values[table == IGNORED].sum() <= _MUCH_IGNORED * total:
        return []
    much: list[int] = []
    for value in sorted(np.flatnonzero(table == IGNORED).tolist(), key=lambda value: -values[value]):
        if values[table == IGNORED].sum() - values[much].sum() > _MUCH_IGNORED * total:
            much.append(value)
    share = 100 * values[table == IGNORED].sum() / total
    top = ", ".join(f"value {value} {100 * values[value] / total:.1f} %" for value in much)
    empty = sum(not train.classes_of(pair).any() for pair in train.pairs)
    in_colour = config.data.label_encoding == "color"
    return [
        Finding(
            "ignored pixels cover much",
            share == 100,
            f"{share:.1f} % of the training pixels are ignored ({top}), e.g. in {train.example(much[0])}; "
            f"{empty} of {len(train.pairs)} labels have no class at all",
            "nothing is learned from ignored pixels, and what is predicted there is not scored",
            "if the ignored colours are a class, name it in data.palette"
            if in_colour
            else "if this value is a class, such as background, name it:",
            {} if in_colour else with_values(config, much),
        )
    ]


def without_classes(config: Config, names: list[str]) -> dict[str, Any]:
    """Returns the keys that leave classes out: their pixels are ignored. Empty if fewer than two classes are left."""
    data = config.data
    kept = [index for index, name in enumerate(data.classes) if name not in names]
    if len(kept) < 2:
        return {}
    new = {index: position for position, index in enumerate(kept)}
    fix: dict[str, Any] = {"data.classes": [data.classes[index] for index in kept]}
    if data.label_encoding == "color":
        dropped = [list(colour) for index, colour in enumerate(data.palette) if index not in new]
        fix["data.ignore_colors"] = [*map(list, data.ignore_colors), *dropped]
    else:
        table = class_table(data.label_map, data.ignore_index, data.classes).tolist()
        fix["data.label_map"] = {
            value: new.get(index, "ignore")
            for value, index in enumerate(table)
            if (index < len(data.classes) or index == IGNORED) and value != data.ignore_index
        }
    if data.palette:
        fix["data.palette"] = [list(data.palette[index]) for index in kept]
    if data.categories:
        fix["data.categories"] = [data.categories[index] for index in kept]
    if data.flip_pairs:
        fix["data.flip_pairs"] = [[new[a], new[b]] for a, b in data.flip_pairs if a in new and b in new]
    if data.rare_classes:
        fix["data.rare_classes"] = [name for name in data.rare_classes if name not in names]
    if config.loss.class_weights:
        fix["loss.class_weights"] = [config.loss.class_weights[index] for index in kept]
    return fix


def with_values(config: Config, values: list[int]) -> dict[str, Any]:
    """Returns the keys that make label values classes of their own, named value_N."""
    data = config.data
    names = [f"value_{value}" for value in values]
    table = class_table(data.label_map, data.ignore_index, data.classes).tolist()
    known = {value: index for value, index in enumerate(table) if index < len(data.classes)}
    spared = {
        value: "ignore"
        for value, index in enumerate(table)
        if index == IGNORED and value not in values and (value != data.ignore_index or value in data.label_map)
    }
    added = {value: len(data.classes) + position for position, value in enumerate(values)}
    fix: dict[str, Any] = {
        "data.classes": [*data.classes, *names],
        "data.label_map": dict(sorted((known | spared | added).items())),
    }
    if data.ignore_index in values:
        fix["data.ignore_index"] = None
    if data.palette:
        fix["data.palette"] = [*map(list, data.palette), *(list(generated_colour(name)) for name in names)]
    if data.categories:
        fix["data.categories"] = [*data.categories, *names]
    if data.flip_pairs:
        fix["data.flip_pairs"] = list(map(list, data.flip_pairs))
    if config.loss.class_weights:
        fix["loss.class_weights"] = [*config.loss.class_weights, *[1.0] * len(names)]
    return fix


def _is_published(config: Config) -> bool:
    """Whether these are the classes of a public data set."""
    known = FORMATS.get(config.data.format)
    return known is not None and config.data.classes == list(known.classes)


def _complete(config: Config, split: SplitStatistics) -> bool:
    return not _is_published(config) or len(split.usable) >= _MANY_IMAGES


def _images_with(split: SplitStatistics, index: int) -> int:
    return sum(bool(split.classes_of(pair)[index]) for pair in split.usable)


def _names(names: list[str], indices: list[int]) -> list[str]:
    return [names[index] for index in indices]


def _join(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
