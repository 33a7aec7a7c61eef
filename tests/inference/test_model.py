"""ocrnet.load, Model and Result: the same classes as predict.py and eval.py, from files, arrays and Pillow images."""

import doctest
import os
import subprocess
import sys
from pathlib import Path

import cv2
import mindspore as ms
import numpy as np
import pytest
from PIL import Image

import ocrnet
import ocrnet.api
from ocrnet.data.images import read_image
from ocrnet.errors import UserError
from ocrnet.inference import model as model_file
from ocrnet.visualization import colour

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
SOURCE = str(Path(ocrnet.__file__).parents[1])


@pytest.fixture(scope="module")
def model(untrained) -> ocrnet.Model:
    return ocrnet.load(untrained.path)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """An image of each kind; 48 x 32 pixels where the kind does not say otherwise."""
    folder = tmp_path_factory.mktemp("kinds")
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    pixels = cv2.GaussianBlur(noise, (0, 0), 3)
    image = Image.fromarray(pixels)
    image.save(folder / "rgb.png")
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(folder / f"orientation_{orientation}.jpg", exif=exif, quality=95)
    transparent = image.copy()
    transparent.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1))))
    transparent.save(folder / "alpha.png")
    transparent.save(folder / "alpha.webp", lossless=True)
    transparent.convert("LA").save(folder / "grey_alpha.png")
    image.convert("L").save(folder / "grey.png")
    image.convert("P").save(folder / "palette.png")
    image.convert("1").save(folder / "one_bit.png")
    cv2.imwrite(str(folder / "sixteen.png"), pixels[..., ::-1].astype(np.uint16) * 257)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "grey_sixteen.png")
    image.save(folder / "rgb.bmp")
    image.save(folder / "rgb.tif", compression="tiff_lzw")
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    image.resize((1, 1)).save(folder / "one_pixel.png")
    image.resize((129, 67)).save(folder / "odd_size.png")
    found = {file.name: file for file in sorted(folder.iterdir())}
    assert len(found) == 21
    return found


@pytest.fixture(scope="module")
def written(files, untrained, run_script, tmp_path_factory) -> Path:
    """A folder with the output of predict.py in `predict` and that of eval.py in `eval`."""
    output, root = tmp_path_factory.mktemp("written"), next(iter(files.values())).parent
    done = run_script(
        "scripts/predict.py", *files.values(), "--model", untrained.path, "--output", output / "predict",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (output / "images.lst").write_text("".join(f"{name}\n" for name in files))
    (root / "images.lst").write_text("".join(f"{name}\n" for name in files))
    done = run_script(
        "eval.py", "--config", CONFIG_FILE, "--ckpt_path", untrained.path, *untrained.flags, "--split", "test",
        "--set", "data.format=list", "--set", f"data.classes={list(untrained.config.data.classes)}",
        "--set", "data.test=images.lst", "--data_root", root, "--save_predictions", output / "eval",
        "--set", "data.label_map={}", "--set", "data.categories=[]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.slow
def test_classes_equal_those_of_predict_and_eval(model, files, written):
    # files of the same stem get their suffix in the output name
    outputs = {
        folder: {file.name.removesuffix(".png"): file for file in (written / folder).rglob("*.png")}
        for folder in ("predict/raw", "eval")
    }
    stems = [Path(name).stem for name in files]
    for name, file in files.items():
        classes = model.predict(file).classes
        key = Path(name).stem if stems.count(Path(name).stem) == 1 else name
        for folder, found in outputs.items():
            stored = cv2.imread(str(found[key]), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(stored, classes, err_msg=f"{folder} {name}")


def test_arrays_and_pillow_images_give_the_same_classes(model, files):
    for name, file in files.items():
        expected = model.predict(file)
        np.testing.assert_array_equal(model.predict(read_image(file)).classes, expected.classes, err_msg=name)
        with Image.open(file) as image:
            result = model.predict(image)
        assert result.image.shape == expected.image.shape, name
        if name != "cmyk.jpg":  # two decoders convert CMYK differently
            difference = np.abs(result.image.astype(int) - expected.image)
            assert difference.max() <= (2 if file.suffix == ".jpg" else 1), name


def test_probabilities_belong_to_the_classes(model, files):
    for name in ("rgb.png", "one_pixel.png", "odd_size.png"):
        result = model.predict(files[name])
        assert result.probabilities.shape == (19, *result.classes.shape) and result.probabilities.dtype == np.float32
        assert np.abs(result.probabilities.sum(0) - 1).max() < 1e-5
        picked = np.take_along_axis(result.probabilities, result.classes[None].astype(int), 0)[0]
        assert (picked >= result.probabilities.max(0) - 1e-6).all()
        assert result.probabilities is result.probabilities  # computed once


def test_lists_and_iterators(model, files):
    image = read_image(files["rgb.png"])
    results = model.predict([image, files["odd_size.png"]])
    assert [result.classes.shape for result in results] == [(32, 48), (67, 129)]
    asked = []

    def frames():
        for number in range(3):
            asked.append(number)
            yield image

    stream = model.predict(frames())
    assert asked == []
    assert next(stream).classes.shape == (32, 48) and asked == [0]
    assert len(list(stream)) == 2


def test_a_video_gives_its_frames(model, tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 15, (48, 32))
    for number in range(3):
        video.write(np.full((32, 48, 3), 40 * number, np.uint8))
    video.release()
    results = list(model.predict(ocrnet.open_video(tmp_path / "v.mp4")))
    assert [result.name for result in results] == ["v_000000", "v_000001", "v_000002"]
    with pytest.raises(UserError, match="not a video"):
        ocrnet.open_video(tmp_path / "v.png")


def test_wrong_inputs_are_user_errors(model, tmp_path):
    for wrong, message in (
        (np.zeros((3, 3), np.uint8), r"must be \(H, W, 3\) uint8 RGB, got \(3, 3\)"),
        (np.zeros((3, 3, 3), np.float32), "float32"),
        (np.zeros((0, 3, 3), np.uint8), r"got \(0, 3, 3\)"),
        (tmp_path / "no.png", "no.png: image file not found"),
        (3, "got int"),
        ([3], "got int"),
        (Image.new("F", (3, 3)), "32-bit"),
    ):
        with pytest.raises(UserError, match=message):
            model.predict(wrong)
    checkpoint = model.checkpoint
    for values, message in (
        ({"foo": 1}, r"eval.foo: unknown key \(in ocrnet.load: foo\)"),
        ({"window": (0, 1)}, "eval.window"),
        ({"device": "GPU"}, "this process already uses CPU"),
        ({"engine": "tensorrt"}, "use one of mindspore"),
        ({"precision": "int8"}, "use --engine openvino"),
    ):
        with pytest.raises(UserError, match=message):
            ocrnet.load(checkpoint, **values)


def test_results_are_shown_and_saved(model, files, tmp_path):
    result = model.predict(files["rgb.png"])
    assert result.name == "rgb" and result.names == model.names and result.palette.shape == (19, 3)
    mask = result.mask()
    assert mask.mode == "P"
    np.testing.assert_array_equal(np.asarray(mask), result.classes)
    np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), colour(result.classes, result.palette))
    assert np.asarray(result.overlay(0)).tolist() == result.image.tolist()
    assert sum(result.fractions.values()) == pytest.approx(1)
    assert list(result.fractions.values()) == sorted(result.fractions.values(), reverse=True)
    assert result._repr_png_().startswith(b"\x89PNG")
    result.save(tmp_path, "a/b")
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")) == [
        "mask/a/b.png", "overlay/a/b.jpg", "raw/a/b.png",
    ]  # fmt: skip
    assert "Result(rgb, 48 x 32: " in repr(result) and "Model(hrnet_tiny, 19 classes" in repr(model)


def test_eval_keys_change_the_prediction_and_the_mode_of_the_caller_is_kept(untrained, files):
    model = ocrnet.load(untrained.path, multi_scale=True, ratios=[0.5, 1.0], flip=True)
    assert len(model.predictor.views) == 4
    assert ocrnet.load(untrained.path, test_size=(64, 96)).config.data.test_size == (64, 96)
    before = ms.get_context("mode")
    assert model.predict(files["rgb.png"]).classes.shape == (32, 48)
    assert ms.get_context("mode") == before


def test_create_model(untrained, capsys):
    network = ocrnet.create_model("ocrnet_demo", num_classes=3)
    assert network.training and network.ocr_head.classifier.weight.shape[0] == 3
    config = untrained.path.parents[1] / "small.yml"
    sizes = "head_channels: 16, key_channels: 8, context_channels: 16"
    config.write_text(f"__BASE__: {Path.cwd() / CONFIG_FILE}\nmodel: {{{sizes}}}\n")
    weights = ms.load_checkpoint(str(untrained.path))
    for classes, same in ((19, True), (3, False)):
        network = ocrnet.create_model(config, classes, pretrained=untrained.path)
        assert ("randomly initialized for 3 classes" in capsys.readouterr().out) != same
        loaded = network.backbone.conv1.weight.asnumpy()
        np.testing.assert_array_equal(loaded, weights["backbone.conv1.weight"].asnumpy())
    with pytest.raises(UserError, match="no published network of this name"):
        ocrnet.create_model("ocrnet_demo", 3, pretrained="published")
    with pytest.raises(UserError, match="cannot read this config"):
        ocrnet.create_model("ocrnet_damo", 3)


def test_evaluate_gives_the_scores_of_eval(model, demo, untrained, run_script, tmp_path):
    scores = ocrnet.evaluate(model, demo)
    assert scores.matrix.images == 5
    flags = ["--config", CONFIG_FILE, "--ckpt_path", untrained.path, "--data_root", demo, *untrained.flags]
    done = run_script("eval.py", *flags)
    assert done.returncode == 0, done.stderr
    assert scores.table(model.config) in done.stdout
    with pytest.raises(UserError, match=r"150 classes are not the 19 of the network"):
        ocrnet.evaluate(model, "config/datasets/ade20k.yml")


@pytest.mark.parametrize("module", [ocrnet.api, model_file])
def test_examples_in_docstrings_run(module, untrained, files):
    names = {"checkpoint": untrained.path, "photo": files["rgb.png"], "model": ocrnet.load(untrained.path)}
    results = doctest.testmod(module, extraglobs=names)
    assert results.attempted >= 2 and results.failed == 0


def test_listing_examples_run():
    from ocrnet.zoo import published

    assert doctest.testmod(published).failed == 0


def test_a_network_that_is_a_module_global_ends_quietly(untrained, files, tmp_path):
    (tmp_path / "script.py").write_text(
        "import ocrnet\n"
        f"model = ocrnet.load({str(untrained.path)!r})\n"
        "network = ocrnet.create_model('ocrnet_demo', 2)\n"
        f"result = model.predict({str(files['rgb.png'])!r})\n"
        "result.overlay().save('overlay.png')\n"
    )
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Image.open(tmp_path / "overlay.png").size == (48, 32)


def test_importing_is_fast_and_does_not_import_mindspore():
    # the processor's time: the other tests use the cores too
    code = "import time; t = time.process_time(); import ocrnet, sys; print(time.process_time() - t); "
    code += "print('mindspore' in sys.modules, ocrnet.__version__, dir(ocrnet).count('load'))"
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": SOURCE}, capture_output=True, text=True
        )
        first, second = done.stdout.splitlines()
        seconds.append(float(first))
    assert second == f"False {ocrnet.__version__} 1"
    assert min(seconds) < 0.3
