import hashlib

import cv2
import numpy as np
import pytest
from numpy.random import Generator, Philox

from ocrnet.config import AugmentConfig, CutoutConfig, DataConfig
from ocrnet.data import augmentations, transforms
from ocrnet.errors import UserError

PLAIN = {"scale_range": (1, 1), "flip": 0, "photometric": None, "cat_max_ratio": 1, "mean": (0, 0, 0), "std": (1, 1, 1)}
"""Settings with which a sample is a crop of its image, in grey levels."""
GREY = (90, 91, 92)


def rng(number: int = 0) -> Generator:
    return Generator(Philox(key=number))


def blocks(height: int, width: int, draw: Generator) -> np.ndarray:
    """Returns a label of blocks of 10 x 10 pixels with random classes 0 to 18."""
    return np.kron(draw.integers(0, 19, (height // 10, width // 10), np.uint8), np.ones((10, 10), np.uint8))


def sample(image: np.ndarray, label: np.ndarray, number: int = 0, **settings) -> tuple[np.ndarray, np.ndarray]:
    """Returns sample `number`: image (h, w, 3) uint8 and label (h, w) uint8."""
    values, classes = transforms.training_transform(image, label, DataConfig(**{**PLAIN, **settings}), rng(number))
    return np.rint(values).astype(np.uint8).transpose(1, 2, 0), classes.astype(np.uint8)


@pytest.mark.parametrize(
    ("settings", "checksum", "next_numbers"),
    [
        ({"photometric": None}, "967ef75cfd6b2980", 3.48969181279),
        ({}, "f4f9bd348475445e", 4.894566658188),
        ({"rare_classes": ["car"], "pad": "black", "flip_pairs": [(0, 1)]}, "0de1fcfa9406d440", 3.297234988958),
    ],
)
def test_without_these_options_samples_are_those_of_before_them(settings, checksum, next_numbers):
    config = DataConfig(crop_size=(48, 96), **settings)
    digest, ends = hashlib.sha256(), []
    for number in range(8):
        draw = rng(100 + number)
        image = draw.integers(0, 256, (80, 150, 3), np.uint8)
        generator = rng(number)
        values, label = transforms.training_transform(image, blocks(80, 150, draw), config, generator)
        digest.update(label.tobytes())
        if config.photometric is None:  # its colour conversions may round in another way on another processor
            digest.update(values.tobytes())
        ends.append(generator.random())  # as many random numbers were drawn
    assert digest.hexdigest()[:16] == checksum
    assert sum(ends) == pytest.approx(next_numbers, abs=1e-11)


def test_quarter_turns_are_exact():
    image, label = rng(1).integers(0, 256, (60, 90, 3), np.uint8), blocks(60, 90, rng(2))
    found = set()
    for number in range(20):
        turned, turned_label = sample(image, label, number, crop_size=(90, 90), augment={"rotate90": 1})
        (turns,) = [
            k for k in (1, 2, 3) if (np.rot90(image, k) == turned[: 60 + 30 * (k % 2), : 90 - 30 * (k % 2)]).all()
        ]
        expected = np.full((90, 90), 255, np.uint8)
        expected[: 60 + 30 * (turns % 2), : 90 - 30 * (turns % 2)] = np.rot90(label, turns)
        np.testing.assert_array_equal(turned_label, expected)
        found.add(turns)
    assert found == {1, 2, 3}


class FixedAngle:
    """A random generator whose uniform numbers are one angle."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def random(self) -> float:
        return 0.0

    def uniform(self, low: float, high: float) -> float:
        assert low <= self.degrees <= high
        return self.degrees


def warp_by(degrees: float, shape: tuple[int, int], size: tuple[int, int]) -> augmentations.Warp:
    return augmentations.random_warp(shape, size, AugmentConfig(rotation={"degrees": 180}), FixedAngle(degrees))


@pytest.mark.parametrize("turns", [-1, 0, 1, 2])
def test_angles_are_counter_clockwise_and_multiples_of_90_degrees_equal_rot90(turns):
    image, label = rng(1).integers(0, 256, (51, 80, 3), np.uint8), rng(2).integers(0, 19, (51, 80), np.uint8)
    warp = warp_by(90 * turns, (51, 80), (51, 80))
    everything = (slice(0, warp.size[0]), slice(0, warp.size[1]))
    np.testing.assert_array_equal(augmentations.warp_label(label, warp), np.rot90(label, turns))
    np.testing.assert_array_equal(augmentations.warp_window(image, warp, everything, GREY), np.rot90(image, turns))


@pytest.mark.parametrize(("degrees", "size"), [(10, (40, 70)), (-33.3, (61, 97)), (77, (40, 70)), (163, (20, 33))])
def test_a_label_equals_nearest_sampling_of_the_rotated_plane(degrees, size):
    label = rng(3).integers(0, 19, (40, 70), np.uint8)
    warp = warp_by(degrees, label.shape, size)
    assert warp.size == (size[::-1] if 45 < abs(degrees) < 135 else size)
    rows, columns = np.mgrid[: warp.size[0], : warp.size[1]] + 0.5
    # complex numbers turn clockwise where the imaginary axis points down
    around = (columns - warp.size[1] / 2) + 1j * (rows - warp.size[0] / 2)
    source = around * np.exp(1j * np.deg2rad(degrees)) + (size[1] + 1j * size[0]) / 2
    column, row = source.real * 70 / size[1], source.imag * 40 / size[0]
    inside = (column >= 0) & (column < 70) & (row >= 0) & (row < 40)
    expected = np.full(warp.size, 255, np.uint8)
    expected[inside] = label[row[inside].astype(int), column[inside].astype(int)]
    clear = np.ones(warp.size, bool)  # not within OpenCV's rounding of a pixel's border
    for position in (row, column):
        clear &= np.abs(position - np.rint(position)) > 2 / 1024
    np.testing.assert_array_equal(augmentations.warp_label(label, warp)[clear], expected[clear])
    assert clear.mean() > 0.97 and 0.5 < inside.mean() < 1


GEOMETRY = {
    "vertical_flip": 0.5,
    "rotate90": 0.5,
    "rotation": {"probability": 0.7, "degrees": 180},
    "shift_scale": {"probability": 0.7, "shift": 0.2, "scale": [0.5, 2]},
}


@pytest.mark.parametrize("axis", [0, 1])
def test_image_and_label_stay_aligned(axis):
    """The grey level is the position in pixels, the label is the same position in steps of 4 pixels."""
    position = np.indices((160, 240))[axis].astype(np.uint8)
    image, label = np.repeat(position[..., None], 3, axis=2), position // 4
    settings = {"format": "list", "classes": [str(number) for number in range(60)], "crop_size": (64, 96), "flip": 0.5}
    known = 0
    for number in range(60):
        got, classes = sample(image, label, number, **settings, scale_range=(0.5, 2), augment=GEOMETRY)
        # half a pixel of the image at its border, up to 2 of the crop, is mixed with the fill colour
        valid = cv2.erode((classes != 255).astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) == 1
        distance = got[valid][:, 0] - (4.0 * classes[valid] + 1.5)
        assert np.abs(distance).max(initial=0) <= 1.5 + 1 + 0.5  # steps, cv2.resize's nearest neighbour, rounding
        known += valid.mean() / 60
    assert known > 0.5


def test_flips_mirror_image_and_label_and_swap_paired_classes():
    image, label = rng(1).integers(0, 256, (60, 90, 3), np.uint8), blocks(60, 90, rng(2))
    swapped = transforms.swap_classes(label, [(3, 4)])
    settings = {"crop_size": (60, 90), "flip_pairs": [(3, 4)]}
    for horizontal, vertical, expected in [
        (0, 1, (image[::-1], swapped[::-1])),
        (1, 0, (image[:, ::-1], swapped[:, ::-1])),
        (1, 1, (image[::-1, ::-1], label[::-1, ::-1])),  # a rotation by 180 degrees: left stays left
    ]:
        got = sample(image, label, **settings, flip=horizontal, augment={"vertical_flip": vertical})
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])
    assert (label != swapped).any()


def test_angle_scale_and_shift_stay_in_their_ranges_and_reach_them():
    config = AugmentConfig(rotation={"degrees": 20}, shift_scale={"shift": 0.1, "scale": [0.8, 1.5]})
    shape, angles, scales, shifts, unchanged = (100, 200), [], [], [], 0
    for number in range(2000):
        warp = augmentations.random_warp(shape, shape, config, rng(number))
        if warp is None:
            unchanged += 1
            continue
        cosine, sine = warp.matrix[0, 0], warp.matrix[1, 0]
        angles.append(np.rad2deg(np.arctan2(sine, cosine)))
        scales.append(1 / np.hypot(cosine, sine))
        centre = np.linalg.solve(warp.matrix[:, :2], [99.5, 49.5] - warp.matrix[:, 2])  # of the image, in the canvas
        shifts.append((centre - [99.5, 49.5]) / [200, 100])
    for values, low, high in ((angles, -20, 20), (scales, 0.8, 1.5), (shifts, -0.1, 0.1)):
        assert low - 1e-9 <= np.min(values) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < np.max(values) <= high + 1e-9
    assert 0.22 < unchanged / 2000 < 0.28
    assert 0.45 < np.mean(np.abs(angles) > 1e-9) * (1 - unchanged / 2000) < 0.55


class Recorder:
    """An image that records which windows of it are read."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.shape, self.windows = image, image.shape, []

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        self.windows.append(self.image[window].shape[:2])
        return self.image[window]


def test_a_window_equals_that_of_the_whole_canvas_and_reads_its_surroundings_only():
    image = Recorder(cv2.resize(rng(4).integers(0, 256, (12, 20, 3), np.uint8), (500, 300)))
    label = blocks(300, 500, rng(5))
    config = AugmentConfig(rotation={"degrees": 30, "probability": 1}, shift_scale={})
    for number in range(30):
        size = transforms.random_size((300, 500), None, (0.5, 2.0), rng(number))
        warp = augmentations.random_warp((300, 500), size, config, rng(number))
        window = transforms.random_crop_window(augmentations.warp_label(label, warp), (64, 96), 0.75, rng(number))
        got = augmentations.warp_window(image, warp, window, GREY).astype(int)
        whole = cv2.warpAffine(
            image.image, warp.matrix, warp.size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=GREY
        )
        assert np.abs(got - whole[window]).max() <= 12 and np.abs(got - whole[window]).mean() < 0.3  # 1/32 of a pixel
        scale = np.hypot(*warp.matrix[:, 0])
        assert max(image.windows[-1]) <= np.hypot(64, 96) * scale + 4
    beyond = augmentations.Warp(np.array([[1.0, 0, 900], [0, 1, 0]]), (64, 64))
    assert (augmentations.warp_window(image, beyond, (slice(0, 64), slice(0, 64)), GREY) == GREY).all()


def test_crops_are_chosen_by_the_warped_label():
    label = np.zeros((100, 150), np.uint8)
    label[44:48, 100:104] = 5
    image = np.zeros((100, 150, 3), np.uint8)
    settings = {"crop_size": (24, 24), "augment": {"rotate90": 0.5, "rotation": {"probability": 1, "degrees": 45}}}
    settings |= {"format": "list", "classes": list("abcdef"), "rare_classes": ["f"], "rare_crop": 1}
    assert all((sample(image, label, number, **settings)[1] == 5).any() for number in range(40))


def test_pixels_beyond_the_image_have_the_colour_of_pad_and_are_ignored():
    image, label = np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64), np.uint8)
    settings = {"crop_size": (64, 64), "augment": {"rotation": {"degrees": 45, "probability": 1}}}
    for pad, colour in (("mean", GREY), ("black", (0, 0, 0))):
        values, classes = sample(image, label, 3, **settings, pad=pad, mean=GREY)
        beyond = cv2.erode((classes == 255).astype(np.uint8), np.ones((3, 3), np.uint8)) == 1
        assert 0.02 < beyond.mean() < 0.2
        grey = values.astype(int) + GREY  # `sample` shows differences to the mean, modulo 256
        assert (grey[beyond] % 256 == colour).all()


def test_an_image_that_is_too_large_for_opencv_is_an_error():
    config = AugmentConfig(rotate90=1)
    with pytest.raises(
        UserError, match="an image of 40000 x 4 pixels, resized to 40000 x 4, cannot be warped: at most"
    ):
        augmentations.random_warp((4, 40000), (4, 40000), config, rng())
    warp = augmentations.random_warp((4, 32766), (4, 32766), config, rng())
    assert augmentations.warp_label(np.zeros((4, 32766), np.uint8), warp).size == 4 * 32766


def test_blur_has_the_sigma_of_its_range():
    image, label = np.zeros((41, 41, 3), np.uint8), np.zeros((41, 41), np.uint8)
    image[:, 20:] = 200
    sigmas = []
    for number in range(40):
        settings = {"crop_size": (41, 41), "augment": {"blur": {"probability": 1, "sigma": [0.5, 3]}}}
        edge = sample(image, label, number, **settings)[0][20, :, 0].astype(float)
        density = np.diff(edge) / 200  # of a normal distribution
        assert density.sum() == pytest.approx(1)
        centre = (density * np.arange(40)).sum()
        sigmas.append(np.sqrt((density * (np.arange(40) - centre) ** 2).sum()))
    assert 0.4 < min(sigmas) < 0.8 and 2.6 < max(sigmas) < 3.05


def test_noise_is_gaussian_clipped_and_has_the_deviation_of_its_range():
    image, label = np.full((64, 64, 3), 128, np.uint8), np.zeros((64, 64), np.uint8)
    deviations = []
    for number in range(40):
        settings = {"crop_size": (64, 64), "augment": {"noise": {"probability": 1, "std": [3, 12]}}}
        noise = sample(image, label, number, **settings)[0].astype(int) - 128
        deviations.append(noise.std())
        assert abs(noise.mean()) < 0.5 and 0.62 < (np.abs(noise) <= noise.std()).mean() < 0.76
        assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.1
    assert 2.9 < min(deviations) < 4 and 11 < max(deviations) < 12.2
    noisy = augmentations.add_noise(np.full((99, 99, 3), (0, 128, 255), np.uint8), 20, seed=1)
    assert noisy[..., 0].max() < 128 < noisy[..., 2].min()  # not modulo 256
    np.testing.assert_array_equal(noisy, augmentations.add_noise(np.full((99, 99, 3), (0, 128, 255), np.uint8), 20, 1))


def test_jpeg_artefacts_depend_on_the_quality_and_keep_the_colours():
    image = cv2.resize(rng(4).integers(0, 256, (8, 12, 3), np.uint8), (96, 64))
    errors = [np.abs(augmentations.compress(image, quality).astype(int) - image).mean() for quality in (5, 30, 95)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0
    red = np.full((16, 16, 3), (230, 20, 40), np.uint8)
    assert np.abs(augmentations.compress(red, 95).astype(int) - red).max() <= 3


def test_jpeg_qualities_are_those_of_the_range(monkeypatch):
    used = []
    monkeypatch.setattr(augmentations, "compress", lambda image, quality: used.append(quality) or image)
    for number in range(200):
        augmentations.degrade(
            np.zeros((4, 4, 3), np.uint8),
            np.zeros((4, 4), np.uint8),
            AugmentConfig(jpeg={"quality": [40, 43]}),
            GREY,
            rng(number),
        )
    assert set(used) == {40, 41, 42, 43} and 80 < len(used) < 120


@pytest.mark.parametrize("ignore_label", [False, True])
def test_cutouts_have_the_size_and_number_of_their_ranges(ignore_label):
    image, label = np.full((100, 200, 3), 255, np.uint8), np.ones((100, 200), np.uint8)
    config = CutoutConfig(holes=(1, 1), size=(0.1, 0.3), ignore_label=ignore_label)
    sides = []
    for number in range(300):
        cut, classes = augmentations.cut_out(image, label, config, GREY, rng(number))
        hole = (cut == GREY).all(axis=2)
        np.testing.assert_array_equal(classes, np.where(hole & ignore_label, 255, 1))
        rows, columns = hole.any(axis=1).sum(), hole.any(axis=0).sum()
        assert hole.sum() == rows * columns and (cut[~hole] == 255).all()
        sides += [rows, columns / 2]
    assert 10 <= min(sides) < 11 and 29 < max(sides) <= 30
    many = CutoutConfig(holes=(2, 4), size=(0.01, 0.01))
    counts = {
        int((augmentations.cut_out(image, label, many, GREY, rng(n))[0] != 255).all(axis=2).sum()) for n in range(60)
    }
    assert {4, 6, 8} <= counts  # 1 x 2 pixels each; two may overlap
    assert (image == 255).all() and (label == 1).all()


def test_balanced_crops_draw_the_classes_uniformly():
    label = np.zeros((200, 300), np.uint8)
    label[100:180, 100:180], label[3, 7], label[150, 290], label[:, 299] = 1, 5, 6, 255

    def shares(probability: float) -> list[float]:
        crops = [
            label[transforms.random_crop_window(label, (8, 8), 1.0, rng(n), balanced_probability=probability)]
            for n in range(400)
        ]
        assert all(crop.shape == (8, 8) for crop in crops)
        return [np.mean([(crop == value).any() for crop in crops]) for value in (5, 6, 1)]

    assert max(shares(0.0)[:2]) < 0.03
    assert (
        all(0.2 < share < 0.3 for share in shares(1.0)[:2]) and 0.25 < shares(1.0)[2] < 0.4
    )  # 0 is next to 1 at times
    assert all(0.09 < share < 0.16 for share in shares(0.5)[:2])
    nothing = np.full((20, 20), 255, np.uint8)
    assert nothing[transforms.random_crop_window(nothing, (8, 8), 1.0, rng(), balanced_probability=1.0)].shape == (8, 8)
