"""Keys and config files that had other names in earlier versions. The old names work; a notice gives the new name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Key = tuple[str, ...]
"""Path of a key: the names of its sections, then its own name."""

Entries = dict[Key, tuple[Any, str]]
"""{key: (value, file or flag that sets it)}: flat, so that a later entry overrides an earlier one key by key."""


class _Renamed(NamedTuple):
    key: Key
    convert: Callable[[Any], Any] = lambda value: value


def _height_first(size: Any) -> Any:
    return size[::-1] if isinstance(size, list | tuple) else size


_KEYS = {
    ("data", "resize_base"): _Renamed(("data", "base_size"), _height_first),
    ("data", "test_scale"): _Renamed(("data", "test_size"), _height_first),
    ("eval", "pictures"): _Renamed(("eval", "visualized_images")),
    ("eval", "board_pictures"): _Renamed(("eval", "tensorboard_images")),
}

_FILES = {
    "config_ocrnet_demo": "ocrnet_demo",
    "config_ocrnet_own_data": "ocrnet_own_data",
    "config_ocrnet_bdd100k_w18_small": "ocrnet_hrnet_w18_small_bdd100k",
    "config_ocrnet_thin_w18_small": "ocrnet_hrnet_w18_small_thin",
    "config_ocrnet_thin_w48": "ocrnet_hrnet_w48_thin",
}

AMP, MIX, LEVEL = ("train", "amp"), ("train", "mix"), ("train", "amp_level")
_AMP_OF_LEVEL = {"O0": "none", "O2": "convolutions", "O3": "all"}  # mindspore-lab's levels, not MindSpore's


def new_path(path: Path) -> Path:
    """Returns the path of a shipped config under its current name."""
    return path.with_name(f"{_FILES[path.stem]}{path.suffix}") if path.stem in _FILES else path


def rename(entries: Entries, notices: list[str]) -> Entries:
    """Returns the entries of one file or flag under their current names. `notices` gets a line for each renamed key."""
    found: Entries = {}
    for key, (value, source) in entries.items():
        if key in _KEYS:
            new = _KEYS[key]
            value = new.convert(value)
            order = ", whose order is [height, width]" if new.convert is _height_first else ""
            notices.append(f"{'.'.join(key)} ({source}): renamed to {'.'.join(new.key)}{order}: {value}")
            key = new.key
        found[key] = (value, source)
    return found


def split_amp(entries: Entries) -> None:
    """Replaces train.amp by mindspore-lab's two keys of the same meaning, so that one of these can override it."""
    value, source = entries.pop(AMP, (None, ""))
    levels = {amp: level for level, amp in _AMP_OF_LEVEL.items()}
    if isinstance(value, str) and value in levels:
        entries[MIX] = (value != "none", source)
        if value != "none":
            entries[LEVEL] = (levels[value], source)


def join_amp(entries: Entries, notices: list[str]) -> None:
    """Replaces mindspore-lab's `mix` and `amp_level` by train.amp.

    Raises:
        ValueError: one of them has an invalid value.
    """
    (mix, mix_source), (level, level_source) = entries.pop(MIX, (None, "")), entries.pop(LEVEL, (None, ""))
    if mix not in (None, True, False):
        raise ValueError(f"train.mix: write True or False, got {mix!r} (in {mix_source})")
    if level is not None and level not in _AMP_OF_LEVEL:
        raise ValueError(f"train.amp_level: write O0, O2 or O3, got {level!r} (in {level_source})")
    if level is not None and not mix:
        notices.append(f"train.amp_level ({level_source}): no effect without train.mix")
    if mix and level == "O0":
        notices.append(f"train.mix ({mix_source}): no effect with train.amp_level O0")
    if mix is not None:
        entries[AMP] = (_AMP_OF_LEVEL[level or "O3"] if mix else "none", mix_source)
