"""The training data loader. The image and the augmentation of sample n of a run depend on n and the seed only.

They do not depend on the worker, the rank or the step at which a run was resumed.
"""

from collections.abc import Iterator

import mindspore.dataset as ds
import numpy as np
from numpy.random import Generator, Philox

from ocrnet.config import DataConfig
from ocrnet.data import transforms
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.read_ahead import read_ahead
from ocrnet.distributed.launcher import SINGLE_PROCESS, Ranks
from ocrnet.errors import UserError
from ocrnet.formats.label_values import missing_classes
from ocrnet.runtime import device

_MAX_BAD_PAIRS = 20  # consecutive bad pairs; if there are more, something else is wrong
WATCHED_SAMPLES = 300
"""Number of samples whose labels are checked for missing classes."""


class TrainingSamples:
    """The samples of this rank among `first` .. `last` - 1 of a run: images (3, h, w) float32, labels (h, w) int32.

    A step has `batch` samples per rank: the first `batch` samples for rank 0, and so on. Each epoch is a new
    permutation of the images; the incomplete last step of an epoch is dropped. If the samples before `first` had
    another step size, a step may start in one epoch and end in the next.

    Args:
        position: (epoch, samples done in this epoch) of sample `first`; default: as if all steps had this size.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        config: DataConfig,
        seed: int,
        batch: int,
        first: int,
        last: int,
        ranks: Ranks = SINGLE_PROCESS,
        position: tuple[int, int] | None = None,
    ) -> None:
        step = batch * ranks.size
        if len(dataset) < step:
            raise UserError(
                f"{len(dataset)} training images (data.train {config.train!r} in {config.root}) are fewer than a "
                f"batch of {step}: reduce train.batch_size"
            )
        self.dataset, self.config, self.seed, self.first, self.last = dataset, config, seed, first, last
        self.batch, self.step, self.rank, self.ranks = batch, step, ranks.rank, ranks.size
        self.epoch_size = epoch_size(len(dataset), step)
        epoch, shown = position or divmod(first, self.epoch_size)
        self._offset = epoch * self.epoch_size + shown - first
        self.bad: list[tuple[int, str]] = []
        """(sample number, problem) of the bad pairs that were replaced by the next pair."""
        self.watched = min(WATCHED_SAMPLES, len(dataset), last - first)
        """Number of samples, from `first` on and over all ranks, whose label values are recorded in `seen`."""
        self.seen = np.zeros(256, bool)
        """Label values in the watched samples of this rank; class indices for a packed data set."""
        self._order = (-1, np.empty(0, np.int64))  # (epoch, permutation of the images)

    def __len__(self) -> int:
        return (self.last - self.first) // self.ranks

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        steps, offset = divmod(index, self.batch)
        return self._load(self.first + steps * self.step + self.rank * self.batch + offset)

    def _load(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns sample `number`. With `on_bad_sample: skip`, a bad pair is replaced by the next readable pair."""
        index = self.image_index(number)
        seen = self.seen if number < self.first + self.watched else None
        for candidate in range(index, index + min(len(self.dataset), _MAX_BAD_PAIRS)):
            rng = Generator(Philox(key=np.array([self.seed, number], np.uint64)))
            try:
                pair = self.dataset.open(candidate % len(self.dataset), seen)
                return transforms.training_transform(*pair, self.config, rng)
            except UserError as error:
                if self.config.on_bad_sample == "stop":
                    raise
                self.bad.append((number, str(error)))
                problem = error
        raise UserError(
            f"{problem} (data.on_bad_sample skips single bad pairs; here are {_MAX_BAD_PAIRS} consecutive bad pairs)"
        )

    def missing_classes_note(self, seen: np.ndarray | None = None) -> str:
        """Returns a message with the classes that have no pixel in the watched labels, or "" if there are none.

        The whole labels are checked, not their crops. Call it once, after sample `first + watched`: then the data
        threads of all ranks have read the watched samples.

        Args:
            seen: `self.seen` of all ranks, combined by logical or; default: of this rank only.
        """
        found = missing_classes(self.seen if seen is None else seen, self.dataset.class_table, self.dataset.classes)
        if not found:
            return ""
        return f"not in the labels of the first {self.watched} samples: {found}. See data.label_map and data.classes."

    def image_index(self, number: int) -> int:
        """Returns the data set index of sample `number` of the run, which must be `first` or later."""
        epoch, position = divmod(number + self._offset, self.epoch_size)
        order = self._order  # read once, because another thread may replace it
        if order[0] != epoch:
            # a key that no sample has, because sample numbers are far below 2**63
            rng = Generator(Philox(key=np.array([self.seed, 2**63 + epoch], np.uint64)))
            self._order = order = (epoch, rng.permutation(len(self.dataset)))
        return int(order[1][position])


class _SamplesInOrder:
    """The samples as MindSpore's GeneratorDataset takes them, read in threads.

    Two threads of MindSpore's own, each with a queue, read 6 % fewer PNG pairs per second, and 40 % fewer packed ones.

    Attributes:
        error: the error that ended the iteration. MindSpore raises its own exception with a long text.
    """

    def __init__(self, samples: TrainingSamples) -> None:
        self.samples = samples
        self.error: UserError | None = None

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        threads = worker_threads(self.samples.config.workers)
        try:
            yield from read_ahead(self.samples.__getitem__, range(len(self.samples)), threads, 2 * threads)
        except UserError as error:
            self.error = error
            raise


def training_batches(samples: TrainingSamples, batch_size: int) -> Iterator[tuple]:
    """Yields batches of tensors, (N, 3, h, w) float32 and (N, h, w) int32, in the order of the samples.

    The workers are threads that share the program's memory: nothing is copied between processes, and MindSpore's
    `max_rowsize` does not apply. `data.prefetch_size` limits the number of waiting batches.

    Raises:
        UserError: an image or label file cannot be used; the message names the file.
    """
    ds.config.set_prefetch_size(samples.config.prefetch_size)
    ds.config.set_enable_watchdog(False)  # its "taking a long time" warnings are caused by large images, not by errors
    source = _SamplesInOrder(samples)
    pipeline = ds.GeneratorDataset(source, ["image", "label"], shuffle=False, python_multiprocessing=False)
    try:
        yield from pipeline.batch(batch_size, drop_remainder=True).create_tuple_iterator(num_epochs=1)
    except RuntimeError:
        if source.error is not None:
            raise source.error from None
        raise


def worker_threads(workers: int) -> int:
    """Returns the number of data threads: `workers`, at most the CPU cores; for 0 half of the cores, at most 8."""
    cores = device.cores()
    return min(workers, cores) if workers else max(1, min(8, cores // 2))


def epoch_size(images: int, step_samples: int) -> int:
    """Returns the samples per epoch: the number of images, rounded down to a multiple of `step_samples`."""
    return images // step_samples * step_samples
