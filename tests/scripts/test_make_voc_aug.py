"""scripts/make_voc_aug.py: SBD's labels to VOC's augmented training set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ocrnet.config import DataConfig
from ocrnet.data.splits import open_dataset

NAMES = ("2007_000032", "2007_000033", "2008_000002", "2008_000007")  # train, val, and two of SBD's own


@pytest.fixture
def sources(tmp_path) -> tuple[Path, Path]:
    """SBD with three labels in its format (GTcls: a struct of Boundaries, Segmentation, CategoriesPresent), and VOC."""
    sbd, voc = tmp_path / "benchmark_RELEASE" / "dataset", tmp_path / "VOCdevkit" / "VOC2012"
    for folder in (sbd / "cls", voc / "JPEGImages", voc / "SegmentationClass", voc / "ImageSets" / "Segmentation"):
        folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.fromarray(np.zeros((3, 5, 3), np.uint8)).save(voc / "JPEGImages" / f"{name}.jpg")
        if name != "2007_000032":
            put_mat(sbd / "cls" / f"{name}.mat", np.full((3, 5), number))
    Image.fromarray(np.full((3, 5), 255, np.uint8)).save(voc / "SegmentationClass" / "2007_000032.png")
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("2007_000032\n")
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_000033\n")
    return sbd, voc


def put_mat(path: Path, values: np.ndarray) -> None:
    boundaries = np.empty((20, 1), object)
    boundaries[:] = [[np.zeros(values.shape, np.uint8)] for _ in range(20)]
    present = np.unique(values).astype(np.uint8)[:, None]
    label = {"Boundaries": boundaries, "Segmentation": values.astype(np.uint8), "CategoriesPresent": present}
    savemat(path, {"GTcls": label}, do_compression=True)


def test_labels_and_lists(sources, run_script):
    sbd, voc = sources
    values = np.arange(15).reshape(3, 5) + 6
    put_mat(sbd / "cls" / "2008_000002.mat", values)
    done = run_script("scripts/make_voc_aug.py", "--sbd", sbd.parents[1], "--voc", voc.parent)
    assert done.returncode == 0, done.stderr
    assert "3 labels" in done.stdout and "1 + 2 images" in done.stdout and "SBD labels: 100%" in done.stderr
    with Image.open(voc / "SegmentationClassAug" / "2008_000002.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), values)
        assert image.convert("RGB").getpixel((4, 2)) == (0, 64, 128)  # class 20, tvmonitor
    lists = voc / "ImageSets" / "Segmentation"
    assert (lists / "aug.txt").read_text().split() == ["2008_000002", "2008_000007"]
    assert (lists / "trainaug.txt").read_text().split() == ["2007_000032", "2008_000002", "2008_000007"]
    dataset = open_dataset(DataConfig(format="voc2012", root=voc, train="trainaug"), "train")
    assert [dataset.read(index)[1][0, 0] for index in range(3)] == [255, 6, 3]
    assert sorted(path.suffix for path in (voc / "SegmentationClassAug").iterdir()) == [".png"] * 3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda sbd, voc: put_mat(sbd / "cls" / "2008_000002.mat", np.full((3, 5), 21)), "label value 21"),
        (lambda sbd, voc: (sbd / "cls" / "2008_000002.mat").write_bytes(b"cut"), "2008_000002.mat: not a label of SBD"),
        (lambda sbd, voc: [path.unlink() for path in (sbd / "cls").iterdir()], "no .mat files found"),
        (lambda sbd, voc: (sbd / "cls").rename(sbd / "other"), "no folder"),
        (lambda sbd, voc: (voc / "ImageSets" / "Segmentation" / "val.txt").unlink(), "val.txt: cannot read this list"),
        (lambda sbd, voc: (voc / "SegmentationClassAug").write_text(""), "SegmentationClassAug: cannot write here"),
    ],
)
def test_user_errors_are_one_line(sources, run_script, damage, message):
    sbd, voc = sources
    damage(sbd, voc)
    done = run_script("scripts/make_voc_aug.py", "--sbd", sbd, "--voc", voc)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (voc / "ImageSets" / "Segmentation" / "trainaug.txt").exists()
