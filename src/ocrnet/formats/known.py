"""The supported public data sets: the values of `data.format` other than "list"."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ocrnet.formats import ade20k, bdd100k, cityscapes, coco_stuff, lip, pascal_context, voc2012


class Format(NamedTuple):
    """Layout, classes and label values of a public data set."""

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    find_pairs: Callable[[Path, str], list[tuple[Path, Path | None]]]
    """Takes (root, split) and returns (image, label) files. Raises FileNotFoundError."""
    label_map: dict[int, int] | None = None
    """{label value: class index, or 255}; None: the values are the class indices."""
    categories: tuple[str, ...] = ()
    """The category of each class."""
    flip_pairs: tuple[tuple[int, int], ...] = ()
    """Pairs of class indices to swap when an image is flipped."""


FORMATS = {
    "cityscapes": Format(
        cityscapes.CLASS_NAMES,
        cityscapes.PALETTE,
        cityscapes.find_pairs,
        label_map=cityscapes.LABEL_MAP,
        categories=cityscapes.CATEGORIES,
    ),
    "ade20k": Format(ade20k.CLASS_NAMES, ade20k.PALETTE, ade20k.find_pairs, label_map=ade20k.LABEL_MAP),
    "bdd100k": Format(bdd100k.CLASS_NAMES, bdd100k.PALETTE, bdd100k.find_pairs, categories=bdd100k.CATEGORIES),
    "voc2012": Format(voc2012.CLASS_NAMES, voc2012.PALETTE, voc2012.find_pairs),
    "pascal_context_59": Format(
        pascal_context.CLASS_NAMES[1:],
        pascal_context.PALETTE[1:],
        pascal_context.find_pairs,
        label_map=pascal_context.LABEL_MAP_59,
    ),
    "pascal_context_60": Format(pascal_context.CLASS_NAMES, pascal_context.PALETTE, pascal_context.find_pairs),
    "lip": Format(lip.CLASS_NAMES, lip.PALETTE, lip.find_pairs, flip_pairs=lip.FLIP_PAIRS),
    "coco_stuff_10k": Format(
        coco_stuff.CLASS_NAMES, coco_stuff.PALETTE, coco_stuff.find_pairs_10k, label_map=coco_stuff.LABEL_MAP_10K
    ),
    "coco_stuff_164k": Format(
        coco_stuff.CLASS_NAMES, coco_stuff.PALETTE, coco_stuff.find_pairs_164k, label_map=coco_stuff.LABEL_MAP_164K
    ),
}


def default_values(format: str, given: dict[str, Any]) -> dict[str, Any]:
    """Returns values of the keys `classes`, `palette`, `categories`, `label_map` and `flip_pairs` that are not `given`.

    The same number of class names in the same order is a translation: the other keys keep the data set's values. With
    another number or order of classes, its label values and flip pairs no longer apply; known names keep their colour
    and category.

    Args:
        format: a key of FORMATS.
        given: the keys of `data` in the configuration; empty lists and mappings are given values, except for `classes`.

    Raises:
        ValueError: `given` has classes that need `label_map` or `flip_pairs` too.
    """
    known = FORMATS[format]
    names = given.get("classes") or list(known.classes)
    found = {
        "classes": names,
        "palette": list(known.palette),
        "categories": list(known.categories),
        "label_map": dict(known.label_map or {}),
        "flip_pairs": list(known.flip_pairs),
    }
    known_index = [known.classes.index(name) if name in known.classes else None for name in names]
    moved = [index for index, original in enumerate(known_index) if original not in (None, index)]
    if moved or len(names) != len(known.classes):
        needed = {"label_map": "{value in the label files: class index}"}
        if known.flip_pairs:
            needed["flip_pairs"] = "[] for none"
        if missing := [f"data.{key} ({how})" for key, how in needed.items() if key not in given]:
            reason = f"{len(names)} classes instead of the {len(known.classes)} of {format}"
            if moved:
                reason = f"{names[moved[0]]!r} is class {known_index[moved[0]]} of {format}, here class {moved[0]}"
            raise ValueError(f"classes: {reason}: set {' and '.join(missing)} too")
        for key in ("palette", "categories"):
            all_known = found[key] and None not in known_index
            found[key] = [found[key][index] for index in known_index] if all_known else []
        found |= {"label_map": {}, "flip_pairs": []}
    return {key: value for key, value in found.items() if key not in given or key == "classes"}
