"""Reading recipes: YAML files, composed by `__BASE__`, overridden by flags, checked against the schema."""

import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from ocrnet.config import Config, Section
from ocrnet.console import PROGRAMS
from ocrnet.errors import UserError, did_you_mean


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-4 as a string for want of a dot; here it is a number. A key given twice is a mistake."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark
        node = super().compose_node(parent, index)
        # an alias of an alias of ... doubles with every line: ten lines fill the memory. __BASE__ does the honest part.
        if alias and not isinstance(node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="an alias (*) of more than a plain value", problem_mark=mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            names = [key.value for key, _ in node.value]
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.MarkedYAMLError(problem=f"key {twice!r} is given twice", problem_mark=node.start_mark)
        return mapping


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_value(text: str) -> Any:
    """One YAML value, as written behind `--set key=`. Raises UserError when it is none."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{text!r} is no YAML value: {' '.join(str(error).split())}") from None


Entries = dict[tuple[str, ...], tuple[Any, str]]
"""{path of the key: (value, where it was written)}: flat, so that a later entry wins key by key."""

_WHOLE_VALUES = {("data", "label_map")}  # mappings that are values, not sections


def _flatten(tree: dict, source: str, path: tuple[str, ...] = ()) -> Entries:
    entries: Entries = {}
    for key, value in tree.items():
        here = (*path, str(key))
        if isinstance(value, dict) and value and here not in _WHOLE_VALUES:
            entries.update(_flatten(value, source, here))
        else:
            entries[here] = (value, source)
    return entries


def _read_yaml(path: Path, chain: tuple[Path, ...] = ()) -> Entries:
    """Entries of one file: its `__BASE__` files in their order, then its own."""
    if path.resolve() in chain:
        raise UserError(f"{path}: __BASE__ leads back to this file")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        mend = f" (named in __BASE__ of {chain[-1]})" if chain else ""
        raise UserError(f"{path}: cannot read this recipe: {error.strerror}{mend}") from None
    except RecursionError:
        raise UserError(f"{path}: not a recipe: nested without end") from None
    except (yaml.YAMLError, ValueError) as error:  # UnicodeDecodeError, or a value that is none, such as a 13th month
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values, this is {type(tree).__name__}")
    bases = tree.pop("__BASE__", [])
    entries: Entries = {}
    for base in [bases] if isinstance(bases, str) else bases:
        _merge(entries, _read_yaml(path.parent / base, (*chain, path.resolve())))
    _merge(entries, _flatten(tree, str(path)))
    return entries


_ALTERNATIVES = {("train", "total_step"): ("train", "epochs"), ("train", "epochs"): ("train", "total_step")}


def _merge(entries: Entries, later: Entries) -> None:
    """Let `later` win: a section replaces a plain value (null, say) of the same key, and the other way round.

    Two keys that say the same in different units are one: a later one of them replaces the other.
    """
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


def find_recipe(path: str | Path) -> Path:
    """The file, or the one of this name that came with the program: of the clone, or of the installed package."""
    shipped = PROGRAMS / path
    return shipped if shipped.is_file() and not Path(path).is_file() else Path(path)


def load_config(path: str | Path, overrides: dict[str, tuple[Any, str]] | None = None) -> Config:
    """Read a recipe.

    Args:
        path: the YAML file, as the user typed it; see `find_recipe`.
        overrides: {dotted key: (value, the flag that gave it)}; they win over the YAML.

    Raises:
        UserError: every mistake in one message, each with its file (or flag), key and mend.
    """
    path = find_recipe(path)
    entries = _read_yaml(path)
    _merge(entries, {tuple(key.split(".")): entry for key, entry in (overrides or {}).items()})
    entries.setdefault(("save_dir",), (f"runs/{path.stem}", "default"))
    try:
        return Config(**nest({path: value for path, (value, _) in entries.items()}))
    except ValidationError as error:
        mistakes = [_describe(mistake, entries) for mistake in error.errors()]
    if len(mistakes) == 1:
        raise UserError(f"{path}: {mistakes[0]}")
    raise UserError(f"{path}: {len(mistakes)} mistakes", mistakes)


def _describe(mistake: dict, entries: Entries) -> str:
    """One line: key, what is wrong, where it was written, the mend."""
    location = tuple(str(part) for part in mistake["loc"])
    sources = {source for path, (_, source) in entries.items() if path[: len(location)] == location[: len(path)]}
    written = f" (in {', '.join(sorted(sources))})" if sources and location else ""
    if mistake["type"] == "extra_forbidden":
        known = _section_keys(location[:-1])
        mend = did_you_mean(location[-1], known) or f" Known here: {', '.join(known)}."
        return f"{'.'.join(location)}: unknown key{written}.{mend}"
    text = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error":
        return ".".join([*location, text]) + written
    return f"{'.'.join(location)}: {text}, got {mistake['input']!r}{written}"


def _section_keys(path: tuple[str, ...]) -> list[str]:
    model: Any = Config
    for key in path:
        annotation = model.model_fields[key].annotation
        choices = (annotation, *get_args(annotation))
        model = next(choice for choice in choices if isinstance(choice, type) and issubclass(choice, Section))
    return list(model.model_fields)
