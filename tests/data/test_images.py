"""Windows of an image file equal those of the whole image."""

import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from ocrnet.data.images import BadFile, ImageFile, read_image, read_label


@pytest.mark.parametrize(
    "kind",
    ["rgb.png", "smooth.png", "sub.png", "grey.png", "palette.png", "alpha.png", "rotated.png", "photograph.jpg"],
)
def test_a_window_equals_that_part_of_the_whole_image(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    if kind in ("smooth.png", "sub.png"):  # all PNG filters, or only the filter that uses the left pixel
        pixels = cv2.GaussianBlur(pixels, (0, 0), 9)
    modes = {"grey.png": "L", "palette.png": "P", "alpha.png": "RGBA"}
    image = Image.fromarray(pixels).convert(modes.get(kind, "RGB"))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    image.save(tmp_path / kind, **({"exif": exif} if kind in ("rotated.png", "photograph.jpg") else {}))
    if kind == "sub.png":
        cv2.imwrite(str(tmp_path / kind), pixels[..., ::-1])
    whole = read_image(tmp_path / kind)
    if kind in ("rgb.png", "smooth.png", "sub.png"):
        np.testing.assert_array_equal(whole, pixels)
    image = ImageFile(tmp_path / kind)
    assert image.shape == whole.shape
    for rows, columns in ((slice(20, 90), slice(5, 60)), (slice(0, 200), slice(None)), (slice(10, 20), slice(9, 10))):
        np.testing.assert_array_equal(image[rows, columns], whole[rows, columns])


def test_a_png_with_missing_rows_is_an_error(tmp_path):
    path = tmp_path / "short.png"
    Image.new("RGB", (40, 20)).save(path)
    data = bytearray(path.read_bytes())
    data[20:24] = (30).to_bytes(4, "big")  # the height in the header is larger than the number of rows
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(BadFile, match=r"short\.png: not a readable image"):
        read_image(path)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_label_values_are_read_unchanged(tmp_path, mode):
    values = np.kron(np.random.default_rng(1).integers(0, 256, (20, 30), dtype=np.uint8), np.ones((9, 7), np.uint8))
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    image.save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_label(tmp_path / "label.png"), values)
