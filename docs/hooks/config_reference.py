"""The configuration reference, made from the schema: every key with type, default, flag and meaning.

    python docs/hooks/config_reference.py --language zh

The English sentences are the docstrings under the keys in `ocrnet/config/`, the Chinese ones are in
docs/configuration.zh.yml.
"""

import argparse
import json
import sys
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

DOCS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(DOCS.parent / "src"))

from ocrnet.config import Config
from ocrnet.config.flags import FLAGS
from ocrnet.config.types import Section

CHINESE = DOCS / "configuration.zh.yml"
HEADS = {"en": ("key", "type", "default", "flag", "meaning"), "zh": ("键", "类型", "默认值", "命令行参数", "含义")}
SECTIONS = {
    "": ("Top level", "顶层"),
    "device": ("Options of the device", "设备选项"),
    "data": ("Data and augmentation", "数据与增强"),
    "data.photometric": ("Photometric distortion", "光度失真"),
    "data.augment": ("More augmentation", "更多增强"),
    "data.augment.rotation": ("Rotation", "旋转"),
    "data.augment.shift_scale": ("Shift and scale", "平移与缩放"),
    "data.augment.blur": ("Blur", "模糊"),
    "data.augment.noise": ("Noise", "噪声"),
    "data.augment.jpeg": ("JPEG artefacts", "JPEG 压缩失真"),
    "data.augment.cutout": ("Cutout", "矩形遮挡"),
    "model": ("Network", "网络"),
    "loss": ("Loss", "损失"),
    "loss.ohem": ("Online hard example mining", "在线难例挖掘"),
    "optimizer": ("Optimizer", "优化器"),
    "schedule": ("Learning rate", "学习率"),
    "train": ("Training", "训练"),
    "train.loss_scale": ("Loss scale", "损失缩放"),
    "eval": ("Evaluation", "评估"),
    "checkpoint": ("Checkpoints", "检查点"),
}
"""{section: its title in English and in Chinese}"""
_WORDS = {  # Chinese for what types are called
    "integer": "整数",
    "number": "浮点数",
    "text": "文本",
    "path": "路径",
    "or": "或",
    "list of": "列表，元素为",
    "mapping of": "映射：",
    "to": "到",
    "one of": "可选值",
    "section": "一节配置",
}


class Entry(NamedTuple):
    """A key of the configuration."""

    key: str
    """Dotted."""
    field: FieldInfo


def entries(section: type[Section] = Config, path: str = "") -> list[Entry]:
    """Every key, in the order of the schema. A section is an entry of its own only where null is allowed."""
    found = []
    for name, field in section.model_fields.items():
        key = f"{path}{name}"
        inner = section.subsection((name,))
        if inner is None or NoneType in get_args(field.annotation):
            found.append(Entry(key, field))
        if inner is not None:
            found += entries(inner, f"{key}.")
    return found


def sentence(entry: Entry, language: str) -> str:
    """What the reference says about a key; "" where a translation or docstring is missing."""
    if language == "zh":
        return chinese().get(entry.key, "")
    return " ".join((entry.field.description or "").split())


def chinese() -> dict[str, str]:
    """{dotted key: sentence}"""
    return yaml.safe_load(CHINESE.read_text(encoding="utf-8"))


_JOINED = {"train.mix": "train.amp", "train.amp_level": "train.amp"}  # mindspore-lab's two flags set one key


def flags(key: str) -> str:
    """The flags that set a key: its own first, then the aliases."""
    names = [
        name
        for flag, entry in FLAGS.items()
        if _JOINED.get(entry.key, entry.key) == key
        for name in (flag, *entry.aliases)
    ]
    return ", ".join(f"`--{name}`" for name in names)


def type_text(field: FieldInfo) -> str:
    """The type of a key in words, with its bounds."""
    return _type(field.annotation, field.metadata)


def _type(annotation: Any, metadata: list | tuple = ()) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *more = parts
        return _type(inner, [*more, *metadata])
    if origin in (Union, UnionType):
        return " or ".join("null" if part is NoneType else _type(part) for part in parts)
    if origin is Literal:
        return ("one of " if len(parts) > 1 else "") + ", ".join(f"`{value}`" for value in parts)
    if origin is tuple:
        return f"[{', '.join(map(_type, parts))}]"
    if origin is list:
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return f"mapping of {_type(parts[0])} to {_type(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return "path"
    return {bool: "`true`, `false`", int: "integer", float: "number", str: "text"}[annotation] + _bounds(metadata)


def _bounds(metadata: list | tuple) -> str:
    signs = {Gt: (">", "gt"), Ge: (">=", "ge"), Lt: ("<", "lt"), Le: ("<=", "le")}
    found = []
    for entry in metadata:
        for constraint in getattr(entry, "metadata", None) or [entry]:
            if type(constraint) in signs:
                sign, name = signs[type(constraint)]
                found.append((sign, getattr(constraint, name)))
    if [sign for sign, _ in found] == [">=", "<="]:
        return f" {found[0][1]}..{found[1][1]}"
    return "".join(f" {sign} {bound}" for sign, bound in found)


def default_text(field: FieldInfo) -> str:
    """The default as YAML would have it."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return "see below"
    if isinstance(value, PurePath):
        return f"`{value}`"
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def table(language: str = "en") -> str:
    """The whole reference: a heading and a table for each section."""
    known = entries()
    lines = []
    for path, titles in SECTIONS.items():
        mine = [entry for entry in known if entry.key.rpartition(".")[0] == path]
        title = titles[("en", "zh").index(language)]
        lines += [f"## {title}{f' (`{path}`)' if path else ''} {{ #{path.replace('.', '-') or 'top-level'} }}", ""]
        lines += [f"| {' | '.join(HEADS[language])} |", "| --- | --- | --- | --- | --- |"]
        for entry in mine:
            kind, default = type_text(entry.field), default_text(entry.field)
            if language == "zh":
                kind, default = _translate(kind), default.replace("see below", "见下文")
            cells = [f"`{entry.key}`", kind, default, flags(entry.key) or "-", sentence(entry, language) or "-"]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def _translate(kind: str) -> str:
    pieces = kind.split("`")  # every second piece is a value to the letter
    for number in range(0, len(pieces), 2):
        for word in sorted(_WORDS, key=len, reverse=True):
            pieces[number] = pieces[number].replace(word, _WORDS[word])
    return "`".join(pieces)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language", choices=list(HEADS), default="en")
    print(table(parser.parse_args().language))


if __name__ == "__main__":
    main()
