"""How far a run has come and what is left of it. Samples are the unit: steps and epochs derive from them.

A run may be resumed with another batch size, number of devices or accumulated steps. What it has shown of the current
epoch is remembered, so that the rest of the epoch shows the other images.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ocrnet.config import TrainConfig
from ocrnet.data.loader import epoch_size
from ocrnet.errors import UserError


@dataclass
class Progress:
    """The position of a run; stored in each of its checkpoints."""

    step: int = 0
    """Updates of the weights so far, skipped ones included."""
    samples: int = 0
    """Samples that all ranks together have seen. The number of the next sample."""
    epoch: int = 0
    """Complete epochs."""
    epoch_samples: int = 0
    """Samples seen of the current epoch, whose order of images depends on the seed and on `epoch` alone."""
    step_samples: int = 0
    """Samples in a step of all ranks when the run began: what a step of `train.total_step` means."""
    images: int = 0
    """Images of the training split."""
    best_miou: float = -1.0
    """Best validation mIoU so far; -1 before the first."""
    best_step: int = 0
    """The step after which it was reached."""
    evaluated: int = 0
    """The step after which the last evaluation took place."""
    skipped: int = 0
    """Steps without an update because gradients overflowed."""
    skipped_in_row: int = 0
    """Those of them since the last update."""
    replaced: dict[str, int] = field(default_factory=dict)
    """{what is wrong with a pair: how often its neighbour took its place}"""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Progress":
        """Of a checkpoint; keys of other versions of this program are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def start(self, images: int, step_samples: int) -> str:
        """Continue with a training split of so many `images` and so many samples in a step of all ranks.

        Returns:
            what is not as it was, in one line; or "".

        Raises:
            UserError: the split is smaller than one step.
        """
        if images < step_samples:
            raise UserError(f"{images} training images are fewer than a step of {step_samples}: lower train.batch_size")
        if not self.step_samples:  # a new run, or a checkpoint of a version that did not store the position
            self.step_samples = self.samples // self.step if self.step else step_samples
            self.images = images
            self.epoch, self.epoch_samples = divmod(self.samples, epoch_size(images, self.step_samples))
        notes = []
        if self.step_samples != step_samples:
            notes.append(
                f"a step has {step_samples} samples; total_step counts steps of {self.step_samples}, as the run began"
            )
        if self.images != images:
            notes.append(f"the training split has {images} images instead of {self.images}; a new epoch begins")
            self.epoch, self.epoch_samples, self.images = self.epoch + (self.epoch_samples > 0), 0, images
        if self.epoch_samples >= epoch_size(images, step_samples):
            self.epoch, self.epoch_samples = self.epoch + 1, 0
        return "; ".join(notes)

    def steps_left(self, config: TrainConfig, step_samples: int) -> int:
        """Steps of `step_samples` until the run is as long as `train.epochs` or `train.total_step` says; 0 if it is."""
        if config.epochs:
            left = (config.epochs - self.epoch) * epoch_size(self.images, step_samples) - self.epoch_samples
        else:
            left = config.total_step * self.step_samples - self.samples
        return max(0, -(-left // step_samples))

    def advance(self, step_samples: int) -> None:
        """Count a step."""
        self.step += 1
        self.samples += step_samples
        ended, self.epoch_samples = divmod(self.epoch_samples + step_samples, epoch_size(self.images, step_samples))
        self.epoch += ended
