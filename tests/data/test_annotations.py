"""Reading annotation files of every format and drawing label images from them."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ocrnet.data.annotations.reading import read_annotations
from ocrnet.data.annotations.shapes import Annotation, Shape
from ocrnet.data.masks import CITYSCAPES_TABLES, draw_mask, read_classes
from ocrnet.errors import UserError

SQUARE = [[2, 2], [7, 2], [7, 6], [2, 6]]  # with its outline 6 x 5 pixels


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "classes.yml"
    path.write_text("background:\ncar: {color: [9, 8, 7]}\nwire: {color: [255, 80, 0], width: 2}\n")
    return read_classes(str(path))


@pytest.fixture
def read(tmp_path, table):
    """Returns a function that draws the only image of a JSON tree, as an array."""

    def read(tree, name="a") -> np.ndarray:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(tree))
        (annotation,) = read_annotations(path, name, tmp_path)
        return np.asarray(draw_mask(annotation, table)[0])

    return read


def expected(*boxes: tuple[int, int, int, int, int], size=(10, 12)) -> np.ndarray:
    """Returns zeros with filled boxes (value, left, top, right, bottom); right and bottom are inclusive."""
    label = np.zeros(size, np.uint8)
    for value, left, top, right, bottom in boxes:
        label[top : bottom + 1, left : right + 1] = value
    return label


def labelme(*shapes: dict) -> dict:
    return {"shapes": list(shapes), "imagePath": "a.png", "imageHeight": 10, "imageWidth": 12}


def coco(**annotation) -> dict:
    return {
        "images": [{"id": 5, "file_name": "city/a.png", "width": 12, "height": 10}],
        "categories": [{"id": 17, "name": "car"}, {"id": 18, "name": "wire"}],
        "annotations": [{"image_id": 5, "category_id": 17, **annotation}],
    }


def via(*regions: dict) -> dict:
    return {"a.png123": {"filename": "a.png", "size": 123, "regions": list(regions)}}


def region(**shape) -> dict:
    return {"shape_attributes": shape, "region_attributes": {"label": "car"}}


def datumaro(*annotations: dict) -> dict:
    labels = [{"name": "car"}, {"name": "wire"}]
    image = {"path": "a.png", "size": [10, 12]}
    return {
        "categories": {"label": {"labels": labels}},
        "items": [{"id": "a", "annotations": list(annotations), "image": image}],
    }


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's run-length encoding: alternating counts of background and foreground pixels, column by column."""
    counts, inside = [0], False
    for pixel in mask.T.ravel():
        if pixel != inside:
            counts.append(0)
            inside = not inside
        counts[-1] += 1
    return counts


def test_polygons_of_each_format(read, tmp_path):
    Image.new("L", (12, 10)).save(tmp_path / "a.png")
    box, flat = expected((1, 2, 2, 7, 6)), [value for point in SQUARE for value in point]
    assert (read({"imgWidth": 12, "imgHeight": 10, "objects": [{"label": "car", "polygon": SQUARE}]}) == box).all()
    assert (read(labelme({"label": "car", "points": SQUARE, "shape_type": "polygon"})) == box).all()
    assert (read(coco(segmentation=[flat])) == box).all()
    assert (read(datumaro({"type": "polygon", "label_id": 0, "points": flat})) == box).all()
    x, y = zip(*SQUARE, strict=True)
    outline = region(name="polygon", all_points_x=x, all_points_y=y)
    assert (read(via(outline)) == box).all()
    assert (read({"_via_img_metadata": via(outline), "_via_settings": {}}) == box).all()


def test_boxes_circles_and_masks(read, tmp_path):
    Image.new("L", (12, 10)).save(tmp_path / "a.png")
    box = expected((1, 2, 2, 7, 6))
    assert (read(labelme({"label": "car", "points": [[2, 2], [7, 6]], "shape_type": "rectangle"})) == box).all()
    assert (read(via(region(name="rect", x=2, y=2, width=5, height=4))) == box).all()
    assert (read(datumaro({"type": "bbox", "label_id": 0, "bbox": [2, 2, 5, 4]})) == box).all()
    Image.new("L", (60, 50)).save(tmp_path / "a.png")
    for width, tree in (
        (40, labelme({"label": "car", "points": [[30, 25], [30, 5]], "shape_type": "circle"})),
        (40, via(region(name="circle", cx=30, cy=25, r=20))),
        (50, via(region(name="ellipse", cx=30, cy=25, rx=25, ry=16))),
        (50, via(region(name="ellipse", cx=30, cy=25, rx=16, ry=25, theta=np.pi / 2))),
    ):
        rows, columns = read({**tree, "imageHeight": 50, "imageWidth": 60} if "shapes" in tree else tree).nonzero()
        assert len(rows) == pytest.approx(400 * np.pi, rel=0.04)
        assert rows.mean() == pytest.approx(24.5, abs=0.3) and columns.mean() == pytest.approx(29.5, abs=0.3)
        assert np.ptp(columns) + 1 == pytest.approx(width, abs=1)
    mask = np.array([[1, 0, 1], [1, 1, 0]], bool)
    packed = io.BytesIO()
    Image.fromarray(mask).save(packed, format="PNG")
    text = base64.b64encode(packed.getvalue()).decode()
    drawn = read(labelme({"label": "car", "points": [[4, 3], [6, 4]], "shape_type": "mask", "mask": text}))
    assert (drawn[3:5, 4:7] == mask).all() and drawn.sum() == mask.sum()


def test_coco_run_lengths_with_holes(read):
    mask = expected((1, 2, 2, 9, 8), (0, 4, 4, 5, 5)).astype(bool)
    counts = run_lengths(mask)
    assert (read(coco(segmentation={"counts": counts, "size": [10, 12]}, iscrowd=1)) == mask).all()
    digits = ""
    for index, count in enumerate(counts):  # COCO's string: differences from the fourth on, 5 bits per character
        value = count - counts[index - 2] if index > 2 else count
        while True:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            digits += chr(48 + digit + (32 if more else 0))
            if not more:
                break
    assert (read(coco(segmentation={"counts": digits, "size": [10, 12]})) == mask).all()
    assert (read(datumaro({"type": "mask", "label_id": 0, "rle": {"counts": digits, "size": [10, 12]}})) == mask).all()


def test_coco_panoptic_segments(read, tmp_path):
    numbers = (
        expected((3, 0, 0, 5, 9), (70000, 6, 0, 11, 4)).astype(np.int32) if False else np.zeros((10, 12), np.int32)
    )
    numbers[:, :6], numbers[:5, 6:] = 3, 70000
    coded = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype(np.uint8)
    (tmp_path / "panoptic").mkdir()
    Image.fromarray(coded).save(tmp_path / "panoptic" / "a.png")
    segments = [{"id": 3, "category_id": 17}, {"id": 70000, "category_id": 18}]
    tree = coco()
    tree["annotations"] = [{"image_id": 5, "file_name": "a.png", "segments_info": segments}]
    assert (read(tree, "panoptic") == expected((1, 0, 0, 5, 9), (2, 6, 0, 11, 4))).all()


def test_drawing_order_is_by_area_for_coco_and_by_z_order_for_cvat(read):
    large, small = [0, 0, 11, 0, 11, 9, 0, 9], [2, 2, 7, 2, 7, 6, 2, 6]
    both = expected((1, 0, 0, 11, 9), (2, 2, 2, 7, 6))
    tree = coco()
    tree["annotations"] = [
        {"image_id": 5, "category_id": 18, "segmentation": [small], "area": 20},
        {"image_id": 5, "category_id": 17, "segmentation": [large], "area": 99},
    ]
    assert (read(tree) == both).all()
    over = {"type": "polygon", "label_id": 1, "points": small, "z_order": 1}
    assert (read(datumaro(over, {"type": "polygon", "label_id": 0, "points": large})) == both).all()


def test_holes_and_polygons_outside_the_image(read):
    tree = {"imgWidth": 12, "imgHeight": 10, "objects": [{"label": "car", "polygon": SQUARE}]}
    outer = [[-50, -50], [60, -50], [60, 60], [-50, 60]]
    tree["objects"].append({"label": "wire", "polygon": [outer, [[4, 3], [5, 3], [5, 4], [4, 4]]]})
    assert (read(tree) == expected((2, 0, 0, 11, 9), (1, 4, 3, 5, 4))).all()  # the object below is visible in the hole
    far = [[2, 2], [1e300, 2], [1e300, 6], [2, 6]]
    assert (read(labelme({"label": "car", "points": far})) == expected((1, 2, 2, 11, 6))).all()


def test_line_width_is_that_of_the_class(read, tmp_path):
    Image.new("L", (12, 10)).save(tmp_path / "a.png")
    line = {"label": "wire", "points": [[0, 4], [5, 4], [11, 4]], "shape_type": "linestrip"}
    assert (read(labelme(line)) == 2).sum(0).tolist() == [2] * 12
    thin = {**line, "label": "car"}
    assert (read(labelme(thin)) == 1).sum(0).tolist() == [1] * 12
    across = {"type": "polyline", "label_id": 1, "points": [5, 0, 5, 9]}
    assert (read(datumaro(across)) == 2).sum(1).tolist() == [2] * 10
    tree = via({"shape_attributes": {"name": "polyline", "all_points_x": [0, 11], "all_points_y": [0, 9]},
                "region_attributes": {"kind": "wire"}})  # fmt: skip
    assert 1.5 < (read(tree) == 2).sum(0)[2:-2].mean() < 3.5


def test_points_have_no_area_and_are_counted(table):
    shapes = [Shape("car"), Shape("car", [(3.0, 3.0)]), Shape("car", [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])]
    image, empty = draw_mask(Annotation("a", 4, 4, shapes), table)
    assert empty == 2 and np.asarray(image).sum() == 4


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1, 2], "unknown format; supported: Cityscapes' polygons, LabelMe, COCO, VIA, Datumaro"),
        ({"a": 1}, "unknown format"),
        (labelme({"label": "car", "points": [[0, 0], [float("nan"), 1]]}), "a point of a car in a is not finite"),
        (labelme({"label": "car"}), "key 'points' is missing"),
        ({"imgWidth": 10**6, "imgHeight": 10**6, "objects": []}, "a is 1000000 x 1000000 pixels"),
        ({"imgWidth": "x", "imgHeight": 1, "objects": []}, "not a valid annotation file"),
        (
            {**coco(), "images": [{"id": 5, "file_name": "../../a.png", "width": 2, "height": 2}]},
            "is outside the folder",
        ),
        (coco(segmentation={"counts": [1, 2], "size": [10, 12]}), "a run-length mask has 3 pixels, not 12 x 10"),
    ],
)
def test_damaged_files_are_errors(read, tmp_path, tree, message):
    with pytest.raises((UserError, ValueError)) as error:
        read(tree)
    assert message in str(error.value)


def test_class_names_in_lines_or_yaml(tmp_path):
    path = tmp_path / "classes"
    path.write_text("# my classes\nroad\ntraffic light\n")
    assert read_classes(str(path)).values == {"road": 0, "traffic light": 1}
    assert read_classes(str(path)).background == 255
    path.write_text("[road, background]")
    assert read_classes(str(path)).values == {"road": 0, "background": 1} and read_classes(str(path)).background == 1
    for text, reason in (
        ("[a, a]", "2 names, 1 of them different"),
        ("a: {colour: [1, 2, 3]}", "colour: unknown; a may have color and width"),
        ("a: {color: [1, 2, 300]}", "range"),
        ("a: {color: red}", "integer"),
        ("[", "classes"),
        ("", "classes"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match="cannot read class names") as error:
            read_classes(str(path))
        assert reason in str(error.value)


def test_cityscapes_tables_equal_those_of_cityscapesscripts():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    for label in labels:
        if label.id >= 0:
            assert CITYSCAPES_TABLES["labelIds"].values[label.name] == label.id
            assert CITYSCAPES_TABLES["labelTrainIds"].values[label.name] == label.trainId
        else:
            assert CITYSCAPES_TABLES["labelIds"].values[label.name] is None
    assert CITYSCAPES_TABLES["labelIds"].name("cargroup") == "car"
    assert CITYSCAPES_TABLES["labelIds"].name("polegroup") == "polegroup"


def test_random_polygons_are_drawn_as_by_cityscapesscripts(tmp_path):
    theirs = pytest.importorskip("cityscapesscripts.preparation.json2labelImg")
    rng = np.random.default_rng(0)
    names = [*CITYSCAPES_TABLES["labelIds"].values, "cargroup", "ridergroup"]
    for number in range(20):
        step = 1 if number % 2 else 0.25  # integer and fractional coordinates, inside and outside the image
        objects = [
            {
                "label": str(rng.choice(names)),
                "polygon": (rng.uniform(-60, 180, (rng.integers(2, 12), 2)) // step * step).tolist(),
                "deleted": int(rng.random() < 0.1),
            }
            for _ in range(30)
        ]
        path = tmp_path / "x_polygons.json"
        path.write_text(json.dumps({"imgWidth": 120, "imgHeight": 90, "objects": objects}))
        for table, encoding in (("labelIds", "ids"), ("labelTrainIds", "trainIds")):
            (annotation,) = read_annotations(path, "x_polygons", Path("."))
            theirs.json2labelImg(str(path), str(tmp_path / "theirs.png"), encoding)
            ours = np.asarray(draw_mask(annotation, CITYSCAPES_TABLES[table])[0])
            assert (ours == np.asarray(Image.open(tmp_path / "theirs.png"))).all() and annotation.name == "x"
