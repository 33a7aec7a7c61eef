"""Converts the training pipeline of a flattened mmsegmentation config; convert_config.py calls it."""

from typing import Any

Leaves = dict[str, Any]
"""A flattened config, of mmsegmentation or of this program: {dotted key: value}."""

PIPELINE, TEST_PIPELINE = "train_dataloader.dataset.pipeline", "val_dataloader.dataset.pipeline"


def convert_pipeline(mmseg: Leaves, config: Leaves, notes: list[str]) -> None:
    """Converts what is more than one key for one key. Removes converted keys from `mmseg`."""
    convert_resizes(mmseg, config, notes)
    if f"{PIPELINE}.PhotoMetricDistortion.type" not in mmseg:
        config["data.photometric"] = None
    if f"{PIPELINE}.Pad.type" in mmseg:
        config["data.pad"] = "black"  # Pad runs before the normalisation, the data preprocessor pads after it
    if isinstance(size := mmseg.get(f"{PIPELINE}.RandomCrop.crop_size"), int):
        mmseg[f"{PIPELINE}.RandomCrop.crop_size"] = [size, size]
    convert_flip(mmseg, config, notes)
    convert_rotation(mmseg, config, notes)
    convert_cutout(mmseg, config, notes)


def convert_resizes(mmseg: Leaves, config: Leaves, notes: list[str]) -> None:
    """Converts keep_ratio of training and evaluation, which is one key here."""
    given = [key for key in (f"{PIPELINE}.RandomResize", f"{TEST_PIPELINE}.Resize") if f"{key}.type" in mmseg]
    keeps = {key: mmseg.pop(f"{key}.keep_ratio", False) for key in given}
    if keeps:
        config["data.keep_ratio"] = keeps[given[0]]
    if len(set(keeps.values())) > 1:
        notes.append(
            f"data.keep_ratio: the same for training and evaluation here; {keeps[given[1]]} in mmsegmentation's "
            "evaluation"
        )


def convert_flip(mmseg: Leaves, config: Leaves, notes: list[str]) -> None:
    """Converts RandomFlip with one direction, or with a list of them that share its probability."""
    key = f"{PIPELINE}.RandomFlip"
    directions = mmseg.get(f"{key}.direction", "horizontal")
    directions = [directions] if isinstance(directions, str) else list(directions)
    if set(directions) - {"horizontal", "vertical"} or not isinstance(mmseg.get(f"{key}.prob", 0.0), int | float):
        return  # stays in `mmseg`, so it is reported
    mmseg.pop(f"{key}.direction", None)
    share = mmseg.pop(f"{key}.prob", 0.0) / len(directions)
    config["data.flip"] = share if "horizontal" in directions else 0.0
    if "vertical" in directions:
        config["data.augment.vertical_flip"] = share
    if len(directions) > 1:
        notes.append("data.flip, data.augment.vertical_flip: independent here, so an image may have both")


def convert_rotation(mmseg: Leaves, config: Leaves, notes: list[str]) -> None:
    """Converts RandomRotate with a range of angles that is symmetric about 0."""
    key = f"{PIPELINE}.RandomRotate"
    degree = mmseg.get(f"{key}.degree")
    low, high = (-degree, degree) if isinstance(degree, int | float) else (degree or (0, 0))
    if not degree or low != -high or not mmseg.get(f"{key}.prob"):
        return
    for name in ("type", "degree"):
        del mmseg[f"{key}.{name}"]
    config |= {
        "data.augment.rotation.probability": mmseg.pop(f"{key}.prob"),
        "data.augment.rotation.degrees": float(high),
    }
    notes.append("data.augment.rotation: before the random crop here, together with the random resize")


def convert_cutout(mmseg: Leaves, config: Leaves, notes: list[str]) -> None:
    """Converts RandomCutOut whose size is a share of the image."""
    key = f"{PIPELINE}.RandomCutOut"
    if not all(mmseg.get(f"{key}.{name}") for name in ("prob", "n_holes", "cutout_ratio")):
        return
    holes, ratio = (mmseg.pop(f"{key}.{name}") for name in ("n_holes", "cutout_ratio"))
    sides = [side for part in ratio for side in (part if isinstance(part, list | tuple) else (part,))]
    config |= {
        "data.augment.cutout.probability": mmseg.pop(f"{key}.prob"),
        "data.augment.cutout.holes": [holes, holes] if isinstance(holes, int) else list(holes),
        "data.augment.cutout.size": [min(sides), max(sides)],
        "data.augment.cutout.ignore_label": mmseg.pop(f"{key}.seg_fill_in", None) == 255,
    }
    del mmseg[f"{key}.type"]
    if mmseg.pop(f"{key}.fill_in", (0, 0, 0)) not in ((0, 0, 0), [0, 0, 0]) or config.get("data.pad") != "black":
        notes.append("data.augment.cutout: fills with the colour of data.pad")
    if len(set(sides)) > 1:
        notes.append("data.augment.cutout.size: height and width are drawn from this range each")
