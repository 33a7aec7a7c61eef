"""Mixed precision of a network."""

from typing import Literal

import mindspore as ms
from mindspore import nn

from ocrnet.config import TrainConfig
from ocrnet.errors import UserError


def set_precision(network: nn.Cell, config: TrainConfig) -> None:
    """Set the mixed precision of `train.amp` and `train.amp_dtype` in place, for MindSpore's current device.

    Raises:
        UserError: the device has no bfloat16.
    """
    target = ms.get_context("device_target")
    if config.amp != "none" and config.amp_dtype == "bfloat16" and (device := _without_bfloat16(target)):
        raise UserError(
            f"train.amp_dtype bfloat16: {device}. Set train.amp_dtype=float16, or train.amp=none for float32"
        )
    cast_network(network, config.amp, config.amp_dtype, target)


def _without_bfloat16(target: str) -> str:
    """Returns why a device has no bfloat16; "" if it has."""
    if target != "Ascend":
        return f"MindSpore {ms.__version__} has no convolutions in bfloat16 on a {target}"
    from mindspore._c_expression import MSContext

    chip = MSContext.get_instance().get_ascend_soc_version()  # ascend910 is the 910A, ascend910b the A2
    if chip in ("ascend310", "ascend310p", "ascend910"):
        return f"this Ascend ({chip}) has no bfloat16"
    return ""


def cast_network(
    network: nn.Cell,
    amp: Literal["none", "convolutions", "all"],
    dtype: Literal["float16", "bfloat16"],
    target: str,
) -> None:
    """Set mixed precision in place for the device `target`; `amp` and `dtype` as in `train.amp` and `train.amp_dtype`.

    none: float32. convolutions: convolutions in `dtype`, the rest in float32, like MindSpore's O1. all: everything but
    BatchNorm in `dtype`, like MindSpore's O2. The loss is not part of `network` and stays in float32.

    BatchNorm takes float16 with float32 parameters and statistics on Ascend and GPU, so it needs no casts there. On a
    CPU, and for bfloat16, which its documentation does not list, its input is cast to float32.
    """
    if amp != "none" or target != "CPU":
        network.separate_maps = False  # see OCRNet
    if amp == "none":
        return
    low = getattr(ms, dtype)
    if amp == "all":
        network.to_float(low)
    for _, cell in network.cells_and_names():
        if amp == "convolutions" and isinstance(cell, nn.Conv2d):
            cell.to_float(low)
        if isinstance(cell, nn.BatchNorm2d):
            if amp == "all" and dtype == "float16" and target != "CPU":
                cell.add_flags_recursive(fp16=False, fp32=False, bf16=False)
            else:
                cell.to_float(ms.float32)
