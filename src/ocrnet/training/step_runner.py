"""Runs training steps with the inputs that their position in the run determines."""

from collections.abc import Iterator

from mindspore import Tensor, float32

from ocrnet.config import Config
from ocrnet.data.loader import TrainingSamples
from ocrnet.distributed import launcher
from ocrnet.models.layers import draw_dropout, dropout_layers
from ocrnet.training import schedule
from ocrnet.training.run_progress import Progress
from ocrnet.training.step import TrainOneStep
from ocrnet.training.step_monitor import StepResult


class StepRunner:
    """Runs steps with their learning rate and dropout masks. Reads nothing from the device, so it never waits for it.

    Args:
        batches: images (N, 3, H, W) float32 and labels (N, H, W) int32, in the order of `samples`.
    """

    def __init__(
        self,
        config: Config,
        train_step: TrainOneStep,
        samples: TrainingSamples,
        batches: Iterator[tuple[Tensor, Tensor]],
        progress: Progress,
    ) -> None:
        self.config = config
        self.train_step = train_step
        self.last_sample = samples.last
        self.batches = batches
        self.progress = progress
        self.dropout = dropout_layers(train_step.loss_network.network)

    def run(self) -> tuple[list[StepResult], float]:
        """Run the next step. Returns its results, one per batch, and its learning rate."""
        train, lr = self.config.train, self._learning_rate()
        first = self.progress.samples + launcher.ranks().rank * train.images_per_step
        results = []
        for start in range(first, first + train.images_per_step, train.batch_size):
            draw_dropout(self.dropout, self.config.seed, range(start, start + train.batch_size))
            results.append(self.train_step(*next(self.batches), Tensor(lr, float32)))
        return results, lr

    def _learning_rate(self) -> float:
        # the schedule counts steps with the samples per step of the start of the run
        done, total = (samples / self.progress.step_samples for samples in (self.progress.samples, self.last_sample))
        return schedule.learning_rate(self.config.schedule, done, total)
