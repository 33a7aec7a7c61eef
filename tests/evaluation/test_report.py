"""The evaluation report: its content, and its behaviour in a browser."""

import json
import re

import numpy as np
import pytest

from ocrnet.config import Config
from ocrnet.evaluation.metrics import ConfusionMatrix
from ocrnet.evaluation.report import Gallery, draw_curve, read_curves, write_report

CLASSES = ["sky", "ro<ad", "car", "never"]
LOG = """step 1/20, loss: 2.500000, main: 2.0, aux: 1.0
step 10/20, loss: 1.500000, main: 1.0, aux: 1.0
step 10: loss 1.2345, mIoU 20.00 %, pixel accuracy 40.00 % on 5 images in 3 s (best so far)
step 10/20, loss: 1.250000, main: 1.0, aux: 1.0
step 20: mIoU 31.25 %, pixel accuracy 50.00 % on 5 images in 3 s (best so far)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of seven images with increasing scores and a run log. It shows the two worst and two best images."""
    run = tmp_path_factory.mktemp("run")
    (run / "train.log").write_text(LOG)
    config = Config(save_dir=run, data={"format": "list", "classes": CLASSES}, eval={"visualized_images": 2})
    matrix, gallery, rng = ConfusionMatrix(CLASSES), Gallery(config), np.random.default_rng(0)
    for number in rng.permutation(7):
        label = np.repeat(np.array([0, 1, 2, 1], np.uint8), 20)[:, None].repeat(120, axis=1)
        label[:3] = 255
        prediction = np.roll(np.minimum(label, 2), 2 * (7 - number), axis=0)
        image = rng.integers(0, 256, (80, 120, 3)).astype(np.uint8)
        matrix.update(label, prediction)
        gallery.add(f"image_{number}", image, label, prediction)
    page = write_report(run / "report", config, run / "checkpoint" / "best.ckpt", matrix, matrix.to_dict(), gallery)
    return page, matrix, gallery


def test_the_gallery_keeps_the_worst_and_the_best(report):
    _, _, gallery = report
    assert [entry.name for entry in gallery.worst] == ["image_0", "image_1"]
    assert [entry.name for entry in gallery.best] == ["image_6", "image_5"]
    assert gallery.worst[0].score < gallery.best[0].score


def test_few_images_are_shown_once():
    gallery = Gallery(Config(data={"format": "list", "classes": ["a", "b"]}, eval={"visualized_images": 4}))
    label = np.zeros((8, 8), np.uint8)
    for name in "xyz":
        gallery.add(name, np.zeros((8, 8, 3), np.uint8), label, label)
    assert len(gallery.worst) == 3 and gallery.best == []


def test_the_report_is_self_contained(report):
    page, matrix, _ = report
    text = page.read_text()
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text) and "url(" not in text and "@import" not in text
    assert "ro&lt;ad" in text and "ro<ad" not in text
    assert json.loads(re.search(r"const counts = (.*);", text)[1]) == matrix.counts.tolist()
    assert f"{100 * matrix.iou[2]:.2f}" in text and "absent" in text
    assert "\ntrain:\n  batch_size: " in text  # the config as YAML


def test_curves_match_the_log(report):
    curves = read_curves(report[0].parents[1] / "train.log")
    assert curves == {"loss": [(1, 2.5), (10, 1.25)], "miou": [(10, 20.0), (20, 31.25)]}
    curve = draw_curve(curves["miou"], width=100, height=100)
    assert [text for _, text in curve.up] == ["0", "10", "20", "30"]
    assert curve.path == "50.0,36.0 100.0,0.0" and curve.last == "31.25"
    assert read_curves(report[0].parent / "no.log") == {}


@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_works_in_a_browser(browser, report, width, tmp_path):
    page, matrix, _ = report
    browser.requested.clear()
    browser.open(page, width, touch=width < 600)
    assert browser.run("document.documentElement.scrollWidth") == width  # no horizontal scrolling
    assert browser.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")

    names = "[...document.querySelectorAll('#scores tbody tr')].map(row => row.cells[0].dataset.value)"
    assert browser.run(names) == CLASSES
    by_iou = [CLASSES[index] for index in np.argsort(-np.nan_to_num(matrix.iou, nan=-1), kind="stable")]
    browser.click("#scores th:nth-child(2) button")
    assert browser.run(names) == by_iou
    browser.click("#scores th:nth-child(2) button")
    assert browser.run(names) == by_iou[::-1]
    browser.click("#scores th:nth-child(1) button")
    assert browser.run(names) == ["car", "never", "ro<ad", "sky"]

    shown = "document.querySelector('h2').innerText"
    assert browser.run(shown) == "Classes"
    browser.click("#language")
    assert browser.run(shown) == "各类别" and browser.run("document.documentElement.lang") == "zh"
    browser.click("#language")
    assert browser.run(shown) == "Classes"

    at = "parseFloat(getComputedStyle(document.querySelector('.stage')).getPropertyValue('--at'))"
    assert browser.run(at) == 50
    browser.drag(".stage input", 0.5, 0.8)
    assert 72 < browser.run(at) < 88
    left = "document.querySelector('.stage img.left').dataset.layer"
    assert browser.run(left) == "image"
    browser.click(".choose [data-side=left] [data-layer=errors]")
    assert browser.run(left) == "errors"

    browser.click("#matrix")
    assert re.search(
        r"predicted as .*: [\d,]+ pixels, [\d.]+ % of", browser.run("document.querySelector('#cell').innerText")
    )
    assert not browser.problems
    assert [url for url in browser.requested if not url.startswith("data:")] == [page.resolve().as_uri()]
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
