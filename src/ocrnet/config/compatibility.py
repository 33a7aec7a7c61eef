"""What a checkpoint was trained with against today's configuration: what may differ, and what makes another result."""

from pathlib import Path
from typing import Any, Literal

import yaml

from ocrnet.config.schema import Config
from ocrnet.config.yaml_syntax import Loader

Use = Literal["resume", "fine-tune", "evaluate"]

_NETWORK = {
    f"model.{key}"
    for key in (
        "backbone",
        "fuse",
        "stem_relu",
        "align_corners",
        "head_channels",
        "key_channels",
        "context_channels",
        "context_kernel",
        "aux_channels",
        "aux_kernel",
        "conv_bias",
        "head_norm_eps",
    )
}
_INPUT = {"data.mean", "data.std"}
_LABELS = {"data.label_map", "data.ignore_index"}
_REFUSED: dict[Use, set[str]] = {
    # fine-tuning begins a run of its own, on classes of its own
    "resume": {*_NETWORK, *_INPUT, *_LABELS, "seed"},
    "fine-tune": _NETWORK,
    "evaluate": {*_NETWORK, *_INPUT},
}
_SILENT = {  # neither the network nor its training depends on these
    "save_dir",
    "device_target",
    "ms_mode",
    "data.workers",
    "data.prefetch_size",
    "train.log_interval",
    "checkpoint.interval",
    "checkpoint.keep",
}


def compare(path: Path, stored: str, config: Config, use: Use) -> tuple[list[str], str]:
    """Compare the configuration in a checkpoint with today's.

    Args:
        stored: the YAML in the checkpoint; "" of a file that has none.

    Returns:
        (what makes another result and must not differ: a line each with both values and the fix,
        what may differ and does: one line, or "").
    """
    try:
        then = yaml.load(stored, Loader)  # refuses aliases, which would make a file of some bytes endless
    except (yaml.YAMLError, ValueError, RecursionError):
        then = None
    changes = _changes(then if isinstance(then, dict) else {}, yaml.load(config.to_yaml(), Loader))
    problems, notes = [], []
    refused = set(_REFUSED[use])
    if use == "evaluate" and changes.keys().isdisjoint({"data.root", "data.format"}):
        refused |= _LABELS  # of other files they are another matter
    for key, (before, now) in changes.items():
        text = f"{key}: {_short(before)} in the checkpoint, {_short(now)} in the configuration"
        if key == "data.classes":
            if use != "fine-tune" and (moved := _moved(before, now)):
                problems.append(f"data.classes: {moved}; write them in the checkpoint's order: {_short(before)}")
            elif use != "fine-tune":
                notes.append("data.classes (other names)" if len(before) == len(now) else "data.classes")
        elif key in refused:
            problems.append(f"{text}; set {key} to {_short(before)}")
        elif (use == "resume" and key not in _SILENT) or (use == "evaluate" and key in _LABELS):
            notes.append(f"{key} {_short(before)} -> {_short(now)}")
    return problems, f"changed since {path} was written: {', '.join(notes)}" if notes else ""


def _changes(then: Any, now: Any, path: tuple[str, ...] = ()) -> dict[str, tuple[Any, Any]]:
    """{dotted key: (value then, value now)} of the keys that both have; a key of another version is passed over."""
    if not (isinstance(then, dict) and isinstance(now, dict)) or path == ("data", "label_map"):
        return {} if then == now else {".".join(path): (then, now)}
    found: dict[str, tuple[Any, Any]] = {}
    for key in then.keys() & now.keys():
        found |= _changes(then[key], now[key], (*path, str(key)))
    return dict(sorted(found.items()))


def _moved(before: list[str], now: list[str]) -> str:
    """The first class that has another index today; "" when there is none, as where all names are translated."""
    for index, name in enumerate(now):
        if name in before and (index >= len(before) or before[index] != name):
            return f"{name!r} has index {before.index(name)} in the checkpoint, {index} in the configuration"
    return ""


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
