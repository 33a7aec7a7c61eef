"""The supported public data sets, with tiny files: pairs, classes, label values, and messages for missing files."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ocrnet.config import Config, DataConfig, DataFormat
from ocrnet.config.loading import load_config
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError
from ocrnet.formats import coco_stuff, pascal_context, voc2012
from ocrnet.formats.known import FORMATS

COUNTS = {
    "cityscapes": 19,
    "ade20k": 150,
    "bdd100k": 19,
    "voc2012": 21,
    "pascal_context_59": 59,
    "pascal_context_60": 60,
    "lip": 20,
    "coco_stuff_10k": 171,
    "coco_stuff_164k": 171,
}


def put(path: Path, values: list[int] | None = None, **variables) -> Path:
    """Writes an image (no values), a label of one row, or a MATLAB file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if variables:
        savemat(path, {name: np.array([row], np.uint16) for name, row in variables.items()}, do_compression=True)
    elif values is None:
        Image.fromarray(np.full((1, 4, 3), 9, np.uint8)).save(path)
    else:
        Image.fromarray(np.array([values], np.uint8)).save(path)
    return path


def put_list(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def open_training_set(format: str, root: Path, **settings) -> SegmentationDataset:
    return open_dataset(DataConfig(format=format, root=root, **settings), "train")


def labels(dataset: SegmentationDataset) -> list[list[int]]:
    return [dataset.read(index)[1][0].tolist() for index in range(len(dataset))]


def test_classes_of_each_format():
    assert set(FORMATS) == set(get_args(DataFormat)) - {"list"} == set(COUNTS)
    for name, count in COUNTS.items():
        config = DataConfig(format=name)
        assert len(config.classes) == len(set(config.classes)) == len(config.palette) == count, name
        assert all(len(colour) == 3 for colour in config.palette)
        mapped = set(config.label_map.values()) - {255}
        assert not mapped or mapped == set(range(count)), name
    assert DataConfig(format="lip").flip_pairs == [(14, 15), (16, 17), (18, 19)]
    assert [DataConfig(format="lip").classes[n] for n in (14, 15, 18)] == ["Left-arm", "Right-arm", "Left-shoe"]


def test_class_order_is_the_published_one():
    ade = DataConfig(format="ade20k")
    assert {raw: ade.classes[to] for raw, to in ade.label_map.items() if raw in (1, 13, 76, 150)} == {
        1: "wall",
        13: "person",
        76: "swivel chair",
        150: "flag",
    }
    stuff = {raw: coco_stuff.CLASS_NAMES[to] for raw, to in coco_stuff.LABEL_MAP_10K.items() if raw}
    assert len(stuff) == 171 and stuff[1] == "person" and stuff[13] == "stop sign" and stuff[90] == "toothbrush"
    assert stuff[92] == "banner" and stuff[106] == "clouds" and stuff[157] == "sky-other" and stuff[182] == "wood"
    assert {raw - 1: to for raw, to in coco_stuff.LABEL_MAP_10K.items() if raw} == coco_stuff.LABEL_MAP_164K
    context = dict(zip(pascal_context.IDS, pascal_context.CLASS_NAMES, strict=True))
    assert (context[0], context[2], context[284], context[360], context[458]) == (
        "background",
        "aeroplane",
        "person",
        "sky",
        "wood",
    )
    assert list(context.values())[1:] == sorted(list(context.values())[1:])  # 459 classes in alphabetical order
    assert voc2012.CLASS_NAMES[15] == "person" and voc2012.PALETTE[15] == (192, 128, 128)
    assert voc2012.PALETTE[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0)) and voc2012.PALETTE[20] == (0, 64, 128)
    assert ade.palette[:2] == [(120, 120, 120), (180, 120, 120)]


def test_cityscapes(tmp_path):
    put(tmp_path / "leftImg8bit" / "train" / "a" / "a_0_leftImg8bit.png")
    put(tmp_path / "gtFine" / "train" / "a" / "a_0_gtFine_labelIds.png", [0, 7, 33, 29])
    assert labels(open_training_set("cityscapes", tmp_path)) == [[255, 0, 18, 255]]
    put(tmp_path / "leftImg8bit" / "val" / "b" / "b_0_leftImg8bit.png")
    put(tmp_path / "gtFine" / "val" / "b" / "b_0_gtFine_labelIds.png", [8, 8, 8, 8])
    both = open_training_set("cityscapes", tmp_path, train="trainval")
    assert labels(both) == [[255, 0, 18, 255], [1, 1, 1, 1]]


@pytest.mark.parametrize("root", [".", "ADEChallengeData2016"])
def test_ade20k(tmp_path, root):
    folder = tmp_path / "ADEChallengeData2016"
    for name, row in (("ADE_train_00000002", [0, 1, 2, 150]), ("ADE_train_00000001", [5, 0, 0, 0])):
        put(folder / "images" / "training" / f"{name}.jpg")
        put(folder / "annotations" / "training" / f"{name}.png", row)
    put(folder / "images" / "validation" / "ADE_val_00000001.jpg")
    dataset = open_training_set("ade20k", tmp_path / root, train="training")
    assert labels(dataset) == [[4, 255, 255, 255], [255, 0, 1, 149]]
    assert dataset.name(0) == "ADE_train_00000001"
    with pytest.raises(UserError, match=r"ADE_val_00000001\.png: label file of image .* not found"):
        open_training_set("ade20k", tmp_path / root, train="validation")


@pytest.mark.parametrize("root", [".", "bdd100k"])
def test_bdd100k(tmp_path, root):
    put(tmp_path / root / "images/10k/train/0a1.jpg")
    put(tmp_path / root / "labels/sem_seg/masks/train/0a1.png", [0, 18, 255, 13])
    dataset = open_training_set("bdd100k", tmp_path)
    assert labels(dataset) == [[0, 18, 255, 13]]
    assert (dataset.name(0), dataset.classes[0], dataset.classes[18]) == ("0a1", "road", "bicycle")


@pytest.mark.parametrize("root", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc2012_prefers_the_labels_of_voc(tmp_path, root):
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    put_list(folder / "ImageSets" / "Segmentation" / "trainaug.txt", "2007_000032", "2008_000002")
    for name in ("2007_000032", "2008_000002"):
        put(folder / "JPEGImages" / f"{name}.jpg")
        put(folder / "SegmentationClassAug" / f"{name}.png", [20, 20, 20, 20])
    palette = Image.fromarray(np.array([[0, 1, 20, 255]], np.uint8))
    palette.putpalette([level for colour in voc2012.colour_map(256) for level in colour])
    own = folder / "SegmentationClass" / "2007_000032.png"
    own.parent.mkdir()
    palette.save(own)
    assert labels(open_training_set("voc2012", tmp_path / root, train="trainaug")) == [
        [0, 1, 20, 255],
        [20, 20, 20, 20],
    ]
    with pytest.raises(UserError, match=r"Segmentation/aug\.txt: cannot read this list.*make_voc_aug\.py"):
        open_training_set("voc2012", tmp_path / root, train="aug")


@pytest.mark.parametrize("root", [".", "VOCdevkit", "VOCdevkit/VOC2010"])
def test_pascal_context(tmp_path, root):
    folder = tmp_path / "VOCdevkit" / "VOC2010"
    put_list(folder / "ImageSets" / "Main" / "train.txt", "2008_000002")
    put(folder / "JPEGImages" / "2008_000002.jpg")
    put(tmp_path / "trainval" / "2008_000002.mat", LabelMap=[2, 458, 1, 459])  # aeroplane, wood and two other classes
    assert labels(open_training_set("pascal_context_60", tmp_path / root)) == [[1, 59, 0, 0]]
    assert labels(open_training_set("pascal_context_59", tmp_path / root)) == [[0, 58, 255, 255]]
    put_list(folder / "ImageSets" / "SegmentationContext" / "train.txt", "2008_000002")  # the other layout, preferred
    put(folder / "SegmentationClassContext" / "2008_000002.png", [0, 1, 59, 3])
    assert labels(open_training_set("pascal_context_60", tmp_path / root)) == [[0, 1, 59, 3]]
    assert labels(open_training_set("pascal_context_59", tmp_path / root)) == [[255, 0, 58, 2]]


def test_lip(tmp_path):
    put(tmp_path / "TrainVal_images" / "train_images" / "77_1.jpg")
    put(tmp_path / "TrainVal_parsing_annotations" / "train_segmentations" / "77_1.png", [0, 14, 19, 5])
    assert labels(open_training_set("lip", tmp_path)) == [[0, 14, 19, 5]]


def test_coco_stuff_10k(tmp_path):
    put_list(tmp_path / "imageLists" / "train.txt", "COCO_train2014_000000000077")
    put(tmp_path / "images" / "COCO_train2014_000000000077.jpg")
    put(tmp_path / "annotations" / "COCO_train2014_000000000077.mat", S=[0, 1, 13, 182])
    assert labels(open_training_set("coco_stuff_10k", tmp_path)) == [[255, 0, 11, 170]]


def test_coco_stuff_164k(tmp_path):
    put(tmp_path / "images" / "train2017" / "000000000009.jpg")
    label = put(tmp_path / "annotations" / "train2017" / "000000000009.png", [255, 0, 12, 181])
    dataset = open_training_set("coco_stuff_164k", tmp_path, train="train2017")
    assert labels(dataset) == [[255, 0, 11, 170]]
    put(label, [11, 0, 0, 0])  # "street sign", which is never labelled
    with pytest.raises(UserError, match=r"000000000009\.png: label value 11 is not one of the 171 classes"):
        dataset.read(0)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_missing_folder_is_an_error_with_its_fix(tmp_path, name):
    with pytest.raises(UserError, match=r"no folder .*nowhere.*data\.root \(--data_root\)") as error:
        open_training_set(name, tmp_path / "nowhere")
    assert len(str(error.value).splitlines()) == 1


def test_a_missing_split_is_an_error(tmp_path):
    put(tmp_path / "images" / "training" / "a.jpg")
    with pytest.raises(UserError, match=r"no folder .*images/trainig"):
        open_training_set("ade20k", tmp_path, train="trainig")
    (tmp_path / "images" / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images found; data\.train \(split 'empty'\) is empty"):
        open_training_set("ade20k", tmp_path, train="empty")


def test_invalid_matlab_files_are_errors(tmp_path):
    put_list(tmp_path / "imageLists" / "train.txt", "a")
    put(tmp_path / "images" / "a.jpg")
    label = put(tmp_path / "annotations" / "a.mat", other=[1, 2, 3, 4])
    dataset = open_training_set("coco_stuff_10k", tmp_path)
    with pytest.raises(UserError, match=r"a\.mat: not a readable label image: contains neither GTcls"):
        dataset.read(0)
    label.write_bytes(b"MATLAB 5.0 MAT-file, truncated")
    with pytest.raises(
        UserError, match=r"a\.mat: not a readable label image: damaged, truncated, or not a MATLAB file"
    ):
        dataset.read(0)
    put(label, S=[1, 2, 3])
    with pytest.raises(UserError, match=r"a\.mat: the label is 3 x 1 pixels"):
        dataset.read(0)


def test_translated_class_names_keep_the_data_sets_other_values(tmp_path):
    translated = [f"类别 {index}" for index in range(20)]
    plain, config = DataConfig(format="lip"), DataConfig(format="lip", classes=translated)
    assert config.classes == translated
    assert config == plain.replace({"classes": translated}) and config.flip_pairs == [(14, 15), (16, 17), (18, 19)]
    assert DataConfig(format="cityscapes", classes=translated[:19]).label_map[7] == 0
    assert DataConfig(format="cityscapes", classes=translated[:19]).categories == DataConfig().categories
    text = Config(data=config).to_yaml()
    (tmp_path / "again.yml").write_text(text, encoding="utf-8")
    assert load_config(tmp_path / "again.yml").data == config


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"format": "lip", "classes": ["person", "background"]},
            r"2 classes instead of the 20 of lip: set data\.label_map \(.*\) and data\.flip_pairs \(\[\] for none\)",
        ),
        ({"format": "lip", "classes": ["a", "b"], "label_map": {0: 0, 1: 1}}, r"of lip: set data\.flip_pairs"),
        ({"format": "voc2012", "classes": ["a", "b"]}, r"2 classes instead of the 21 of voc2012: set data\.label_map"),
        (
            {"classes": ["sidewalk", "road", *DataConfig().classes[2:]]},
            r"'sidewalk' is class 1 of cityscapes, here class 0: set data\.label_map",
        ),
    ],
)
def test_another_number_or_order_of_classes_needs_a_label_map(data, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**data)


def test_known_class_names_keep_their_colours_and_categories(tmp_path):
    config = DataConfig(classes=["car", "road"], label_map={26: 0, 7: 1})
    assert config.palette == [(0, 0, 142), (128, 64, 128)] and config.categories == ["vehicle", "flat"]
    assert config.label_map == {26: 0, 7: 1} and config.flip_pairs == []
    other = DataConfig(classes=["moving", "road"], label_map={26: 0, 7: 1})
    assert other.palette == [] and other.categories == []
    given = DataConfig(format="lip", classes=["a", "b"], label_map={}, flip_pairs=[])
    assert given.label_map == {} and given.flip_pairs == []  # empty values are given values too
    assert DataConfig(format="lip", flip_pairs=[]).flip_pairs == []


def test_duplicate_classes_and_flip_pairs_are_errors():
    with pytest.raises(ValueError, match="classes: 'a' is given twice"):
        DataConfig(format="list", classes=["a", "b", "a"])
    with pytest.raises(ValueError, match="flip_pairs: class 1 is given twice"):
        DataConfig(format="list", classes=["a", "b", "c"], flip_pairs=[(0, 1), (1, 2)])


def test_flip_pairs_must_be_classes():
    with pytest.raises(ValueError, match=r"flip_pairs: \[\(1, 2\)\]: class indices must be 0 to 1"):
        DataConfig(format="list", classes=["a", "b"], flip_pairs=[(0, 1), (1, 2)])
