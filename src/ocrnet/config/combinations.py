"""Combinations of keys: which have no effect and are named, and which spoil a training and are refused.

Both are tables. A key that is in neither has an effect whatever the others say.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ocrnet.config.schema import Config
from ocrnet.errors import UserError
from ocrnet.formats.known import FORMATS

IMAGENET = {  # backbone: (--source, --input) of scripts/convert_weights.py --backbone
    "hrnet_w18_small": ("mmseg", "hrnetv2_w18_small"),
    "hrnet_w18": ("mmseg", "hrnetv2_w18"),
    "hrnet_w32": ("mindcv", "hrnet_w32"),
    "hrnet_w48": ("mindcv", "hrnet_w48"),
    "resnet50_d8": ("mindcv", "resnet50"),
    "resnet101_d8": ("mindcv", "resnet101"),
    "resnet50_v1c_d8": ("mmseg", "resnet50_v1c"),
    "resnet101_v1c_d8": ("mmseg", "resnet101_v1c"),
}
"""Where the ImageNet weights of a backbone come from. Nobody publishes any for the others."""


class NoEffect(NamedTuple):
    """Keys that have no effect where `applies`; `why` continues the sentence «no effect ...»."""

    keys: tuple[str, ...]
    applies: Callable[[Config], bool]
    why: str
    training: bool = True
    """Whether it is about training alone."""


class Harmful(NamedTuple):
    """Keys whose combination spoils a training where `applies` (configuration, whether weights are random)."""

    keys: tuple[str, ...]
    applies: Callable[[Config, bool], bool]
    problem: str


NO_EFFECT = (
    NoEffect(
        ("model.fuse", "model.stem_relu"),
        lambda c: c.model.backbone.startswith("resnet"),
        "with a ResNet: it is about HRNet",
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
        lambda c: not (c.data.flip or c.eval.mirrors),
        "without data.flip or eval.flip",
        False,
    ),
    NoEffect(("eval.ratios",), lambda c: not c.eval.multi_scale, "without eval.multi_scale", False),
    NoEffect(("eval.interval", "eval.tensorboard_images"), lambda c: not c.eval.run_eval, "without eval.run_eval"),
    NoEffect(("data.rare_crop",), lambda c: not c.data.rare_classes, "without data.rare_classes"),
    NoEffect(("data.rare_classes",), lambda c: not c.data.rare_crop, "with data.rare_crop 0"),
    NoEffect(
        ("data.on_bad_sample",), lambda c: c.data.packed is not None, "with data.packed, whose pairs were all read"
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
    NoEffect(("optimizer.backbone_lr_factor",), lambda c: c.model.freeze == "backbone", "with model.freeze backbone"),
    NoEffect(("schedule.min_lr",), lambda c: c.schedule.kind == "constant", "with schedule.kind constant"),
    NoEffect(("schedule.power",), lambda c: c.schedule.kind != "poly", "without schedule.kind poly"),
    NoEffect(("schedule.warmup_lr",), lambda c: not c.schedule.warmup_steps, "without schedule.warmup_steps"),
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
)

HARMFUL = (
    Harmful(
        ("train.amp", "train.loss_scale.kind"),
        lambda c, _: c.train.amp != "none" and c.train.loss_scale.kind == "none",
        "gradients in float16 underflow to 0 without a loss scale. Leave train.loss_scale.kind out (--loss_scale): "
        "it is dynamic then",
    ),
    Harmful(
        ("model.freeze",),
        lambda c, fresh: fresh and c.model.freeze == "backbone",
        "a backbone of random weights would stay as it is. Give model.pretrained or model.checkpoint",
    ),
    Harmful(
        ("model.freeze_norm",),
        lambda c, fresh: fresh and c.model.freeze_norm,
        "BatchNorm has no statistics yet that it could keep. Give model.pretrained or model.checkpoint",
    ),
    Harmful(
        ("schedule.lr", "schedule.min_lr"),
        lambda c, _: c.schedule.kind != "constant" and c.schedule.min_lr > c.schedule.lr,
        "the learning rate would grow to the end. Lower schedule.min_lr",
    ),
    Harmful(
        ("schedule.lr", "schedule.warmup_lr"),
        lambda c, _: c.schedule.warmup_steps > 0 and c.schedule.warmup_lr > c.schedule.lr,
        "the learning rate would fall in the warm-up. Lower schedule.warmup_lr",
    ),
)


def notes(config: Config, given: Mapping[str, str], training: bool, fresh: bool = False) -> list[str]:
    """A line for each given key that has no effect, and for what else a user should know before the program starts.

    Args:
        given: {dotted key: file or flag that gave it}.
        training: whether the program trains; otherwise what is about training alone is left out.
        fresh: whether the network would start from random weights.
    """
    lines = [
        f"{key} ({given[key]}): no effect {rule.why}"
        for rule in NO_EFFECT
        for key in rule.keys
        if key in given and (training or not rule.training) and rule.applies(config)
    ]
    if config.data.format in FORMATS and not config.data.palette:
        lines.append(
            f"data.palette, data.categories: left out, and data.classes are not those of {config.data.format}: colours "
            "are made from the names, and categories get no scores"
        )
    return [*lines, *(_training_remarks(config, fresh) if training else ())]


def _training_remarks(config: Config, fresh: bool) -> list[str]:
    """What is no mistake, and yet may not be meant."""
    lines = []
    backbone = config.model.backbone
    if fresh and backbone != "hrnet_tiny":
        how = ""
        if backbone in IMAGENET:
            source, name = IMAGENET[backbone]
            how = (
                f" Its ImageNet weights: python scripts/convert_weights.py --source {source} --backbone --input {name} "
                f"--config FILE.yml --output {backbone}.ckpt, then --set model.pretrained={backbone}.ckpt"
            )
        lines.append(f"model.pretrained: left out: {backbone} starts from random weights, published runs do not.{how}")
    steps, warmup = config.train.total_step, config.schedule.warmup_steps
    if steps and warmup >= steps:
        lines.append(
            f"schedule.warmup_steps: the warm-up of {warmup} steps does not end within the run of {steps} "
            "(train.total_step)"
        )
    if config.loss.ohem and config.loss.average == "all" and config.loss.auxiliary_weight:
        lines.append("loss.average: all is for the auxiliary loss alone; loss.ohem averages over the hard pixels")
    return lines


def refuse_harmful(config: Config, given: Mapping[str, str], fresh: bool) -> None:
    """Raise UserError when the configuration would spoil a training, with all that does; arguments as in `notes`."""
    problems = []
    for rule in HARMFUL:
        if rule.applies(config, fresh):
            places = "; ".join(f"{key}: {given.get(key, 'default')}" for key in rule.keys)
            problems.append(f"{', '.join(rule.keys)}: {rule.problem} ({places})")
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        raise UserError(f"{len(problems)} combinations of keys spoil this training", problems)
