"""Reading configs: YAML files, composed by `__BASE__`, overridden by flags, checked against the schema."""

import difflib
from functools import reduce
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from ocrnet.config.flags import FLAGS, PROGRAM_FLAGS, WITHOUT_EFFECT
from ocrnet.config.renamed import AMP, LEVEL, MIX, Entries, Key, join_amp, new_path, rename, split_amp
from ocrnet.config.schema import Config
from ocrnet.config.types import is_text, kinds
from ocrnet.config.yaml_syntax import Loader
from ocrnet.console import PROGRAMS
from ocrnet.errors import Conflict, UserError, did_you_mean
from ocrnet.files import read_text


def parse_value(text: str, key: str = "") -> Any:
    """What `text` means as the value of a dotted key: text keys such as paths to the letter, all else as YAML.

    For a text key that may be left out, the empty string and null are None.

    Raises:
        UserError: `text` is not YAML, or it is empty where a text is needed.
    """
    field = Config.field(key)
    if field and is_text(field.annotation):
        if text in ("", "null") and NoneType in kinds(field.annotation):
            return None
        if not text:
            raise UserError("the value is empty")
        return text
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{text!r} is no YAML value: {' '.join(str(error).split())}") from None


_WHOLE_VALUES = {("data", "label_map")}  # mappings that are values, not sections
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
        if isinstance(value, dict) and value and here not in _WHOLE_VALUES:
            entries.update(_flatten(value, source, here))
        else:
            entries[here] = (value, source)
    return entries


def _entries(tree: dict, file: str) -> Entries:
    """Entries of one file's own keys. At the top level a key may have the name of its flag, such as dataset_dir.

    Raises:
        UserError: a key is given twice, under two names.
    """
    entries = _flatten({name: value for name, value in tree.items() if name not in _KEY_OF_FLAG}, file)
    for flag in [name for name in tree if name in _KEY_OF_FLAG]:
        key = _KEY_OF_FLAG[flag]
        for other, (_, source) in entries.items():
            if key[: len(other)] == other[: len(key)]:
                name = source.removeprefix(f"{file}: ") if source != file else ".".join(other)
                raise UserError(f"{file}: {name} and {flag} both give {'.'.join(key)}. Keep one of them.")
        entries[key] = (tree[flag], f"{file}: {flag}")
    return entries


def _read_yaml(path: Path, notices: list[str], chain: tuple[Path, ...] = ()) -> Entries:
    """Entries of one file: its `__BASE__` files in their order, then its own. `notices` takes what was renamed."""
    if path.resolve() in chain:
        raise UserError(f"{path}: __BASE__ leads back to this file")
    try:
        tree = yaml.load(read_text(path, 2**20), Loader)
    except OSError as error:
        named = f" (named in __BASE__ of {chain[-1]})" if chain else ""
        close = _close_name(path) if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"{path}: cannot read this config: {error.strerror}{named}{close}") from None
    except RecursionError:
        raise UserError(f"{path}: not a config: nested without end") from None
    except (yaml.YAMLError, ValueError) as error:  # UnicodeDecodeError, or no value of the type that a tag names
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a config is a mapping of keys to values, this is {type(tree).__name__}")
    bases = tree.pop("__BASE__", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"{path}: __BASE__: name a config file, or several in a list, got {bases!r}")
    entries: Entries = {}
    for base in bases:
        _merge(entries, _read_yaml(_existing(path.parent / base), notices, (*chain, path.resolve())))
    _merge(entries, rename(_entries(tree, str(path)), notices))
    return entries


_ALTERNATIVES = {("train", "total_step"): ("train", "epochs"), ("train", "epochs"): ("train", "total_step")}


def _merge(entries: Entries, later: Entries) -> None:
    """Let `later` win: a section replaces a plain value (null, say) of the same key, and the other way round.

    Two keys that say the same in different units are one: a later one of them replaces the other.
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
    """{path of a key: value} as a tree of sections."""
    tree: dict = {}
    for path, value in values.items():
        section = tree
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = value
    return tree


def _existing(path: Path) -> Path:
    """The file, or the one whose name ends in .yaml instead of .yml or the other way round, if only that exists."""
    other = {".yml": ".yaml", ".yaml": ".yml"}.get(path.suffix)
    return path.with_suffix(other) if other and not path.is_file() and path.with_suffix(other).is_file() else path


def find_config(path: str | Path) -> Path:
    """The file, or the one of this name that came with the program: of the clone, or of the installed package.

    .yml and .yaml find each other.
    """
    places = [_existing(place) for file in (Path(path), new_path(Path(path))) for place in (file, PROGRAMS / file)]
    return next((place for place in places if place.is_file()), Path(path))


def _close_name(path: Path) -> str:
    """A sentence with the config file beside `path`, or the shipped one, whose name is most like it, or ""."""
    shipped = Path("config") / "ocrnet"
    known = {file.name: shipped / file.name for file in (PROGRAMS / shipped).glob("*.y*ml")}
    known |= {file.name: file for file in path.parent.glob("*.y*ml")}
    close = difflib.get_close_matches(path.name, known, n=1, cutoff=0.6)
    return f". Did you mean {known[close[0]]}?" if close else ""


class Resolved(NamedTuple):
    """What a config file and the command line come to."""

    config: Config
    given: dict[str, str]
    """{dotted key: the file or flag it is from}: all that flags give, and what files give other than the default."""
    flags: dict[str, tuple[Any, str]]
    """{flag of the program: (value, file)} for PROGRAM_FLAGS and WITHOUT_EFFECT at the top level of the files."""
    notices: list[str]
    """Keys that were given under a name of an earlier version."""


def load_config(path: str | Path, overrides: dict[str, tuple[Any, str]] | None = None) -> Config:
    """As `resolve`, the configuration alone."""
    return resolve(path, overrides).config


def resolve(path: str | Path, overrides: dict[str, tuple[Any, str]] | None = None) -> Resolved:
    """Read a config file.

    Args:
        path: the YAML file, as the user typed it; see `find_config`.
        overrides: {dotted key: (value, the flag that gave it)}; they win over the YAML.

    Raises:
        UserError: every mistake in one message, each with its file (or flag), key and fix.
    """
    path = find_config(path)
    notices: list[str] = []
    entries = _read_yaml(path, notices)
    for key, (value, flag) in (overrides or {}).items():
        keys = tuple(key.split("."))
        whole_section = isinstance(value, dict) and value and keys not in _WHOLE_VALUES
        if whole_section:
            _merge(entries, {keys: (None, flag)})
        given_here = _flatten(value, flag, keys) if whole_section else {keys: (value, flag)}
        _merge(entries, rename(given_here, notices))
    try:
        join_amp(entries, notices)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    flags = {key[0]: entries.pop(key) for key in list(entries) if key[0] in (*PROGRAM_FLAGS, *WITHOUT_EFFECT)}
    entries.setdefault(("save_dir",), (f"runs/{path.stem}", "default"))
    try:
        config = Config(**nest({key: value for key, (value, _) in entries.items()}))
    except ValidationError as error:
        mistakes = [_describe(mistake, entries) for mistake in error.errors()]
        if len(mistakes) == 1:
            raise UserError(f"{path}: {mistakes[0]}") from None
        raise UserError(f"{path}: {len(mistakes)} mistakes", mistakes) from None
    from_flags = {flag for _, flag in (overrides or {}).values()}
    given = {
        ".".join(key): source
        for key, (_, source) in entries.items()
        if source in from_flags or _differs_from_default(config, key)
    }
    return Resolved(config, given, flags, notices)


def _differs_from_default(config: Config, key: Key) -> bool:
    key = key[:2] if key[:2] in _WHOLE_VALUES else key
    return reduce(getattr, key, config) != Config.field(".".join(key)).get_default(call_default_factory=True)


def _describe(mistake: dict, entries: Entries) -> str:
    """One line: key, what is wrong, where it was written, the fix."""
    location = tuple(str(part) for part in mistake["loc"])

    def sources(key: Key) -> str:
        found = {source for path, (_, source) in entries.items() if path[: len(key)] == key[: len(path)]}
        return ", ".join(sorted(found))

    written = f" (in {sources(location)})" if location and sources(location) else ""
    if mistake["type"] == "extra_forbidden":
        known = list(Config.below(location[:-1]).model_fields)
        fix = did_you_mean(location[-1], known) or f" Known here: {', '.join(known)}."
        return f"{'.'.join(location)}: unknown key{written}.{fix}"
    if isinstance(conflict := mistake.get("ctx", {}).get("error"), Conflict):
        places = [f"{key}: {sources(tuple(key.split('.'))) or 'default'}" for key in conflict.keys]
        return f"{conflict} ({'; '.join(places)})"
    text = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error":
        return ".".join([*location, text]) + written
    quote = mistake["type"] in ("path_type", "string_type") and mistake["input"] is not None
    fix = ". Write it in quotes." if quote else ""
    return f"{'.'.join(location)}: {text}, got {mistake['input']!r}{written}{fix}"
