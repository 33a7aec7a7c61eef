"""Sample number n of a run is the same sample, whoever makes it and wherever the run was interrupted."""

import numpy as np
import pytest

from ocrnet.config import DataConfig
from ocrnet.data.loader import TrainingSamples, training_batches, worker_threads
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError


@pytest.fixture
def dataset(demo):
    return open_dataset(DataConfig(root=demo, crop_size=(32, 64)), "train")


def batches(dataset, first, last, workers, batch=4, seed=5):
    config = dataset.config.model_copy(update={"workers": workers})
    samples = TrainingSamples(dataset, config, seed, batch, first, last)
    return [(image.asnumpy(), label.asnumpy()) for image, label in training_batches(samples, batch)]


def test_batches_do_not_depend_on_workers_or_on_where_a_run_began(dataset):
    straight = batches(dataset, 0, 24, workers=1)
    assert len(straight) == 6 and straight[0][0].shape == (4, 3, 32, 64) and straight[0][1].dtype == np.int32
    for again in (batches(dataset, 0, 24, workers=2), straight[:3] + batches(dataset, 12, 24, workers=2)):
        for (image, label), (image_again, label_again) in zip(straight, again, strict=True):
            np.testing.assert_array_equal(image, image_again)
            np.testing.assert_array_equal(label, label_again)


def test_another_seed_and_another_epoch_give_other_samples(dataset):
    first, other_seed = batches(dataset, 0, 4, 1), batches(dataset, 0, 4, 1, seed=6)
    assert not np.array_equal(first[0][0], other_seed[0][0])
    samples = TrainingSamples(dataset, dataset.config, 5, 4, 0, 100)
    epochs = [[samples.picture(12 * epoch + n) for n in range(12)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs) and epochs[0] != epochs[1] != epochs[2]


def test_an_incomplete_last_batch_is_dropped_from_its_epoch(dataset):
    samples = TrainingSamples(dataset, dataset.config, 5, 5, 0, 100)
    assert samples.epoch_size == 10
    assert len({samples.picture(n) for n in range(10)}) == 10


def test_a_batch_larger_than_the_data_set_is_refused(dataset):
    with pytest.raises(UserError, match=r"12 training pictures .* fewer than a batch of 13"):
        TrainingSamples(dataset, dataset.config, 5, 13, 0, 13)


def test_a_damaged_picture_stops_the_run_with_its_name(dataset, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    dataset.pairs[3] = (broken, dataset.pairs[3][1])
    with pytest.raises(UserError, match=r"broken\.png: not a readable picture"):
        batches(dataset, 0, 12, workers=2)


def test_never_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr("ocrnet.device.cores", lambda: 4)
    assert [worker_threads(n) for n in (0, 1, 3, 64)] == [2, 1, 3, 4]
