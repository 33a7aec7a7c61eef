"""Compares the configuration in a checkpoint with the current one: which keys may differ and which must match."""

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
        "stride_padding",
        "stem_relu",
        "align_corners",
        "head_channels",
        "key_channels",
        "context_channels",
        "context_kernel",
        "aux_channels",
        "aux_kernel",
        "conv_bias",
        "attention_bias",
        "head_norm_eps",
    )
}
_INPUT = {"data.mean", "data.std"}
_LABELS = {"data.label_map", "data.ignore_index", "data.label_encoding", "data.ignore_colors"}
_MUST_MATCH: dict[Use, set[str]] = {
    # fine-tuning starts a new run, with its own classes
    "resume": {*_NETWORK, *_INPUT, "seed", "optimizer.kind"},
    "fine-tune": _NETWORK,
    "evaluate": {*_NETWORK, *_INPUT},
}
_IRRELEVANT = {  # neither the network nor its training depends on these
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
    """Compares the configuration in a checkpoint with the current one.

    Args:
        stored: the YAML in the checkpoint; "" if the file has none.

    Returns:
        (problems: one line for each key that must match and differs, with both values and the fix,
        note: one line with the other keys that differ, or "").
    """
    try:
        saved = yaml.load(stored, Loader)  # the Loader rejects nested aliases, which could fill the memory
    except (yaml.YAMLError, ValueError, RecursionError):
        saved = None
    changes = _changes(saved if isinstance(saved, dict) else {}, yaml.load(config.to_yaml(), Loader))
    problems, notes = [], []
    labels = _LABELS | ({"data.palette"} if config.data.label_encoding == "color" else set())
    must_match = set(_MUST_MATCH[use])
    if use == "resume" or (use == "evaluate" and changes.keys().isdisjoint({"data.root", "data.format"})):
        must_match |= labels  # in an evaluation another data set may have other label values
    for key, (before, now) in changes.items():
        text = f"{key}: {_short(before)} in the checkpoint, {_short(now)} in the configuration"
        if key == "data.classes":
            if use != "fine-tune" and (reordered := _reordered_class(before, now)):
                problems.append(f"data.classes: {reordered}; write them in the checkpoint's order: {_short(before)}")
            elif use != "fine-tune":
                notes.append("data.classes (other names)" if len(before) == len(now) else "data.classes")
        elif key in must_match:
            problems.append(f"{text}; set {key} to {_short(before)}")
        elif (use == "resume" and key not in _IRRELEVANT) or (use == "evaluate" and key in labels):
            notes.append(f"{key} {_short(before)} -> {_short(now)}")
    return problems, f"changed since {path} was written: {', '.join(notes)}" if notes else ""


def _changes(saved: Any, current: Any, path: tuple[str, ...] = ()) -> dict[str, tuple[Any, Any]]:
    """Returns {dotted key: (saved value, current value)} of the keys that both have and that differ.

    Keys that only one version of the program knows are skipped.
    """
    if not (isinstance(saved, dict) and isinstance(current, dict)) or path == ("data", "label_map"):
        return {} if saved == current else {".".join(path): (saved, current)}
    found: dict[str, tuple[Any, Any]] = {}
    for key in saved.keys() & current.keys():
        found |= _changes(saved[key], current[key], (*path, str(key)))
    return dict(sorted(found.items()))


def _reordered_class(before: list[str], now: list[str]) -> str:
    """Describes the first class whose index has changed; "" if there is none, e.g. if all names are translated."""
    for index, name in enumerate(now):
        if name in before and (index >= len(before) or before[index] != name):
            return f"{name!r} has index {before.index(name)} in the checkpoint, {index} in the configuration"
    return ""


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
