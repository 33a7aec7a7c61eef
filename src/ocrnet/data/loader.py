"""MindSpore data pipelines. Sample number n of a run decides its own image and its own augmentation.

Nothing depends on the worker that makes a sample, on the rank that wants it, or on where a run was interrupted.
"""

from collections.abc import Iterator

import mindspore.dataset as ds
import numpy as np
from numpy.random import Generator, Philox

from ocrnet.config import DataConfig
from ocrnet.data import transforms
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.distributed.launcher import SINGLE_PROCESS, Ranks
from ocrnet.errors import UserError
from ocrnet.formats.label_values import missing_classes
from ocrnet.runtime import device

_NEIGHBOURS = 20  # so many bad pairs in a row are no accident
_WATCHED = 300  # samples whose labels are searched for each class


class TrainingSamples:
    """What this rank sees of the samples `first` .. `last` - 1 of a run: (3, h, w) float32 and (h, w) int32 labels.

    A step takes `batch` samples for each rank: rank 0 the first of them, and so on. An epoch shows every image once,
    in an order of its own; those that would make an incomplete last step are left out of that epoch. Where steps had
    another size before `first`, a step may begin in one epoch and end in the next.

    Args:
        position: (epoch, samples that it has shown) of sample `first`; default: as if all steps had this size.
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
                f"batch of {step}: lower train.batch_size"
            )
        self.dataset, self.config, self.seed, self.first, self.last = dataset, config, seed, first, last
        self.batch, self.step, self.rank, self.ranks = batch, step, ranks.rank, ranks.size
        self.epoch_size = epoch_size(len(dataset), step)
        epoch, shown = position or divmod(first, self.epoch_size)
        self._offset = epoch * self.epoch_size + shown - first
        self.error: UserError | None = None
        self.bad: list[tuple[int, str]] = []
        """(sample number, problem) of the pairs that a neighbour replaced."""
        self.watched = min(_WATCHED, len(dataset), last - first)
        """So many samples of the run, from `first` on and over all ranks, have their labels' values noted."""
        self.seen = np.zeros(256, bool)
        """Values that the label files of this rank's watched samples have; in a packed data set, class indices."""
        self._order = (-1, np.empty(0, np.int64))  # (epoch, its order)

    def __len__(self) -> int:
        return (self.last - self.first) // self.ranks

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        steps, place = divmod(int(index), self.batch)
        number = self.first + steps * self.step + self.rank * self.batch + place
        try:
            return self._make(number)
        except UserError as error:
            self.error = error  # MindSpore hands on a long text only; see `batches`
            raise

    def _make(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A sample of its pair or, with `on_bad_sample: skip`, of the next readable one of the data set."""
        index = self.image_index(number)
        seen = self.seen if number < self.first + self.watched else None
        for place in range(index, index + min(len(self.dataset), _NEIGHBOURS)):
            rng = Generator(Philox(key=np.array([self.seed, number], np.uint64)))
            try:
                pair = self.dataset.open(place % len(self.dataset), seen)
                return transforms.training_pair(*pair, self.config, rng)
            except UserError as error:
                if self.config.on_bad_sample == "stop":
                    raise
                self.bad.append((number, str(error)))
                problem = error
        raise UserError(f"{problem} (and so are {_NEIGHBOURS} pairs in a row: data.on_bad_sample is for single ones)")

    def missing_classes_note(self, seen: np.ndarray | None = None) -> str:
        """A message that names the classes without a pixel in the watched labels, or "" when all of them occur.

        Whole labels count, not the crops of them. To be called once, when the run has done the sample number
        `first + watched`: by then the data threads of all ranks have made the watched samples.

        Args:
            seen: `self.seen` of all ranks, joined by logical or; left out: of this rank alone.
        """
        found = missing_classes(self.seen if seen is None else seen, self.dataset.class_table, self.dataset.classes)
        if not found:
            return ""
        return f"not in the labels of the first {self.watched} samples: {found}. See data.label_map and data.classes."

    def image_index(self, number: int) -> int:
        """Index in the data set of sample `number` of the run, which is not before `first`."""
        epoch, place = divmod(number + self._offset, self.epoch_size)
        order = self._order  # one read: another thread may replace it
        if order[0] != epoch:
            # a key that no sample has: sample numbers stay far below 2**63
            rng = Generator(Philox(key=np.array([self.seed, 2**63 + epoch], np.uint64)))
            self._order = order = (epoch, rng.permutation(len(self.dataset)))
        return int(order[1][place])


def training_batches(samples: TrainingSamples, batch_size: int) -> Iterator[tuple]:
    """(N, 3, h, w) float32 and (N, h, w) int32 tensors, sample by sample in order.

    The data threads share the program's memory, so nothing is copied between processes and MindSpore's `max_rowsize`
    has nothing to bound; `data.prefetch_size` bounds the batches that wait.

    Raises:
        UserError: an image or label of the batch is unusable; the file is named.
    """
    config = samples.config
    ds.config.set_prefetch_size(config.prefetch_size)
    ds.config.set_enable_watchdog(False)  # its "taking a long time" notes are about big images, not about faults
    pipeline = ds.GeneratorDataset(
        samples,
        ["image", "label"],
        shuffle=False,
        num_parallel_workers=worker_threads(config.workers),
        python_multiprocessing=False,
    ).batch(batch_size, drop_remainder=True)
    try:
        yield from pipeline.create_tuple_iterator(num_epochs=1)
    except RuntimeError:
        if samples.error is not None:
            raise samples.error from None
        raise


def worker_threads(wanted: int) -> int:
    """`data.workers`, never more than the machine's cores; 0: half of the cores, 8 at most."""
    cores = device.cores()
    return min(wanted, cores) if wanted else max(1, min(8, cores // 2))


def epoch_size(images: int, step_samples: int) -> int:
    """Samples of an epoch: every image once, but for those that are left over where steps do not divide the images."""
    return images // step_samples * step_samples
