"""Training, evaluation and prediction use the same pixels of a file, and label values are read unchanged."""

import io
import os
import socket

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from ocrnet.config import DataConfig
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.images import BadFile, image_size, read_image, read_label
from ocrnet.errors import UserError
from ocrnet.inference import media

PIXELS = cv2.resize(np.random.default_rng(0).integers(0, 200, (4, 6, 3), np.uint8), (48, 32))
HIDDEN = np.full((32, 48), 255, np.uint8)
HIDDEN[:, :20] = 0  # transparent columns
HALF = HIDDEN.copy()
HALF[:, 40:] = 128


def image_of(kind: str) -> Image.Image:
    image = Image.fromarray(PIXELS)
    if kind == "LA":
        return Image.merge("LA", (image.convert("L"), Image.fromarray(HALF)))
    image.putalpha(Image.fromarray(HALF))
    return image


@pytest.mark.parametrize("name", ["RGBA.png", "LA.png", "RGBA.webp", "RGBA.tif", "LA.tif"])
def test_alpha_is_blended_with_white_in_every_format(tmp_path, name):
    kind, ending = name.split(".")
    image_of(kind).save(tmp_path / name, **({"lossless": True, "exact": True} if ending == "webp" else {}))
    colours = np.asarray(image_of(kind).convert("RGB")).astype(int)
    read = read_image(tmp_path / name).astype(int)
    assert (read[:, :20] == 255).all()
    np.testing.assert_array_equal(read[:, 20:40], colours[:, 20:40])
    mixed = colours[:, 40:] * 128 / 255 + 255 * (1 - 128 / 255)
    assert np.abs(read[:, 40:] - mixed).max() <= 0.51
    trained, _ = SegmentationDataset([(tmp_path / name, None)], DataConfig(format="list", classes=["a"])).read(0)
    np.testing.assert_array_equal(trained, read)


@pytest.mark.parametrize("name", ["palette.png", "palette.gif", "colour.png", "deep.png"])
def test_transparent_colours_and_16_bit_alpha_are_blended_with_white(tmp_path, name):
    flat = np.full((8, 12, 3), 90, np.uint8)
    flat[:, :5] = (1, 2, 3)
    image = Image.fromarray(flat)
    if name.startswith("palette"):
        image = image.quantize(2)
        image.save(tmp_path / name, transparency=image.getpixel((0, 0)))
    elif name == "colour.png":
        image.save(tmp_path / name, transparency=(1, 2, 3))
    else:
        alpha = np.where(flat[..., :1] == 1, 0, 65535).astype(np.uint16)
        cv2.imwrite(str(tmp_path / name), np.dstack([flat.astype(np.uint16) * 257, alpha]))
    read = read_image(tmp_path / name)
    assert (read[:, :5] == 255).all() and (read[:, 5:] == 90).all()


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "alpha.png", "alpha.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_in_every_format(tmp_path, ending, orientation):
    image = Image.fromarray(PIXELS)
    if ending.startswith("alpha"):
        image.putalpha(255)
        image.putpixel((0, 0), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, rotated = tmp_path / f"plain.{ending}", tmp_path / f"rotated.{ending}"
    options = {"lossless": True} if ending.endswith("webp") else {}
    image.save(plain, **options)
    image.save(rotated, exif=exif, **options)
    stored = read_image(plain)
    if orientation > 4:
        stored = stored.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    np.testing.assert_array_equal(read_image(rotated), stored[rows, columns])
    assert image_size(rotated) == stored.shape[1::-1]


@pytest.mark.parametrize(
    "kind", ["cmyk.jpg", "progressive.jpg", "bits.png", "palette.png", "deep.png", "deep.tif", "deep.pgm"]
)
def test_opaque_images_are_decoded_as_by_opencv(tmp_path, kind):
    path, image = tmp_path / kind, Image.fromarray(PIXELS)
    if kind.startswith("deep"):
        cv2.imwrite(
            str(path), PIXELS[..., 0].astype(np.uint16) * 257 if kind == "deep.pgm" else PIXELS.astype(np.uint16) * 257
        )
    else:
        modes = {"cmyk.jpg": "CMYK", "bits.png": "1", "palette.png": "P"}
        image.convert(modes.get(kind, "RGB")).save(path, **({"progressive": True} if kind == "progressive.jpg" else {}))
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))


def test_a_gif_is_read_and_a_32_bit_image_is_an_error(tmp_path):
    image = Image.fromarray(PIXELS).quantize(32)
    image.save(tmp_path / "a.gif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif"), np.asarray(image.convert("RGB")))
    Image.fromarray(PIXELS[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(
        BadFile, match=r"a\.tif: the value range of a 32-bit image is unknown: convert it to 8 or 16 bits"
    ):
        read_image(tmp_path / "a.tif")


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """Returns a grey PNG with few bits per pixel, which Pillow cannot write: its palette PNG with a changed header."""
    from ocrnet.data import png

    file = io.BytesIO()
    image = Image.fromarray(values)
    image.putpalette([0] * 768)
    image.save(file, "PNG", bits=bits)
    header, *_ = (data := file.getvalue()).split(b"PLTE", 1)
    header = bytearray(header[:-4])  # without the size of the palette
    header[25] = png.GREY
    header[29:33] = int.to_bytes(png.zlib.crc32(header[12:29]), 4, "big")
    return bytes(header) + data[data.index(b"IDAT") - 4 :]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["grey", "palette"])
def test_label_values_of_1_to_8_bit_pngs_are_read_unchanged(tmp_path, bits, kind):
    values = np.random.default_rng(bits).integers(0, 2**bits, (9, 13)).astype(np.uint8)
    path = tmp_path / "label.png"
    path.write_bytes(grey_png(values, bits))
    if kind == "palette":
        image = Image.fromarray(values)
        image.putpalette(list(range(256)) * 3)
        image.save(path, bits=bits)
    np.testing.assert_array_equal(read_label(path), values)
    assert path.read_bytes()[24:26] == bytes((bits, 0 if kind == "grey" else 3))


@pytest.mark.parametrize(
    "name", ["deep.png", "int.tif", "float.tif", "inverted.tif", "a.bmp", "few.bmp", "a.gif", "alpha.png"]
)
def test_label_values_of_other_formats_are_read_unchanged(tmp_path, name):
    values = np.random.default_rng(3).integers(0, 16, (9, 13)).astype(np.uint8)
    image, options = Image.fromarray(values), {}
    if name in ("deep.png", "int.tif", "float.tif"):
        kind = {"deep.png": np.uint16, "int.tif": np.int32, "float.tif": np.float32}[name]
        image = Image.fromarray(values.astype(kind))
    elif name == "inverted.tif":  # Pillow stores 255 - value and declares 0 as white
        image, options = Image.fromarray(255 - values), {"tiffinfo": {262: 0}}
    elif name in ("few.bmp", "a.gif"):
        image.putpalette([level for value in range(16) for level in (value * 3, 5, 250 - value)])
    elif name == "alpha.png":
        image = Image.merge("LA", (image, Image.new("L", image.size, 255)))
    image.save(tmp_path / name, **options)
    np.testing.assert_array_equal(read_label(tmp_path / name), values)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_exif_orientation_is_applied_to_labels(tmp_path, ending):
    values = np.arange(24, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / f"label.{ending}", exif=exif)
    np.testing.assert_array_equal(read_label(tmp_path / f"label.{ending}"), np.rot90(values, -1))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("a.jpg", np.zeros((4, 4), np.uint8), "JPEG compression changes class indices: save labels as PNG"),
        ("nan.tif", np.full((4, 4), np.nan, np.float32), "label values are nan to nan"),
        (
            "half.tif",
            np.full((4, 4), 0.5, np.float32),
            r"label values are 0\.5 to 0\.5; they must be integers from 0 to 255",
        ),
        ("minus.tif", np.full((4, 4), -1, np.int32), "label values are -1 to -1"),
        ("rgb.png", np.zeros((4, 4, 3), np.uint8), "this one is RGB"),
    ],
)
def test_invalid_label_images_are_errors(tmp_path, name, values, message):
    Image.fromarray(values).save(tmp_path / name)
    with pytest.raises(BadFile, match=message):
        read_label(tmp_path / name)


@pytest.mark.parametrize("read", [read_image, read_label])
def test_postscript_named_png_does_not_start_ghostscript(tmp_path, monkeypatch, read):
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/STARTED\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n%%EOF\n")
    with pytest.raises(BadFile, match=r"a\.png: not a readable image .*not one of JPEG, PNG"):
        read(path)
    assert not (tmp_path / "STARTED").exists()


@pytest.mark.parametrize("ending", [".png", ".gif", ".mp4", ".mat"])
def test_a_pipe_is_an_error_and_does_not_block(tmp_path, ending):
    path = tmp_path / f"pipe{ending}"
    os.mkfifo(path)
    for read in (read_image, read_label):
        with pytest.raises(BadFile, match=r"pipe.*: this is a pipe"):
            read(path)
    if ending == ".mp4":
        with pytest.raises(UserError, match="pipe"):
            media.open_video(path)
    else:
        assert media.open_video(path) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("name", ["S", "GTcls"])
def test_matlab_labels_are_read_as_by_scipy(tmp_path, dtype, compressed, name):
    values = np.random.default_rng(0).integers(0, 183, (37, 50)).astype(dtype)
    others = {"captions": np.array(["a", "bc"], object), "other": np.eye(3)}
    label = {"Boundaries": np.array([np.eye(2), np.eye(3)], object), "Segmentation": values, "Categories": np.arange(3)}
    path = tmp_path / "a.mat"
    savemat(path, {**others, name: label if name == "GTcls" else values}, do_compression=compressed)
    found = loadmat(path, squeeze_me=True, struct_as_record=False)[name]
    np.testing.assert_array_equal(read_label(path), found.Segmentation if name == "GTcls" else found)
    assert read_label(path).dtype == np.uint8


def test_a_matlab_decompression_bomb_is_an_error(tmp_path):
    path = tmp_path / "bomb.mat"
    savemat(path, {"S": np.zeros((6000, 6000))}, do_compression=True)
    with pytest.raises(
        BadFile, match=r"bomb\.mat: not a readable label image: it decompresses to more than 268,435,456"
    ):
        read_label(path)
    assert path.stat().st_size < 300_000
    savemat(path, {"S": np.zeros((8, 9), np.uint8)}, do_compression=False)
    shape = path.read_bytes().rindex(b"\x08\0\0\0\x09\0\0\0")  # a tag and its size come before it
    data = bytearray(path.read_bytes())
    data[shape : shape + 8] = b"\xff\xff\xff\x7f" * 2
    path.write_bytes(data)
    with pytest.raises(BadFile, match=r"its size is not \[2147483647, 2147483647\]"):
        read_label(path)


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_a_playlist_named_as_a_video_opens_nothing(tmp_path, ending, kind):
    writer = cv2.VideoWriter(str(tmp_path / "secret.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 32))
    for _ in range(5):
        writer.write(np.zeros((32, 64, 3), np.uint8))
    writer.release()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        for target in (f"http://127.0.0.1:{server.getsockname()[1]}/a.ts", str(tmp_path / "secret.mp4")):
            text = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n"
            path = tmp_path / f"video{ending}"
            path.write_text(text if kind == "hls" else f"ffconcat version 1.0\nfile '{target}'\n")
            with pytest.raises(UserError, match="not a readable video"):
                media.open_video(path)
            with pytest.raises(TimeoutError):
                server.accept()


def test_a_truncated_video_returns_its_frames_before_the_error(tmp_path):
    frames = [Image.fromarray(np.roll(PIXELS, number, axis=1)) for number in range(10)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(data[: len(data) * 6 // 10])
    seen = 0
    with pytest.raises(BadFile, match=r"a\.gif: damaged: truncated after [3-7] frames"):
        for frame in media.open_video(tmp_path / "a.gif"):
            assert frame.shape == (32, 48, 3)
            seen += 1
    assert 3 <= seen <= 7
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    for frame in frames * 3:
        writer.write(np.asarray(frame))
    writer.release()
    data = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadFile, match=r"a\.avi: damaged: truncated after 1\d of 30 frames"):
        list(media.open_video(tmp_path / "a.avi"))
