"""OCRNet (Object-Contextual Representations, ECCV 2020) on MindSpore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ocrnet.runtime import device

if TYPE_CHECKING:
    from mindspore import nn

device.prepare_environment()


def load_network(config_path: str | Path, checkpoint_path: str | Path) -> nn.Cell:
    """The network of a config with the weights of a checkpoint, in evaluation mode and float32.

    Called with images (N, 3, H, W) float32, normalised with the config's mean and std, it answers (main logits,
    auxiliary logits), each (N, classes, H/4, W/4), H/8 for ResNet; resizing is up to the caller.

    Raises:
        UserError: the config or the checkpoint cannot be read, or they do not fit.
    """
    # here, because `import ocrnet` must come before MindSpore's
    from ocrnet.config import load_config
    from ocrnet.inference import network

    config = load_config(config_path, {"train.amp": ("none", "")})
    return network.load_network(config, Path(checkpoint_path)).set_train(False)
