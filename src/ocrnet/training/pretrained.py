"""The weights that a training starts from: `model.pretrained` for the backbone, `model.checkpoint` for all."""

import sys
from pathlib import Path

from ocrnet.config import Config
from ocrnet.config.combinations import IMAGENET_WEIGHTS
from ocrnet.distributed import launcher
from ocrnet.errors import UserError
from ocrnet.inference.sources import fetch_backbone
from ocrnet.models.ocrnet import OCRNet
from ocrnet.weights.ckpt import load_backbone, load_for_fine_tuning
from ocrnet.zoo.published import backbones


def load_initial_weights(network: OCRNet, config: Config) -> None:
    """Loads `model.checkpoint`, or else `model.pretrained`; prints what was loaded.

    If published ImageNet weights cannot be had, prints a warning, and the backbone keeps its random weights.

    Raises:
        UserError: a file cannot be read or does not fit; or the published weights cannot be had and the config freezes
            parts of the backbone, which need them.
    """
    model = config.model
    if model.checkpoint:
        print(load_for_fine_tuning(network, model.checkpoint, config))
        return
    if not model.pretrained:
        return
    try:
        path = _pretrained_file(config)
    except UserError as error:  # only published weights raise it here
        if model.freeze == "backbone" or model.freeze_norm:
            raise
        if launcher.ranks().is_main:
            print(_warning(str(error)), file=sys.stderr)
        return
    load_backbone(network.backbone, path)
    print(f"{path}: ImageNet weights of the backbone loaded")


def _pretrained_file(config: Config) -> Path:
    """Returns the file of `model.pretrained`; raises UserError if published weights cannot be had."""
    name = str(config.model.pretrained)
    if name == "published":
        backbone = config.model.backbone
        if backbone not in IMAGENET_WEIGHTS:
            raise UserError(f"there are no published ImageNet weights of {backbone}")
        name = IMAGENET_WEIGHTS[backbone]
    elif name not in backbones() or Path(name).exists():
        return Path(name)
    return fetch_backbone(backbones()[name], config)


def _warning(reason: str) -> str:
    line = "=" * 100
    return (
        f"{line}\nWARNING: the backbone starts from RANDOM weights, unlike the published runs: expect a much lower "
        f"score.\nmodel.pretrained=published: {reason}\nTo train from random weights without this warning, set "
        f"model.pretrained=none.\n{line}"
    )
