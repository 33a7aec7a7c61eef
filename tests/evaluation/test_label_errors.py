"""Quality of labels and suspicious regions, from probabilities given as arrays; their page and tables."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from ocrnet.config import Config
from ocrnet.evaluation.label_errors import MOST_REGIONS, find_regions, label_quality, uncertainty
from ocrnet.evaluation.label_report import LabelPage, RankedImage, rank, write_tables

CLASSES = ["ro<ad", "car", "tree"]


def probabilities_of(classes: np.ndarray, confidence: float) -> np.ndarray:
    """Returns (3, H, W): `confidence` for the given classes, the rest equally for the others."""
    values = np.full((3, *classes.shape), (1 - confidence) / 2, np.float32)
    np.put_along_axis(values, classes[None].astype(np.intp), np.float32(confidence), axis=0)
    return values


def test_the_quality_is_the_softmin_of_the_paper():
    """The two numbers are those of cleanlab 2.9, segmentation.rank.get_label_quality_scores."""
    rng = np.random.default_rng(0)
    probabilities = rng.random((2, 3, 4, 5)) ** 3
    probabilities = (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
    labels = rng.integers(0, 3, (2, 4, 5))
    found = [label_quality(p, label.astype(np.uint8)) for p, label in zip(probabilities, labels, strict=True)]
    np.testing.assert_allclose(found, [0.025335442657370696, 0.029969267396326257], rtol=1e-6)

    s = np.take_along_axis(probabilities[0], labels[:1], axis=0)[0].astype(np.float64)
    weights = np.exp((1 - s) / 0.1) / np.exp((1 - s) / 0.1).sum()
    assert found[0] == pytest.approx((weights * s).sum(), rel=1e-6)


def test_ignored_pixels_do_not_count():
    label = np.zeros((6, 8), np.uint8)
    probabilities = probabilities_of(label, 0.9)
    label[2:, 3:] = 2
    before = label_quality(probabilities, label)
    assert before < 0.06 and len(find_regions(probabilities, label)) == 1
    label[2:, 3:] = 255
    assert label_quality(probabilities, label) == pytest.approx(0.9)
    assert find_regions(probabilities, label) == []
    assert np.isnan(label_quality(probabilities, np.full((6, 8), 255, np.uint8)))


def test_a_region_has_the_numbers_of_a_computation_by_hand():
    label = np.zeros((20, 30), np.uint8)
    truth = label.copy()
    truth[5:11, 8:18] = 1
    truth[7:9, 12:14] = 0  # a hole
    (region,) = find_regions(probabilities_of(truth, 0.8), label)
    assert (region.label, region.prediction, region.area, region.box) == (0, 1, 56, (8, 5, 10, 6))
    assert region.confidence == pytest.approx(0.8)
    assert region.score == pytest.approx(0.7**3 * 3)  # 0.8 - 0.1; squares of 3 x 3 fit left and right of the hole
    drawn = np.zeros_like(label)
    cv2.drawContours(drawn, [ring[:, None] for ring in region.outline], -1, 1)
    assert len(region.outline) == 2 and drawn[5, 8:18].all() and drawn[5:11, 8].all() and not drawn[7:9, 12:14].any()


def test_a_band_along_an_outline_is_less_suspicious_than_an_object():
    label = np.zeros((100, 200), np.uint8)
    label[50:] = 2
    truth = label.copy()
    truth[50:54] = 0  # 800 pixels, 4 thick, over the whole width
    truth[10:30, 20:40] = 1  # 400 pixels
    truth[70, 10:190] = truth[70:90, 100] = 1  # one pixel thin
    regions = find_regions(probabilities_of(truth, 0.9), label)
    assert [(region.label, region.prediction, region.area) for region in regions] == [(0, 1, 400), (2, 0, 800)]
    assert regions[0].score > 3 * regions[1].score


def test_an_image_has_its_worst_regions_only():
    label, truth = (np.zeros((40, 200), np.uint8) for _ in range(2))
    for number in range(MOST_REGIONS + 3):
        truth[: 3 + number, 12 * number : 12 * number + 3 + 2 * (number // 2)] = 1
    scores = [region.score for region in find_regions(probabilities_of(truth, 0.9), label)]
    assert len(scores) == MOST_REGIONS and scores == sorted(scores, reverse=True)


def test_planted_errors_come_first():
    """30 labels with noise along their outlines; in 4 of them an object is missing or has another class."""
    rng, wrong = np.random.default_rng(1), {3: 0, 11: 2, 17: 0, 28: 2}
    qualities, worst = [], []
    for number in range(30):
        truth = np.zeros((64, 128), np.uint8)
        top, left = (int(value) for value in rng.integers(8, 30, 2))
        truth[top : top + 20, left : left + 40] = 1
        label = np.roll(truth, rng.integers(-1, 2, 2), axis=(0, 1))  # by one pixel
        label[label == 1] = wrong.get(number, 1)
        smooth = np.stack([cv2.GaussianBlur((truth == index).astype(np.float32), (0, 0), 2) for index in range(3)])
        probabilities = 0.97 * smooth + 0.01
        qualities.append(label_quality(probabilities, label))
        worst.append(find_regions(probabilities, label))
    assert set(np.argsort(qualities)[:4]) == set(wrong)
    for number, value in wrong.items():
        assert (worst[number][0].label, worst[number][0].prediction) == (value, 1)
    others = [regions[0].score for number, regions in enumerate(worst) if number not in wrong and regions]
    assert min(worst[number][0].score for number in wrong) > 5 * max(others, default=0)


def test_uncertainty_is_the_mean_entropy():
    equal = np.full((4, 2, 3), 0.25, np.float32)
    sure = np.zeros((4, 2, 3), np.float32)
    sure[1] = 1
    assert uncertainty(equal) == pytest.approx(1) and uncertainty(sure) == 0
    half = np.zeros((4, 1, 2), np.float32)
    half[:2, :, 0] = 0.5
    half[3, :, 1] = 1
    assert uncertainty(half) == pytest.approx(0.25)  # ln 2 / ln 4 in one of two pixels


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Page and tables of two images, of which the second has a suspicious region; folder, region."""
    root = tmp_path_factory.mktemp("labels")
    config = Config(data={"format": "list", "root": root, "classes": CLASSES})
    label = np.zeros((60, 80), np.uint8)
    truth = label.copy()
    truth[20:40, 30:60] = 1
    images = []
    for number, predicted in enumerate((label, truth)):
        p = probabilities_of(predicted, 0.9)
        pair = root / "images" / f"{number}.png", root / "masks" / f"{number}.png"
        images.append(RankedImage(number, str(number), *pair, label_quality(p, label), find_regions(p, label)))
    images.append(RankedImage(2, "empty", root / "2.png", root / "2_label.png", np.nan))
    ranked = rank(images)
    assert [image.number for image in ranked] == [1, 0]
    page = LabelPage(config, "best.ckpt")
    pixels = np.full((60, 80, 3), 90, np.uint8)
    for image in ranked:
        page.add(image, pixels, label, truth if image.number else label)
    page.write(root / "out", total=2)
    write_tables(root / "out", config, ranked, count=1)
    return root / "out", ranked[0].regions[0]


def read_csv(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables(written):
    folder, region = written
    images = read_csv(folder / "images.csv")
    assert [Path(row["image"]).name for row in images] == ["1.png", "0.png"]
    assert 0.05 <= float(images[0]["label_quality"]) < 0.06 and float(images[1]["label_quality"]) == pytest.approx(0.9)
    assert [row["regions"] for row in images] == ["1", "0"]
    (row,) = read_csv(folder / "regions.csv")
    assert {key: row[key] for key in ("label", "predicted", "pixels", "confidence")} == {
        "label": "ro<ad", "predicted": "car", "pixels": "600", "confidence": "0.9000",
    }  # fmt: skip
    assert [int(row[key]) for key in ("left", "top", "width", "height")] == [30, 20, 30, 20]
    assert float(row["score"]) == pytest.approx(region.score, abs=1e-4) == pytest.approx(0.85**3 * 19, abs=1e-2)
    assert (folder / "suspicious.lst").read_text() == "images/1.png masks/1.png\n"


def test_images_without_labels_are_ranked_by_uncertainty(tmp_path):
    config = Config(data={"format": "list", "classes": CLASSES})
    images = [
        RankedImage(number, name, Path(name), None, score) for number, name, score in ((0, "a", 0.1), (1, "b", 0.4))
    ]
    write_tables(tmp_path, config, rank(images), count=5)
    assert (tmp_path / "images.csv").read_text() == "image,uncertainty\nb,0.400000\na,0.100000\n"
    assert [path.name for path in tmp_path.iterdir()] == ["images.csv"]


def test_the_page_is_one_file_with_the_outlined_region(written):
    text = (written[0] / "index.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text) and "url(" not in text
    paths = re.findall(r'<path d="([^"]+)"', text)
    assert set(paths) == {"M30.5 20.5 30.5 39.5 59.5 39.5 59.5 20.5Z"}
    assert "ro&lt;ad" in text and "600" in text


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_works_in_a_browser(browser, written, width):
    page = written[0] / "index.html"
    browser.open(page, width, touch=width < 600)
    assert browser.run("document.documentElement.scrollWidth") == width
    assert browser.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    drawn = browser.run(
        "(() => { const a = document.querySelector('.outlines path').getBoundingClientRect(),"
        " b = document.querySelector('.stage').getBoundingClientRect();"
        " return [(a.x - b.x) / b.width, (a.y - b.y) / b.height, a.width / b.width, a.height / b.height] })()"
    )
    np.testing.assert_allclose(drawn, [30.5 / 80, 20.5 / 60, 29 / 80, 19 / 60], atol=0.01)
    left = "document.querySelector('.stage img.left').dataset.layer"
    assert browser.run(left) == "label"
    browser.click(".choose [data-side=left] [data-layer=image]")
    assert browser.run(left) == "image"
    assert browser.run("document.querySelector('h1').innerText").startswith("Suspicious labels")
    browser.click("#language")
    assert browser.run("document.querySelector('h1').innerText").startswith("可疑标签")
    assert not browser.problems
