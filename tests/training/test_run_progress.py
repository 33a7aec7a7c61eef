"""Steps, epochs and the schedule derive from the samples that a run has seen, for any sequence of batch sizes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrnet.config import DataConfig, ScheduleConfig, TrainConfig
from ocrnet.data.loader import TrainingSamples
from ocrnet.errors import UserError
from ocrnet.training.run_progress import Progress
from ocrnet.training.schedule import learning_rate


def samples(images: int, now: Progress, step_samples: int, last: int) -> TrainingSamples:
    data = DataConfig(format="list", classes=["a"])
    position = now.epoch, now.epoch_samples
    return TrainingSamples(range(images), data, 5, step_samples, now.samples, last, position=position)


def whole_run(config: TrainConfig, images: int, step_samples: int) -> int:
    progress = Progress()
    progress.start(images, step_samples)
    return progress.steps_left(config, step_samples)


def test_epochs_drop_the_incomplete_last_step():
    config = TrainConfig(epochs=3, batch_size=4)
    assert [whole_run(config, *sizes) for sizes in ((23, 4), (24, 4), (24, 8))] == [15, 18, 9]
    with pytest.raises(UserError, match=r"7 training images are fewer than a step of 8: lower train\.batch_size"):
        Progress().start(7, 8)


def test_epochs_left_do_not_depend_on_the_batch_size_of_the_epochs_before():
    """`epochs: 3` after one epoch at batch size 2, resumed at batch size 6: two epochs are left."""
    progress = Progress()
    progress.start(12, 2)
    for _ in range(6):
        progress.advance(2)
    assert (progress.epoch, progress.epoch_samples) == (1, 0)
    expected = "a step has 6 samples; total_step counts steps of 2, the size at the start of the run"
    assert progress.start(12, 6) == expected
    assert progress.steps_left(TrainConfig(epochs=3), 6) == 4


def test_total_step_counts_steps_of_the_initial_size():
    progress = Progress()
    progress.start(100, 16)
    for _ in range(20):
        progress.advance(16)
    progress.start(100, 8)
    assert progress.steps_left(TrainConfig(total_step=40), 8) == 40
    assert progress.steps_left(TrainConfig(total_step=10), 8) == 0
    assert progress.steps_left(TrainConfig(total_step=21), 12) == 2


def test_the_position_of_an_older_checkpoint_is_derived_from_its_steps():
    progress = Progress.from_dict({"step": 7, "samples": 28, "best_miou": 0.5, "of_another_version": 1})
    assert progress.start(10, 4) == ""
    assert (progress.epoch, progress.epoch_samples, progress.step_samples) == (3, 4, 4)
    assert (progress.best_by, progress.best_score) == ("miou", 0.5)
    assert Progress.from_dict({"step": 7, "best_miou": -1.0}).best_score is None


def test_a_changed_training_split_starts_a_new_epoch():
    progress = Progress()
    progress.start(10, 4)
    progress.advance(4)
    assert progress.start(12, 4) == "the training split has 12 images instead of 10; a new epoch begins"
    assert (progress.epoch, progress.epoch_samples) == (1, 0)


@given(images=st.integers(1, 40), step=st.integers(1, 8), total=st.integers(1, 60), by_epochs=st.booleans())
def test_an_unchanged_run_equals_earlier_versions_without_stored_positions(images, step, total, by_epochs):
    """Sample n is image n % size of epoch n // size; the learning rate is bitwise that of step / total_step."""
    if images < step:
        return
    config = TrainConfig(epochs=total) if by_epochs else TrainConfig(total_step=total)
    now = Progress()
    now.start(images, step)
    left, size = now.steps_left(config, step), images // step * step
    assert left == (total * (images // step) if by_epochs else total)
    run, schedule = samples(images, now, step, left * step), ScheduleConfig(warmup_steps=2)
    for number in range(left):
        assert (now.step, now.samples, now.epoch * size + now.epoch_samples) == (number, number * step, number * step)
        rate = learning_rate(schedule, now.samples / now.step_samples, run.last / now.step_samples)
        assert rate == learning_rate(schedule, number, left)
        order = np.random.Generator(np.random.Philox(key=np.array([5, 2**63 + now.epoch], np.uint64)))
        assert run.image_index(now.samples) == order.permutation(images)[now.epoch_samples]
        now.advance(step)
    assert now.steps_left(config, step) == 0


plans = st.lists(
    st.tuples(
        st.integers(1, 4),  # batch size
        st.integers(1, 3),  # ranks
        st.integers(1, 2),  # accumulated steps
        st.one_of(
            st.tuples(st.just("epochs"), st.integers(1, 6)), st.tuples(st.just("total_step"), st.integers(1, 40))
        ),
        st.integers(0, 12),  # steps until it is killed
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300)
@given(images=st.integers(1, 30), plan=plans)
def test_any_sequence_of_resumes_shows_every_image_once_per_epoch(images, plan):
    """Except for the incomplete last step of an epoch."""
    now, seen, numbers = Progress(), Counter(), Counter()
    for batch, ranks, accumulated, (unit, length), survives in plan:
        step = batch * ranks * accumulated
        config = TrainConfig(**{unit: length})
        now = Progress.from_dict(now.to_dict())
        if images < step:
            with pytest.raises(UserError):
                now.start(images, step)
            continue
        epoch = now.epoch
        now.start(images, step)
        assert now.epoch == epoch or images - shown(seen, epoch) <= images % step  # the rest is dropped
        left = now.steps_left(config, step)
        if unit == "epochs":
            assert (left == 0) == (now.epoch >= length)
        else:
            assert left == max(0, -(-(length * now.step_samples - now.samples) // step))
        run, rates = samples(images, now, step, now.samples + left * step), []
        for _ in range(min(left, survives)):
            rates.append(learning_rate(ScheduleConfig(), now.samples / now.step_samples, run.last / now.step_samples))
            epoch, begin = now.epoch, now.epoch_samples
            for place, number in enumerate(range(now.samples, now.samples + step), begin):
                seen[epoch + place // run.epoch_size, run.image_index(number)] += 1
                numbers[number] += 1  # decides the augmentation
            now.advance(step)
            assert now.epoch == epoch or images - shown(seen, epoch) <= images % step
        assert rates == sorted(rates, reverse=True) and all(rate > 1e-4 for rate in rates)
        if left <= survives:
            assert now.steps_left(config, step) == 0
    assert set(seen.values()) <= {1} and sorted(numbers) == list(range(now.samples)) and set(numbers.values()) <= {1}


def shown(seen: Counter, epoch: int) -> int:
    return sum(number == epoch for number, _ in seen)
