"""The demo page: what its server answers and refuses, and the page in a browser."""

import json
import signal
import socket
import subprocess
import sys
import time
from email import message_from_bytes
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import requests
from PIL import Image

from ocrnet.demo import server
from ocrnet.errors import UserError
from ocrnet.inference.model import Model
from ocrnet.visualization import encode

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(untrained):
    return Model(untrained.config.replace({"ms_mode": 1}), untrained.path)


@pytest.fixture(scope="module")
def address(model):
    """Address of a running server."""
    listener = server.listen(0)
    page = server.DemoServer(model, "ocrnet_demo", np.full((16, 32, 3), 200, np.uint8))
    Thread(target=page.run, args=(listener,), daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A JPEG of 96 x 64 pixels that is stored rotated."""
    path = tmp_path_factory.mktemp("photo") / "街 photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((64, 96)).rotate(90, expand=True).save(path, exif=exif)
    return path


def parts(answer: requests.Response) -> dict[str, bytes]:
    """{name: content} of form data."""
    message = message_from_bytes(b"Content-Type: " + answer.headers["content-type"].encode() + b"\n\n" + answer.content)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in message.get_payload()
    }


def test_classes_are_those_of_predict(address, model, photo):
    expected = model.predict(photo)
    answer = requests.post(f"{address}/segment", params={"name": photo.name}, data=photo.read_bytes())
    assert answer.status_code == 200
    found, (height, width) = parts(answer), expected.classes.shape
    about = json.loads(found["about"])
    assert (about["width"], about["height"]) == (width, height) == (64, 96)
    np.testing.assert_array_equal(np.frombuffer(found["classes"], np.uint8).reshape(height, width), expected.classes)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(found["image"]))), expected.image)
    mask = Image.open(BytesIO(found["mask"]))
    assert mask.mode == "P"
    np.testing.assert_array_equal(np.asarray(mask), expected.classes)
    np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), model.palette[expected.classes])

    answer = requests.post(f"{address}/polygons", data=found["mask"])
    assert answer.headers["content-type"] == "application/geo+json"
    counts = {feature["properties"]["class"]: feature["properties"]["pixels"] for feature in answer.json()["features"]}
    assert counts == {name: round(part * height * width) for name, part in expected.fractions.items()}


def test_only_the_own_page_is_answered(address):
    own = address.replace("127.0.0.1", "localhost")
    for headers, status in (
        ({"Origin": address}, 200),
        ({"Host": own.removeprefix("http://"), "Origin": own}, 200),
        ({"Host": "127.0.0.1:8888", "Origin": "http://127.0.0.1:8888"}, 200),  # a forwarded port
        ({"Host": "evil.example"}, 403),  # DNS rebinding
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),  # a sandboxed frame, a local file
        ({"Origin": own}, 403),  # another name is another origin
        ({"Origin": "http://127.0.0.1:1"}, 403),  # another program's page on this computer
        ({"Origin": address.replace("http", "https")}, 403),
    ):
        for method, path in (("GET", "/"), ("GET", "/network"), ("POST", "/segment")):
            answer = requests.request(method, address + path, headers=headers)
            expected = 400 if (method, status) == ("POST", 200) else status  # an empty file
            assert answer.status_code == expected, (headers, path)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "access-control-allow-origin" not in answer.headers


def test_it_listens_on_this_computer_only(address):
    port = int(address.rpartition(":")[2])
    with pytest.raises(UserError, match=f"--port {port}: it is in use; choose another one, or 0"):
        server.listen(port)
    with pytest.raises(UserError, match="--port 70000"):
        server.listen(70000)
    with server.listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_bad_files_are_named(address, model, photo, monkeypatch):
    def message(path: str, data: bytes, status: int = 400) -> str:
        answer = requests.post(f"{address}/{path}", data=data)
        assert answer.status_code == status and answer.headers["content-type"].startswith("text/plain")
        return answer.text

    assert message("segment?name=a/b.png", b"text").startswith("b.png: not a readable image (damaged, or not one of")
    assert message("segment", b"") == "image: not a readable image: the file is empty"
    assert "truncated" in message("segment?name=%00", photo.read_bytes()[:-9])
    assert message("polygons", photo.read_bytes()).startswith("mask.png: JPEG compression")
    mask = BytesIO()
    Image.fromarray(np.full((2, 2), 19, np.uint8)).save(mask, "PNG")
    assert message("polygons", mask.getvalue()) == "mask.png: class 19: the network has 19 classes"
    assert requests.get(f"{address}/%2e%2e/server.py").status_code == 404

    monkeypatch.setattr(server, "MAX_UPLOAD", 2**20)
    assert message("segment", bytes(2**20 + 1), 413) == "the file is larger than 1 MB"
    chunks = requests.post(f"{address}/segment", data=iter([bytes(2**19)] * 3))  # of a size that is not announced
    assert chunks.status_code == 413
    monkeypatch.setattr(model.predictor, "_free", 1000)
    assert message("segment?name=large.jpg", photo.read_bytes()).startswith("large.jpg: 64 x 96 pixels need")


def test_a_missing_library_is_named():
    code = "import sys; sys.modules['starlette'] = None; sys.path.insert(0, 'scripts'); sys.argv[1:] = ['--config', "
    code += "'config/ocrnet/ocrnet_demo.yml']; import demo_page; from ocrnet.runtime import program\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(program.run(demo_page.main))"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.endswith("error: starlette and uvicorn are not installed: in the clone, pip install '.[demo]'\n")


def ask_in_vain(url: str, data: bytes) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.post(url, data=data)


def test_the_command_says_where_and_ends_quietly(untrained):
    code = "import sys; sys.path.insert(0, 'src'); from ocrnet.console import main; main()"
    flags = ["demo", "--model", untrained.path, "--port", "0", "--ms_mode", "1"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        address = process.stdout.readline().split()[0]
        assert requests.get(f"{address}/network").json()["example"] is True  # its classes are those of Cityscapes
        with Image.open(BytesIO(requests.get(f"{address}/example.png").content)) as example:
            assert example.size == (1024, 512)
        data = encode(np.random.default_rng(0).integers(0, 256, (1200, 1600, 3)).astype(np.uint8), ".png")
        Thread(target=ask_in_vain, args=(f"{address}/segment", data)).start()
        time.sleep(1)  # it ends while it computes, too
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=10)[1]
    assert process.returncode == 130 and errors.endswith("\ninterrupted by SIGINT\n") and "Traceback" not in errors
    with socket.socket() as free:
        assert free.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) != 0


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_works_in_a_browser(browser, address, model, photo, tmp_path, width):
    expected = model.predict(photo)
    browser.requested.clear()
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.open(address, width, touch=width < 600)
    browser.wait("'loaded' in document.documentElement.dataset")
    problem = "document.querySelector('#problem').innerText"

    (tmp_path / "bad.png").write_text("text")
    browser.choose_file("#file", tmp_path / "bad.png")
    browser.wait(problem)
    assert browser.run(problem).startswith("bad.png: not a readable image")
    browser.choose_file("#file", photo)
    browser.wait("document.documentElement.dataset.state === 'ready'")
    assert browser.run(problem) == ""
    assert browser.run("document.documentElement.scrollWidth") == width  # no horizontal scrolling
    assert browser.run("document.querySelector('#about').innerText").startswith("街 photo.jpg: 64 × 96 pixels")

    legend = browser.run("[...document.querySelectorAll('#legend button')].map(b => b.innerText.split('\\n'))")
    shares = list(expected.fractions.values())
    assert [row[-1] for row in legend] == [f"{100 * part:.2f} %" if part >= 1e-4 else "< 0.01 %" for part in shares]
    assert {row[0] for row in legend} == set(expected.fractions)

    # the class under the pointer
    box = browser.run("(b => [b.x, b.y, b.width, b.height])(document.querySelector('#stage').getBoundingClientRect())")
    assert box[2] / box[3] == pytest.approx(64 / 96, abs=0.02)
    tip = "document.querySelector('#tip').innerText"
    for x, y in ((0, 0), (63, 95), (10, 40), (40, 10)):
        place = {"x": box[0] + (x + 0.5) / 64 * box[2], "y": box[1] + (y + 0.5) / 96 * box[3]}
        if width < 600:
            browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[place])
            browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        else:
            browser.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
        assert browser.run(tip) == model.names[expected.classes[y, x]]
        assert browser.run("document.querySelector('#under').innerText").endswith(f"x {x}, y {y}")
    browser.run("document.querySelector('#stage').focus()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft", modifiers=8)  # Shift
    assert browser.run("document.querySelector('#under').innerText").endswith("x 39, y 10")

    # opacity and highlight
    colour = "[...pen.getImageData({}, {}, 1, 1).data]"
    opacity = "Number(document.querySelector('#colours').style.opacity)"
    assert browser.run(opacity) == 0.5
    assert browser.run(colour.format(10, 40)) == [*model.palette[expected.classes[40, 10]].tolist(), 255]
    browser.drag("#opacity", 0.5, 0.8)
    assert 0.7 < browser.run(opacity) < 0.9
    browser.click("#legend button")
    first = model.names.index(legend[0][0])
    (y, x), (y2, x2) = np.argwhere(expected.classes == first)[0], np.argwhere(expected.classes != first)[0]
    assert browser.run(colour.format(x, y))[3] == round(255 * browser.run("Number(find('opacity').value) / 100"))
    assert browser.run(colour.format(x2, y2))[3] == 190
    browser.click("#legend button")
    assert browser.run(colour.format(x2, y2))[3] == 255

    for kind, name in (
        ("mask", "街 photo_mask.png"),
        ("overlay", "街 photo_overlay.jpg"),
        ("polygons", "街 photo.geojson"),
    ):
        browser.click(f"[data-save={kind}]")
        end = time.monotonic() + 30
        while not (tmp_path / name).is_file():
            assert time.monotonic() < end, name
            browser.run("0")
            time.sleep(0.05)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "街 photo_mask.png")), expected.classes)
    with Image.open(tmp_path / "街 photo_overlay.jpg") as overlay:
        strength = browser.run(opacity)
        difference = np.asarray(overlay, float) - np.asarray(expected.overlay(strength), float)
        assert np.abs(difference).mean() < 6  # JPEG
    assert json.loads((tmp_path / "街 photo.geojson").read_text())["type"] == "FeatureCollection"

    browser.click("#language")
    assert browser.run("document.querySelector('h2').innerText") == "将图像拖到此处" or width < 600
    assert browser.run("document.documentElement.lang") == "zh"
    expected = ("400 (Bad Request)", "Multiple readback")  # of bad.png, and of this test
    assert not [text for text in browser.problems if not any(known in text for known in expected)]
    assert {url.split("/")[2] for url in browser.requested if url.startswith("http")} == {
        address.removeprefix("http://")
    }
