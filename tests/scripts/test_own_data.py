"""From annotation files to a config, with the scripts from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ocrnet.config.loading import load_config
from ocrnet.data.splits import open_dataset

CLASSES = "background: {color: [0, 0, 0]}\nroad sign: {color: [200, 0, 0]}\nwire: {color: [255, 80, 0], width: 2}\n"


def labelme(folder: Path, name: str, *shapes: dict, size=(40, 64)) -> None:
    tree = {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": size[0], "imageWidth": size[1]}
    (folder / f"{name}.json").write_text(json.dumps(tree))


def box(label: str, left: int, top: int, right: int, bottom: int) -> dict:
    return {"label": label, "points": [[left, top], [right, bottom]], "shape_type": "rectangle"}


@pytest.fixture
def mine(tmp_path) -> Path:
    """Twelve images of four videos with LabelMe files and a file of class names."""
    root = tmp_path / "mine #2"
    for folder in ("images/day", "annotations/day"):
        (root / folder).mkdir(parents=True)
    (root / "classes.yml").write_text(CLASSES)
    for number in range(12):
        name = f"video{number % 4}_{number:02d}"
        Image.new("RGB", (64, 40), (number, 0, 0)).save(root / "images/day" / f"{name}.png")
        line = {"label": "wire", "points": [[0, 5], [63, 5]], "shape_type": "line"}
        labelme(root / "annotations/day", name, box("road sign", 10, 10, 19, 29), line)
    return root


@pytest.fixture
def masks(run_script, mine):
    def run(*flags, **replaced):
        flag = {"--input": mine / "annotations", "--output": mine / "masks", "--classes": mine / "classes.yml"}
        flag |= {f"--{key}": value for key, value in replaced.items()}
        return run_script("scripts/polygons_to_masks.py", *(word for pair in flag.items() for word in pair), *flags)

    return run


def test_label_images_have_a_palette(masks, mine):
    done = masks()
    assert done.returncode == 0 and "12 label images in" in done.stdout, done.stderr
    assert "12/12" in done.stderr  # the progress bar
    with Image.open(mine / "masks/day/video0_00.png") as image:
        assert image.mode == "P" and image.getpalette()[3:9] == [200, 0, 0, 255, 80, 0]
        counts = np.bincount(np.asarray(image).ravel(), minlength=3)
    assert counts.tolist() == [40 * 64 - 200 - 128, 200, 128]
    assert len(list((mine / "masks").rglob("*"))) == 13  # no temporary files


def test_without_a_background_class_pixels_without_an_object_are_ignored(masks, mine):
    (mine / "classes.yml").write_text("road sign\nwire\n")
    assert masks().returncode == 0
    counts = np.bincount(np.asarray(Image.open(mine / "masks/day/video0_00.png")).ravel(), minlength=256)
    assert counts[[0, 1, 255]].tolist() == [200, 64, 40 * 64 - 264]


def test_unknown_labels_are_errors_with_a_suggestion_and_can_be_mapped(masks, mine):
    labelme(mine / "annotations/day", "video0_00", box("rode sign", 0, 0, 9, 9), box("cat", 0, 0, 3, 3))
    done = masks()
    assert done.returncode == 2 and "11 label images" in done.stdout
    expected = "label 'rode sign' (1 files) is not a class. Did you mean road sign? Map it with --map 'rode sign=NEW'"
    assert expected in done.stderr
    assert "label 'cat' (1 files) is not a class. Known: background, road sign, wire." in done.stderr
    assert not (mine / "masks/day/video0_00.png").exists()
    done = masks("--map", "rode sign=road sign", "--map", "cat=")
    assert done.returncode == 0, done.stderr
    assert (np.asarray(Image.open(mine / "masks/day/video0_00.png")) == 1).sum() == 100
    assert "a class NEW of" in masks("--map", "cat=dog").stderr


def test_drawing_order(masks, mine):
    sizes = box("wire", 0, 0, 9, 9), box("road sign", 0, 0, 19, 19)
    for order, first in (("file", 1), ("area", 2), ("class", 2)):
        labelme(mine / "annotations/day", "video0_00", *sizes)
        assert masks("--order", order).returncode == 0
        assert np.asarray(Image.open(mine / "masks/day/video0_00.png"))[0, 0] == first, order


def test_damaged_files_do_not_stop_the_others(masks, mine):
    (mine / "annotations/day/video0_00.json").write_text('{"shapes": [')
    done = masks()
    assert done.returncode == 2 and "11 label images" in done.stdout
    assert "video0_00.json: not a readable JSON file" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_fifty_demo_polygon_files_equal_cityscapesscripts(run_script, tmp_path):
    theirs = pytest.importorskip("cityscapesscripts.preparation.json2labelImg")
    run_script(
        "scripts/make_demo_data.py", "--output", tmp_path, "--train", 40, "--val", 10, "--width", 128, "--height", 64
    )
    files = sorted(tmp_path.glob("gtFine/*/*/*_polygons.json"))
    assert len(files) == 50
    for table, encoding in (("labelIds", "ids"), ("labelTrainIds", "trainIds")):
        flags = ["--input", tmp_path / "gtFine", "--output", tmp_path / table, "--classes", table]
        assert run_script("scripts/polygons_to_masks.py", *flags).returncode == 0
        for file in files:
            name = file.name.replace("polygons.json", f"{table}.png")
            theirs.json2labelImg(str(file), str(tmp_path / "theirs.png"), encoding)
            ours = Image.open(tmp_path / table / file.parent.relative_to(tmp_path / "gtFine") / name)
            assert ours.mode == "L" and (np.asarray(ours) == np.asarray(Image.open(tmp_path / "theirs.png"))).all()


@pytest.fixture
def lists(run_script, mine):
    def run(*flags):
        base = ["--root", mine, "--classes", mine / "classes.yml", "--images", "images/**/*.png"]
        return run_script("scripts/make_lists.py", *base, "--labels", "masks/**/*.png", *flags)

    return run


def test_lists_keep_groups_together_and_the_config_is_complete(masks, lists, mine):
    assert masks().returncode == 0
    config_file = mine / "mine.yml"
    done = lists("--group", "(video.)", "--split", "50,25,25", "--config", config_file)
    assert done.returncode == 0 and "12 pairs" in done.stdout and "6 train, 3 val, 3 test" in done.stdout, done.stderr
    config = load_config(config_file)
    assert config.data.classes == ["background", "road sign", "wire"] and config.data.palette[2] == (255, 80, 0)
    assert config.data.crop_size == (32, 64)
    shares = np.array([40 * 64 - 328, 200, 128]) / 2560
    weights = 1 / np.log(1.02 + shares)
    np.testing.assert_allclose(config.loss.class_weights, weights / weights.mean(), atol=0.006)
    videos = []
    for name, size in (("train", 6), ("val", 3), ("test", 3)):
        dataset = open_dataset(config.data, name)
        assert len(dataset) == size
        videos.append({image.stem[:6] for image, _ in dataset.pairs})
        if name != "test":
            assert (dataset.read(0)[1] == 2).sum() == 128
    assert config.data.root == mine
    assert sum(map(len, videos)) == 4 and not videos[0] & videos[1]
    assert "<-" not in config_file.read_text().split("ignore_index")[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--labels", "masks/*.jpg"], "must have as many * as --images"),
        (["--labels", "none/**/*.png"], "the label of images/day/video0_00.png would be none/day/video0_00.png"),
        (["--group", "(film.)"], "images/day/video0_00.png does not match"),
        (["--group", "("], "not a regular expression"),
        (["--group", "(vid)"], "1 groups are too few, no images for val"),
        (["--split", "1,2,3,4"], "write shares of train, val and test"),
    ],
)  # fmt: skip
def test_errors_in_pairing_and_splitting(masks, lists, mine, flags, message):
    (mine / "masks/day").mkdir(parents=True)
    for image in (mine / "images/day").iterdir():
        Image.new("L", (64, 40)).save(mine / "masks/day" / image.name)
    done = lists(*flags)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_lists_of_colour_masks(masks, lists, mine):
    assert masks().returncode == 0
    for file in (mine / "masks").rglob("*.png"):
        Image.open(file).convert("RGB").save(file)
    assert "label_encoding: color" in lists("--config", mine / "mine.yml").stderr
    done = lists("--config", mine / "mine.yml", "--label_encoding", "color")
    assert done.returncode == 0, done.stderr
    config = load_config(mine / "mine.yml")
    assert config.data.label_encoding == "color" and len(config.loss.class_weights) == 3
    label = open_dataset(config.data, "train").read(0)[1]
    assert np.bincount(label.ravel(), minlength=3).tolist() == [40 * 64 - 200 - 128, 200, 128]
