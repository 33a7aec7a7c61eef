"""Loading configs: __BASE__, overrides by flags, and all errors in one message."""

from pathlib import Path

import pytest

from ocrnet.config import Config
from ocrnet.config.loading import find_config, load_config, parse_value, resolve
from ocrnet.errors import UserError

CONFIG = Path(__file__).resolve().parents[2] / "config" / "ocrnet"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_later_bases_override_earlier_ones_and_the_file_overrides_its_bases(tmp_path):
    write(tmp_path, "a.yml", "train: {batch_size: 3, total_step: 10}\nseed: 1\n")
    write(tmp_path, "b.yml", "train: {batch_size: 5}\n")
    path = write(tmp_path, "run.yml", "__BASE__: [a.yml, b.yml]\nseed: 7\n")
    config = load_config(path)
    assert (config.train.batch_size, config.train.total_step, config.seed) == (5, 10, 7)
    assert config.save_dir == Path("runs/run")


def test_numbers_without_a_dot_are_numbers(tmp_path):
    path = write(tmp_path, "run.yml", "schedule: {lr: 1e-4, min_lr: 1E-6}\noptimizer: {weight_decay: 5e-4}\n")
    config = load_config(path)
    assert (config.schedule.lr, config.schedule.min_lr, config.optimizer.weight_decay) == (1e-4, 1e-6, 5e-4)
    assert parse_value("1e-4") == 1e-4 and parse_value("v1e4") == "v1e4"


def test_all_errors_are_in_one_message_with_file_key_and_fix(tmp_path):
    base = write(tmp_path, "base.yml", "schedule: {lr: fast}\n")
    path = write(tmp_path, "run.yml", "__BASE__: base.yml\ntrain: {batchsize: 2}\nmodel: {backbone: hrnet_w96}\n")
    with pytest.raises(UserError) as error:
        load_config(path, {"train.total_step": (-1, "--total_step")})
    text = str(error.value)
    assert text.startswith(f"{path}: 4 errors")
    assert (
        f"schedule.lr: Input should be a valid number, unable to parse string as a number, got 'fast' (in {base})"
        in text
    )
    assert f"train.batchsize: unknown key (in {path}). Did you mean batch_size?" in text
    assert "model.backbone: " in text and "'hrnet_w48'" in text and "got 'hrnet_w96'" in text
    assert "train.total_step: Input should be greater than 0, got -1 (in --total_step)" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2\n", "given twice"),
        ("seed: [1\n", "not valid YAML"),
        ("- 1\n", "a config must be a mapping"),
        ("__BASE__: nowhere.yml\n", "nowhere.yml: cannot read this config"),
        ("__BASE__: run.yml\n", "refers back"),
        ("data: {format: list}\n", "data.classes: name the classes"),
        ("data: {format: list, classes: [a, b], palette: [[0, 0, 0]]}\n", "data.palette: 1 colours for 2 classes"),
        ("data: {format: list, classes: [a, b], label_map: {0: 0, 9: 2}}\n", "data.label_map: {9: 2} is neither"),
        ("data: {format: list, classes: [a, b], ignore_index: 1}\n", "data.ignore_index: 1 is also class 'b'"),
        (
            "model: {pretrained: a.ckpt, checkpoint: b.ckpt}\n",
            "model.pretrained, model.checkpoint: the checkpoint contains",
        ),
        ("loss: {class_weights: [1, 2]}\n", "loss.class_weights: 2 weights for 19 classes"),
        ("seed: !!python/object/apply:os.system [id]\n", "not valid YAML"),
        ("1: 2\n1.0: 3\n", "key '1.0' is given twice, as 1 before"),
        ("__BASE__: {a: b}\n", "__BASE__: name a config file, or several in a list, got {'a': 'b'}"),
        ("loss: {class_weights: [" + "0, " * 19 + "]}\n", "loss.class_weights: all are 0, so nothing is learned"),
        ("save_dir: 7\n", "got 7 (in "),
        ("save_dir: 7\n", ". Write it in quotes."),
        ("data: {format: list, classes: [yes, no]}\n", "data.classes.0: Input should be a valid string, got True"),
        ("data: {scale_range: [2, 0.5]}\n", "data.scale_range: Input should be [smallest, largest], got [2, 0.5]"),
        ("data: {photometric: {contrast: [2, 1]}}\n", "data.photometric.contrast: Input should be [smallest, largest]"),
        ("data: {std: [1, 0, 1]}\n", "data.std.1: Input should be greater than 0"),
        ("schedule: {lr: .nan}\n", "schedule.lr: Input should be a finite number"),
    ],
)
def test_error_messages(tmp_path, text, message):
    path = write(tmp_path, "run.yml", text)
    with pytest.raises(UserError, match=r"run\.yml") as error:
        load_config(path)
    assert message in str(error.value)


def test_a_date_is_read_as_text(tmp_path):
    assert load_config(write(tmp_path, "run.yml", "save_dir: 2024-05-01\n")).save_dir == Path("2024-05-01")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_endings(tmp_path, encoding, end):
    path = tmp_path / "run.yml"
    path.write_bytes(f"data:{end}  format: list{end}  classes: [背景, 线]{end}seed: 3{end}".encode(encoding))
    config = load_config(path)
    assert (config.data.classes, config.seed) == (["背景", "线"], 3)


def test_the_suffixes_yml_and_yaml_are_interchangeable(tmp_path):
    write(tmp_path, "base.yaml", "seed: 5\n")
    write(tmp_path, "run.yml", "__BASE__: base.yml\n")
    assert load_config(tmp_path / "run.yaml").seed == 5
    write(tmp_path, "base.yml", "seed: 6\n")  # the exact name has priority
    assert load_config(tmp_path / "run.yaml").seed == 6
    assert find_config("config/ocrnet/config_ocrnet_hrw32_16k.yaml").name == "config_ocrnet_hrw32_16k.yml"


def test_a_missing_config_file_suggests_the_most_similar_name(tmp_path):
    write(tmp_path, "street_lines.yml", "")
    with pytest.raises(UserError) as error:
        load_config(tmp_path / "street_line.yml")
    assert str(error.value).endswith(f"No such file or directory. Did you mean {tmp_path / 'street_lines.yml'}?")
    with pytest.raises(UserError, match=r"Did you mean config/ocrnet/ocrnet_demo\.yml\?"):
        load_config("ocrnet_demo.yml")


@pytest.mark.parametrize("name", ["1e4", "7", "2024-05-01", "a #b", "null", "yes", "~", "a: b", "图"])
def test_any_text_survives_a_round_trip_through_yaml(tmp_path, name):
    data = {"format": "list", "root": name, "train": name, "classes": [name, "other"]}
    config = Config(save_dir=name, data=data)
    (tmp_path / "again.yml").write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "again.yml") == config


def test_a_resolved_config_survives_a_round_trip_through_yaml(tmp_path):
    config = load_config(CONFIG / "config_ocrnet_hrw32_16k.yml")
    again = load_config(write(tmp_path, "again.yml", config.to_yaml()))
    assert again == config
    assert Config(**{}).data.label_map[7] == 0  # Cityscapes' road


def test_mindspore_lab_configs_have_the_published_settings():
    for name, width in (("config_ocrnet_hrw32_16k.yml", 32), ("config_ocrnet_hrw48_16k.yml", 48)):
        config = load_config(CONFIG / name)
        assert config.model.backbone == f"hrnet_w{width}"
        assert (config.model.fuse, config.model.context_channels, config.model.context_kernel) == ("nearest", 256, 3)
        assert (config.train.total_step, config.train.batch_size, config.train.amp) == (160000, 2, "all")
        assert (config.schedule.kind, config.schedule.warmup_steps, config.schedule.min_lr) == ("linear", 500, 1e-6)
        assert config.optimizer.weight_decay == 4e-4 and len(config.loss.class_weights) == 19
        assert config.data.crop_size == (512, 1024)


def test_old_names_of_keys_and_files_work_and_give_a_notice(tmp_path):
    (tmp_path / "base.yml").write_text("data: {base_size: [9, 9], test_size: [8, 8]}\n")
    path = tmp_path / "run.yml"
    path.write_text("__BASE__: base.yml\ndata: {resize_base: [2048, 512]}\neval: {pictures: 3}\n")
    resolved = resolve(path, {"data.test_scale": ([40, 30], "--set data.test_scale")})
    assert (resolved.config.data.base_size, resolved.config.data.test_size) == ((512, 2048), (30, 40))
    assert resolved.config.eval.visualized_images == 3
    assert resolved.notices == [
        f"data.resize_base ({path}): renamed to data.base_size, whose order is [height, width]: [512, 2048]",
        f"eval.pictures ({path}): renamed to eval.visualized_images: 3",
        "data.test_scale (--set data.test_scale): renamed to data.test_size, whose order is [height, width]: [30, 40]",
    ]
    assert find_config("config/ocrnet/config_ocrnet_demo.yml").name == "ocrnet_demo.yml"


@pytest.mark.parametrize(
    ("file", "flags", "amp"),
    [
        ("mix: true", {}, "all"),
        ("mix: true\namp_level: O2", {}, "convolutions"),
        ("train: {amp: all}", {"train.amp_level": "O2"}, "convolutions"),
        ("train: {amp: convolutions}", {"train.mix": False}, "none"),
        ("mix: true\namp_level: O2", {"train.amp": "all"}, "all"),
        ("amp_level: O2", {"train.mix": True}, "convolutions"),
        ("amp_level: O2", {}, "none"),
        ("mix: true\namp_level: O0", {}, "none"),
    ],
)
def test_mindspore_labs_mix_and_amp_level_set_amp_and_override_it(tmp_path, file, flags, amp):
    (tmp_path / "run.yml").write_text(file)
    assert resolve(tmp_path / "run.yml", {key: (v, "flag") for key, v in flags.items()}).config.train.amp == amp
