"""The configuration reference says something about every key, in both languages."""

import pytest
from pydantic.fields import FieldInfo

import config_reference
from ocrnet.config.flags import FLAGS
from ocrnet.config.schema import ModelConfig, TrainConfig

ENTRIES = {entry.key: entry for entry in config_reference.entries()}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_key_has_a_sentence(language):
    assert [key for key, entry in ENTRIES.items() if not config_reference.sentence(entry, language)] == []


def test_the_translation_has_no_key_that_does_not_exist():
    assert set(config_reference.chinese()) - set(ENTRIES) == set()


def test_every_flag_is_next_to_a_key():
    shown = {flag for key in ENTRIES for flag in config_reference.flags(key).replace("`", "").split(", ") if flag}
    assert shown == {f"--{name}" for flag, entry in FLAGS.items() for name in (flag, *entry.aliases)}


def test_a_row_has_type_default_flag_and_sentence():
    rows = config_reference.table().splitlines()
    row = next(row for row in rows if row.startswith("| `data.workers` |"))
    assert row.startswith("| `data.workers` | integer >= 0 | `0` | `--workers`, `--num_parallel_workers`, ")
    assert any(row.startswith("| `data.ignore_index` | integer 0..255 or null | `255` | - |") for row in rows)


@pytest.mark.parametrize(
    "field, text",
    [
        (ModelConfig.model_fields["context_kernel"], "one of `1`, `3`"),
        (ModelConfig.model_fields["dropout"], "number >= 0 < 1"),
        (ModelConfig.model_fields["pretrained"], "`published` or path or null"),
        (TrainConfig.model_fields["sync_batch_norm"], "`true`, `false`"),
        (FieldInfo(annotation=dict[int, list[str]]), "mapping of integer to list of text"),
    ],
)
def test_types_in_words(field, text):
    assert config_reference.type_text(field) == text


def test_every_section_of_the_schema_has_a_title():
    assert {key.rpartition(".")[0] for key in ENTRIES} == set(config_reference.SECTIONS)
