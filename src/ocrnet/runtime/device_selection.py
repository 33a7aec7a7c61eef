"""Choice of the device target: the first one of Ascend, GPU and CPU that has a device, or the one that is asked for.

MindSpore loads a plugin for each kind of accelerator. A plugin that loads does not mean that there is a device.
"""

import os

from ocrnet.errors import UserError

TARGETS = ("Ascend", "GPU", "CPU")

_NO_PLUGIN = {
    "Ascend": "Source CANN's set_env.sh in this shell, with a CANN version that this MindSpore accepts (8.2 to 9.1 for "
    "2.10), install CANN's Python packages, and check that npu-smi info lists the device.",
    "GPU": "Set CUDA_HOME to a CUDA 11.6 folder with bin/nvcc, add its lib64 and cuDNN 8 to LD_LIBRARY_PATH, and check "
    "that nvidia-smi lists the device.",
}
"""{device: what to do if its plugin does not load}"""
_NO_DEVICE = {
    "Ascend": "Check that npu-smi info lists a device, that the driver is installed, that the container has "
    "the devices (docker run --device=/dev/davinci0 ...), and ASCEND_RT_VISIBLE_DEVICES ({visible}).",
    "GPU": "Check that nvidia-smi lists a device, that the driver is installed, that the container has the devices "
    "(docker run --gpus all), and CUDA_VISIBLE_DEVICES ({visible}).",
}
"""{device: what to do if its plugin loads, but there is no device}"""
_VISIBLE = {"Ascend": "ASCEND_RT_VISIBLE_DEVICES", "GPU": "CUDA_VISIBLE_DEVICES"}


def choose(target: str | None) -> str:
    """Returns `target`, or for None the first of `TARGETS` that has a device.

    Raises:
        UserError: `target` has no device, or its plugin does not load; the message has MindSpore's reason and the fix.
    """
    if target is None:
        return next(name for name in TARGETS if not problem(name))
    if reason := problem(target):
        available = [name for name in TARGETS if name != target and not problem(name)]
        raise UserError(
            f"device_target {target}: not available: {reason} Available: {', '.join(available)}; use "
            f"--device_target {available[0]} or omit the flag."
        )
    return target


def device_count(target: str) -> int | None:
    """Returns the number of devices that MindSpore sees; 0 if its plugin does not load, and 1 for the CPU.

    None if the plugin loads, but its function that counts is missing: then the plugin is trusted.

    Raises:
        RuntimeError: the driver does not work.
    """
    import mindspore as ms

    device = getattr(ms.device_context, target.lower())
    try:
        return device.device_count() if device.is_available() else 0
    except NameError:  # mindspore.device_context ignores that the plugin's functions cannot be imported
        return None


def problem(target: str) -> str:
    """Returns why a device cannot be used, and the fix; "" if it can be used."""
    import mindspore as ms

    if not getattr(ms.device_context, target.lower()).is_available():
        # without CUDA_HOME, MindSpore does not try to load the plugin for the GPU and has no reason
        reason = plugin_error(target) or "it gives no reason"
        return f"MindSpore {ms.__version__} could not load its plugin: {reason}. {_NO_PLUGIN.get(target, '')}".rstrip()
    try:
        if device_count(target) != 0:
            return ""
        reason = "MindSpore's plugin loads, but finds no device."
    except RuntimeError as error:
        lines = str(error).strip().splitlines() or ["no reason given"]
        reason = f"MindSpore's plugin loads, but cannot count the devices: {lines[0]}."
    variable = _VISIBLE.get(target, "")
    visible = f"now {os.environ[variable]!r}" if variable in os.environ else "not set now"
    return f"{reason} {_NO_DEVICE.get(target, '').format(visible=visible)}".rstrip()


def plugin_error(target: str) -> str:
    """Returns MindSpore's reason why a plugin did not load, such as a missing library; "" if it gives none.

    MindSpore keeps the reasons of all plugins in one text with a line per library, libmindspore_ascend.so.2 etc.
    """
    from mindspore.context import MSContext

    lines = MSContext.get_instance().load_plugin_error().splitlines()
    return "; ".join(line.strip().rstrip(".") for line in lines if f"libmindspore_{target.lower()}." in line)
