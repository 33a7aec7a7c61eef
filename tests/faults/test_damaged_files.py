"""Damaged files of every kind that is read: a clear error or a correct result, no hang, no traceback, no file lost."""

import signal
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from ocrnet.config import Config, DataConfig
from ocrnet.config.loading import load_config
from ocrnet.data.images import read_image, read_label
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError
from ocrnet.weights.ckpt import read_checkpoint, save_weights
from ocrnet.weights.foreign_files import read_tensors

DATA = Path(__file__).resolve().parents[1] / "data"
EACH = 30  # damaged versions of each of the eleven files below


def damaged(content: bytes, number: int) -> bytes:
    """Version `number`: cut short (every other one), or 1 to 8 bits flipped, some of them near the start."""
    rng = np.random.default_rng(number)
    if number % 2:
        return content[: rng.integers(0, len(content))]
    changed = bytearray(content)
    reach = len(content) if number % 4 else min(len(content), 200)
    for place in rng.integers(0, reach, rng.integers(1, 9)):
        changed[place] ^= 1 << rng.integers(0, 8)
    return bytes(changed)


@pytest.fixture
def whole(tmp_path) -> dict[str, Path]:
    """One sound file of each kind."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (12, 24, 3), np.uint8), (192, 96))
    label = rng.integers(0, 3, (96, 192)).astype(np.uint8)
    weights = {f"layer{n}.weight": rng.normal(size=(8, 4, 3, 3)).astype(np.float32) for n in range(3)}
    files = {
        kind: tmp_path / f"whole.{kind}"
        for kind in ("png", "jpg", "progressive.jpg", "label.png", "lst", "yml", "ckpt", "foreign.ckpt", "safetensors")
    }
    cv2.imwrite(str(files["png"]), image)
    cv2.imwrite(str(files["jpg"]), image)
    cv2.imwrite(str(files["progressive.jpg"]), image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    Image.fromarray(label).save(files["label.png"])
    files["lst"].write_text("whole.jpg whole.label.png\nwhole.png whole.label.png  # again\n" * 4)
    config = Config(data=DataConfig(format="list", classes=["a", "b", "c"]))
    files["yml"].write_text(config.to_yaml())
    save_weights(files["ckpt"], weights, config)
    ms.save_checkpoint([{"name": k, "data": ms.Tensor(v)} for k, v in weights.items()], str(files["foreign.ckpt"]))
    save_file(weights, files["safetensors"])
    for name in ("torch_zip.pth", "torch_legacy.pth"):
        files[name] = tmp_path / name
        files[name].write_bytes((DATA / name).read_bytes())
    return files


def arrays(path: Path) -> dict[str, np.ndarray]:
    return read_tensors(path)[0]


def checkpoint(path: Path) -> dict[str, np.ndarray]:
    stored = read_checkpoint(path)
    return {name: value.asnumpy() if hasattr(value, "asnumpy") else np.array(value) for name, value in stored.items()}


def listed(path: Path) -> dict[str, np.ndarray]:
    config = DataConfig(format="list", root=path.parent, train=path.name, classes=["a", "b", "c"])
    dataset = open_dataset(config, "train")
    assert all(file.resolve().is_relative_to(path.parent) for pair in dataset.pairs for file in pair)
    return {str(index): part for index in range(len(dataset)) for part in dataset.read(index)}


def config_file(path: Path) -> dict[str, np.ndarray]:
    return {"config": np.array(isinstance(load_config(path), Config))}


def alone(read: Callable[[Path], np.ndarray]) -> Callable[[Path], dict[str, np.ndarray]]:
    return lambda path: {"": read(path)}


# how each is read, and whether the format has a checksum: then what is read without an error must be what was written
READERS = {
    "png": (alone(read_image), True),
    "jpg": (alone(read_image), False),
    "progressive.jpg": (alone(read_image), False),
    "label.png": (alone(read_label), True),
    "lst": (listed, False),
    "yml": (config_file, False),
    "ckpt": (checkpoint, True),
    "foreign.ckpt": (arrays, False),
    "safetensors": (arrays, False),
    "torch_zip.pth": (arrays, True),
    "torch_legacy.pth": (arrays, False),
}


def hang(*_: object) -> None:
    raise TimeoutError("reading takes longer than 20 s")


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_give_a_clear_error_or_what_was_written(whole, kind, tmp_path):
    read, has_checksum = READERS[kind]
    expected, content = read(whole[kind]), whole[kind].read_bytes()
    signal.signal(signal.SIGALRM, hang)
    refused = 0
    for number in range(EACH):
        path = tmp_path / f"damaged{number}.{kind}"
        path.write_bytes(damaged(content, number))
        signal.alarm(20)
        try:
            found = read(path)
        except UserError as error:
            assert str(tmp_path) in str(error) and "Traceback" not in str(error)
            refused += 1
        else:
            for name, value in found.items() if has_checksum else ():
                np.testing.assert_array_equal(value, expected[name], err_msg=f"{path} {name}")
            if kind.endswith("jpg"):  # bits of the image itself have no checksum
                assert path.read_bytes()[-2:] == b"\xff\xd9" and found[""].dtype == np.uint8
        finally:
            signal.alarm(0)
        assert path.read_bytes() == damaged(content, number)
    print(f"{kind}: {EACH} damaged files, {refused} refused, {EACH - refused} read")
    assert refused >= (EACH if kind == "ckpt" else EACH // 3)


def test_a_image_that_claims_100000_x_100000_pixels_is_refused_before_it_is_decoded(tmp_path):
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    for read in (read_image, read_label):
        with pytest.raises(UserError, match=r"bomb\.png: this image has more than 178,956,970 pixels"):
            read(path)


def test_a_link_does_not_lead_a_list_out_of_its_root(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").symlink_to(tmp_path)
    for field in ("link.png", "folder/secret.png"):
        (root / "train.lst").write_text(f"{field} {field}\n")
        with pytest.raises(UserError, match=r"train\.lst:1: .* is a link to .*, which is outside the data root"):
            open_dataset(DataConfig(format="list", root=root, train="train.lst", classes=["a"]), "train")


@pytest.mark.parametrize(
    "text",
    [
        "seed: !!python/object/apply:os.system ['touch RAN']",
        "seed: !!python/name:os.system",
        "data: &a\n  classes: [x]\nmodel: *a",
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
        "seed: &a [*a]",
        "seed: " + "[" * 5000,
    ],
)
def test_a_config_runs_no_code_and_cannot_fill_the_memory(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"config\.yml: not "):
        load_config(path)
    assert not (tmp_path / "RAN").exists()
