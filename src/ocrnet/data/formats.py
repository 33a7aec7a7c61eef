"""The data sets whose layout is known: what `data.format` may say besides «list»."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ocrnet.data import ade20k, bdd100k, cityscapes, coco_stuff, lip, pascal_context, voc2012


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
    """Classes that change places when a picture is mirrored."""


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
