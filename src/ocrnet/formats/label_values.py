"""The meaning of label values: a class, ignored, or invalid."""

from collections.abc import Mapping, Sequence

import numpy as np

from ocrnet.errors import Conflict

IGNORED = 255
"""Value of ignored pixels inside the program, regardless of the value in the files."""

MAX_CLASSES = 254
"""Class indices are 0 to 253; inside the program, 254 marks an invalid label value and 255 an ignored pixel."""

INVALID = MAX_CLASSES


def resolve(label_map: Mapping[int, int], ignore_index: int | None, classes: Sequence[str]) -> dict[int, int]:
    """Returns `label_map` with 255 for ignored, and checks that each label value has one meaning.

    Args:
        label_map: {label value: class index, or 255 or `ignore_index` for ignored}; empty: the values are the class
            indices.
        ignore_index: label value of ignored pixels, or None.

    Raises:
        ValueError: a target is neither a class index nor ignored.
        Conflict: `ignore_index` is the label value of a class too.
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
            f"label value {ignore_index} is class {index} ({classes[index]!r}) in data.label_map and ignored by "
            "data.ignore_index. Set data.ignore_index to the label value of ignored pixels, or to null if there is "
            "none",
        )
    if not resolved and ignore_index is not None and ignore_index < count:
        raise Conflict(
            ("data.ignore_index",),
            f"{ignore_index} is also class {classes[ignore_index]!r}. Map each label value in data.label_map, e.g. "
            "{0: ignore, 1: 0, 2: 1}, or set data.ignore_index to another value or null",
        )
    return resolved


def check_colours(
    palette: Sequence[tuple[int, int, int]], ignored: Sequence[tuple[int, int, int]], classes: Sequence[str]
) -> None:
    """Checks that each RGB colour of colour masks has one meaning: one class, or ignored.

    Raises:
        ValueError: the palette is empty, or a colour has two meanings.
    """
    if not palette:
        raise ValueError("palette: label_encoding color needs one colour per class; `ocrnet check` proposes them")
    meanings: dict[tuple[int, int, int], str] = {}
    for colour, name in [*zip(palette, classes, strict=True), *((colour, "ignored") for colour in ignored)]:
        if meanings.setdefault(colour, name) != name:
            raise ValueError(
                f"palette: {list(colour)} is {meanings[colour]!r} and {name!r}; with label_encoding color each has a "
                "colour of its own"
            )


def class_table(label_map: Mapping[int, int], ignore_index: int | None, classes: Sequence[str]) -> np.ndarray:
    """Returns a lookup table (256,) uint8 from label values to class indices; 255: ignored, 254: invalid.

    `label_map` is a result of `resolve`.
    """
    table = np.full(256, INVALID, np.uint8)
    if ignore_index is not None:
        table[ignore_index] = IGNORED
    for value, index in (label_map or {index: index for index in range(len(classes))}).items():
        table[value] = index
    return table


def file_values(table: np.ndarray, count: int) -> np.ndarray:
    """Returns a lookup table (count,) uint8 from class indices to label values; the lowest if a class has several.

    A class without a label value gets a value that is ignored or invalid, so that it differs from the other classes.

    Args:
        table: a result of `class_table`.
        count: number of classes.
    """
    values = [np.flatnonzero(table == index) for index in range(count)]
    return np.array([found[0] if len(found) else table.argmax() for found in values], np.uint8)


def missing_classes(seen: np.ndarray, table: np.ndarray, classes: Sequence[str]) -> str:
    """Returns a text with the classes that have none of the `seen` label values, and the meaning of these values.

    Returns "" if no class is missing.

    Args:
        seen: (256,) bool: the label values that occur.
        table: a result of `class_table`.
        classes: class names.
    """
    values = np.flatnonzero(seen).tolist()
    missing = [name for index, name in enumerate(classes) if index not in table[values]]
    if not missing:
        return ""
    meanings = [f"{value} -> {classes[table[value]] if table[value] < len(classes) else 'ignored'}" for value in values]
    return f"{_join(missing, 8)}. Label values that occur: {_join(meanings, 12)}"


def _join(texts: Sequence[str], limit: int) -> str:
    rest = len(texts) - limit
    return ", ".join(texts) if rest <= 0 else f"{', '.join(texts[:limit])} and {rest} more"
