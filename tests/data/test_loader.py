"""Sample n of a run does not depend on the worker, the rank or the step at which the run was resumed."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ocrnet.config import DataConfig
from ocrnet.data import loader
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.loader import TrainingSamples, training_batches, worker_threads
from ocrnet.data.packed import pack
from ocrnet.data.splits import open_dataset
from ocrnet.distributed.launcher import Ranks
from ocrnet.errors import UserError


@pytest.fixture
def dataset(demo):
    return open_dataset(DataConfig(root=demo, crop_size=(32, 64)), "train")


EVERY_AUGMENTATION = {
    "rare_classes": ["car"],
    "balanced_crop": 0.5,
    "augment": {
        "vertical_flip": 0.5,
        "rotate90": 0.5,
        "rotation": {},
        "shift_scale": {},
        "blur": {},
        "noise": {},
        "jpeg": {},
        "cutout": {"ignore_label": True},
    },
}


def batches(dataset, first, last, workers, batch=4, seed=5):
    config = dataset.config.model_copy(update={"workers": workers})
    samples = TrainingSamples(dataset, config, seed, batch, first, last)
    return [(image.asnumpy(), label.asnumpy()) for image, label in training_batches(samples, batch)]


@pytest.mark.parametrize("augmentation", [{}, EVERY_AUGMENTATION], ids=["default", "all"])
def test_batches_do_not_depend_on_the_workers_or_the_first_sample(demo, augmentation):
    dataset = open_dataset(DataConfig(root=demo, crop_size=(32, 64), **augmentation), "train")
    reference = batches(dataset, 0, 24, workers=1)
    assert len(reference) == 6 and reference[0][0].shape == (4, 3, 32, 64) and reference[0][1].dtype == np.int32
    for again in (batches(dataset, 0, 24, workers=2), reference[:3] + batches(dataset, 12, 24, workers=2)):
        for (image, label), (image_again, label_again) in zip(reference, again, strict=True):
            np.testing.assert_array_equal(image, image_again)
            np.testing.assert_array_equal(label, label_again)


def test_two_ranks_share_the_samples_of_one_process(demo):
    dataset = open_dataset(DataConfig(root=demo, crop_size=(32, 64), **EVERY_AUGMENTATION), "train")
    alone = TrainingSamples(dataset, dataset.config, 5, 4, 0, 24)
    ranks = [TrainingSamples(dataset, dataset.config, 5, 2, 0, 24, Ranks(rank, 2)) for rank in range(2)]
    for number in range(24):
        step, position = divmod(number, 4)
        again = ranks[position // 2][2 * step + position % 2]
        for array, expected in zip(again, alone[number], strict=True):
            np.testing.assert_array_equal(array, expected)


def test_another_seed_and_another_epoch_give_other_samples(dataset):
    first, other_seed = batches(dataset, 0, 4, 1), batches(dataset, 0, 4, 1, seed=6)
    assert not np.array_equal(first[0][0], other_seed[0][0])
    samples = TrainingSamples(dataset, dataset.config, 5, 4, 0, 100)
    epochs = [[samples.image_index(12 * epoch + n) for n in range(12)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs) and epochs[0] != epochs[1] != epochs[2]


def test_an_incomplete_last_batch_is_dropped_from_its_epoch(dataset):
    samples = TrainingSamples(dataset, dataset.config, 5, 5, 0, 100)
    assert samples.epoch_size == 10
    assert len({samples.image_index(n) for n in range(10)}) == 10


def test_a_batch_larger_than_the_data_set_is_an_error(dataset):
    with pytest.raises(UserError, match=r"12 training images .* fewer than a batch of 13"):
        TrainingSamples(dataset, dataset.config, 5, 13, 0, 13)


def test_a_damaged_image_is_an_error_with_its_file_name(dataset, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    dataset.pairs[3] = (broken, dataset.pairs[3][1])
    with pytest.raises(UserError, match=r"broken\.png: not a readable image"):
        batches(dataset, 0, 12, workers=2)


def six_pairs(folder, classes: int, **data) -> SegmentationDataset:
    """Returns six pairs: five labels have the values 0, 1 and 9, the last label 0, 2 and 9."""
    values = [[[0, 1, 9]]] * 5 + [[[0, 2, 9]]]
    for number, value in enumerate(values):
        Image.fromarray(np.array(value, np.uint8)).save(folder / f"{number}.png")
        Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(folder / f"{number}.jpg")
    (folder / "train.lst").write_text("".join(f"{number}.jpg {number}.png\n" for number in range(6)))
    names = [f"class {number}" for number in range(classes)]
    settings = {"format": "list", "root": folder, "train": "train.lst", "crop_size": (1, 1), "ignore_index": 9, **data}
    return open_dataset(DataConfig(**settings, classes=names), "train")


def test_note_on_a_class_that_no_label_has(tmp_path):
    dataset = six_pairs(tmp_path, 4)
    samples = TrainingSamples(dataset, dataset.config, 0, 1, 0, 12)
    assert TrainingSamples(dataset, dataset.config, 0, 1, 8, 12).watched == 4  # the rest of the run
    assert samples.watched == 6 and samples.missing_classes_note() != ""  # nothing is read yet
    list(training_batches(samples, 1))
    assert samples.seen.nonzero()[0].tolist() == [0, 1, 2, 9]  # of the whole labels, not of the crops of one pixel
    assert samples.missing_classes_note() == (
        "not in the labels of the first 6 samples: class 3. Label values that occur: 0 -> class 0, 1 -> class 1, "
        "2 -> class 2, 9 -> ignored. See data.label_map and data.classes."
    )
    dataset = six_pairs(tmp_path, 3)
    samples = TrainingSamples(dataset, dataset.config, 0, 1, 0, 12)
    list(training_batches(samples, 1))
    assert samples.missing_classes_note() == ""


def test_note_on_many_missing_classes_is_short(tmp_path):
    dataset = six_pairs(tmp_path, 4, label_map={**{n: 0 for n in range(9)}, **{n: 1 for n in range(10, 30)}})
    samples = TrainingSamples(dataset, dataset.config, 0, 1, 0, 12)
    seen = np.zeros(256, bool)
    seen[10:26] = True
    note = samples.missing_classes_note(seen)
    assert "samples: class 0, class 2, class 3. Label values" in note
    assert note.count(" -> class 1") == 12 and "21 -> class 1 and 4 more." in note
    dataset = six_pairs(tmp_path, 150, ignore_index=255)
    note = TrainingSamples(dataset, dataset.config, 0, 1, 0, 12).missing_classes_note(seen)
    assert "class 0, class 1, class 2, class 3, class 4, class 5, class 6, class 7 and 126 more. Label" in note


def test_only_the_first_samples_over_all_ranks_are_watched(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "WATCHED_SAMPLES", 2)
    dataset = six_pairs(tmp_path, 3)
    watched = [TrainingSamples(dataset, dataset.config, 0, 1, 6, 12, Ranks(rank, 2)) for rank in range(2)]
    for samples in watched:
        for index in reversed(range(len(samples))):
            samples[index]
    images = [dataset.pairs[watched[0].image_index(number)][1] for number in (6, 7)]
    expected = [np.isin(range(256), np.asarray(Image.open(image))) for image in images]
    np.testing.assert_array_equal([samples.seen for samples in watched], expected)
    both = watched[0].seen | watched[1].seen
    missing = "" if both[:3].all() else "not in the labels of the first 2 samples: class 2."
    assert watched[0].missing_classes_note(both).startswith(missing)


def test_note_for_a_packed_data_set_is_about_class_indices(tmp_path):
    dataset = six_pairs(tmp_path, 3, label_map={0: 1, 1: 0, 2: 0})
    pack(dataset, tmp_path / "train.packed", range(6))
    packed = open_dataset(dataset.config.replace({"packed": tmp_path / "train.packed"}), "train")
    samples = TrainingSamples(packed, packed.config, 0, 1, 0, 12)
    list(training_batches(samples, 1))
    assert samples.missing_classes_note() == (
        "not in the labels of the first 6 samples: class 2. Label values that occur: 0 -> class 0, 1 -> class 1, "
        "255 -> ignored. See data.label_map and data.classes."
    )


def test_worker_threads_are_at_most_the_cores(monkeypatch):
    monkeypatch.setattr("ocrnet.runtime.device.cores", lambda: 4)
    assert [worker_threads(n) for n in (0, 1, 3, 64)] == [2, 1, 3, 4]


def test_the_first_of_several_bad_pairs_is_named(demo, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo, data)
    dataset = open_dataset(DataConfig(root=data, crop_size=(32, 64), workers=2), "train")
    samples = TrainingSamples(dataset, dataset.config, 0, 1, 0, len(dataset))
    bad = [dataset.pairs[samples.image_index(number)][0] for number in (2, 3)]
    for path in bad:
        path.write_bytes(b"")
    with pytest.raises(UserError, match=re.escape(str(bad[0]))):
        list(training_batches(samples, 1))
