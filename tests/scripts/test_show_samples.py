import numpy as np
import pytest

from ocrnet.config import load_config
from ocrnet.data.datasets import palette
from ocrnet.data.images import read_image
from ocrnet.data.loader import TrainingSamples
from ocrnet.data.splits import open_dataset
from ocrnet.visualization import contact_sheet, label_overlay, overlay

SETTINGS = {"data.crop_size": [32, 64], "data.augment": {"rotation": {"probability": 1, "degrees": 40}}}


@pytest.fixture(scope="module")
def samples(demo) -> TrainingSamples:
    settings = {"data.root": str(demo), **SETTINGS}
    config = load_config("config/ocrnet/ocrnet_demo.yml", {key: (value, "") for key, value in settings.items()})
    return TrainingSamples(open_dataset(config.data, "train"), config.data, config.seed, 4, 0, 1000)


def show(run_script, demo, folder, *arguments: object) -> tuple[list[str], np.ndarray]:
    """Returns the printed lines and the image."""
    config = ["--config", "config/ocrnet/ocrnet_demo.yml", "--data_root", demo, "--output", folder / "sheet.png"]
    settings = ["--set", "data.crop_size=[32,64]", "--set", "data.augment.rotation={probability: 1, degrees: 40}"]
    done = run_script("scripts/show_samples.py", *config, *settings, "--width", 64, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines(), read_image(folder / "sheet.png")


def contains(sheet: np.ndarray, part: np.ndarray) -> bool:
    """Whether an image contains another one."""
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], part.shape[:2])
    places = np.argwhere((windows[:, :, :8, :8] == part[:8, :8, 0]).all(axis=(2, 3)))
    return any((sheet[y : y + part.shape[0], x : x + part.shape[1]] == part).all() for y, x in places)


def test_the_image_has_the_samples_of_the_run(samples, run_script, demo, tmp_path):
    lines, sheet = show(run_script, demo, tmp_path, "--first", 13, "--count", 3, "--columns", 3)
    assert lines[-1] == f"3 samples (image | label) in {tmp_path / 'sheet.png'}"
    data = samples.config
    for number, line in zip((13, 14, 15), lines[:-1], strict=True):
        assert line == f"#{number}  epoch 1  {samples.dataset.name(samples.image_index(number))}"
        values, label = samples[number]
        image = np.rint(values.transpose(1, 2, 0) * data.std + data.mean).astype(np.uint8)
        assert contains(sheet, image)
        assert contains(sheet, label_overlay(image, label.astype(np.uint8), palette(data)))
    assert not contains(sheet, image[::-1])


def test_one_image_in_several_epochs(samples, run_script, demo, tmp_path):
    name = samples.dataset.names[5]
    lines, _ = show(run_script, demo, tmp_path, "--image", name, "--count", 4)
    numbers = [int(line.split()[0][1:]) for line in lines[:-1]]
    assert [number // 12 for number in numbers] == [0, 1, 2, 3]
    assert [samples.image_index(number) for number in numbers] == [5] * 4


def test_an_unknown_image_is_an_error_with_a_suggestion(samples, run_script, demo):
    name = samples.dataset.names[5]
    flags = ["--config", "config/ocrnet/ocrnet_demo.yml", "--data_root", demo, "--image", name[:-1]]
    done = run_script("scripts/show_samples.py", *flags)
    assert done.returncode == 2
    assert done.stderr == f"error: --image {name[:-1]}: not a training image. Did you mean {name}?\n"


def test_ignored_pixels_have_white_lines():
    image, label = np.full((40, 40, 3), 100, np.uint8), np.zeros((40, 40), np.uint8)
    label[:20] = 255
    colours = np.array([[200, 0, 0]], np.uint8)
    shown = label_overlay(image, label, colours)
    np.testing.assert_array_equal(shown[20:], overlay(image, label, colours)[20:])
    white = (shown[:20] == 255).all(axis=2)
    assert white.mean() == 0.2 and (shown[:20][~white] == 50).all()


def test_a_contact_sheet_has_room_for_all_tiles_and_its_legend():
    tiles = [np.full((30, 80, 3), value, np.uint8) for value in range(1, 6)]
    legend = {f"class {number}": np.full((16, 24, 3), (0, number, 0), np.uint8) for number in range(7)}
    sheet = contact_sheet(tiles, ["caption" * 20] * 5, legend, columns=2)
    for value in range(1, 6):
        assert (sheet == value).all(axis=2).sum() == 30 * 80
    for number in range(1, 7):
        assert (sheet == (0, number, 0)).all(axis=2).sum() == 16 * 24
    assert sheet.shape[1] == 2 * 90 + 10
    assert contact_sheet(tiles[:1], ["a"], {}, columns=4).shape[1] == 100
