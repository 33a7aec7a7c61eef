"""The data sets whose layout is known: what `data.format` may say besides «list»."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ocrnet.formats import ade20k, bdd100k, cityscapes, coco_stuff, lip, pascal_context, voc2012


class Format(NamedTuple):
    """What follows from a data set's name."""

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    find_pairs: Callable[[Path, str], list[tuple[Path, Path | None]]]
    """(root, split) to (image, label) files. Raises FileNotFoundError."""
    label_map: dict[int, int] | None = None
    """{value in the label file: class, or 255}; None: the values are the classes."""
    categories: tuple[str, ...] = ()
    """The group of each class."""
    flip_pairs: tuple[tuple[int, int], ...] = ()
    """Classes that change places when an image is mirrored."""


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


def fill_in(format: str, given: dict[str, Any]) -> dict[str, Any]:
    """Values of the keys `classes`, `palette`, `categories`, `label_map` and `flip_pairs` that are not `given`.

    As many names as the data set's, in its order, are a translation: all else stays. With another number or order of
    classes its label values and pairs of classes no longer apply; names that it knows keep their colour and category.

    Args:
        format: a key of FORMATS.
        given: keys of `data` that the configuration gives; empty lists and mappings count, but for `classes`.

    Raises:
        ValueError: `given` has classes for which `label_map` or `flip_pairs` must be given as well.
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
    places = [known.classes.index(name) if name in known.classes else None for name in names]
    moved = [place for place, own in enumerate(places) if own not in (None, place)]
    if moved or len(names) != len(known.classes):
        needed = {"label_map": "{value in the label files: class index}"}
        if known.flip_pairs:
            needed["flip_pairs"] = "[] for none"
        if missing := [f"data.{key} ({how})" for key, how in needed.items() if key not in given]:
            reason = f"{len(names)} classes instead of the {len(known.classes)} of {format}"
            if moved:
                reason = f"{names[moved[0]]!r} is class {places[moved[0]]} of {format}, here class {moved[0]}"
            raise ValueError(f"classes: {reason}: give {' and '.join(missing)} as well")
        for key in ("palette", "categories"):
            found[key] = [found[key][place] for place in places] if found[key] and None not in places else []
        found |= {"label_map": {}, "flip_pairs": []}
    return {key: value for key, value in found.items() if key not in given or key == "classes"}
