"""The keys of the loss, the optimizer and the learning-rate schedule."""

# ruff: noqa: RUF012  (pydantic copies default values)
from typing import Literal

from ocrnet.config.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, Section


class OHEMConfig(Section):
    """The main loss is the mean over the hard pixels only."""

    threshold: Fraction = 0.9
    """A pixel is hard if the predicted probability of its class is below this."""
    keep: NonNegativeInt = 131072
    """Minimum number of hard pixels per device."""


class LossConfig(Section):
    auxiliary_weight: NonNegativeFloat = 0.4
    """Weight of the auxiliary head's loss."""
    class_weights: list[NonNegativeFloat] = []
    """One weight per class; empty: all 1."""
    average: Literal["valid", "all"] = "valid"
    """Mean over the pixels that are not ignored, or over all of them (mmsegmentation)."""
    ohem: OHEMConfig | None = None
    """Online hard example mining in the main loss; null: none."""
    dice: NonNegativeFloat = 0.0
    """Weight of the Dice loss, added to the main loss."""
    lovasz: NonNegativeFloat = 0.0
    """Weight of the Lovász-softmax loss, added to the main loss. It sorts pixels: slow with many classes on a CPU."""


class OptimizerConfig(Section):
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    weight_decay: NonNegativeFloat = 5e-4
    """L2 weight decay."""
    decay_norm_and_bias: bool = True
    """Whether weight decay applies to BatchNorm and bias too (it does in the published configs)."""
    head_lr_factor: PositiveFloat = 1.0
    """Factor of the heads' learning rate."""
    backbone_lr_factor: PositiveFloat = 1.0
    """Factor of the backbone's learning rate."""


class ScheduleConfig(Section):
    kind: Literal["poly", "linear", "constant"] = "poly"
    """Learning rate after the warm-up: polynomial or linear decay, or constant."""
    lr: PositiveFloat = 0.01
    """Learning rate after the warm-up (--lr)."""
    min_lr: NonNegativeFloat = 1e-4
    """Learning rate at the last step."""
    power: PositiveFloat = 0.9
    """Exponent of the poly schedule."""
    warmup_steps: NonNegativeInt = 0
    """Steps in which the learning rate rises from `warmup_lr` to `lr`; 0: no warm-up."""
    warmup_lr: NonNegativeFloat = 1e-6
    """Learning rate of the first step, if there is a warm-up."""
