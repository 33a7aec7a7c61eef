"""Flags override the config only if they are given."""

from pathlib import Path

import pytest

from ocrnet.config import command_line
from ocrnet.errors import UserError

CONFIG_FILE = str(Path(__file__).resolve().parents[2] / "config" / "ocrnet" / "config_ocrnet_hrw32_16k.yml")


def parse(*flags: str):
    return command_line.parse(command_line.config_parser("test"), ["--config", CONFIG_FILE, *flags])[1]


def test_without_flags_the_values_of_the_config_are_used():
    assert parse().train.total_step == 160000
    assert parse().train.loss_scale.value == 256


def test_mindspore_labs_flags_set_their_keys():
    flags = (
        "--device_target CPU --mix True --amp_level O2 --ms_mode 1 --seed 3 --batch_size 4 --total_step 9 "
        "--dataset_dir some/where --save_dir out --run_eval False --log_interval 7 --clip_grad True "
        "--ms_loss_scaler dynamic --ms_loss_scaler_value 1024 --set model.dropout=0.1"
    )
    config = parse(*flags.split())
    assert (config.device_target, config.ms_mode, config.seed) == ("CPU", 1, 3)
    assert (config.train.amp, config.train.batch_size) == ("convolutions", 4)
    assert (config.train.total_step, config.train.log_interval, config.train.clip_grad) == (9, 7, 1.0)
    assert (config.data.root, config.save_dir, config.eval.run_eval) == (Path("some/where"), Path("out"), False)
    assert (config.train.loss_scale.kind, config.train.loss_scale.value) == ("dynamic", 1024)
    assert config.model.dropout == 0.1


@pytest.mark.parametrize("text", ["runs/try #2", "2024-05-01", "007", "null", "[1, 2]", "~", "a: b", "Yes", "'x'"])
def test_paths_and_names_are_taken_literally(text):
    config = parse("--save_dir", text, "--dataset_dir", text, "--set", f"data.train={text}")
    assert (config.save_dir, config.data.root, config.data.train) == (Path(text), Path(text), text)
    if text != "null":
        assert parse("--set", f"model.pretrained={text}").model.pretrained == Path(text)


def test_null_or_an_empty_value_sets_an_optional_key_to_none():
    assert parse("--set", "model.pretrained=null").model.pretrained is None
    assert parse("--set", "model.pretrained=").model.pretrained is None
    assert parse("--set", "eval.window=null", "--set", "data.photometric=null").data.photometric is None
    assert parse("--ms_loss_scaler", "none", "--mix", "False").train.loss_scale.kind == "none"
    with pytest.raises(UserError, match="--dataset_dir: the value is empty"):
        parse("--dataset_dir", "")


def test_two_flags_for_one_key_are_an_error():
    assert parse("--num_workers", "3", "--prefetch_size", "5").data.workers == 3
    with pytest.raises(UserError, match=r"--num_workers and --num_parallel_workers both set data\.workers"):
        parse("--num_workers", "3", "--num_parallel_workers", "2")


MINDSPORE_LAB_CONFIG = """
__BASE__: base.yaml
dataset_dir: data/own
mix: True
ms_loss_scaler: static
ms_loss_scaler_value: 64
num_workers: 3
prefetch_size: 7
max_rowsize: 64
batch_size: 5
clip_grad: True
enable_modelarts: {modelarts}
data_url: s3://bucket/data
train_url: ""
"""


@pytest.fixture
def mindspore_lab_config(tmp_path):
    """A config file with mindspore-lab's keys, whose base is named base.yaml and exists as base.yml."""
    (tmp_path / "base.yml").write_text("train: {batch_size: 9, amp_level: O2}\ndata: {workers: 1}\n")

    def write(**changes: str) -> str:
        (tmp_path / "run.yml").write_text(MINDSPORE_LAB_CONFIG.format(**{"modelarts": "True", **changes}))
        return str(tmp_path / "run.yaml")  # the file's suffix is .yml

    return write


def test_a_config_file_may_contain_flags_at_its_top_level(mindspore_lab_config, capsys):
    def parse(*flags):
        return command_line.parse(command_line.config_parser("test"), ["--config", mindspore_lab_config(), *flags])

    args, config = parse("--init_method", "tcp://127.0.0.1:1")
    assert (config.data.root, config.data.workers, config.data.prefetch_size) == (Path("data/own"), 3, 7)
    assert (config.train.amp, config.train.batch_size) == ("convolutions", 5)
    assert (config.train.loss_scale.kind, config.train.loss_scale.value, config.train.clip_grad) == ("static", 64, 1)
    assert (args.enable_modelarts, args.data_url, args.train_url) == (True, "s3://bucket/data", "")
    assert args.data_dir == "/cache/data" and args.ckpt_url == ""
    output = capsys.readouterr()
    assert "ignored flags of the platform: --init_method" in output.out
    file = f"{mindspore_lab_config().removesuffix('.yaml')}.yml"
    assert [line for line in output.err.splitlines() if "max_rowsize" in line] == [
        f"note: max_rowsize ({file}): no effect: the data threads share the program's memory, so no row has to fit "
        "into a buffer"
    ]

    args, config = parse("--enable_modelarts", "False", "--data_url", "s3://other", "--batch_size", "2")
    assert (args.enable_modelarts, args.data_url, config.train.batch_size) == (False, "s3://other", 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset_dir: a\ndata: {root: b}\n", "data.root and dataset_dir both set data.root. Keep one"),
        ("num_workers: 1\nnum_parallel_workers: 1\n", "num_workers and num_parallel_workers both set data.workers"),
        ("mix: true\ntrain: null\n", "train and mix both set train.mix"),
        ("batchsize: 2\n", "batchsize: unknown key"),
        ("mix: maybe\n", "train.mix: write True or False, got 'maybe' (in "),
        ("enable_modelarts: 3\n", "enable_modelarts: write True or False, got 3"),
        ("data_url: 3\n", "data_url: write a URL or path in quotes, got 3"),
    ],
)
def test_flags_in_a_config_file_are_checked(tmp_path, text, message):
    path = tmp_path / "run.yml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        command_line.parse(command_line.config_parser("test"), ["--config", str(path)])
    assert str(error.value).startswith(str(path)) and message in str(error.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch_sise", "2"], "unknown flag --batch_sise. Did you mean --batch_size?"),
        (["--device_target", "TPU"], "device_target: Input should be 'Ascend', 'GPU' or 'CPU', got 'TPU'"),
        (["--set", "seed"], "write it as key=value"),
        (["--set", "train.steps=3"], "train.steps: unknown key (in --set train.steps)"),
        (["--mix", "maybe"], "train.mix: write True or False, got 'maybe' (in --mix)"),
        (["--amp_level", "O1"], "train.amp_level: write O0, O2 or O3, got 'O1' (in --amp_level)"),
    ],
)
def test_invalid_flags_are_errors(flags, message):
    with pytest.raises(UserError) as error:
        parse(*flags)
    assert message in str(error.value)


def test_weights_from_two_flags_are_an_error():
    parser = command_line.config_parser("test")
    command_line.add_checkpoint_flag(parser)
    flags = ["--config", CONFIG_FILE, "--ckpt_path", "a.ckpt", "--ckpt_url", "obs://bucket/b.ckpt"]
    with pytest.raises(UserError, match=r"--ckpt_path, --ckpt_url .*: both are weights"):
        command_line.parse(parser, [*flags, "--enable_modelarts", "True"])


@pytest.mark.parametrize("flag", ["--workers", "--num_workers"])
def test_a_training_flag_that_a_program_uses_is_not_reported_under_any_of_its_names(flag, capsys):
    parser = command_line.config_parser("test", uses=("workers",))
    _, config = command_line.parse(parser, ["--config", CONFIG_FILE, flag, "3", "--seed", "3"])
    assert config.data.workers == 3
    assert [line for line in capsys.readouterr().err.splitlines() if "it is for training" in line] == [
        "note: --seed: no effect: it is for training"
    ]


def test_a_number_of_images_that_is_for_training_only_is_reported(capsys):
    _, config = command_line.parse(
        command_line.config_parser("test"), ["--config", CONFIG_FILE, "--set", "eval.images=3"]
    )
    assert config.eval.images == 3
    expected = "note: --set eval.images: no effect: it is for evaluations during training\n"
    assert expected in capsys.readouterr().err
