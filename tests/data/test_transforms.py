import cv2
import numpy as np
import pytest
from numpy.random import Generator, Philox

from ocrnet.config import DataConfig, PhotometricConfig
from ocrnet.data import transforms


def rng(number: int = 0) -> Generator:
    return Generator(Philox(key=number))


def coordinates(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image whose red and green channels are the row and the column, and a label with 19 stripes."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    return image, (columns % 19).astype(np.uint8)


def random_crop(image: np.ndarray, label: np.ndarray, *arguments) -> tuple[np.ndarray, np.ndarray]:
    window = transforms.random_crop_window(label, *arguments)
    return image[window], label[window]


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((1024, 2048), (1024, 2048), (1024, 2048)),
        ((375, 500), (512, 2048), (512, 683)),  # VOC in mmsegmentation's test pipeline
        ((500, 375), (512, 2048), (683, 512)),
        ((100, 4000), (512, 2048), (51, 2048)),
    ],
)
def test_rescale_size_equals_mmcv(size, box, expected):
    assert transforms.rescale_size(size, box) == expected


def test_random_size_covers_the_whole_range():
    ratios = []
    for number in range(200):
        height, width = transforms.random_size((40, 80), None, (0.5, 2.0), rng(number))
        assert abs(width - 2 * height) <= 1
        ratios.append(width / 80)
    assert 0.5 <= min(ratios) < 0.53 and 1.94 < max(ratios) <= 2.0


def test_a_resized_window_equals_that_of_the_resized_image_within_one_grey_level():
    noise = rng().integers(0, 256, (300, 500, 3), dtype=np.uint8)
    for number in range(40):
        size = transforms.random_size((300, 500), None, (0.3, 3.0), rng(number))
        window = transforms.random_crop_window(np.zeros(size, np.uint8), (100, 150), 1.0, rng(number))
        got = transforms.resize_window(noise, size, window).astype(int)
        whole = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_LINEAR)[window]
        assert got.shape == whole.shape
        assert np.abs(got - whole).max() <= 1


def test_random_crop_uses_the_same_window_for_image_and_label():
    image, label = coordinates(60, 90)
    corners = set()
    for number in range(50):
        part, part_label = random_crop(image, label, (32, 48), 0.75, rng(number))
        assert part.shape == (32, 48, 3) and part_label.shape == (32, 48)
        assert (part_label == part[..., 1] % 19).all()
        corners.add((int(part[0, 0, 0]), int(part[0, 0, 1])))
    assert {row for row, _ in corners} & {0, 1, 2} and max(column for _, column in corners) > 38


def test_cat_max_ratio_avoids_crops_of_one_class():
    label = np.zeros((64, 128), np.uint8)
    label[:, 100:] = 1
    image = np.zeros((64, 128, 3), np.uint8)
    limited = [random_crop(image, label, (32, 32), 0.75, rng(n))[1] for n in range(60)]
    unlimited = [random_crop(image, label, (32, 32), 1.0, rng(n))[1] for n in range(60)]
    mixed = [np.mean([(0.25 < crop.mean() < 0.75) for crop in crops]) for crops in (limited, unlimited)]
    assert mixed[0] > 0.7 > mixed[1]


def test_photometric_distortion_at_probabilities_zero_and_one():
    image = Generator(Philox(key=1)).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    never = PhotometricConfig(probability=0)
    assert (transforms.photometric_distortion(image, never, rng()) == image).all()
    brighter = PhotometricConfig(probability=1, contrast=(1, 1), saturation=(1, 1), hue=0)
    changed = transforms.photometric_distortion(image, brighter, rng()).astype(int) - image
    assert 0 < np.abs(changed).max() <= 33  # 32, and rounding of two colour conversions


def test_normalise_and_pad():
    image = np.full((2, 3, 3), 123, np.uint8)
    label = np.ones((2, 3), np.int32)
    image = transforms.normalise(image, (123, 122, 121), (1, 2, 4))
    assert image[:, 0, 0].tolist() == [0, 0.5, 0.5]
    image, label = transforms.pad(image, label, (4, 4))
    assert image.shape == (3, 4, 4) and (image[:, 2:] == 0).all() and (image[:, :, 3] == 0).all()
    assert label.shape == (4, 4) and (label[2:] == 255).all() and (label[:2, :3] == 1).all()


def test_an_image_smaller_than_the_crop_is_padded():
    config = DataConfig(crop_size=(64, 64), scale_range=(0.5, 0.5))
    image, label = transforms.training_transform(*coordinates(40, 80), config, rng())
    assert image.shape == (3, 64, 64) and image.dtype == np.float32
    assert label.shape == (64, 64) and label.dtype == np.int32
    assert (label[20:] == 255).all() and (label[:20, :40] != 255).all()


def test_random_crop_contains_rare_classes_with_the_given_probability():
    label = np.zeros((200, 300), np.uint8)
    label[150, 290], label[3, 7] = 5, 6
    image = np.zeros((200, 300, 3), np.uint8)

    def share(rare: list[int], probability: float) -> tuple[float, float]:
        crops = [random_crop(image, label, (32, 48), 1.0, rng(number), rare, probability)[1] for number in range(300)]
        assert all(crop.shape == (32, 48) for crop in crops)
        return tuple(np.mean([(crop == value).any() for crop in crops]) for value in (5, 6))

    assert max(share([5, 6], 0.0)) < 0.05
    assert sum(share([5, 6], 1.0)) == 1 and 0.35 < share([5, 6], 1.0)[0] < 0.65
    assert 0.4 < share([5], 0.5)[0] < 0.6
    assert random_crop(image, label, (500, 500), 1.0, rng(), [5], 1.0)[1].shape == (200, 300)
    # a class that the label does not have only uses one random number
    other = random_crop(image, label, (32, 48), 1.0, rng(3), [9], 1.0)[1]
    assert other.shape == (32, 48)


def test_rare_classes_are_set_by_name():
    settings = {"rare_classes": ["wire"], "rare_crop": 1, "crop_size": (8, 8), "scale_range": (1, 1)}
    config = DataConfig(format="list", classes=["ground", "wire"], **settings)
    label = np.zeros((64, 64), np.uint8)
    label[40, 50] = 1
    image = np.zeros((64, 64, 3), np.uint8)
    assert all((transforms.training_transform(image, label, config, rng(n))[1] == 1).sum() == 1 for n in range(20))
    with pytest.raises(ValueError, match=r"rare_classes: 'wires' is not a class\. Did you mean wire\?"):
        DataConfig(format="list", classes=["ground", "wire"], rare_classes=["wires"])
