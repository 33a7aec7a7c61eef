"""The configuration rejects invalid values, derives missing ones, and is immutable."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from ocrnet.config import Config, LossScaleConfig
from ocrnet.config.loading import load_config
from ocrnet.config.types import Section, union_members
from ocrnet.errors import UserError


def keys(section: type[Section] = Config, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, annotation) of every key."""
    for name, field in section.model_fields.items():
        inner = next(
            (kind for kind in union_members(field.annotation) if isinstance(kind, type) and issubclass(kind, Section)),
            0,
        )
        if inner:
            yield from keys(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", field.annotation


NUMBERS = [
    key for key, annotation in keys() if set(union_members(annotation)) & {int, float} or "Literal[1" in str(annotation)
]


def test_booleans_are_not_numbers(tmp_path):
    assert len(NUMBERS) > 45 and "data.flip" in NUMBERS and "model.aux_kernel" in NUMBERS
    for key in NUMBERS:
        for value in (True, False):
            if key == "train.clip_grad":
                assert load_config(empty(tmp_path), {key: (value, "")}).train.clip_grad == float(value)
                continue
            with pytest.raises(UserError, match=rf"{key}: Input should be a number, got {value} \(in --set\)"):
                load_config(empty(tmp_path), {key: (value, "--set")})
    for key, value in {
        "data.crop_size": [True, 64],
        "eval.ratios": [True],
        "loss.class_weights": [True] * 19,
        "data.mean": [1, True, 1],
        "data.scale_range": [True, True],
        "data.palette": [[True, 0, 0]] * 19,
    }.items():
        with pytest.raises(UserError, match=rf"{key}\.\d.*: Input should be a number, got True"):
            load_config(empty(tmp_path), {key: (value, "")})


def empty(folder):
    (folder / "empty.yml").write_text("{}")
    return folder / "empty.yml"


def sections(section: Section) -> Iterator[Section]:
    yield section
    for name in type(section).model_fields:
        if isinstance(part := getattr(section, name), Section):
            yield from sections(part)


def test_sections_are_immutable():
    config = Config(loss={"ohem": {}})
    for section in sections(config):
        for name in type(section).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, name, getattr(section, name))


def test_replace_returns_a_copy_with_other_values():
    config = Config()
    other = config.replace({"data.root": "elsewhere", "seed": 7, "train.loss_scale.value": 8.0})
    assert (other.data.root, other.seed, other.train.loss_scale.value) == ("elsewhere", 7, 8.0)
    assert config == Config() and other.model == config.model
    with pytest.raises((KeyError, AttributeError)):
        config.replace({"data.rot": "elsewhere"})


@pytest.mark.parametrize(
    ("train", "kind"),
    [
        ({}, "none"),
        ({"amp": "all"}, "dynamic"),
        ({"amp": "convolutions"}, "dynamic"),
        ({"amp": "all", "amp_dtype": "bfloat16"}, "none"),
        ({"amp": "all", "amp_dtype": "bfloat16", "loss_scale": {"kind": "static"}}, "static"),
        ({"amp_dtype": "bfloat16"}, "none"),
        ({"amp": "all", "loss_scale": {"kind": "none"}}, "none"),
        ({"amp": "all", "loss_scale": {"value": 512}}, "dynamic"),
        ({"loss_scale": {"kind": "static"}}, "static"),
    ],
)
def test_default_loss_scale_is_dynamic_with_float16(tmp_path, train, kind):
    config = Config(train=train)
    given = train.get("loss_scale", {})
    assert config.train.loss_scale == LossScaleConfig(**{**given, "kind": kind})
    (tmp_path / "again.yml").write_text(config.replace({"save_dir": tmp_path}).to_yaml())
    assert load_config(tmp_path / "again.yml").train == config.train
