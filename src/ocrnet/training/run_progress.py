"""The position of a run and the steps left. It counts samples; steps and epochs derive from them.

A run may resume with another batch size, number of devices or accumulated steps. The position in the current epoch is
stored, so that a resumed run shows the remaining images of the epoch.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ocrnet.config import TrainConfig
from ocrnet.data.loader import epoch_size
from ocrnet.errors import UserError


@dataclass
class Progress:
    """The position of a run, stored in each checkpoint."""

    step: int = 0
    """Weight updates so far, including skipped ones."""
    samples: int = 0
    """Samples seen by all ranks together; also the number of the next sample."""
    epoch: int = 0
    """Complete epochs."""
    epoch_samples: int = 0
    """Samples seen of the current epoch. The image order depends only on the seed and `epoch`."""
    step_samples: int = 0
    """Samples per step over all ranks at the start of the run. `train.total_step` counts steps of this size."""
    images: int = 0
    """Images of the training split."""
    best_miou: float = -1.0
    """Best validation mIoU so far; -1 before the first."""
    best_step: int = 0
    """Step of the best mIoU."""
    evaluated: int = 0
    """Step of the last evaluation."""
    skipped: int = 0
    """Steps without an update because gradients overflowed."""
    skipped_in_row: int = 0
    """Skipped steps since the last update."""
    replaced: dict[str, int] = field(default_factory=dict)
    """{error message of a pair: how often the next pair replaced it}"""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Progress":
        """Create from a checkpoint; keys of other versions of this program are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def start(self, images: int, step_samples: int) -> str:
        """Start or resume.

        Args:
            images: number of training images.
            step_samples: samples per step over all ranks.

        Returns:
            what has changed since the run began, in one line; or "".

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
                f"a step has {step_samples} samples; total_step counts steps of {self.step_samples}, "
                "the size at the start of the run"
            )
        if self.images != images:
            notes.append(f"the training split has {images} images instead of {self.images}; a new epoch begins")
            self.epoch, self.epoch_samples, self.images = self.epoch + (self.epoch_samples > 0), 0, images
        if self.epoch_samples >= epoch_size(images, step_samples):
            self.epoch, self.epoch_samples = self.epoch + 1, 0
        return "; ".join(notes)

    def steps_left(self, config: TrainConfig, step_samples: int) -> int:
        """Returns how many steps of `step_samples` remain until `train.epochs` or `train.total_step` is reached."""
        if config.epochs:
            left = (config.epochs - self.epoch) * epoch_size(self.images, step_samples) - self.epoch_samples
        else:
            left = config.total_step * self.step_samples - self.samples
        return max(0, -(-left // step_samples))

    def advance(self, step_samples: int) -> None:
        """Advance by one step."""
        self.step += 1
        self.samples += step_samples
        ended, self.epoch_samples = divmod(self.epoch_samples + step_samples, epoch_size(self.images, step_samples))
        self.epoch += ended
