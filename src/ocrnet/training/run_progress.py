"""The position of a run, its best score and the steps left. It counts samples; steps and epochs derive from them.

A run may resume with another batch size, number of devices or accumulated steps. The position in the current epoch is
stored, so that a resumed run shows the remaining images of the epoch.
"""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ocrnet.config import TrainConfig
from ocrnet.data.loader import epoch_size
from ocrnet.errors import UserError

SCORES = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy", "loss": "loss"}
"""{score of `eval.best_by`: its name in messages}"""


def score_text(name: str, value: float) -> str:
    """Returns a score with its name, such as `mIoU 61.20 %` or `loss 0.4321`."""
    return f"{SCORES[name]} {value:.4f}" if name == "loss" else f"{SCORES[name]} {100 * value:.2f} %"


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
    best_by: str = "miou"
    """Which score `best_score` is, see `eval.best_by`."""
    best_score: float | None = None
    """Best score on the validation split so far; None before the first."""
    best_step: int = 0
    """Step of the best score."""
    evaluated: int = 0
    """Step of the last evaluation."""
    evaluations_since_best: int = 0
    """Evaluations since the best score, for early stopping."""
    skipped: int = 0
    """Steps without an update because gradients overflowed."""
    skipped_in_row: int = 0
    """Skipped steps since the last update."""
    replaced: dict[str, int] = field(default_factory=dict)
    """{error message of a pair: how often the next pair replaced it}"""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Progress":
        """Create from a checkpoint; keys of other versions of this program are ignored.

        Earlier versions stored the best mIoU as `best_miou`, -1 before the first.
        """
        known = {field.name for field in fields(cls)}
        if values.get("best_miou", -1) >= 0:
            values = {"best_score": values["best_miou"], **values}
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

    @property
    def best(self) -> str:
        """The best score as text, such as `mIoU 61.20 % at step 3000`; "" before the first."""
        if self.best_score is None:
            return ""
        return f"{score_text(self.best_by, self.best_score)} at step {self.best_step}"

    @property
    def miou(self) -> float | None:
        """Validation mIoU of this step; None if it is not the best step, of which alone it is stored."""
        known = self.best_by == "miou" and self.best_step == self.step
        return self.best_score if known else None

    def choose_best_by(self, name: str) -> str:
        """Compare scores by `name`. If it was another score, the best starts anew. Returns a note on that, or ""."""
        if name == self.best_by:
            return ""
        before = self.best
        self.best_by = name
        self.forget_best()
        return f"eval.best_by is {name}, the best was {before}: the next evaluation sets a new best" if before else ""

    def forget_best(self) -> None:
        """Start the best score anew; the next evaluation sets it."""
        self.best_score, self.best_step, self.evaluations_since_best = None, 0, 0

    def add_evaluation(self, score: float) -> bool:
        """Add the score of an evaluation of the current step. Returns whether it is the best so far; NaN never is."""
        best, self.evaluated = self.best_score, self.step
        better = math.isfinite(score) and (best is None or (score < best if self.best_by == "loss" else score > best))
        self.evaluations_since_best = 0 if better else self.evaluations_since_best + 1
        if better:
            self.best_score, self.best_step = score, self.step
        return better

    def stopped_early(self, patience: int | None) -> str:
        """Returns why early stopping ends the run; "" if it does not. `patience`: see `train.patience`."""
        if patience is None or self.evaluations_since_best < patience:
            return ""
        best = f"best {self.best}" if self.best else "none so far"
        return (
            f"stopped early: no better {SCORES[self.best_by]} in {self.evaluations_since_best} evaluations ({best}); "
            "a larger train.patience, or null, continues with --resume_ckpt auto"
        )

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
