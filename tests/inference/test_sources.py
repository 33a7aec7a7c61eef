"""Networks by name: fetched, verified and converted once; from the publisher, a mirror, a folder; and what is said."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import save

import ocrnet
from file_server import FileServer
from ocrnet.errors import UserError
from ocrnet.inference import sources
from ocrnet.weights.ckpt import save_weights
from ocrnet.zoo import cached_weights
from ocrnet.zoo.published import find_model, models
from peers import DATA, Golden, golden_input

NAME = "ocrnet_hrnet_w18_small_cityscapes_ssseg_440e"  # its publisher gives no checksum
VERIFIED = "ocrnet_hrnet_w18_small_cityscapes_mmseg_40k"
SOURCE = str(Path(ocrnet.__file__).parents[1])


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden(DATA / "golden_ssseg_w18s.npz")


@pytest.fixture
def server(golden, tmp_path, monkeypatch) -> Iterator[FileServer]:
    """Serves sssegmentation's file with generated weights; the cache is an empty folder."""
    with FileServer() as server:
        server.files[find_model(NAME).file.file_name] = save(golden.tensors())
        monkeypatch.setenv("OCRNET_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("OCRNET_WEIGHTS_URL", server.address(""))
        yield server
        server.shutdown()


def test_a_name_is_fetched_and_converted_once(server, golden, tmp_path):
    model = ocrnet.load(NAME)
    assert len(server.requests) == 1
    assert sorted(file.name for file in (tmp_path / "cache").iterdir()) == [f".{NAME}.lock", f"{NAME}.ckpt"]
    assert model.config.model.stem_relu is False  # the published weights are from before 1.7.0
    main, _ = model.network(Tensor(golden_input()))
    assert main.shape[:2] == (1, 19)
    server.files.clear()
    again = ocrnet.load(NAME)
    assert len(server.requests) == 1
    assert len(server.requests) == 1
    np.testing.assert_array_equal(again.network(Tensor(golden_input()))[0].asnumpy(), main.asnumpy())
    with (tmp_path / "cache" / f"{NAME}.ckpt").open("r+b") as file:
        file.seek(5_000_000)
        file.write(bytes(8))
    with pytest.raises(UserError, match=r"damaged.*Delete this file: it will be fetched again"):
        ocrnet.load(NAME)


def test_two_processes_fetch_once(server, tmp_path):
    code = f"import ocrnet; from ocrnet.inference.sources import find_source; print(find_source('{NAME}').checkpoint)"
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", code]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    done = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], done
    assert {out for out, _ in done} == {f"{tmp_path / 'cache' / NAME}.ckpt\n"}
    assert len(server.requests) == 1


def test_a_file_with_a_wrong_checksum_is_refused(server, tmp_path):
    file = find_model(VERIFIED).file
    server.files[file.file_name] = b"another file"
    with pytest.raises(UserError, match=r"its SHA-256 starts with \w{8}, the published one with 6c052a14"):
        ocrnet.load(VERIFIED)
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [f".{VERIFIED}.lock"]


def test_without_a_server_the_message_names_the_file_and_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OCRNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OCRNET_WEIGHTS_URL", "http://127.0.0.1:9/weights")
    file = find_model(NAME).file
    with pytest.raises(UserError) as caught:
        ocrnet.load(NAME)
    assert f"copy {file.file_name} to {tmp_path / 'cache'}" in str(caught.value)
    assert "OCRNET_WEIGHTS_URL" in str(caught.value) and file.url in str(caught.value)


@pytest.mark.parametrize("place", ["cache", "folder", "file URL"])
def test_a_file_that_is_on_the_disk_is_used_and_kept(place, golden, tmp_path, monkeypatch):
    monkeypatch.setenv("OCRNET_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / ("cache" if place == "cache" else "my weights")
    folder.mkdir()
    file = folder / find_model(NAME).file.file_name
    file.write_bytes(b"published")
    if place != "cache":
        monkeypatch.setenv("OCRNET_WEIGHTS_URL", str(folder) if place == "folder" else folder.as_uri())

    def convert(source: Path, output: Path) -> None:
        assert source == file
        output.write_bytes(source.read_bytes())

    assert cached_weights.fetch(find_model(NAME).file, convert).read_bytes() == b"published"
    assert file.exists()
    file.unlink()
    assert cached_weights.fetch(find_model(NAME).file, convert).exists()  # the converted weights are enough
    if place == "folder":
        with pytest.raises(UserError, match=rf"{find_model(VERIFIED).file.file_name} is not in .*my weights"):
            cached_weights.fetch(find_model(VERIFIED).file, convert)


def test_a_cache_that_cannot_be_written_is_a_user_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OCRNET_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot write the cache of weights: .*Set OCRNET_CACHE"):
        ocrnet.load(NAME)


def test_a_file_of_another_network_is_refused(server, golden):
    tensors = {name: value for name, value in golden.tensors().items() if not name.startswith("bottleneck.")}
    server.files[find_model(NAME).file.file_name] = save(tensors)
    with pytest.raises(UserError, match=r"does not match the network \(hrnet_w18_small, 19 classes\)"):
        ocrnet.load(NAME)


def test_sources_of_a_run_a_checkpoint_and_a_config(untrained, tmp_path):
    run = untrained.path.parents[1]
    for source, weights in ((run, None), (untrained.path, None), (str(run), untrained.path)):
        found = sources.find_source(source, weights)
        assert found.checkpoint == untrained.path and found.config.path == untrained.path
        assert found.stored is not None
    found = sources.find_source("config/ocrnet/ocrnet_demo.yml")
    assert found.checkpoint == Path("runs/ocrnet_demo/checkpoint/best.ckpt")
    assert sources.find_source(VERIFIED, "mine.ckpt").checkpoint == Path("mine.ckpt")
    assert sources.find_source("ocrnet_demo", "mine.ckpt").config.name == "ocrnet_demo.yml"

    save_weights(tmp_path / "bare.ckpt", {"w": np.zeros(3, np.float32)})
    for source, weights, message in (
        (VERIFIED[:-1], None, f"no published network, config, run folder or checkpoint .* Did you mean {VERIFIED}"),
        ("nothing", None, "`ocrnet models` lists"),
        ("ocrnet_hrnet_w48_daodixian_seg_hrnet_ocr_484e", None, "HRNet-OCR did not publish its weights"),
        (tmp_path, None, "not the folder of a run"),
        (tmp_path / "bare.ckpt", None, "has no configuration"),
        (untrained.path, untrained.path, "both are weights"),
        (VERIFIED, "mine.pth", "mine.pth: convert this file first: ocrnet convert"),
    ):
        with pytest.raises(UserError, match=message):
            sources.find_source(source, weights)


def test_settings_of_published_weights_are_keys_of_configs():
    old = [name for name, model in models().items() if model.settings]
    assert len(old) == 9 and all("_hrnet_" in name and "_ssseg_" in name for name in old)
