from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ocrnet.config import DataConfig
from ocrnet.data.datasets import palette
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError
from ocrnet.formats import layout


def write_pair(root: Path, name: str, label: np.ndarray, size: tuple[int, int] | None = None) -> str:
    """Writes an image and its label; returns their line in a list."""
    height, width = size or label.shape[:2]
    cv2.imwrite(str(root / f"{name}.jpg"), np.full((height, width, 3), (10, 20, 200), np.uint8))
    Image.fromarray(label).save(root / f"{name}.png")
    return f"{name}.jpg {name}.png\n"


def list_config(root: Path, **settings) -> DataConfig:
    return DataConfig(**{"format": "list", "root": root, "train": "train.lst", "classes": ["a", "b", "c"], **settings})


def test_images_are_rgb_and_labels_are_class_indices(tmp_path):
    label = np.array([[0, 1, 2, 7]], np.uint8).repeat(8, 0)
    (tmp_path / "train.lst").write_text("# a comment\n" + write_pair(tmp_path, "x", label))
    dataset = open_dataset(list_config(tmp_path, ignore_index=7), "train")
    image, found = dataset.read(0)
    assert np.abs(image[0, 0].astype(int) - (200, 20, 10)).max() <= 4  # JPEG
    assert found[0].tolist() == [0, 1, 2, 255]
    assert dataset.name(0) == "x" and len(dataset) == 1


def test_label_map_is_applied_to_the_indices_of_palette_images(tmp_path):
    label = np.array([[10, 20, 30]], np.uint8)
    (tmp_path / "train.lst").write_text(write_pair(tmp_path, "x", label))
    image = Image.fromarray(label)
    image.putpalette(list(range(256)) * 3)
    image.save(tmp_path / "x.png")
    config = list_config(tmp_path, label_map={10: 2, 20: 0, 30: 255})
    assert open_dataset(config, "train").read(0)[1].tolist() == [[2, 0, 255]]


def test_cityscapes_ids_are_mapped_to_the_19_classes(demo):
    dataset = open_dataset(DataConfig(root=demo), "val")
    assert len(dataset) == 5
    label_path = dataset.pairs[0][1]
    raw, label = np.asarray(Image.open(label_path)), dataset.read(0)[1]
    assert set(label[raw == 7]) == {0} and set(label[raw == 23]) == {10}  # road, sky
    assert set(label[np.isin(raw, [0, 1, 2, 3, 4, 5, 6, 9, 10])]) <= {255}


@pytest.mark.parametrize(
    ("label", "size", "message"),
    [
        (np.full((4, 4), 3, np.uint8), None, "label value 3 is not one of the 3 classes and not ignore_index 255"),
        (np.zeros((4, 4), np.uint8), (4, 5), "the label is 4 x 4 pixels (width x height), its image"),
        (np.zeros((4, 4, 3), np.uint8), None, "a label is a single-channel image of class indices"),
        (np.full((4, 4), 300, np.uint16), None, "label values are 300 to 300"),
    ],
)
def test_an_invalid_label_is_an_error_with_its_file_name(tmp_path, label, size, message):
    (tmp_path / "train.lst").write_text(write_pair(tmp_path, "x", label, size))
    with pytest.raises(UserError) as error:
        open_dataset(list_config(tmp_path), "train").read(0)
    assert str(error.value).startswith(f"{tmp_path / 'x.png'}: ") and message in str(error.value)


@pytest.mark.parametrize("damaged", ["x.jpg", "x.png"])
def test_a_truncated_file_is_an_error_with_its_file_name(tmp_path, damaged):
    label = np.random.default_rng(0).integers(0, 3, (64, 64)).astype(np.uint8)
    (tmp_path / "train.lst").write_text(write_pair(tmp_path, "x", label))
    content = (tmp_path / damaged).read_bytes()
    (tmp_path / damaged).write_bytes(content[:100])
    with pytest.raises(UserError, match=damaged):
        open_dataset(list_config(tmp_path), "train").read(0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "is empty"),
        ("only_an_image.jpg\n", "train.lst:1: expected `image label`"),
        ("../x.jpg x.png\n", "is outside the data root"),
        ("/x.jpg x.png\n", "is outside the data root"),
        ("x.jpg nowhere.png\n", "nowhere.png: label file of image"),
        ("nowhere.jpg x.png\n", "nowhere.jpg: image file not found"),
        (None, "train.lst: cannot read this list"),
    ],
)
def test_an_invalid_list_is_an_error(tmp_path, lines, message):
    write_pair(tmp_path, "x", np.zeros((4, 4), np.uint8))
    if lines is not None:
        (tmp_path / "train.lst").write_text(lines)
    with pytest.raises(UserError) as error:
        open_dataset(list_config(tmp_path), "train")
    assert message in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_endings_of_lists(tmp_path, encoding, end):
    write_pair(tmp_path, "图", np.zeros((4, 4), np.uint8))
    content = f"图.jpg\t图.png \t {end}{end}  图.jpg   图.png  # again{end}"
    (tmp_path / "train.lst").write_bytes(content.encode(encoding))
    dataset = open_dataset(list_config(tmp_path), "train")
    assert dataset.pairs == [(tmp_path / "图.jpg", tmp_path / "图.png")] * 2
    (tmp_path / "val.txt").write_bytes(f"one{end}two {end}".encode(encoding))
    assert layout.read_names(tmp_path / "val.txt") == ["one", "two"]


def test_evenly_spaced_pairs_are_always_the_same(demo):
    whole = open_dataset(DataConfig(root=demo), "train")
    assert len(whole) == 12
    assert whole.evenly_spaced(5).pairs == [whole.pairs[index] for index in (0, 2, 4, 7, 9)]
    assert whole.evenly_spaced(12) is whole.evenly_spaced(99) is whole


def test_generated_colours_are_reproducible():
    config = DataConfig(format="list", classes=["a", "b"])
    assert palette(config).tolist() == [[12, 193, 117], [146, 235, 95]]  # the names' MD5 sums


def test_a_fold_is_left_out_of_the_training_split(demo):
    whole = open_dataset(DataConfig(root=demo), "train")
    part = open_dataset(DataConfig(root=demo, held_out_fold=(1, 5)), "train")
    kept = [0, 2, 3, 4, 5, 7, 8, 9, 10]  # without 1, 6 and 11 of 12
    assert part.pairs == [whole.pairs[number] for number in kept]
    assert part.names == [whole.names[number] for number in kept]
    np.testing.assert_array_equal(part.read(1)[1], whole.read(2)[1])
    validation = [open_dataset(DataConfig(root=demo, held_out_fold=fold), "val").pairs for fold in (None, (1, 5))]
    assert validation[0] == validation[1]


@pytest.mark.parametrize("fold", [(5, 5), (0, 1), (-1, 5)])
def test_a_fold_is_one_of_several(fold):
    with pytest.raises(ValueError, match="held_out_fold"):
        DataConfig(held_out_fold=fold)
