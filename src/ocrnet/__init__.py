"""OCRNet (Object-Contextual Representations, ECCV 2020) on MindSpore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ocrnet.runtime import device

if TYPE_CHECKING:
    from mindspore import nn

device.prepare_environment()


def load_network(config_path: str | Path, checkpoint_path: str | Path) -> nn.Cell:
    """Builds the network of a config and loads a checkpoint into it, in evaluation mode and float32.

    The network takes images (N, 3, H, W) float32, normalised with the config's mean and std. It returns (main logits,
    auxiliary logits), each (N, classes, H/4, W/4); H/8 and W/8 for ResNet. The caller resizes them.

    Raises:
        UserError: the config or the checkpoint cannot be read, or they do not match.
    """
    # imported here, because device.prepare_environment() must run before MindSpore is imported
    from ocrnet.config import load_config
    from ocrnet.inference import network

    config = load_config(config_path, {"train.amp": ("none", "")})
    return network.load_network(config, Path(checkpoint_path)).set_train(False)
