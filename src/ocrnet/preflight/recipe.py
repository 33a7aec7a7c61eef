"""Findings about the recipe: a learning rate that does not fit the batch, or the weights that the network starts from.

The published recipes in config/ocrnet have, per image of a step, a learning rate of SGD from 6.25e-5 (HRNet-OCR,
COCO-Stuff and PASCAL-Context: 1e-3 with 16 images) to 1.25e-3 (mmsegmentation, Cityscapes: 0.01 with 8). By the linear
scaling rule (Goyal and others, 2017) this quotient is what stays the same when the batch changes. AdamW's published
rates are 6e-5 (SegFormer) to 1e-3, without a fixed rule for the batch.
"""

from typing import Any

from ocrnet.config import Config
from ocrnet.config.combinations import IMAGENET_WEIGHTS
from ocrnet.preflight.finding import Finding

DEVICES = (1, 2, 4, 8)
"""Numbers of devices of the published recipes."""
_SGD = (6.25e-5, 1.25e-3)
_ADAMW = (6e-5, 1e-3)
_TOLERANCE = (4, 2)  # below the lowest and above the highest published rate; a higher rate does harm sooner
_DESTROYING = 8  # times the highest published rate
_FINE_TUNING = {"sgd": 2e-3, "adamw": 1e-4}  # at most; published from pretrained weights, too low for random ones
_REFERENCE_BATCH = {"cityscapes": 8, "bdd100k": 8}  # 16 for the other data sets


def learning_rate(config: Config, devices: int | None) -> list[Finding]:
    """A network with trained weights whose learning rate is far from the published ones.

    Args:
        devices: number of ranks; None: not known, a number of `DEVICES` that fits is assumed.
    """
    if not (config.model.pretrained or config.model.checkpoint):
        return []
    options = (devices,) if devices else DEVICES
    outside = [_outside(config, count) for count in options]
    if not all(outside):
        return []
    count, (ratio, fit) = options[-1 if outside[0][0] > 1 else 0], outside[-1 if outside[0][0] > 1 else 0]
    images, lr = config.train.images_per_step * count, config.schedule.lr
    rule = (
        f"published: {_ADAMW[0]:g} to {_ADAMW[1]:g} with AdamW"
        if config.optimizer.kind == "adamw"
        else f"published: 0.01 with {_reference(config)} images, that is {fit:g} with {images}"
    )
    high = ratio > 1
    source = "model.pretrained" if config.model.pretrained else "model.checkpoint"
    if high and ratio > _DESTROYING:
        title, why = "a very high learning rate for trained weights", "the first steps destroy the trained weights"
    elif high:
        title, why = "the learning rate is too high for the batch", "the steps are too large: training is unstable"
    else:
        title, why = "the learning rate is too low for the batch", "the network hardly changes in the given steps"
    factor = config.optimizer.head_lr_factor
    advice = f"by the linear scaling rule{'' if factor == 1 else f' (heads: times {factor:g})'}:"
    if high and config.optimizer.kind == "sgd" and devices:
        accumulate = config.train.accumulate_steps * round(lr / fit)
        advice = f"by the linear scaling rule, or train.accumulate_steps: {accumulate} with the same rate:"
    seen = f"schedule.lr {lr:g} with {images} images per step ({config.train.images_per_step} x {count} devices), "
    return [Finding(title, False, f"{seen}{source} is set; {rule}", why, advice, _with_rate(config, fit))]


def _outside(config: Config, devices: int) -> tuple[float, float] | None:
    """Returns (rate / the nearest published rate, the rate that fits) if the rate is far from the published ones."""
    images, lr, factors = config.train.images_per_step * devices, config.schedule.lr, config.optimizer
    if factors.kind == "adamw":
        low, high = _ADAMW
        fit = 6e-5
    else:
        low, high = (rate * images for rate in _SGD)
        fit = 0.01 * images / _reference(config)
    backbone = 0 if config.model.freeze == "backbone" else factors.backbone_lr_factor
    highest, trained = lr * max(backbone, factors.head_lr_factor), lr * (backbone or factors.head_lr_factor)
    if trained > _TOLERANCE[1] * high:
        return trained / high, float(f"{fit / (backbone or factors.head_lr_factor):.2g}")
    if highest < low / _TOLERANCE[0]:
        return highest / low, float(f"{fit / max(backbone, factors.head_lr_factor):.2g}")
    return None


def _reference(config: Config) -> int:
    return _REFERENCE_BATCH.get(config.data.format, 16)


def random_weights(config: Config) -> list[Finding]:
    """A backbone with random weights and a learning rate for trained ones."""
    kind, lr, backbone = config.optimizer.kind, config.schedule.lr, config.model.backbone
    if config.model.pretrained or config.model.checkpoint or lr > _FINE_TUNING[kind]:
        return []
    known = backbone in IMAGENET_WEIGHTS
    return [
        Finding(
            "random weights with a learning rate for fine-tuning",
            False,
            f"model.pretrained and model.checkpoint are empty, schedule.lr is {lr:g} ({kind}); the demo trains random "
            "weights with 0.15, published runs start from ImageNet weights",
            "the random weights hardly change in the given steps",
            "start from ImageNet weights:" if known else f"{backbone} has no published weights: raise the rate:",
            {"model.pretrained": "published"} if known else _with_rate(config, 0.05 if kind == "sgd" else 1e-3),
        )
    ]


def _with_rate(config: Config, lr: float) -> dict[str, Any]:
    """Returns the keys that set the learning rate, and those that must not be higher."""
    fix: dict[str, Any] = {"schedule.lr": lr}
    if config.schedule.kind != "constant" and config.schedule.min_lr > lr:
        fix["schedule.min_lr"] = 0.0
    if config.schedule.warmup_steps and config.schedule.warmup_lr > lr:
        fix["schedule.warmup_lr"] = lr
    return fix
