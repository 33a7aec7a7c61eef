"""The model zoo's table: what the configs quote, and the numbers that were counted from the networks."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import model_zoo
from ocrnet.zoo.published import models

ENTRIES = {entry.path.stem: entry for entry in model_zoo.entries()}


def one_per_network() -> list[str]:
    """A config for each network of the zoo that differs in more than the number of classes."""
    return list({entry.config.model.model_dump_json(): name for name, entry in ENTRIES.items()}.values())


def test_all_but_two_configs_have_a_published_score():
    assert len(ENTRIES) == 52
    assert [name for name, entry in ENTRIES.items() if not entry.published] == [
        "ocrnet_hrnet_w48_coco_stuff_164k_hrnet_ocr_80k",
        "ocrnet_hrnet_w48_daodixian_seg_hrnet_ocr_484e",
    ]


def test_scores_devices_and_steps_are_those_of_the_head_comments():
    entry = ENTRIES["ocrnet_hrnet_w18_small_cityscapes_mmseg_40k"]
    assert (entry.miou, entry.miou_multi_scale, entry.devices, entry.steps) == ("76.61", "78.01", 4, 40000)
    entry = ENTRIES["ocrnet_hrnet_w48_lip_hrnet_ocr_150e"]
    assert (entry.miou, entry.miou_flip, entry.devices, entry.steps) == ("", "56.48", 4, 114150)
    entry = ENTRIES["ocrnet_hrnet_w48_pascal_context_59_hrnet_ocr_200e"]
    assert (entry.miou, entry.miou_multi_scale, entry.publisher) == ("", "56.2", "HRNet-OCR")
    entry = ENTRIES["ocrnet_hrnet_w48_cityscapes_trainval_hrnet_ocr_484e"]
    assert (entry.miou, entry.miou_multi_scale, entry.miou_test, entry.steps) == ("", "", "82.3", 139876)
    entry = ENTRIES["ocrnet_hrnet_w48_cityscapes_paddleseg_160k"]
    assert (entry.miou, entry.miou_multi_scale, entry.publisher) == ("82.15", "82.85", "PaddleSeg")
    entry = ENTRIES["config_ocrnet_hrw48_16k"]
    assert (entry.miou, entry.miou_multi_scale, entry.devices, entry.steps) == ("82.07", "82.96", 8, 160000)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_config_is_a_row(language):
    head, line, *rows = model_zoo.table(language).splitlines()
    assert len(rows) == 52
    assert {row.count("|") for row in (head, line, *rows)} == {14}
    assert not any("|  |" in row for row in rows)


def test_static_numbers_belong_to_configs():
    assert set(models()) == set(ENTRIES)
    assert all((model.weights or "https://").startswith("https://") for model in models().values())
    for name, entry in ENTRIES.items():
        model = models()[name]
        assert model_zoo.line(entry, model.params_m, model.gflops, model.weights) in model_zoo.ZOO.read_text()


@pytest.mark.parametrize("name", [name for name in one_per_network() if "w18_small" in name or "resnet50" in name])
def test_parameters_and_operations_are_counted(name):
    """Of the networks that are built in seconds; scripts/model_zoo.py counts those of all."""
    known = models()[name]
    assert model_zoo.measure(ENTRIES[name].config) == (known.params_m, known.gflops)
