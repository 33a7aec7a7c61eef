"""Loads configs: YAML files that inherit from `__BASE__`, are overridden by flags, and are validated by the schema."""

import difflib
from functools import reduce
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args

import yaml
from pydantic import ValidationError

from ocrnet.config.flags import FLAGS, IGNORED_FLAGS, PROGRAM_FLAGS
from ocrnet.config.renamed import AMP, LEVEL, MIX, Entries, Key, join_amp, new_path, rename, split_amp
from ocrnet.config.schema import Config
from ocrnet.config.types import Section, is_text, union_members
from ocrnet.config.yaml_syntax import Loader
from ocrnet.errors import Conflict, UserError, did_you_mean
from ocrnet.files import read_text
from ocrnet.locations import PROGRAMS


def parse_value(text: str, key: str = "") -> Any:
    """Parses `text` as the value of a dotted key: keys of type text, such as paths, literally; other keys as YAML.

    For an optional text key, the empty string and null are None.

    Raises:
        UserError: `text` is not YAML, or is empty for a required text key.
    """
    field = Config.field(key)
    if field and is_text(field.annotation):
        if text in ("", "null") and NoneType in union_members(field.annotation):
            return None
        if not text:
            raise UserError("the value is empty")
        return text
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{text!r} is not a YAML value: {' '.join(str(error).split())}") from None


_MAPPING_VALUES = {("data", "label_map")}  # mappings that are values, not sections
_KEY_OF_FLAG = {
    name: tuple(flag.key.split("."))
    for first, flag in FLAGS.items()
    for name in (first, *flag.aliases)
    if name != flag.key
}


def _flatten(tree: dict, source: str, path: Key = ()) -> Entries:
    entries: Entries = {}
    for key, value in tree.items():
        here = (*path, str(key))
        if isinstance(value, dict) and value and here not in _MAPPING_VALUES:
            entries.update(_flatten(value, source, here))
        else:
            entries[here] = (value, source)
    return entries


def _entries(tree: dict, file: str) -> Entries:
    """Returns the entries of one file, without its bases. At the top level a key may have the name of its flag, such as
    dataset_dir.

    Raises:
        UserError: a key is set twice, under two names.
    """
    entries = _flatten({name: value for name, value in tree.items() if name not in _KEY_OF_FLAG}, file)
    for flag in [name for name in tree if name in _KEY_OF_FLAG]:
        key = _KEY_OF_FLAG[flag]
        for other, (_, source) in entries.items():
            if key[: len(other)] == other[: len(key)]:
                name = source.removeprefix(f"{file}: ") if source != file else ".".join(other)
                raise UserError(f"{file}: {name} and {flag} both set {'.'.join(key)}. Keep one of them.")
        entries[key] = (tree[flag], f"{file}: {flag}")
    return entries


def _read_yaml(path: Path, notices: list[str], chain: tuple[Path, ...] = ()) -> Entries:
    """Returns the entries of one file: those of its `__BASE__` files in order, then its own.

    Appends a line to `notices` for each renamed key.
    """
    if path.resolve() in chain:
        raise UserError(f"{path}: __BASE__ refers back to this file")
    try:
        text = read_text(path, 2**20)
    except OSError as error:
        named = f" (named in __BASE__ of {chain[-1]})" if chain else ""
        suggestion = _suggest_name(path) if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"{path}: cannot read this config: {error.strerror}{named}{suggestion}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    tree = _parse(text, path)
    bases = tree.pop("__BASE__", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"{path}: __BASE__: name a config file, or several in a list, got {bases!r}")
    entries: Entries = {}
    for base in bases:
        _merge(entries, _read_yaml(_existing(path.parent / base), notices, (*chain, path.resolve())))
    _merge(entries, rename(_entries(tree, str(path)), notices))
    return entries


def _parse(text: str, path: Path) -> dict:
    """Parses the text of a config; `path` is its name in messages."""
    try:
        tree = yaml.load(text, Loader)
    except RecursionError:
        raise UserError(f"{path}: not a config: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a value that its tag forbids
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a config must be a mapping of keys to values, got {type(tree).__name__}")
    return tree


_ALTERNATIVES = {("train", "total_step"): ("train", "epochs"), ("train", "epochs"): ("train", "total_step")}


def _merge(entries: Entries, later: Entries) -> None:
    """Overrides `entries` with `later`. A section replaces a plain value (e.g. null) of the same key, and vice versa.

    train.total_step and train.epochs replace each other.
    """
    if AMP in later:
        entries.pop(MIX, None), entries.pop(LEVEL, None)
    elif AMP in entries and (MIX in later or LEVEL in later):
        split_amp(entries)
    for path, (value, _) in later.items():
        if value is not None:
            entries.pop(_ALTERNATIVES.get(path), None)
        for old in [old for old in entries if old[: len(path)] == path or path[: len(old)] == old]:
            del entries[old]
    entries.update(later)


def nest(values: dict[tuple[str, ...], Any]) -> dict:
    """Converts {path of a key: value} to nested dicts."""
    tree: dict = {}
    for path, value in values.items():
        section = tree
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = value
    return tree


def _existing(path: Path) -> Path:
    """Returns `path`, or the same name with .yaml instead of .yml (or vice versa) if only that file exists."""
    other = {".yml": ".yaml", ".yaml": ".yml"}.get(path.suffix)
    return path.with_suffix(other) if other and not path.is_file() and path.with_suffix(other).is_file() else path


def find_config(path: str | Path) -> Path:
    """Returns the config file `path`, or the shipped config of this name, in the repository or the installed package.

    The suffixes .yml and .yaml are interchangeable.
    """
    candidates = [_existing(file) for name in (Path(path), new_path(Path(path))) for file in (name, PROGRAMS / name)]
    return next((file for file in candidates if file.is_file()), Path(path))


def _suggest_name(path: Path) -> str:
    """Returns ". Did you mean ...?" with the most similar name next to `path` or among the shipped configs, or ""."""
    shipped = Path("config") / "ocrnet"
    known = {file.name: shipped / file.name for file in (PROGRAMS / shipped).glob("*.y*ml")}
    known |= {file.name: file for file in path.parent.glob("*.y*ml")}
    close = difflib.get_close_matches(path.name, known, n=1, cutoff=0.6)
    return f". Did you mean {known[close[0]]}?" if close else ""


class StoredConfig(NamedTuple):
    """The text of a resolved config that is stored in another file, such as a checkpoint."""

    path: Path
    """The file, for messages."""
    text: str


class Resolved(NamedTuple):
    """The result of a config file and the command line."""

    config: Config
    given: dict[str, str]
    """{dotted key: file or flag that sets it}: every key set by a flag, and every key that a file sets to a value other
    than the default."""
    flags: dict[str, tuple[Any, str]]
    """{name: (value, file)} of the PROGRAM_FLAGS and IGNORED_FLAGS at the top level of the files."""
    notices: list[str]
    """One line for each key that has its name of an earlier version."""


def load_config(path: str | Path | StoredConfig, overrides: dict[str, tuple[Any, str]] | None = None) -> Config:
    """Loads a config file.

    Args:
        path: YAML file, the name of a shipped one such as config/ocrnet/ocrnet_demo.yml, or a stored config.
        overrides: {dotted key: (value, source named in error messages)}, applied after the file.

    Raises:
        UserError: the file cannot be read, or a key or value in it is wrong.
    """
    return resolve(path, overrides).config


def resolve(path: str | Path | StoredConfig, overrides: dict[str, tuple[Any, str]] | None = None) -> Resolved:
    """Loads a config file, applies the overrides and validates the result.

    Args:
        path: the YAML file (see `find_config`), or a stored config.
        overrides: {dotted key: (value, the flag that sets it)}; they override the YAML.

    Raises:
        UserError: all errors in one message, each with its file (or flag), key and fix.
    """
    notices: list[str] = []
    if isinstance(path, StoredConfig):
        path, text = path
        entries = rename(_entries(_parse(text, path), str(path)), notices)
    else:
        path = find_config(path)
        entries = _read_yaml(path, notices)
    for key, (value, flag) in (overrides or {}).items():
        keys = tuple(key.split("."))
        whole_section = isinstance(value, dict) and value and keys not in _MAPPING_VALUES
        if whole_section:
            _merge(entries, {keys: (None, flag)})
        override = _flatten(value, flag, keys) if whole_section else {keys: (value, flag)}
        _merge(entries, rename(override, notices))
    try:
        join_amp(entries, notices)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    flags = {key[0]: entries.pop(key) for key in list(entries) if key[0] in (*PROGRAM_FLAGS, *IGNORED_FLAGS)}
    entries.setdefault(("save_dir",), (f"runs/{path.stem}", "default"))
    try:
        config = Config(**nest({key: value for key, (value, _) in entries.items()}))
    except ValidationError as error:
        lines = [_describe(details, entries) for details in error.errors()]
        if len(lines) == 1:
            raise UserError(f"{path}: {lines[0]}") from None
        raise UserError(f"{path}: {len(lines)} errors", lines) from None
    from_flags = {flag for _, flag in (overrides or {}).values()}
    given = {
        ".".join(key): source
        for key, (_, source) in entries.items()
        if source in from_flags or _differs_from_default(config, key)
    }
    return Resolved(config, given, flags, notices)


def _differs_from_default(config: Config, key: Key) -> bool:
    key = key[:2] if key[:2] in _MAPPING_VALUES else key
    return reduce(getattr, key, config) != Config.field(".".join(key)).get_default(call_default_factory=True)


def _section(key: Key) -> type[Section]:
    """Returns the class of the section at `key`, or of the sections in a list: optimizer.groups.0."""
    if key and key[-1].isdigit():
        return get_args(Config.field(".".join(key[:-1])).annotation)[0]
    return Config.subsection(key)


def _describe(error: dict, entries: Entries) -> str:
    """Returns one line about a validation error: key, problem, file or flag, fix."""
    location = tuple(str(part) for part in error["loc"])

    def sources(key: Key) -> str:
        found = {source for path, (_, source) in entries.items() if path[: len(key)] == key[: len(path)]}
        return ", ".join(sorted(found))

    written = f" (in {sources(location)})" if location and sources(location) else ""
    if error["type"] == "extra_forbidden":
        known = list(_section(location[:-1]).model_fields)
        fix = did_you_mean(location[-1], known) or f" Known here: {', '.join(known)}."
        return f"{'.'.join(location)}: unknown key{written}.{fix}"
    if isinstance(conflict := error.get("ctx", {}).get("error"), Conflict):
        places = [f"{key}: {sources(tuple(key.split('.'))) or 'default'}" for key in conflict.keys]
        return f"{conflict} ({'; '.join(places)})"
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return ".".join([*location, text]) + written
    quote = error["type"] in ("path_type", "string_type") and error["input"] is not None
    fix = ". Write it in quotes." if quote else ""
    return f"{'.'.join(location)}: {text}, got {error['input']!r}{written}{fix}"
