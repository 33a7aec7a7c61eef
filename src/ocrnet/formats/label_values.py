"""What the values in label files mean: a class, ignored, or nothing."""

from collections.abc import Mapping, Sequence

import numpy as np

from ocrnet.errors import Conflict

IGNORED = 255
"""Label value of ignored pixels inside the program, whatever value the files use."""

MAX_CLASSES = 254
"""Class indices are 0 to 253: inside the program 254 marks a value without a meaning, 255 an ignored pixel."""

INVALID = MAX_CLASSES


def resolve(label_map: Mapping[int, int], ignore_index: int | None, classes: Sequence[str]) -> dict[int, int]:
    """`label_map` with 255 for ignored, each value of a label file having one meaning.

    Args:
        label_map: {value in the label files: class index, or 255 or `ignore_index` for ignored}; empty: the values are
            the class indices.
        ignore_index: value in the label files of ignored pixels, or None.

    Raises:
        ValueError: a target is neither a class nor ignored.
        Conflict: `ignore_index` is the value of a class as well.
    """
    count = len(classes)
    targets = {*range(count), IGNORED, ignore_index}
    if wrong := {value: target for value, target in label_map.items() if target not in targets}:
        raise ValueError(
            f"label_map: {wrong} is neither one of the {count} classes nor ignored: write a class index, 255 or ignore"
        )
    resolved = {value: target if target < count else IGNORED for value, target in label_map.items()}
    index = resolved.get(ignore_index, IGNORED)
    if index != IGNORED:
        raise Conflict(
            ("data.label_map", "data.ignore_index"),
            f"label value {ignore_index} is class {index} ({classes[index]!r}) in the one and ignored in the other. "
            "Set data.ignore_index: null if no other value is ignored, or name the value that is",
        )
    if not resolved and ignore_index is not None and ignore_index < count:
        raise Conflict(
            ("data.ignore_index",),
            f"{ignore_index} is also class {classes[ignore_index]!r}. Say in data.label_map what each value means, "
            "such as {0: ignore, 1: 0, 2: 1}, or set data.ignore_index to another value or null",
        )
    return resolved


def class_table(label_map: Mapping[int, int], ignore_index: int | None, classes: Sequence[str]) -> np.ndarray:
    """(256,) uint8: the class index of each value in the label files; 255: ignored, 254: a value without a meaning.

    `label_map` is as `resolve` returns it.
    """
    table = np.full(256, INVALID, np.uint8)
    if ignore_index is not None:
        table[ignore_index] = IGNORED
    for value, index in (label_map or {index: index for index in range(len(classes))}).items():
        table[value] = index
    return table


def file_values(table: np.ndarray, count: int) -> np.ndarray:
    """(count,) uint8: for each class the value that the label files have for it, the lowest of several.

    A class that no value stands for gets one that the files ignore or do not use, so that it is mistaken for no other.

    Args:
        table: as of `class_table`.
        count: number of classes.
    """
    values = [np.flatnonzero(table == index) for index in range(count)]
    return np.array([found[0] if len(found) else table.argmax() for found in values], np.uint8)


def missing_classes(seen: np.ndarray, table: np.ndarray, classes: Sequence[str]) -> str:
    """Which classes none of the `seen` values stands for, and what those values stand for; "" if no class is missing.

    Args:
        seen: (256,) bool: values that label files have.
        table: as of `class_table`.
        classes: class names.
    """
    values = np.flatnonzero(seen).tolist()
    missing = [name for index, name in enumerate(classes) if index not in table[values]]
    if not missing:
        return ""
    meanings = [f"{value} -> {classes[table[value]] if table[value] < len(classes) else 'ignored'}" for value in values]
    return f"{_some(missing, 8)}. Label values that occur: {_some(meanings, 12)}"


def _some(texts: Sequence[str], most: int) -> str:
    rest = len(texts) - most
    return ", ".join(texts) if rest <= 0 else f"{', '.join(texts[:most])} and {rest} more"
