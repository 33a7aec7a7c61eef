"""Masks to polygons and back, with the scripts from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("shapely")

CLASSES = "background\nroad\ncar\n"


def masks(folder: Path, number: int = 3) -> dict[str, np.ndarray]:
    """Writes masks with values 0 to 2: a ring, what is in it, and a background."""
    found = {}
    for index in range(number):
        mask = np.zeros((40, 64), np.uint8)
        mask[4:30, 4 + index : 40] = 1
        mask[10:20, 10:20] = 2
        mask[22:24, 12:14] = 0  # a hole without an object
        mask[35, 2::3] = 2
        found[f"day/{index}"] = mask
        (folder / "day").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / "day" / f"{index}.png")
    return found


@pytest.fixture
def convert(run_script, tmp_path):
    (tmp_path / "classes.txt").write_text(CLASSES)

    def convert(kind: str, *flags: object, classes=("--classes", tmp_path / "classes.txt")):
        flags = ("--input", tmp_path / "in", "--output", tmp_path / kind, "--format", kind, *classes, *flags)
        return run_script("scripts/masks_to_polygons.py", *flags)

    return convert


@pytest.fixture
def back(run_script, tmp_path):
    """Returns a function that makes masks of the polygons of a format: {name: array}."""

    def back(kind: str, *flags: object) -> dict[str, np.ndarray]:
        folder = tmp_path / "back"
        flags = ("--input", tmp_path / kind, "--output", folder, "--classes", tmp_path / "classes.txt", *flags)
        done = run_script("scripts/polygons_to_masks.py", *flags)
        assert done.returncode == 0, done.stderr
        files = sorted(folder.rglob("*.png"))
        return {f.relative_to(folder).with_suffix("").as_posix(): np.asarray(Image.open(f)) for f in files}

    return back


def test_every_pixel_comes_back_with_tolerance_0(tmp_path, convert, back):
    expected = masks(tmp_path / "in")
    done = convert("cvat", "--tolerance", 0)
    assert done.returncode == 0 and "3 of 3 masks written as polygons" in done.stdout, done.stderr
    found = back("cvat")
    assert found.keys() == expected.keys()
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask)


def test_predictions_for_labelme_with_the_classes_of_a_config(tmp_path, convert, back):
    expected = masks(tmp_path / "in/raw")
    (tmp_path / "in/mask").mkdir()
    Image.new("RGB", (64, 40)).save(tmp_path / "in/mask/0.png")  # colours of predict.py: not read
    (tmp_path / "images/day").mkdir(parents=True)
    for index in range(3):
        Image.new("RGB", (64, 40)).save(tmp_path / f"images/day/{index}.jpg")
    (tmp_path / "my.yml").write_text("data: {format: list, root: ., classes: [background, road, car]}\n")
    flags = ["--images", tmp_path / "images", "--tolerance", 0, "--smallest", 2]
    done = convert("labelme", *flags, classes=("--config", tmp_path / "my.yml"))
    assert done.returncode == 0, done.stderr
    tree = json.loads((tmp_path / "labelme/day/1.json").read_text())
    assert tree["imagePath"] == "../../images/day/1.jpg" and tree["imageData"] is None
    assert {shape["label"] for shape in tree["shapes"]} == {"road", "car"}
    for name, mask in back("labelme", "--pixels", "centre").items():
        assert (mask[35] == 2).sum() == 21  # next to background only: nothing to merge with
        np.testing.assert_array_equal(mask, expected[name])


def test_a_mask_that_cannot_be_used_is_named_and_the_others_are_written(tmp_path, convert):
    masks(tmp_path / "in", 4)
    Image.new("L", (64, 40), 7).save(tmp_path / "in/day/1.png")
    Image.new("RGB", (64, 40)).save(tmp_path / "in/day/2.png")
    marked = np.zeros((40, 64), np.uint8)
    marked[:9] = 255
    Image.fromarray(marked).save(tmp_path / "in/day/3.png")
    done = convert("coco")
    assert done.returncode == 2 and "2 of 4 masks written as polygons" in done.stdout
    assert "1.png: value 7 is no class; there are 1, 2" in done.stderr and "Traceback" not in done.stderr
    assert "2.png: a label is a single-channel image" in done.stderr
    assert "1 masks have ignored pixels (255)" in done.stdout
    tree = json.loads((tmp_path / "coco/instances.json").read_text())
    assert [image["file_name"] for image in tree["images"]] == ["day/0.png", "day/3.png"]
    assert [category["name"] for category in tree["categories"]] == ["road", "car"]
    assert {item["image_id"] for item in tree["annotations"]} == {1}
    road = next(item for item in tree["annotations"] if item["category_id"] == 1)
    assert road["bbox"] == [4, 4, 36, 26] and 0 < road["area"] <= 26 * 36 - 100 - 4


def test_wrong_flags_and_images_of_another_size(tmp_path, convert):
    masks(tmp_path / "in", 2)
    assert "--tolerance -1.0" in convert("cvat", "--tolerance", "-1").stderr
    (tmp_path / "images/day").mkdir(parents=True)
    Image.new("RGB", (64, 41)).save(tmp_path / "images/day/0.jpg")
    done = convert("datumaro", "--images", tmp_path / "images")
    assert done.returncode == 2
    assert "0.png: 64 x 40 pixels, but" in done.stderr and "1.png: --images has no day/1.jpg" in done.stderr
    done = convert("datumaro", classes=("--classes", "labelIds"))
    assert done.returncode == 2 and "no masks (*_labelIds.png|.bmp|.tif|.tiff) found" in done.stderr
