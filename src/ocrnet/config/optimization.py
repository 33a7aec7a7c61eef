"""The keys of the loss, the optimizer and the learning-rate schedule."""

# ruff: noqa: RUF012  (pydantic copies default values)
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ocrnet.config.types import Fraction, NonNegativeFloat, NonNegativeInt, OpenFraction, PositiveFloat, Section
from ocrnet.errors import Conflict


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
    label_smoothing: Fraction = 0.0
    """Share of the target that is spread over all classes, in both losses, as PyTorch's CrossEntropyLoss defines it."""
    focal: NonNegativeFloat = 0.0
    """Exponent gamma of the focal loss, which replaces the cross entropy of the main loss; 0: cross entropy."""
    ohem: OHEMConfig | None = None
    """Online hard example mining in the main loss; null: none."""
    dice: NonNegativeFloat = 0.0
    """Weight of the Dice loss, added to the main loss."""
    lovasz: NonNegativeFloat = 0.0
    """Weight of the Lovász-softmax loss, added to the main loss. It sorts pixels: slow with many classes on a CPU."""

    @model_validator(mode="after")
    def _check_focal(self) -> "LossConfig":
        if self.focal and self.ohem:
            problem = "both choose the hard pixels of the main loss. Keep one of them."
            raise Conflict(("loss.focal", "loss.ohem"), problem)
        if self.focal and self.label_smoothing:
            problem = "the focal loss has a target of one class. Keep one of them."
            raise Conflict(("loss.focal", "loss.label_smoothing"), problem)
        return self


class ParameterGroup(Section):
    """Factors for the parameters whose names contain `name`."""

    name: Annotated[str, Field(min_length=1)]
    """Part of the parameters' names, such as backbone.stage4, ocr_head, bn or classifier."""
    lr_factor: NonNegativeFloat = 1.0
    """Factor of the learning rate; 0: the parameters keep their values."""
    decay_factor: NonNegativeFloat = 1.0
    """Factor of the weight decay."""


class OptimizerConfig(Section):
    kind: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW (Loshchilov & Hutter, 2019), both as PyTorch defines them."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    betas: tuple[OpenFraction, OpenFraction] = (0.9, 0.999)
    """AdamW: decay rates of the means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """AdamW: added to the denominator."""
    weight_decay: NonNegativeFloat | None = None
    """L2 weight decay of SGD, decoupled weight decay of AdamW; null: 5e-4 with SGD (the published configs), 0.01 with
    AdamW (PyTorch's default)."""
    decay_norm_and_bias: bool = True
    """Whether weight decay applies to BatchNorm and bias too (it does in the published configs)."""
    head_lr_factor: PositiveFloat = 1.0
    """Factor of the heads' learning rate."""
    backbone_lr_factor: PositiveFloat = 1.0
    """Factor of the backbone's learning rate."""
    layer_decay: Annotated[PositiveFloat, Field(le=1)] = 1.0
    """Factor of the backbone's learning rate for each stage below the heads (BEiT, ConvNeXt): stage 4 has this factor,
    stage 3 its square, stages 2 and 1 the powers 3 and 4, the stem 5; 1: off."""
    groups: list[ParameterGroup] = []
    """[{name: part of the parameters' names, lr_factor: 1.0, decay_factor: 1.0}], as mmengine's custom_keys: of several
    names that match, the longest applies. The factors multiply those of the keys above."""

    @model_validator(mode="after")
    def _check(self) -> "OptimizerConfig":
        if self.weight_decay is None:
            self._derive(weight_decay=5e-4 if self.kind == "sgd" else 0.01)
        names = [group.name for group in self.groups]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"groups: {twice[0]!r} is given twice")
        return self


class ScheduleConfig(Section):
    kind: Literal["poly", "linear", "cosine", "constant"] = "poly"
    """Learning rate after the warm-up: polynomial, linear or cosine decay, or constant."""
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
