"""Mixed precision of a network."""

from typing import Literal

from mindspore import float16, float32, nn


def set_precision(network: nn.Cell, amp: Literal["none", "convolutions", "all"]) -> None:
    """Set mixed precision in place; `amp` as in `train.amp`.

    none: float32. convolutions: convolutions in float16, the rest in float32, like MindSpore's O1. all: everything but
    BatchNorm in float16, like MindSpore's O2. The loss is not part of `network` and stays in float32.
    """
    if amp == "none":
        return
    if amp == "all":
        network.to_float(float16)
    for _, cell in network.cells_and_names():
        if amp == "convolutions" and isinstance(cell, nn.Conv2d):
            cell.to_float(float16)
        if isinstance(cell, nn.BatchNorm2d):
            cell.to_float(float32)
