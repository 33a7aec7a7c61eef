"""Reading the exports of CVAT, VIA 3, Label Studio, Supervisely and YOLO from small files."""

import base64
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ocrnet.data.annotations.packed_masks import label_studio_mask
from ocrnet.data.annotations.reading import read_annotations
from ocrnet.data.masks import draw_mask, read_classes
from ocrnet.errors import UserError

POINTS = [[2, 2], [7, 2], [7, 6], [2, 6]]
BOX = np.zeros((10, 12), np.uint8)
BOX[2:7, 2:8] = 1  # with its outline
MASK = np.array([[1, 0, 1], [1, 1, 0]], bool)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "names.yml").write_text("background:\ncar: {color: [9, 8, 7]}\nwire: {width: 2}\n")
    return read_classes(str(tmp_path / "names.yml"))


@pytest.fixture
def draw(tmp_path, table):
    """Returns a function that writes a file and draws its images: {name: array}."""
    Image.new("L", (12, 10)).save(tmp_path / "a.png")

    def draw(content: object, file: str = "a.json") -> dict[str, np.ndarray]:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        found = read_annotations(path, str(Path(file).with_suffix("")), tmp_path)
        return {annotation.name: np.asarray(draw_mask(annotation, table)[0]) for annotation in found}

    return draw


def with_mask(left: int, top: int) -> np.ndarray:
    expected = np.zeros((10, 12), np.uint8)
    expected[top : top + 2, left : left + 3] = MASK
    return expected


def cvat(*shapes: str) -> str:
    image = f'<image id="0" name="day/a.png" width="12" height="10">{"".join(shapes)}</image>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta/>{image}</annotations>'


def test_cvat(draw):
    polygon = '<polygon label="car" source="manual" occluded="0" points="2,2;7.00,2;7,6;2,6" z_order="0"/>'
    assert (draw(cvat(polygon), "a.xml")["day/a"] == BOX).all()
    box = '<box label="car" xtl="2" ytl="2" xbr="7" ybr="6"><attribute name="old">no</attribute></box>'
    assert (draw(cvat(box, '<tag label="night"/>'), "a.xml")["day/a"] == BOX).all()
    turned = draw(cvat(box.replace("ytl", 'rotation="90" ytl')), "a.xml")["day/a"]
    rows, columns = turned.nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 6, 2, 6)
    mask = '<mask label="car" rle="0,1,1,3,1" left="4" top="3" width="3" height="2" z_order="0"/>'
    assert (draw(cvat(mask), "a.xml")["day/a"] == with_mask(4, 3)).all()
    line = '<polyline label="wire" points="0,4;11,4"/>'
    assert (draw(cvat(line), "a.xml")["day/a"] == 2).sum(0).tolist() == [2] * 12
    circle = draw(cvat('<ellipse label="car" cx="6" cy="5" rx="4" ry="3"/>'), "a.xml")["day/a"]
    assert 30 < circle.sum() < 60
    over = draw(cvat(polygon.replace('"0"/>', '"2"/>').replace("car", "wire"), polygon), "a.xml")["day/a"]
    assert (over == 2 * BOX).all()  # z_order


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (cvat('<mask label="car" rle="0,1" left="0" top="0" width="3" height="2"/>'), "has 1 pixels, not 3 x 2"),
        (cvat('<polygon label="car" points="1;2"/>'), "not a valid annotation file"),
        (cvat('<polygon points="1,2;3,4"/>'), "key 'label' is missing"),
        ("<annotations><track id='0'/></annotations>", "export it as 'CVAT for images 1.1'"),
        ("<annotation/>", "<annotation> is unknown XML"),
        ("<annotations>", "not a readable XML file"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "has no DOCTYPE"),
    ],
)
def test_damaged_xml(draw, content, reason):
    with pytest.raises((UserError, ValueError)) as error:
        draw(content, "a.xml")
    assert reason in str(error.value)


def via_3(*regions: tuple[list, dict], files=("1",)) -> dict:
    return {
        "project": {"pid": "__VIA_PROJECT_ID__"},
        "config": {},
        "attribute": {
            "1": {"aname": "label", "type": 4, "options": {"7": "car", "8": "wire"}},
            "2": {"aname": "note", "type": 1, "options": {}},
        },
        "file": {"1": {"fid": "1", "fname": "a.png", "type": 2, "loc": 1, "src": ""}},
        "view": {"1": {"fid_list": [*files]}},
        "metadata": {
            f"1_{number}": {"vid": "1", "flg": 0, "z": [], "xy": xy, "av": av}
            for number, (xy, av) in enumerate(regions)
        },
    }


def test_via_3(draw):
    flat = [value for point in POINTS for value in point]
    for xy in ([7, *flat], [2, 2, 2, 5, 4], [8, 2, 2, 5, 4, 0, 0]):
        assert (draw(via_3((xy, {"1": "7"}), ([], {"2": "whole image"})))["a"] == BOX).all()
    assert (draw(via_3(([6, 0, 4, 11, 4], {"1": "8", "2": "thin"})))["a"] == 2).sum(0).tolist() == [2] * 12
    for xy in ([3, 6, 5, 3], [4, 6, 5, 3, 3], [9, 6, 5, 3, 0, 0]):
        assert draw(via_3((xy, {"1": "7"})))["a"].sum() == pytest.approx(9 * np.pi, rel=0.35)
    assert not draw(via_3(([1, 6, 5], {"1": "7"})))["a"].any()
    with pytest.raises(UserError, match="view 1 has 2 images"):
        draw(via_3(files=("1", "1")))
    with pytest.raises(UserError, match="name the attribute of the class 'label'"):
        draw(via_3(([7, *flat], {})))


def bits(*numbers: tuple[int, int]) -> list[int]:
    """Packs (value, number of bits) to bytes."""
    text = "".join(f"{value:0{count}b}" for value, count in numbers)
    return [int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8)]


def brush() -> list[int]:
    """Label Studio's run lengths of MASK: 24 bytes of RGBA with words of 8 bits and lengths of 3, 4, 8 or 16 bits."""
    rgba = np.repeat(MASK.ravel(), 4).astype(int) * 255  # 4 x 255, 4 x 0, 12 x 255, 4 x 0 ...
    head = [(24, 32), (7, 5), (2, 4), (3, 4), (7, 4), (15, 4)]
    runs = [(1, 1), (0, 2), (3, 3), (255, 8), (1, 1), (1, 2), (3, 4), (0, 8)]
    rest = [(0, 1), (2, 2), (15, 8), *((int(value), 8) for value in rgba[8:])]  # single values
    return bits(*head, *runs, *rest)


def label_studio(*results: dict, **changes) -> list[dict]:
    size = {"original_width": 12, "original_height": 10, "image_rotation": 0}
    task = {
        "id": 1,
        "data": {"image": "/data/upload/1/a.png"},
        "annotations": [
            {"was_cancelled": True, "result": [{}]},
            {"was_cancelled": False, "result": [{**size, **result} for result in results]},
        ],
    }
    return [{**task, **changes}]


def test_label_studio(draw):
    percent = [[x / 12 * 100, y / 10 * 100] for x, y in POINTS]
    polygon = {"type": "polygonlabels", "value": {"points": percent, "closed": True, "polygonlabels": ["car"]}}
    assert (draw(label_studio(polygon))["a"] == BOX).all()
    (x, y), (right, _), (_, bottom), _ = percent
    value = {"x": x, "y": y, "width": right - x, "height": bottom - y, "rotation": 0, "rectanglelabels": ["car"]}
    assert (draw(label_studio({"type": "rectanglelabels", "value": value}))["a"] == BOX).all()
    choice = {"type": "choices", "value": {"choices": ["night"]}}
    value = {"x": 50, "y": 50, "radiusX": 25, "radiusY": 30, "rotation": 0, "ellipselabels": ["car"]}
    assert 25 < draw(label_studio(choice, {"type": "ellipselabels", "value": value}))["a"].sum() < 45
    assert (label_studio_mask(brush(), 3, 2) == MASK).all()
    value = {"format": "rle", "rle": brush(), "brushlabels": ["car"]}
    small = {"original_width": 3, "original_height": 2, "type": "brushlabels", "value": value}
    assert (draw(label_studio(small))["a"] == MASK).all()
    local = label_studio(polygon, data={"img": "/data/local-files/?d=mine/b%20c.jpg"})
    assert list(draw(local)) == ["b c"]
    assert draw(label_studio(polygon, annotations=[])) == {}  # nobody has annotated it
    with pytest.raises(UserError, match="was turned in Label Studio"):
        draw(label_studio({**polygon, "image_rotation": 90}))
    with pytest.raises(UserError, match="not as JSON-MIN"):
        draw([{"data": {}, "label": []}])
    with pytest.raises(ValueError, match="a brush mask has 6 pixels, not 4 x 2"):
        label_studio_mask(brush(), 4, 2)
    with pytest.raises(ValueError, match="truncated"):
        label_studio_mask(brush()[:-4], 3, 2)


def supervisely(**item) -> dict:
    return {
        "description": "",
        "tags": [],
        "size": {"height": 10, "width": 12},
        "objects": [{"classTitle": "car", "tags": [], **item}],
    }


def test_supervisely(draw):
    points = {"exterior": POINTS, "interior": [[[4, 4], [5, 4], [5, 5], [4, 5]]]}
    drawn = draw(supervisely(geometryType="polygon", points=points), "ann/a.png.json")["ann/a"]
    expected = BOX.copy()
    expected[4:6, 4:6] = 0
    assert (drawn == expected).all()
    corners = {"exterior": [POINTS[0], POINTS[2]], "interior": []}
    assert (draw(supervisely(geometryType="rectangle", points=corners))["a"] == BOX).all()
    palette, alpha = Image.fromarray(MASK.astype(np.uint8), "P"), Image.fromarray(np.uint8(MASK) * 255).convert("RGBA")
    palette.putpalette([0, 0, 0, 255, 255, 255])
    alpha.putalpha(Image.fromarray(np.uint8(MASK) * 255))
    for image, options in ((palette, {"transparency": 0}), (alpha, {})):
        packed = io.BytesIO()
        image.save(packed, "PNG", **options)
        data = base64.b64encode(zlib.compress(packed.getvalue())).decode()
        drawn = draw(supervisely(geometryType="bitmap", bitmap={"data": data, "origin": [4, 3]}))["a"]
        assert (drawn == with_mask(4, 3)).all()
    assert not draw(supervisely(geometryType="point", points=points))["a"].any()


def test_yolo(draw, tmp_path):
    (tmp_path / "data.yaml").write_text("path: .\nnames:\n  0: wire\n  1: car\n")
    text = "1 " + " ".join(f"{x / 12:.8f} {y / 10:.8f}" for x, y in np.add(POINTS, 0.01)) + "\n\n"
    (tmp_path / "images/train").mkdir(parents=True)
    Image.new("L", (12, 10)).save(tmp_path / "images/train/b.jpg")
    assert (draw(text, "labels/train/b.txt")["labels/train/b"] == BOX).all()  # the image is in images/train
    assert (draw(text, "a.txt")["a"] == BOX).all()
    assert (draw("1 0.38 0.41 0.416667 0.4", "a.txt")["a"] == BOX).all()  # a box: centre and size
    assert not draw("", "a.txt")["a"].any()
    (tmp_path / "data.yaml").write_text("names: [wire, car]\n")
    assert (draw(text, "a.txt")["a"] == BOX).all()
    for content, reason in (
        ("7 0 0 1 1", "line 1: class 7 is not in the file of class names"),
        ("0 1 2 3", "line 1 has 3 numbers"),
        ("0 a b c d", "could not convert string to float"),
    ):
        with pytest.raises(UserError) as error:
            draw(content, "a.txt")
        assert reason in str(error.value)
    with pytest.raises(UserError, match=r"no\.jpg: image file not found \(the size of this image is needed"):
        draw(text, "no.txt")
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(UserError, match=r"put data\.yaml or classes\.txt above"):
        draw(text, "a.txt")
    (tmp_path / "classes.txt").write_text("wire\ncar\n")
    assert (draw(text, "a.txt")["a"] == BOX).all()
