"""scripts/predict.py and media.py with various kinds of files."""

import cv2
import numpy as np
import pytest
from PIL import Image

from ocrnet.config.loading import load_config
from ocrnet.data.images import read_image
from ocrnet.errors import UserError
from ocrnet.inference import media

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory):
    """A folder with one file of each kind, 48 x 32 pixels except for one.png."""
    folder = tmp_path_factory.mktemp("odd")
    colours = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    image = Image.fromarray(cv2.GaussianBlur(colours, (0, 0), 4))
    image.save(folder / "plain.png")
    image.resize((1, 1)).save(folder / "one.png")
    image.convert("L").save(folder / "grey.png")
    transparent = image.copy()
    transparent.putalpha(Image.fromarray(np.repeat([[0, 255]], 32, axis=0).repeat(24, axis=1).astype(np.uint8)))
    transparent.save(folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    image.save(folder / "rotated.jpg", exif=exif)
    cv2.imwrite(str(folder / "sixteen.png"), np.asarray(image)[..., ::-1].astype(np.uint16) * 257)
    frames = [image.rotate(30 * number) for number in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:], duration=200)
    (folder / "text.png").write_text("I am text")
    video = cv2.VideoWriter(str(folder / "video.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 15, (48, 32))
    for number in range(10):
        video.write(np.roll(np.asarray(image)[..., ::-1], number, axis=1))
    video.release()
    (folder / "inner").mkdir()
    image.save(folder / "inner" / "plain.jpg")
    image.save(folder / "inner" / "plain.png")
    return folder


@pytest.mark.slow
def test_outputs_have_the_input_size_and_a_bad_file_does_not_stop_the_others(
    run_script, untrained, odd_files, tmp_path
):
    done = run_script(
        "scripts/predict.py", "--config", CONFIG_FILE, "--ckpt_path", untrained.path, "--input", odd_files,
        "--output", tmp_path, "--ms_mode", "1", *untrained.flags,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "10 of 11 files segmented" in done.stdout and "text.png: not a readable image" in done.stderr
    assert "100%" in done.stderr  # the progress bar
    expected = {name: (48, 32) for name in ("plain", "grey", "alpha", "sixteen", "inner/plain.jpg", "inner/plain.png")}
    for name, size in {**expected, "one": (1, 1), "rotated": (32, 48)}.items():
        for kind, mode in (("raw", "L"), ("mask", "RGB")):
            with Image.open(tmp_path / kind / f"{name}.png") as written:
                assert (written.size, written.mode) == (size, mode), name
        with Image.open(tmp_path / "overlay" / f"{name}.jpg") as written:
            assert written.size == size
    raw, mask = (np.asarray(Image.open(tmp_path / kind / "plain.png")) for kind in ("raw", "mask"))
    palette = np.array(load_config(CONFIG_FILE).data.palette, np.uint8)
    np.testing.assert_array_equal(palette[raw], mask)
    assert len(list((tmp_path / "raw" / "video").glob("*.png"))) == 10
    assert len(list((tmp_path / "raw" / "animated").glob("*.png"))) == 3
    video = cv2.VideoCapture(str(tmp_path / "overlay" / "video.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 10 and video.get(cv2.CAP_PROP_FPS) == pytest.approx(15)
    assert not (tmp_path / "raw" / "text.png").exists()


def test_reading_depth_alpha_and_orientation(odd_files):
    plain = read_image(odd_files / "plain.png").astype(int)
    np.testing.assert_array_equal(read_image(odd_files / "sixteen.png"), plain)
    alpha = read_image(odd_files / "alpha.png")
    assert (alpha[:, :24] == 255).all()  # transparent pixels are white, regardless of their colour
    np.testing.assert_array_equal(alpha[:, 24:], plain[:, 24:])
    rotated = read_image(odd_files / "rotated.jpg").astype(int)
    assert np.abs(rotated - np.rot90(plain, -1)).mean() < 8  # JPEG compression
    grey = read_image(odd_files / "grey.png")
    assert grey.shape == (32, 48, 3) and (grey[..., 0] == grey[..., 2]).all()


def test_inputs_are_files_folders_and_patterns(odd_files):
    found = media.find_inputs([str(odd_files / "*.jpg"), str(odd_files / "inner"), str(odd_files / "one.png")])
    assert {str(name) for name in found.values()} == {"rotated", "plain.jpg", "plain.png", "one"}
    with pytest.raises(UserError, match="no such file, folder or pattern"):
        media.find_inputs([str(odd_files / "*.nothing")])
