"""Rules for combinations of keys: a note is printed for keys without effect, harmful combinations are errors.

Both rule sets are tables. A key that is in neither table always has an effect, but for `device`: which of its options
have one depends on the device, see `runtime/device_options.py`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ocrnet.config.schema import Config
from ocrnet.errors import UserError
from ocrnet.formats.known import FORMATS

IMAGENET_WEIGHTS = {
    "hrnet_w18_small": "hrnetv2_w18_small",
    "hrnet_w18": "hrnetv2_w18",
    "hrnet_w32": "hrnet_w32",
    "hrnet_w48": "hrnetv2_w48",
    "resnet50_d8": "resnet50",
    "resnet101_d8": "resnet101",
    "resnet50_v1c_d8": "resnet50_v1c",
    "resnet101_v1c_d8": "resnet101_v1c",
}
"""{backbone: its ImageNet weights in zoo/backbones.yml}. There are no published weights for the other backbones."""


class NoEffect(NamedTuple):
    """Keys that have no effect if `applies(config)`; `reason` completes the sentence "no effect ..."."""

    keys: tuple[str, ...]
    applies: Callable[[Config], bool]
    reason: str
    training_only: bool = True
    """Whether the keys matter for training only."""


class Harmful(NamedTuple):
    """Keys whose combination makes a training fail if `applies(config, whether the weights are random)`."""

    keys: tuple[str, ...]
    applies: Callable[[Config, bool], bool]
    problem: str


NO_EFFECT = (
    NoEffect(
        ("model.fuse", "model.stride_padding", "model.stem_relu"),
        lambda c: c.model.backbone.startswith("resnet"),
        "with a ResNet: it is for HRNet",
        False,
    ),
    NoEffect(
        ("data.keep_ratio",),
        lambda c: not (c.data.base_size or c.data.test_size),
        "without data.base_size or data.test_size",
        False,
    ),
    NoEffect(
        ("data.flip_pairs",),
        lambda c: not (c.data.flip or c.data.augment.vertical_flip or c.eval.mirrors),
        "without data.flip, data.augment.vertical_flip or eval.flip",
        False,
    ),
    NoEffect(
        ("data.label_map", "data.ignore_index"),
        lambda c: c.data.label_encoding == "color",
        "with data.label_encoding color: data.palette and data.ignore_colors say what a colour means",
        False,
    ),
    NoEffect(
        ("data.ignore_colors", "data.unknown_colors"),
        lambda c: c.data.label_encoding != "color",
        "without data.label_encoding color",
        False,
    ),
    NoEffect(("eval.ratios",), lambda c: not c.eval.multi_scale, "without eval.multi_scale", False),
    NoEffect(
        ("eval.interval", "eval.images", "eval.best_by", "eval.tensorboard_images", "train.patience"),
        lambda c: not c.eval.run_eval,
        "without eval.run_eval",
    ),
    NoEffect(("data.rare_crop",), lambda c: not c.data.rare_classes, "without data.rare_classes"),
    NoEffect(("data.rare_classes",), lambda c: not c.data.rare_crop, "with data.rare_crop 0"),
    NoEffect(
        ("data.cat_max_ratio",),
        lambda c: c.data.balanced_crop == 1,
        "with data.balanced_crop 1, which chooses all crops",
    ),
    NoEffect(
        ("data.on_bad_sample",), lambda c: c.data.packed is not None, "with data.packed, whose pairs were all checked"
    ),
    NoEffect(
        tuple(f"data.photometric.{key}" for key in ("brightness", "contrast", "saturation", "hue")),
        lambda c: c.data.photometric is not None and not c.data.photometric.probability,
        "with data.photometric.probability 0",
    ),
    NoEffect(
        ("loss.average",),
        lambda c: c.loss.ohem is not None and not c.loss.auxiliary_weight,
        "with loss.ohem, whose mean is over the hard pixels, and without loss.auxiliary_weight",
    ),
    NoEffect(("loss.ohem.keep",), lambda c: c.loss.ohem is not None and c.loss.ohem.threshold == 1, "with threshold 1"),
    NoEffect(
        ("optimizer.decay_norm_and_bias",), lambda c: not c.optimizer.weight_decay, "without optimizer.weight_decay"
    ),
    NoEffect(
        ("optimizer.backbone_lr_factor", "optimizer.layer_decay"),
        lambda c: c.model.freeze == "backbone",
        "with model.freeze backbone",
    ),
    NoEffect(("optimizer.momentum",), lambda c: c.optimizer.kind == "adamw", "with optimizer.kind adamw"),
    NoEffect(("optimizer.betas", "optimizer.eps"), lambda c: c.optimizer.kind == "sgd", "with optimizer.kind sgd"),
    NoEffect(("schedule.min_lr",), lambda c: c.schedule.kind == "constant", "with schedule.kind constant"),
    NoEffect(("schedule.power",), lambda c: c.schedule.kind != "poly", "without schedule.kind poly"),
    NoEffect(("schedule.warmup_lr",), lambda c: not c.schedule.warmup_steps, "without schedule.warmup_steps"),
    NoEffect(("train.amp_dtype",), lambda c: c.train.amp == "none", "without train.amp", False),
    NoEffect(
        ("train.loss_scale.value", "train.overflow_limit"),
        lambda c: c.train.loss_scale.kind == "none",
        "without a loss scale: train.loss_scale.kind is none",
    ),
    NoEffect(
        ("train.loss_scale.factor", "train.loss_scale.window"),
        lambda c: c.train.loss_scale.kind != "dynamic",
        "without train.loss_scale.kind dynamic",
    ),
    NoEffect(("train.sync_batch_norm",), lambda c: c.model.freeze_norm, "with model.freeze_norm"),
    NoEffect(
        ("train.sync_batch_norm_operator",),
        lambda c: c.model.freeze_norm or not c.train.sync_batch_norm,
        "without train.sync_batch_norm or with model.freeze_norm",
    ),
)

HARMFUL = (
    Harmful(
        ("train.amp", "train.loss_scale.kind"),
        lambda c, _: c.train.amp != "none" and c.train.amp_dtype == "float16" and c.train.loss_scale.kind == "none",
        "gradients in float16 underflow to 0 without a loss scale. Remove train.loss_scale.kind (--loss_scale); the "
        "default is dynamic",
    ),
    Harmful(
        ("model.freeze",),
        lambda c, from_scratch: from_scratch and c.model.freeze == "backbone",
        "the backbone has random weights and would not be trained. Set model.pretrained or model.checkpoint",
    ),
    Harmful(
        ("model.freeze_norm",),
        lambda c, from_scratch: from_scratch and c.model.freeze_norm,
        "BatchNorm has no stored statistics yet. Set model.pretrained or model.checkpoint",
    ),
    Harmful(
        ("schedule.lr", "schedule.min_lr"),
        lambda c, _: c.schedule.kind != "constant" and c.schedule.min_lr > c.schedule.lr,
        "the learning rate would increase until the last step. Lower schedule.min_lr",
    ),
    Harmful(
        ("schedule.lr", "schedule.warmup_lr"),
        lambda c, _: c.schedule.warmup_steps > 0 and c.schedule.warmup_lr > c.schedule.lr,
        "the learning rate would decrease during the warm-up. Lower schedule.warmup_lr",
    ),
)


def notes(config: Config, given: Mapping[str, str], training: bool, from_scratch: bool = False) -> list[str]:
    """Returns one line for each given key that has no effect, and for other settings that may be unintended.

    Args:
        given: {dotted key: file or flag that sets it}.
        training: whether the program trains; if not, notes that concern training only are omitted.
        from_scratch: whether the network starts from random weights.
    """
    lines = [
        f"{key} ({given[key]}): no effect {rule.reason}"
        for rule in NO_EFFECT
        for key in rule.keys
        if key in given and (training or not rule.training_only) and rule.applies(config)
    ]
    if config.data.format in FORMATS and not config.data.palette:
        lines.append(
            f"data.palette, data.categories: not set, and data.classes are not those of {config.data.format}: colours "
            "are derived from the names, and there are no category scores"
        )
    return [*lines, *(_training_notes(config, from_scratch) if training else ())]


def _training_notes(config: Config, from_scratch: bool) -> list[str]:
    """Returns notes on settings that are valid but may be unintended."""
    lines = []
    backbone = config.model.backbone
    if from_scratch and backbone != "hrnet_tiny":
        known = backbone in IMAGENET_WEIGHTS
        fix = " --set model.pretrained=published starts from ImageNet weights" if known else ""
        lines.append(
            f"model.pretrained: not set: {backbone} starts from random weights, unlike the published runs.{fix}"
        )
    steps, warmup = config.train.total_step, config.schedule.warmup_steps
    if steps and warmup >= steps:
        lines.append(
            f"schedule.warmup_steps: the warm-up of {warmup} steps does not end within the run of {steps} "
            "(train.total_step)"
        )
    if config.train.amp != "none" and config.train.amp_dtype == "bfloat16" and config.train.loss_scale.kind != "none":
        lines.append(
            f"train.loss_scale.kind: {config.train.loss_scale.kind} is not needed with train.amp_dtype bfloat16, which "
            "has the range of float32"
        )
    if config.optimizer.kind == "adamw" and config.schedule.lr > 1e-3:
        lines.append(
            f"schedule.lr: {config.schedule.lr:g} is for SGD; published trainings with AdamW have 6e-5 to 1e-3"
        )
    if not config.optimizer.weight_decay and any(group.decay_factor != 1 for group in config.optimizer.groups):
        lines.append("optimizer.groups: decay_factor has no effect without optimizer.weight_decay")
    if config.loss.ohem and config.loss.average == "all" and config.loss.auxiliary_weight:
        lines.append("loss.average: all applies to the auxiliary loss only; loss.ohem averages over the hard pixels")
    return lines


def reject_harmful(config: Config, given: Mapping[str, str], from_scratch: bool) -> None:
    """Raises UserError with all harmful combinations of the configuration, if any. For the arguments see `notes`."""
    problems = []
    for rule in HARMFUL:
        if rule.applies(config, from_scratch):
            sources = "; ".join(f"{key}: {given.get(key, 'default')}" for key in rule.keys)
            problems.append(f"{', '.join(rule.keys)}: {rule.problem} ({sources})")
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        raise UserError(f"{len(problems)} combinations of keys would make this training fail", problems)
