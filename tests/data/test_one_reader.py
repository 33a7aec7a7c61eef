"""Training, evaluation and prediction see the same pixels of a file, and labels keep the values that are stored."""

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
def test_alpha_is_laid_on_white_in_every_format(tmp_path, name):
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
def test_a_transparent_colour_and_16_bits_with_alpha_are_white_too(tmp_path, name):
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
def test_exif_orientation_counts_in_every_format(tmp_path, ending, orientation):
    image = Image.fromarray(PIXELS)
    if ending.startswith("alpha"):
        image.putalpha(255)
        image.putpixel((0, 0), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, turned = tmp_path / f"plain.{ending}", tmp_path / f"turned.{ending}"
    options = {"lossless": True} if ending.endswith("webp") else {}
    image.save(plain, **options)
    image.save(turned, exif=exif, **options)
    stored = read_image(plain)
    if orientation > 4:
        stored = stored.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    np.testing.assert_array_equal(read_image(turned), stored[rows, columns])
    assert image_size(turned) == stored.shape[1::-1]


@pytest.mark.parametrize(
    "kind", ["cmyk.jpg", "progressive.jpg", "bits.png", "palette.png", "deep.png", "deep.tif", "deep.pgm"]
)
def test_opaque_images_are_what_opencv_decodes(tmp_path, kind):
    path, image = tmp_path / kind, Image.fromarray(PIXELS)
    if kind.startswith("deep"):
        cv2.imwrite(
            str(path), PIXELS[..., 0].astype(np.uint16) * 257 if kind == "deep.pgm" else PIXELS.astype(np.uint16) * 257
        )
    else:
        modes = {"cmyk.jpg": "CMYK", "bits.png": "1", "palette.png": "P"}
        image.convert(modes.get(kind, "RGB")).save(path, **({"progressive": True} if kind == "progressive.jpg" else {}))
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))


def test_a_still_gif_is_read_and_32_bits_a_channel_are_refused(tmp_path):
    image = Image.fromarray(PIXELS).quantize(32)
    image.save(tmp_path / "a.gif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif"), np.asarray(image.convert("RGB")))
    Image.fromarray(PIXELS[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(BadFile, match=r"a\.tif: an image of 32 bits a channel .* convert it to 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """A PNG with few bits a pixel, which Pillow does not write: its palette image, with grey in its header."""
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
def test_few_bits_in_a_png_are_the_values_as_stored(tmp_path, bits, kind):
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
def test_labels_of_other_formats_keep_their_values(tmp_path, name):
    values = np.random.default_rng(3).integers(0, 16, (9, 13)).astype(np.uint8)
    image, options = Image.fromarray(values), {}
    if name in ("deep.png", "int.tif", "float.tif"):
        kind = {"deep.png": np.uint16, "int.tif": np.int32, "float.tif": np.float32}[name]
        image = Image.fromarray(values.astype(kind))
    elif name == "inverted.tif":  # Pillow stores 255 - value and says that 0 is white
        image, options = Image.fromarray(255 - values), {"tiffinfo": {262: 0}}
    elif name in ("few.bmp", "a.gif"):
        image.putpalette([level for value in range(16) for level in (value * 3, 5, 250 - value)])
    elif name == "alpha.png":
        image = Image.merge("LA", (image, Image.new("L", image.size, 255)))
    image.save(tmp_path / name, **options)
    np.testing.assert_array_equal(read_label(tmp_path / name), values)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_label_is_turned_like_its_image(tmp_path, ending):
    values = np.arange(24, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / f"label.{ending}", exif=exif)
    np.testing.assert_array_equal(read_label(tmp_path / f"label.{ending}"), np.rot90(values, -1))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("a.jpg", np.zeros((4, 4), np.uint8), "JPEG changes class indices where it compresses: save labels as PNG"),
        ("nan.tif", np.full((4, 4), np.nan, np.float32), "label values reach nan"),
        ("half.tif", np.full((4, 4), 0.5, np.float32), r"label values reach 0\.5.* must be integers from 0 to 255"),
        ("minus.tif", np.full((4, 4), -1, np.int32), "the lowest is -1"),
        ("rgb.png", np.zeros((4, 4, 3), np.uint8), "this one is RGB"),
    ],
)
def test_what_is_no_label_is_named(tmp_path, name, values, message):
    Image.fromarray(values).save(tmp_path / name)
    with pytest.raises(BadFile, match=message):
        read_label(tmp_path / name)


@pytest.mark.parametrize("read", [read_image, read_label])
def test_postscript_called_png_starts_no_program(tmp_path, monkeypatch, read):
    trap = tmp_path / "gs"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/STARTED\n")
    trap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n%%EOF\n")
    with pytest.raises(BadFile, match=r"a\.png: not a readable image .*none of JPEG, PNG"):
        read(path)
    assert not (tmp_path / "STARTED").exists()


@pytest.mark.parametrize("ending", [".png", ".gif", ".mp4", ".mat"])
def test_a_pipe_is_named_and_does_not_block(tmp_path, ending):
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
def test_matlab_matrices_are_what_scipy_reads(tmp_path, dtype, compressed, name):
    values = np.random.default_rng(0).integers(0, 183, (37, 50)).astype(dtype)
    around = {"captions": np.array(["a", "bc"], object), "other": np.eye(3)}
    label = {"Boundaries": np.array([np.eye(2), np.eye(3)], object), "Segmentation": values, "Categories": np.arange(3)}
    path = tmp_path / "a.mat"
    savemat(path, {**around, name: label if name == "GTcls" else values}, do_compression=compressed)
    found = loadmat(path, squeeze_me=True, struct_as_record=False)[name]
    np.testing.assert_array_equal(read_label(path), found.Segmentation if name == "GTcls" else found)
    assert read_label(path).dtype == np.uint8


def test_a_matlab_bomb_is_refused_before_it_is_inflated(tmp_path):
    path = tmp_path / "bomb.mat"
    savemat(path, {"S": np.zeros((6000, 6000))}, do_compression=True)
    with pytest.raises(BadFile, match=r"bomb\.mat: not a readable label image: it inflates to more than 268,435,456"):
        read_label(path)
    assert path.stat().st_size < 300_000
    savemat(path, {"S": np.zeros((8, 9), np.uint8)}, do_compression=False)
    shape = path.read_bytes().rindex(b"\x08\0\0\0\x09\0\0\0")  # what is before is a tag and its size
    data = bytearray(path.read_bytes())
    data[shape : shape + 8] = b"\xff\xff\xff\x7f" * 2
    path.write_bytes(data)
    with pytest.raises(BadFile, match=r"another size than the \[2147483647, 2147483647\]"):
        read_label(path)


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_a_playlist_called_film_leads_nowhere(tmp_path, ending, kind):
    writer = cv2.VideoWriter(str(tmp_path / "secret.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 32))
    for _ in range(5):
        writer.write(np.zeros((32, 64, 3), np.uint8))
    writer.release()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        for target in (f"http://127.0.0.1:{server.getsockname()[1]}/a.ts", str(tmp_path / "secret.mp4")):
            text = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n"
            path = tmp_path / f"film{ending}"
            path.write_text(text if kind == "hls" else f"ffconcat version 1.0\nfile '{target}'\n")
            with pytest.raises(UserError, match="not a readable video"):
                media.open_video(path)
            with pytest.raises(TimeoutError):
                server.accept()


def test_a_film_that_breaks_off_gives_its_frames_first(tmp_path):
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
