"""MindSpore's options of the device (`device` in the configuration), set through its documented functions."""

import sys
from collections.abc import Mapping

from ocrnet.distributed import launcher

_DEVICE_OF = {
    "precision_mode": "Ascend",
    "conv_allow_hf32": "Ascend",
    "matmul_allow_hf32": "Ascend",
    "conv_allow_tf32": "GPU",
    "matmul_allow_tf32": "GPU",
}
"""{option: the only device that has it}; the options are functions of mindspore.device_context.DEVICE.op_precision"""


def apply(options: Mapping[str, object], target: str, mode: int) -> None:
    """Sets the given options. Call it after `set_device` and before the first operator and the start of the ranks.

    Rank 0 prints a note on stderr for each option that has no effect.

    Args:
        options: {key below `device` in the configuration: value}.
        target: Ascend, GPU or CPU.
        mode: MindSpore's mode, 0 graph or 1 PyNative.
    """
    import mindspore as ms

    for name, value in options.items():
        if reason := _no_effect(name, value, target, mode):
            if launcher.ranks().is_main and not launcher.is_scheduler():
                print(f"note: device.{name} ({value}): no effect {reason}", file=sys.stderr)
        elif name == "jit_level":
            ms.set_context(jit_config={"jit_level": value})
        else:
            getattr(getattr(ms.device_context, target.lower()).op_precision, name)(value)


def _no_effect(name: str, value: object, target: str, mode: int) -> str:
    """Returns why an option has no effect, as the end of the sentence "no effect ..."; "" if it has one."""
    device = "Ascend" if value == "O2" else _DEVICE_OF.get(name, target)
    if device != target:
        return f"on {target}: it is for {device}"
    return "with ms_mode 1: nothing is compiled" if name == "jit_level" and mode == 1 else ""
