"""No finding for the public data sets in their own layouts and values, with the shipped recipes, and for the demo."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from test_check import read, scene

from ocrnet.config.loading import load_config
from ocrnet.formats import cityscapes, coco_stuff, pascal_context
from ocrnet.formats.known import FORMATS
from ocrnet.preflight import classes, recipe
from ocrnet.preflight.check import all_findings

RECIPES = Path(__file__).resolve().parents[2] / "config" / "ocrnet"
VALUES = {
    "cityscapes": [label.id for label in cityscapes.LABELS if label.id >= 0],
    "ade20k": range(151),
    "bdd100k": [*range(19), 255],
    "voc2012": [*range(21), 255],
    "pascal_context_59": [*pascal_context.IDS, 1, 459],  # all others of the 459 are background
    "pascal_context_60": [*pascal_context.IDS, 1, 459],
    "lip": range(20),
    "coco_stuff_10k": sorted(coco_stuff.LABEL_MAP_10K),
    "coco_stuff_164k": [*sorted(coco_stuff.LABEL_MAP_164K), 255],
}
"""The values in the published label files."""
CONFIGS = {
    "cityscapes": "cityscapes_mmseg_40k",
    "ade20k": "ade20k_mmseg_80k",
    "bdd100k": "bdd100k",
    "voc2012": "voc2012aug_mmseg_20k",
    "pascal_context_59": "pascal_context_59_hrnet_ocr_200e",
    "pascal_context_60": "pascal_context_60_hrnet_ocr_200e",
    "lip": "lip_hrnet_ocr_150e",
    "coco_stuff_10k": "coco_stuff_10k_hrnet_ocr_110e",
    "coco_stuff_164k": "coco_stuff_164k_hrnet_ocr_80k",
}
NAMES = {  # consecutive numbers alternate between the splits in some data sets
    "cityscapes": "{0}_00000{1}_000019",
    "coco_stuff_10k": "COCO_train2014_0000000000{1}{2}",
    "coco_stuff_164k": "0000000000{1}{2}",
    "voc2012": "2007_0000{1}{2}",
    "pascal_context_59": "2008_0000{1}{2}",
    "pascal_context_60": "2008_0000{1}{2}",
    "lip": "{1}{2}_47",
}


def files(format: str, root: Path, split: str, name: str) -> tuple[Path, Path]:
    """Returns where image and label of a data set lie."""
    return {
        "cityscapes": (
            root / f"leftImg8bit/{split}/{name[:4]}/{name}_leftImg8bit.png",
            root / f"gtFine/{split}/{name[:4]}/{name}_gtFine_labelIds.png",
        ),
        "ade20k": (root / f"images/{split}/{name}.jpg", root / f"annotations/{split}/{name}.png"),
        "bdd100k": (root / f"images/10k/{split}/{name}.jpg", root / f"labels/sem_seg/masks/{split}/{name}.png"),
        "voc2012": (root / f"JPEGImages/{name}.jpg", root / f"SegmentationClass/{name}.png"),
        "lip": (
            root / f"TrainVal_images/{split}_images/{name}.jpg",
            root / f"TrainVal_parsing_annotations/{split}_segmentations/{name}.png",
        ),
        "coco_stuff_10k": (root / f"images/{name}.jpg", root / f"annotations/{name}.mat"),
        "coco_stuff_164k": (root / f"images/{split}/{name}.jpg", root / f"annotations/{split}/{name}.png"),
    }.get(format) or (root / f"VOCdevkit/VOC2010/JPEGImages/{name}.jpg", root / f"trainval/{name}.mat")


LISTS = {
    "voc2012": "ImageSets/Segmentation",
    "pascal_context_59": "VOCdevkit/VOC2010/ImageSets/Main",
    "pascal_context_60": "VOCdevkit/VOC2010/ImageSets/Main",
    "coco_stuff_10k": "imageLists",
}


def put(format: str, root: Path, split: str, place: int) -> None:
    """Writes three pairs with all label values of a data set, in its layout."""
    rows, columns = {"bdd100k": (720, 1280), "cityscapes": (80, 160)}.get(format, (90, 120))  # BDD100K is not resized
    names = []
    for number in range(3):
        name = NAMES.get(format, "{0}_{1}{2}").format(split[:4], 1 + number, place)
        image, label = files(format, root, split, name)
        image.parent.mkdir(parents=True, exist_ok=True)
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(10 * place + number, (rows, columns))).save(image)
        values = np.resize(np.array(VALUES[format], np.uint16), (rows, columns))
        if label.suffix == ".mat":
            savemat(label, {"LabelMap" if "context" in format else "S": values}, do_compression=True)
        else:
            Image.fromarray(values.astype(np.uint8)).save(label)
        names.append(name)
    if format in LISTS:
        (root / LISTS[format]).mkdir(parents=True, exist_ok=True)
        (root / LISTS[format] / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_public_data_set_has_no_finding(tmp_path, format):
    (file,) = [*RECIPES.glob(f"*_hrnet_w48_{CONFIGS[format]}.yml"), *RECIPES.glob(f"*w18_small_{CONFIGS[format]}.yml")][
        :1
    ]
    config = load_config(file, {"data.root": (tmp_path, "")})
    for place, split in enumerate((config.data.train, config.data.val), 1):
        put(format, tmp_path, split, place)
    train, val = read(config)
    assert len(train.usable) == len(val.usable) == 3, train.errors
    assert [finding.text() for finding in all_findings(config, train, val)] == []


def test_the_values_are_those_of_the_data_sets():
    assert max(VALUES["cityscapes"]) == 33 and set(FORMATS) == set(VALUES) == set(CONFIGS)


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yml")), ids=lambda file: file.stem)
def test_a_shipped_recipe_has_no_finding_on_its_devices(file):
    config = load_config(file)
    devices = re.search(r"(\d+) (?:devices? x|x Ascend)", file.read_text())
    for count in {None, int(devices[1]) if devices else None}:
        found = [
            *classes.unreachable(config),
            *recipe.learning_rate(config, count),
            *recipe.random_weights(config),
        ]
        assert [finding.text() for finding in found] == []


def test_the_demo_has_no_finding(tmp_path, run_script):
    flags = ["--train", 12, "--val", 4, "--width", 512, "--height", 256]
    assert run_script("scripts/make_demo_data.py", "--output", tmp_path, *flags).returncode == 0
    config = load_config(RECIPES / "ocrnet_demo.yml", {"data.root": (tmp_path, "")})
    assert [finding.text() for finding in all_findings(config, *read(config))] == []
