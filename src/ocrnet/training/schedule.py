"""The learning-rate schedule."""

import math

from ocrnet.config import ScheduleConfig


def learning_rate(config: ScheduleConfig, step: float, total_step: float) -> float:
    """Returns the learning rate of step 0 .. total_step - 1; fractional after a resume with another batch size.

    poly: min_lr + (lr - min_lr) * (1 - step / total_step) ** power, as mmsegmentation's PolyLR over iterations.
    linear: linear decay from lr after the warm-up to min_lr (mindspore-lab).
    cosine: half a cosine from lr after the warm-up to min_lr, as PyTorch's CosineAnnealingLR.
    All start with a linear warm-up from warmup_lr to lr over warmup_steps.
    """
    if step < config.warmup_steps:
        return config.warmup_lr + (config.lr - config.warmup_lr) * step / config.warmup_steps
    if config.kind == "constant":
        return config.lr
    if config.kind == "poly":
        return config.min_lr + (config.lr - config.min_lr) * (1 - step / total_step) ** config.power
    done = (step - config.warmup_steps) / (total_step - config.warmup_steps)
    if config.kind == "linear":
        return config.lr + (config.min_lr - config.lr) * done
    return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * done)) / 2
