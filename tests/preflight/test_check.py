"""Planted mistakes: each is named, with advice that, taken literally, removes it."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from ocrnet.config import Config, yaml_syntax
from ocrnet.config.combinations import reject_harmful
from ocrnet.config.loading import load_config
from ocrnet.data.splits import find_pairs, open_dataset
from ocrnet.formats import cityscapes
from ocrnet.formats.label_values import IGNORED
from ocrnet.preflight.check import all_findings, print_short
from ocrnet.preflight.finding import Finding
from ocrnet.preflight.splits import frame_of, write_lists
from ocrnet.preflight.statistics import SplitStatistics, difference_hash, read_split

SIZE = (48, 96)
PALETTE = np.array([[0, 0, 0], [200, 30, 30], [30, 200, 30]], np.uint8)
CONFIG = {
    "data": {"format": "list", "classes": ["ground", "car", "tree"], "crop_size": [32, 64], "ignore_index": 255},
    "model": {"backbone": "hrnet_tiny", "head_channels": 16, "key_channels": 8, "context_channels": 16},
    "schedule": {"lr": 0.05},
    "train": {"batch_size": 2, "total_step": 2},
}
Tree = dict[str, Any]


def scene(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A random smooth image (h, w, 3) with about ImageNet's mean."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 12, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def label_of(image: np.ndarray) -> np.ndarray:
    """Classes 0, 1 and 2 by brightness."""
    return np.digitize(image.mean(2), [100, 150]).astype(np.uint8)


def put_split(root: Path, name: str, images: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> None:
    for stem, image in images.items():
        Image.fromarray(image).save(root / f"{stem}.png")
        Image.fromarray(labels[stem]).save(root / f"{stem}_label.png")
    (root / f"{name}.lst").write_text("".join(f"{stem}.png {stem}_label.png\n" for stem in images))


@pytest.fixture
def root(tmp_path) -> Path:
    """8 training and 4 validation pairs."""
    for name, first, count in (("train", 0, 8), ("val", 100, 4)):
        images = {f"{name}{chr(97 + number)}": scene(first + number) for number in range(count)}
        put_split(tmp_path, name, images, {stem: label_of(image) for stem, image in images.items()})
    return tmp_path


def change_labels(root: Path, change: Callable[[np.ndarray], np.ndarray], pattern: str = "*_label.png") -> None:
    for file in sorted(root.glob(pattern)):
        Image.fromarray(change(np.asarray(Image.open(file)))).save(file)


def load(root: Path, tree: Tree) -> Config:
    data = {**tree["data"], "root": str(root), "train": tree["data"].get("train", "train.lst")}
    data.setdefault("val", "val.lst")
    (root / "config.yml").write_text(yaml_syntax.dump({**tree, "data": data}))
    return load_config(root / "config.yml")


def read(config: Config) -> tuple[SplitStatistics, SplitStatistics]:
    return tuple(read_split(find_pairs(config.data, name), 2, name) for name in ("train", "val"))


def check(root: Path, tree: Tree, devices: int | None = 1) -> list[Finding]:
    config = load(root, tree)
    return all_findings(config, *read(config), devices)


def follow(root: Path, tree: Tree, finding: Finding) -> Tree:
    """Applies the YAML that is printed with a finding, after writing the lists that it names."""
    config = load(root, tree)
    if "_checked.lst" in finding.text():
        write_lists(config, *read(config))
    text = finding.text().partition("  fix:")[2]
    section = text[text.index("\n          ") :]  # the advice in words has an indent of 8
    advised = yaml.load("\n".join(line[10:] for line in section.splitlines()), yaml_syntax.Loader)
    changed = copy.deepcopy(tree)
    for name, values in advised.items():
        changed.setdefault(name, {}).update(values)
    return changed


# Each mistake changes the files in `root` or the configuration `tree`.


def class_without_a_value(root: Path, tree: Tree) -> None:
    tree["data"]["label_map"] = {0: 0, 1: 1, 2: "ignore"}


def class_absent_in_training(root: Path, tree: Tree) -> None:
    change_labels(root, lambda label: np.minimum(label, 1), "train*_label.png")
    change_labels(root, lambda label: np.minimum(label, 1), "val[bcd]_label.png")


def class_absent_in_validation(root: Path, tree: Tree) -> None:
    change_labels(root, lambda label: np.minimum(label, 1), "val*_label.png")


def much_ignored(root: Path, tree: Tree) -> None:
    change_labels(root, lambda label: np.where(np.arange(SIZE[1]) < 70, np.uint8(9), label))
    tree["data"]["label_map"] = {0: 0, 1: 1, 2: 2, 9: "ignore"}


def zero_and_255(root: Path, tree: Tree) -> None:
    change_labels(root, lambda label: np.where(label > 0, 255, 0).astype(np.uint8))
    tree["data"]["classes"] = ["background", "object"]


def colour_masks(root: Path, tree: Tree) -> None:
    change_labels(root, lambda label: PALETTE[label])


def colour_masks_of_the_palette(root: Path, tree: Tree) -> None:
    change_labels(root, lambda label: PALETTE[label])
    tree["data"]["palette"] = PALETTE.tolist()


def smooth_colour_masks(root: Path, tree: Tree) -> None:
    def smooth(label: np.ndarray) -> np.ndarray:
        large = cv2.resize(PALETTE[label], None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        return cv2.resize(
            cv2.copyMakeBorder(large, 1, 0, 1, 0, cv2.BORDER_REPLICATE), SIZE[::-1], 0, 0, 0, cv2.INTER_AREA
        )

    change_labels(root, smooth)
    tree["data"] |= {"palette": PALETTE.tolist(), "label_encoding": "color"}


def cityscapes_ids(root: Path, tree: Tree) -> None:
    ids = np.array([7, 26, 21], np.uint8)  # road, car, vegetation
    change_labels(root, lambda label: np.vstack([[[33] * SIZE[1]], ids[label][1:]]).astype(np.uint8))
    tree["data"]["classes"] = list(cityscapes.CLASS_NAMES)


def values_from_one(root: Path, tree: Tree) -> None:
    change_labels(root, lambda label: np.vstack([[[0] * SIZE[1]], label[1:] + 1]).astype(np.uint8))


def three_grey_levels(root: Path, tree: Tree) -> None:
    change_labels(root, lambda label: label * 100)


def other_size(root: Path, tree: Tree) -> None:
    change_labels(root, lambda label: label[::2, ::2].copy(), "*b_label.png")


def very_different_sizes(root: Path, tree: Tree) -> None:
    for file, size in (("traina", (480, 960)), ("trainb", (400, 800)), ("trainc", (440, 880))):
        image = scene(7, size)
        Image.fromarray(image).save(root / f"{file}.png")
        Image.fromarray(label_of(image)).save(root / f"{file}_label.png")


def the_same_image_twice(root: Path, tree: Tree) -> None:
    image = Image.open(root / "traina.png")
    image.resize((80, 40)).resize(image.size).save(root / "valb.png")


def frames_of_one_video(root: Path, tree: Tree) -> None:
    video = scene(5, (48, 300))
    frames = {f"drive_{number:04d}": np.ascontiguousarray(video[:, 4 * number :][:, : SIZE[1]]) for number in range(40)}
    for name, members in (("val", range(0, 40, 4)), ("train", [n for n in range(40) if n % 4])):
        images = {f"drive_{number:04d}": frames[f"drive_{number:04d}"] for number in members}
        put_split(root, name, images, {stem: label_of(image) for stem, image in images.items()})


def large_crop(root: Path, tree: Tree) -> None:
    tree["data"]["crop_size"] = [128, 128]


def mean_from_zero_to_one(root: Path, tree: Tree) -> None:
    tree["data"] |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def dark_images(root: Path, tree: Tree) -> None:
    for file in root.glob("*[a-z].png"):
        if not file.stem.endswith("label"):
            Image.fromarray(np.asarray(Image.open(file)) // 16).save(file)


def pretrained(tree: Tree, **schedule) -> None:
    tree["model"] |= {"backbone": "hrnet_w18_small", "pretrained": "published"}
    tree["schedule"] = schedule


def rate_of_eight_devices(root: Path, tree: Tree) -> None:
    pretrained(tree, lr=0.01)


def rate_too_low(root: Path, tree: Tree) -> None:
    pretrained(tree, lr=1e-5, min_lr=0.0)


def rate_that_destroys(root: Path, tree: Tree) -> None:
    pretrained(tree, lr=0.15, warmup_steps=5, warmup_lr=0.01)


def rate_of_sgd_for_adamw(root: Path, tree: Tree) -> None:
    pretrained(tree, lr=0.01)
    tree["optimizer"] = {"kind": "adamw"}


def random_weights(root: Path, tree: Tree) -> None:
    tree["schedule"] = {"lr": 1e-3}


def random_weights_of_a_published_backbone(root: Path, tree: Tree) -> None:
    tree["schedule"] = {"lr": 1e-3}
    tree["model"]["backbone"] = "hrnet_w18"


def rare_class(root: Path, tree: Tree) -> None:
    def thin(label: np.ndarray) -> np.ndarray:
        thinned = np.minimum(label, 1)
        thinned[:1, :1] = 2
        return thinned

    change_labels(root, lambda label: np.minimum(label, 1))
    change_labels(root, thin, "traina_label.png")
    change_labels(root, thin, "valb_label.png")


MISTAKES = {
    class_without_a_value: ("a class never occurs", True),
    class_absent_in_training: ("a class never occurs in training", True),
    class_absent_in_validation: ("a class never occurs in validation", False),
    much_ignored: ("ignored pixels cover much", False),
    zero_and_255: ("masks of 0 and 255", True),
    colour_masks: ("colour masks in place of class indices", True),
    colour_masks_of_the_palette: ("colour masks in place of class indices", True),
    smooth_colour_masks: ("colours of no class", True),
    cityscapes_ids: ("label values of another map", True),
    values_from_one: ("label values of another map", True),
    three_grey_levels: ("label values of another map", True),
    other_size: ("an image and its label have different sizes", True),
    very_different_sizes: ("images have very different sizes", False),
    the_same_image_twice: ("the same images in training and validation", False),
    frames_of_one_video: ("training and validation from the same video", False),
    large_crop: ("crops are larger than images", False),
    mean_from_zero_to_one: ("images are far from data.mean and data.std", True),
    dark_images: ("images are far from data.mean and data.std", False),
    rate_of_eight_devices: ("the learning rate is too high for the batch", False),
    rate_too_low: ("the learning rate is too low for the batch", False),
    rate_that_destroys: ("a very high learning rate for trained weights", False),
    rate_of_sgd_for_adamw: ("a very high learning rate for trained weights", False),
    random_weights: ("random weights with a learning rate for fine-tuning", False),
    random_weights_of_a_published_backbone: ("random weights with a learning rate for fine-tuning", False),
    rare_class: ("a class has few pixels", False),
}
SAID_BEFORE_TRAINING = {
    mistake
    for mistake, (title, _) in MISTAKES.items()
    if not title.startswith(("a class never occurs in", "a class has"))
} - {the_same_image_twice, frames_of_one_video}


def test_a_sound_data_set_has_no_finding(root):
    assert check(root, CONFIG) == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_named_and_the_advice_removes_it(root, mistake, capsys):
    tree = copy.deepcopy(CONFIG)
    mistake(root, tree)
    found = check(root, tree)
    title, is_error = MISTAKES[mistake]
    (finding,) = [finding for finding in found if finding.title == title]
    assert finding.is_error == is_error
    assert any(char.isdigit() for char in finding.seen)
    config = load(root, tree)
    capsys.readouterr()
    print_short(config, open_dataset(config.data, "train"))
    assert (title in capsys.readouterr().err) == (mistake in SAID_BEFORE_TRAINING)

    advised = follow(root, tree, finding)
    left = check(root, advised)
    assert finding.title not in [other.title for other in left], finding.text()
    assert not any(other.is_error for other in left), [other.text() for other in left]
    after = load(root, advised)
    reject_harmful(after, {}, from_scratch=not after.model.pretrained)
    assert not any(part.errors for part in read(after))
    labels = [open_dataset(after.data, "train").read(index)[1] for index in range(2)]
    assert all((label != IGNORED).any() for label in labels)


def test_the_advice_of_zero_and_255_is_exact(root):
    tree = copy.deepcopy(CONFIG)
    zero_and_255(root, tree)
    (finding,) = check(root, tree)
    assert finding.text().splitlines()[-3:] == [
        "          data:",
        "            label_map: {0: 0, 255: 1}",
        "            ignore_index: null",
    ]


def test_cityscapes_ids_become_train_ids(root):
    tree = copy.deepcopy(CONFIG)
    cityscapes_ids(root, tree)
    (finding,) = [finding for finding in check(root, tree) if finding.is_error]
    after = load(root, follow(root, tree, finding))
    assert set(np.unique(open_dataset(after.data, "train").read(0)[1])) == {0, 8, 13, 18}


def test_values_to_n_may_be_void_at_the_end(root):
    """As in CamVid, whose 11 classes have the values 0 to 10, and 11 is void: fewer pixels than class 0."""
    change_labels(root, lambda label: np.vstack([[[3] * SIZE[1]], label[1:]]).astype(np.uint8))
    (finding,) = check(root, CONFIG)
    assert finding.fix == {"data.label_map": {0: 0, 1: 1, 2: 2, 3: "ignore"}}
    assert "3, as in CamVid, or 0, as in ADE20K" in finding.advice


def test_class_indices_in_files_of_cityscapes(root, tmp_path):
    config = Config()
    for split, stem in (("train", "traina"), ("val", "vala")):
        for folder, kind in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
            target = tmp_path / "city" / folder / split / "a" / f"a_0_{kind}.png"
            target.parent.mkdir(parents=True)
            shutil.copy(root / f"{stem}{'_label' if folder == 'gtFine' else ''}.png", target)
            if folder == "gtFine":
                change_labels(target.parent, lambda label: np.where(label == 0, 255, label + 6).astype(np.uint8), "*")
                change_labels(target.parent, lambda label: np.where(np.eye(*SIZE) > 0, 18, label).astype(np.uint8), "*")
    tree = {**CONFIG, "data": {"format": "cityscapes", "crop_size": [32, 64], "train": "train", "val": "val"}}
    (finding,) = [finding for finding in check(tmp_path / "city", tree) if finding.is_error]
    assert finding.fix == {"data.label_map": {index: index for index in range(19)}} and config.data.label_map[7] == 0


def test_the_number_of_devices_is_part_of_the_batch(root):
    tree = copy.deepcopy(CONFIG)
    pretrained(tree, lr=0.01)
    assert check(root, tree, devices=None) == [] and check(root, tree, devices=4) == []
    (finding,) = check(root, tree, devices=1)
    assert finding.fix == {"schedule.lr": 0.0013} and "0.01 with 16 images" in finding.seen
    tree["train"]["accumulate_steps"] = 8
    assert check(root, tree, devices=1) == []


def test_the_lists_keep_the_frames_of_a_video_apart(root):
    tree = copy.deepcopy(CONFIG)
    frames_of_one_video(root, tree)
    train, val = read(load(root, tree))
    write_lists(load(root, tree), train, val)
    kept, shown = (
        [frame_of(Path(line.split()[0]))[1] for line in (root / name).read_text().splitlines()]
        for name in ("train_checked.lst", "val_checked.lst")
    )
    assert shown == list(range(30, 40)) and set(kept) <= set(range(30)) and len(kept) >= 20


def test_frames_are_told_by_the_last_number():
    assert frame_of(Path("a/0016E5_08139.png")) == ("0016E5_*", 8139)
    assert frame_of(Path("aachen_000001_000019_leftImg8bit.png")) == ("aachen_000001_000019_leftImg*bit", 8)
    assert frame_of(Path("name.png")) is None


def test_the_hash_ignores_compression_and_size_but_not_content():
    image = scene(1, (200, 300))
    jpeg = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    small = cv2.resize(image, (150, 100), interpolation=cv2.INTER_AREA)
    for copied in (jpeg, small):
        assert (difference_hash(copied) != difference_hash(image)).sum() <= 10
    assert (difference_hash(scene(2, (200, 300))) != difference_hash(image)).sum() > 70
    assert difference_hash(np.full((20, 30, 3), 9, np.uint8)) is None


@pytest.mark.slow
@pytest.mark.parametrize("mistake", [zero_and_255, colour_masks], ids=lambda mistake: mistake.__name__)
def test_a_training_with_the_advice_runs(root, mistake, run_script):
    tree = copy.deepcopy(CONFIG)
    mistake(root, tree)
    (finding,) = [finding for finding in check(root, tree) if finding.is_error]
    load(root, follow(root, tree, finding))
    flags = ["--config", root / "config.yml", "--device_target", "CPU", "--run_eval", "False"]
    done = run_script("train.py", *flags, "--save_dir", root / "run")
    assert done.returncode == 0 and "2 steps done" in done.stdout, done.stderr
    assert "error: " not in done.stderr and finding.title not in done.stderr
