"""Files from image to class map: what they say about themselves, the program of the documentation, the browser."""

import functools
import json
import os
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from mindspore import Tensor, float32, nn, ops, uint8
from PIL import Image

from ocrnet.config import ModelConfig
from ocrnet.data.transforms import rescale_size
from ocrnet.errors import UserError
from ocrnet.formats.cityscapes import LABELS
from ocrnet.inference import exported
from ocrnet.inference.compiled_graph import compile_graph
from ocrnet.inference.exported import image_model, logits_model
from ocrnet.inference.folding import fold_batch_norm
from ocrnet.inference.network import MainLogits
from ocrnet.inference.onnx_graph import Port, onnx_model
from ocrnet.inference.preprocessing import input_size, preprocess
from ocrnet.models.layers import ConvBNReLU
from ocrnet.models.ocrnet import OCRNet

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
onnxruntime = pytest.importorskip("onnxruntime")


def classes_of(file: Path, image: Path) -> np.ndarray:
    return onnxruntime.InferenceSession(file).run(None, {"image": np.asarray(Image.open(image))[None]})[0][0]


def block(page: str, start: str, end: str) -> str:
    """Returns the text between two lines of a page of the documentation."""
    return re.search(rf"{re.escape(start)}\n(.*?)\n{re.escape(end)}", (ROOT / "docs" / page).read_text(), re.S)[1]


@pytest.fixture(scope="module")
def flags(untrained, demo) -> list[object]:
    return [
        "--config", CONFIG_FILE, *untrained.flags, "--ckpt_path", untrained.path, "--dataset_dir", demo,
        "--set", "data.test_size=[50,120]",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def file(flags, run_script, tmp_path_factory) -> Path:
    """An ONNX file that agrees with eval.py."""
    path = tmp_path_factory.mktemp("exported") / "ocrnet.onnx"
    flags = *flags, "--with_preprocessing", True, "--verify", 3, "--min_agreement", 99.99
    done = run_script("scripts/export.py", *flags, "--output", path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"3 images: (99.99\d|100.000) % of the pixels have the class of eval.py; mIoU", done.stdout)
    assert 4.0e6 < path.stat().st_size < 4.6e6
    return path


def test_the_file_says_what_its_values_mean(file, untrained):
    found = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    data = untrained.config.data
    assert json.loads(found["classes"]) == list(data.classes)
    assert np.array(json.loads(found["palette"])).shape == (19, 3)
    assert json.loads(found["mean"]) == list(data.mean) and json.loads(found["std"]) == list(data.std)
    assert json.loads(found["test_size"]) == [50, 120] and len(found["config_sha256"]) == 64
    assert "miou" not in found  # no evaluation is known


@pytest.fixture(scope="module")
def predictions(flags, run_script, tmp_path_factory) -> Path:
    """The predictions of eval.py, as PNGs with Cityscapes' ids."""
    folder = tmp_path_factory.mktemp("predictions")
    done = run_script("eval.py", *flags, "--save_predictions", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("page", ["deployment.md", "deployment.zh.md"])
def test_the_program_of_the_documentation_predicts_as_evaluation_does(file, demo, predictions, tmp_path, page):
    program = tmp_path / "segment.py"
    program.write_text(block(page, "cat > segment.py <<'END'", "END"))
    imports = re.findall(r"^(?:import|from) (\w+)", program.read_text(), re.M)
    assert (
        set(imports) == {"json", "sys", "numpy", "onnxruntime", "PIL"} and len(program.read_text().splitlines()) <= 20
    )
    ids, equal = np.array([label.id for label in LABELS if label.train_id < 255]), []
    for image in sorted(demo.glob("leftImg8bit/val/*/*.png")):
        command = [sys.executable, program, file, image, tmp_path / "classes.png"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and "%" in done.stdout, done.stderr
        (expected,) = predictions.rglob(f"{image.stem}.png")
        equal.append(ids[np.asarray(Image.open(tmp_path / "classes.png"))] == np.asarray(Image.open(expected)))
    assert len(equal) == 5 and np.mean(equal) >= 0.9999


def test_a_file_that_disagrees_is_refused(flags, run_script, tmp_path):
    path = tmp_path / "ocrnet.xml"
    done = run_script(
        "scripts/export.py", *flags, "--with_preprocessing", True, "--format", "openvino", "--precision", "fp16",
        "--size", 64, 128, "--verify", 2, "--min_agreement", 100.1, "--output", path,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(r"9\d.\d\d\d % of the pixels agree with eval.py, at least 100.1 % are required", done.stderr)
    assert path.with_suffix(".bin").stat().st_size < 2.4e6  # half of that in float32
    model = pytest.importorskip("openvino").Core().read_model(path)
    assert "road" in model.get_rt_info(["ocrnet", "classes"]).astype(str)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--format", "mindir", "--precision", "int8"], "--format mindir supports fp32: converter_lite makes a file"),
        (["--batch", 2], "leave out --batch and --argmax"),
        (["--set", "eval.window=[64,64]"], "set eval.window=null, eval.multi_scale=false and eval.flip=null"),
        (["--format", "openvino"], "--format openvino needs a name that ends in .xml"),
        (["--min_agreement", 99], "--min_agreement: needs --verify"),
        (["--with_preprocessing", False, "--verify", 2], "--verify: needs --with_preprocessing True"),
    ],
)
def test_flags_without_effect_are_refused(flags, given, message, tmp_path, monkeypatch):
    from ocrnet.config import command_line

    monkeypatch.syspath_prepend(ROOT / "scripts")
    import export

    arguments = [*flags, "--with_preprocessing", True, *given, "--output", tmp_path / "ocrnet.onnx"]
    args, config = command_line.parse(export.make_parser(), [str(word) for word in arguments])
    with pytest.raises(UserError, match=re.escape(message)):
        export.check(args, config)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


@pytest.mark.parametrize("align_corners", [False, True])
def test_images_are_resized_as_in_evaluation(align_corners, untrained, image):
    data = untrained.config.data.model_copy(update={"test_size": (50, 300), "keep_ratio": True})
    model = untrained.config.model.model_copy(update={"align_corners": align_corners})
    network = fold_batch_norm(OCRNet(model, 19))
    session = onnxruntime.InferenceSession(image_model(network, data).SerializeToString())
    cell, equal = exported.ClassesOfImage(network, data), []
    for part in (image, image[:, :40], image[:33]):
        height, width = input_size(part.shape[:2], data)
        theirs = cv2.resize(part, (width, height)).transpose(2, 0, 1)
        np.testing.assert_array_equal(cell.resized(Tensor(part[None])).asnumpy()[0], theirs)
        images = Tensor(preprocess(part, data)[None])
        expected = MainLogits(network, align_corners)(images, part.shape[:2]).asnumpy().argmax(1)
        equal.append((session.run(None, {"image": part[None]})[0] == expected).mean())
    assert min(equal) >= 0.9999


def test_integers_compute_the_size_of_the_published_recipes():
    different = 0
    for box in ((512, 2048), (520, 5200), (520, 520), (2048, 2048)):
        for height in range(300, 900, 7):
            for width in range(300, 900, 7):
                longer, shorter = max(height, width), min(height, width)
                by_longer, by_shorter = (
                    [(2 * side * limit + length) // (2 * length) for side in (height, width)]
                    for limit, length in ((max(box), longer), (min(box), shorter))
                )
                size = tuple(map(min, by_longer, by_shorter))
                different += size != rescale_size((height, width), box)
    assert different <= 2  # float64 rounds down where the exact size ends in .5


class NewHead(nn.Cell):
    """A head that the package does not have: squeeze and excitation, a residual and a pyramid of nearest resizes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.gate = ConvBNReLU(channels, 8, 3), nn.Conv2d(8, 8, 1, has_bias=True)
        self.classifier = nn.Conv2d(8, 5, 1, has_bias=True)
        self.out_channels = 5

    def construct(self, maps: list[Tensor]) -> Tensor:
        x = self.first(maps[3])
        x = x * ops.sigmoid(self.gate(ops.mean(x, (2, 3), True))) + x
        height, width = maps[0].shape[2:]
        x = ops.ResizeNearestNeighborV2()(x, (height, width)) - maps[0][:, :8] * 0.5
        return self.classifier(ops.tanh(x))


class NewNetwork(nn.Cell):
    """Another HRNet with another head."""

    def __init__(self) -> None:
        super().__init__()
        network = OCRNet(ModelConfig(backbone="hrnet_tiny", fuse="nearest", head_channels=16, key_channels=8), 5)
        self.backbone, self.ocr_head = network.backbone, NewHead(network.backbone.out_channels[3])
        self.align_corners, self.separate_maps = False, False

    def construct(self, images: Tensor) -> tuple[Tensor, None]:
        return self.ocr_head(self.backbone(images)), None


def test_a_new_backbone_and_head_need_no_line_in_the_exporter():
    network = NewNetwork()
    for parameter in network.get_parameters():
        if "gate" in parameter.name or "classifier" in parameter.name:
            values = np.random.default_rng(0).normal(size=parameter.shape).astype(np.float32)
            parameter.set_data(Tensor(values))
    rng = np.random.default_rng(1)
    batches = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 64, 96), (1, 3, 33, 70))]
    network.set_train(False)
    logits = exported.Logits(network)
    expected = [logits(Tensor(batch)).asnumpy() for batch in batches]
    session = onnxruntime.InferenceSession(logits_model(fold_batch_norm(network)).SerializeToString())
    for batch, theirs in zip(batches, expected, strict=True):
        assert theirs.shape == (len(batch), 5, *batch.shape[2:]) and np.ptp(theirs) > 0.1
        found = session.run(None, {"images": batch})[0]
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


class UnknownOperator(nn.Cell):
    def construct(self, x: Tensor) -> Tensor:
        return ops.cumsum(x, 1)


def test_an_operator_that_cannot_be_converted_is_named():
    port = Port("x", ("n", 3, "h", "w"))
    with pytest.raises(
        UserError, match=r"operator CumSum in Default.* cannot be converted; see inference/onnx_operators"
    ):
        onnx_model(UnknownOperator(), {port: Tensor(shape=[None, 3, None, None], dtype=float32)}, port)


@pytest.fixture
def page(file, tmp_path):
    """Address of the page of the documentation, in one folder with the file and onnxruntime-web."""
    package = Path(os.environ.get("ONNXRUNTIME_WEB", ROOT / "node_modules" / "onnxruntime-web"))
    if not (package / "dist" / "ort.wasm.min.mjs").is_file():
        pytest.skip("npm package onnxruntime-web is not installed")
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (tmp_path / name).symlink_to(package / "dist" / name)
    (tmp_path / "ocrnet.onnx").symlink_to(file)
    (tmp_path / "segment.html").write_text(block("deployment.md", "```html", "```"))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/segment.html"
        server.shutdown()


def test_the_page_of_the_documentation_segments_an_image_with_webassembly(page, browser, file, demo):
    image = sorted(demo.glob("leftImg8bit/val/*/*.png"))[0]
    browser.problems.clear()
    browser.open(page, 800)
    browser.wait("document.querySelector('input').disabled === false", 60)
    browser.choose_file("input", image)
    browser.wait("document.querySelector('output').textContent !== ''", 60)
    found = browser.run("[...document.querySelector('canvas').classes]")
    expected = classes_of(file, image)
    assert (np.array(found, np.uint8).reshape(expected.shape) == expected).mean() >= 0.9999
    print(browser.run("document.querySelector('output').textContent"))
    assert [problem for problem in browser.problems if "favicon" not in problem] == []


def test_ascend_has_every_operator_of_the_mindir_file(untrained, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import operator_report

    cell = exported.ClassesOfImage(
        fold_batch_norm(OCRNet(untrained.config.model, 19)), untrained.config.data, (64, 128)
    )
    graph = compile_graph(cell, ops.zeros((1, 64, 128, 3), uint8))
    names = {operation.operator for operation in graph.operations} - operator_report.NO_LAUNCH
    assert {"Conv2D", "Argmax", "BatchMatMul"} < names
    assert {name: operator_report.missing(name) for name in names if "Ascend" in operator_report.missing(name)} == {}
