"""A selection of tests/faults/hostile_files.py: how the programs handle hostile input files."""

import base64
import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import hostile_inputs as inputs
import numpy as np
import pytest
from PIL import Image

from ocrnet.config import Config
from ocrnet.data.annotations.reading import read_annotations
from ocrnet.data.images import read_image, read_label
from ocrnet.data.masks import draw_mask, read_classes
from ocrnet.errors import UserError
from ocrnet.inference import media
from ocrnet.inference.predictor import Predictor
from ocrnet.models.ocrnet import OCRNet
from ocrnet.visualization import write_image
from ocrnet.weights.foreign_files import read_tensors

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
GBK = os.fsdecode("测试".encode("gbk"))


@pytest.mark.parametrize("kind", ["damaged", "other_formats", "claims", "matlab", "labels"])
def test_every_decoder_error_names_the_file(tmp_path, kind):
    files = {
        "damaged": lambda: islice(inputs.damaged(inputs.intact_images(tmp_path), np.random.default_rng(1)), 60),
        "other_formats": inputs.other_formats,
        "claims": lambda: islice(inputs.claims(), 6),
        "matlab": lambda: islice(inputs.matlab(), 1, None),
        "labels": inputs.labels,
    }
    refused = total = 0
    for number, (suffix, content) in enumerate(files[kind]()):
        path = tmp_path / f"{kind}{number}{suffix}"
        path.write_bytes(content)
        for read in (read_image, read_label, media.open_video):
            if read is media.open_video and suffix not in media.VIDEOS | {".gif"}:
                continue
            total += 1
            try:
                found = read(path)
                if isinstance(found, media.Video):
                    list(found)
            except UserError as error:
                assert str(path) in str(error)
                refused += 1
    print(f"{kind}: {refused} of {total} refused")
    assert refused > total // 3


def test_hostile_annotations_give_errors_with_the_file_name_or_fail_when_drawn(tmp_path):
    classes = tmp_path / "classes.txt"
    classes.write_text("background\na\n")
    table, drawn = read_classes(str(classes)), 0
    for number, (_, content) in enumerate(inputs.annotations()):
        path = tmp_path / f"{number}.json"
        path.write_bytes(content)
        start = time.monotonic()
        try:
            for annotation in read_annotations(path, path.stem, tmp_path):
                if annotation.width < 1000:
                    draw_mask(annotation, table)
                    drawn += 1
        except UserError as error:
            assert str(path) in str(error)
        except Exception as error:  # from drawing: polygons_to_masks.py adds the file name
            assert not isinstance(error, KeyError | RecursionError | MemoryError), error
        assert time.monotonic() - start < 20, path.read_bytes()[:200]  # a mask with very long numbers
    assert drawn == 3


@pytest.mark.parametrize("program", ["via", "labelme"])
def test_a_mask_has_the_size_of_the_rotated_photograph(tmp_path, program):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    square = [[2, 2], [30, 2], [30, 50], [2, 50]]  # extends below the 40 stored rows
    if program == "via":
        x, y = zip(*square, strict=True)
        shape = {"name": "polygon", "all_points_x": x, "all_points_y": y}
        region = {"shape_attributes": shape, "region_attributes": {"label": "a"}}
        tree = {"a": {"filename": "a.jpg", "regions": [region]}}
    else:
        tree = {
            "shapes": [{"label": "a", "points": square}],
            "imagePath": "a.jpg",
            "imageWidth": None,
            "imageHeight": 0,
        }
    (tmp_path / "a.json").write_text(json.dumps(tree))
    (tmp_path / "classes").write_text("background\na\n")
    (annotation,) = read_annotations(tmp_path / "a.json", "a", tmp_path)
    mask = np.asarray(draw_mask(annotation, read_classes(str(tmp_path / "classes")))[0])
    assert mask.shape == read_image(tmp_path / "a.jpg").shape[:2] == (60, 40)
    assert mask.sum() == 29 * 49


def test_a_png_in_an_annotation_has_the_same_limits(tmp_path):
    for content in (inputs.png(30_000, 30_000), next(inputs.other_formats())[1]):
        shape = {"shape_type": "mask", "points": [[0, 0], [9, 9]], "mask": base64.b64encode(content).decode()}
        (tmp_path / "a.json").write_text(json.dumps(inputs.labelme(shape=shape)))
        (annotation,) = read_annotations(tmp_path / "a.json", "a", tmp_path)
        with pytest.raises(ValueError, match=r"a mask: this image has more than|a mask: not a readable image"):
            annotation.shapes[0].mask()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a\n- &x [b, c]\n- *x\n", "a class name must be text, not a list"),
        (
            "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
            "write its color and width in braces",
        ),
        ("a: [color]", "a: write its color and width in braces"),
        ("a: {width: .inf}", "width inf of a"),
        ("#" * 2**21, "larger than 1,048,576 bytes"),
    ],
)
def test_hostile_class_files_are_refused(tmp_path, text, reason):
    path = tmp_path / "classes.yml"
    path.write_text(text)
    with pytest.raises(UserError, match="cannot read class names") as error:
        read_classes(str(path))
    assert reason in str(error.value) and len(str(error.value)) < 1000


def test_tensors_with_shared_storage_do_not_exhaust_the_memory(tmp_path):
    import zipfile

    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", inputs.shared_storage(3000))
        archive.writestr("a/data/x", bytes(2**22))
    with pytest.raises(UserError, match=r"a\.pth: .*too many tensors share a storage"):
        read_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", inputs.shared_storage(2))  # tied weights
        archive.writestr("a/data/x", bytes(2**22))
    assert [value.shape for value in read_tensors(path)[0].values()] == [(2**20,), (2**20,)]


def test_an_image_too_large_for_its_format_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.jpg: cannot write this image: an image of 70000 x 2 pixels"):
        write_image(tmp_path / "a.jpg", np.zeros((2, 70_000, 3), np.uint8))


@pytest.mark.parametrize(
    ("evaluation", "fix"), [({}, "set eval.window"), ({"window": [64, 64]}, "or cut it into tiles")]
)
def test_an_image_larger_than_the_memory_is_refused_with_its_name(tmp_path, evaluation, fix):
    model = {"backbone": "hrnet_tiny", "head_channels": 16, "key_channels": 8, "context_channels": 16}
    config = Config(data={"format": "cityscapes"}, model=model, eval=evaluation)
    predictor = Predictor(OCRNet(config.model, 19), config)
    predictor.check_memory(tmp_path / "small.png", (64, 128))
    with pytest.raises(UserError, match=r"vast\.png: 10000000 x 1000000 pixels need .* GB are free: .*" + fix):
        predictor.check_memory(tmp_path / "vast.png", (1_000_000, 10_000_000))
    if not evaluation:  # measured on a CPU at this size: 295 bytes per pixel
        assert 0.8 * 295 < predictor._least_memory((1024, 2048)) / 1024 / 2048 < 295


def test_two_images_with_the_same_name_do_not_share_a_mask(tmp_path, run_script):
    for name in ("a.jpg", "a.png", "b.png"):
        Image.new("RGB", (20, 10)).save(tmp_path / name)
    regions = {name: {"filename": name, "regions": []} for name in ("a.jpg", "a.png", "b.png")}
    (tmp_path / "via.json").write_text(json.dumps(regions))
    (tmp_path / "classes").write_text("background\na\n")
    flags = ["--input", tmp_path / "via.json", "--output", tmp_path / "masks", "--classes", tmp_path / "classes"]
    done = run_script("scripts/polygons_to_masks.py", *flags)
    assert done.returncode == 2 and "2 label images in" in done.stdout
    assert "a.png was already written for" in done.stderr and "rename one of the images" in done.stderr
    assert sorted(file.name for file in (tmp_path / "masks").iterdir()) == ["a.png", "b.png"]


@pytest.mark.slow
def test_predict_skips_bad_files_and_never_overwrites_a_result(run_script, untrained, tmp_path):
    for folder in ("cam1", "cam2"):
        (tmp_path / folder).mkdir()
        Image.fromarray(inputs.pixels(1)).save(tmp_path / folder / "0001.png")
    Image.fromarray(inputs.pixels(2)).save(tmp_path / "cam1" / f"{GBK}.png")
    (tmp_path / "cam2" / "bomb.png").write_bytes(inputs.png(30_000, 30_000))
    frames = [Image.fromarray(inputs.pixels(number)) for number in range(6)]
    frames[0].save(tmp_path / "whole.gif", save_all=True, append_images=frames[1:])
    content = (tmp_path / "whole.gif").read_bytes()
    (tmp_path / "cam2" / "cut.gif").write_bytes(content[: len(content) * 6 // 10])
    os.mkfifo(tmp_path / "cam1" / "pipe.png")
    Image.new("RGB", (70_000, 8)).save(tmp_path / "cam1" / "wide.png")
    done = run_script(
        "scripts/predict.py", "--config", CONFIG_FILE, "--ckpt_path", untrained.path, "--ms_mode", "1",
        "--input", tmp_path / "cam1", tmp_path / "cam2", "--output", tmp_path / "out", *untrained.flags,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "3 of 7 files segmented" in done.stdout
    for name in ("bomb.png: this image has more", "cut.gif: damaged: truncated after", "pipe.png: cannot read",
                 "wide.jpg: cannot write this image"):  # fmt: skip
        assert name in done.stderr
    for name in ("cam1/0001", "cam2/0001", GBK):
        assert (tmp_path / "out" / "raw" / f"{name}.png").exists() and (
            tmp_path / "out" / "overlay" / f"{name}.jpg"
        ).exists()
    assert len(list((tmp_path / "out" / "raw" / "cut").iterdir())) >= 2  # the frames before the truncation are kept


@pytest.mark.slow
def test_gbk_file_names_and_a_bad_pair_do_not_stop_an_evaluation(untrained, tmp_path):
    label = np.full((32, 64), 7, np.uint8)
    lines = []
    for number, name in enumerate(("a/b_c", "a_b/c", "d/c", GBK)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(inputs.pixels(number)).save(tmp_path / f"{name}.png")
        Image.fromarray(label).save(tmp_path / f"{name}_label.bmp")
        lines.append(f"{name}.png {name}_label.bmp\n")
    (tmp_path / "bad.png").write_bytes(inputs.png(30_000, 30_000))
    lines.append("bad.png d/c_label.bmp\n")
    for split in ("train", "val"):
        (tmp_path / f"{split}.lst").write_bytes(os.fsencode("".join(lines)))
    where = {"format": "list", "root": tmp_path, "train": "train.lst", "val": "val.lst"}
    config = untrained.config.replace({f"data.{key}": value for key, value in where.items()})
    config_file = tmp_path / "config.yml"
    config_file.write_text(config.to_yaml())
    out = tmp_path / "out"
    flags = ["--save_predictions", out, "--report", tmp_path / "report", "--result_json", tmp_path / "scores.json"]
    for command in (
        ["eval.py", "--config", config_file, "--ckpt_path", untrained.path, "--ms_mode", "1", *flags],
        ["scripts/check_dataset.py", "--config", config_file],
    ):
        words = [sys.executable, str(ROOT / command[0]), *map(str, command[1:])]
        done = subprocess.run(words, capture_output=True, cwd=ROOT, env={**os.environ, "PYTHONUTF8": "1"})
        text = (done.stdout + done.stderr).decode(errors="backslashreplace")
        assert "Traceback" not in text and "bad.png: this image has more than" in text, text
        assert done.returncode == (2 if command[0] == "eval.py" else 1), text
    assert {str(file.relative_to(out)) for file in out.rglob("*.png")} == {
        f"{n}.png" for n in ("a/b_c", "a_b/c", "d_c", GBK)
    }
    assert json.loads((tmp_path / "scores.json").read_text())["images"] == 4
    assert "\\udcb2\\udce2" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
