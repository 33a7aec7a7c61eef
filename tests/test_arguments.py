"""Flags override the recipe only when they are given."""

from pathlib import Path

import pytest

from ocrnet import arguments
from ocrnet.errors import UserError

RECIPE = str(Path(__file__).resolve().parent.parent / "config" / "ocrnet" / "config_ocrnet_hrw32_16k.yml")


def parse(*flags: str):
    return arguments.parse(arguments.recipe_parser("test"), ["--config", RECIPE, *flags])[1]


def test_what_is_not_given_stays_as_in_the_recipe():
    assert parse().train.total_step == 160000
    assert parse().train.loss_scale.value == 256


def test_the_seeds_flags_reach_their_keys():
    flags = (
        "--device_target CPU --mix False --amp_level O2 --ms_mode 1 --seed 3 --batch_size 4 --total_step 9 "
        "--dataset_dir some/where --save_dir out --run_eval False --log_interval 7 --clip_grad True "
        "--ms_loss_scaler dynamic --ms_loss_scaler_value 1024 --set model.dropout=0.1"
    )
    config = parse(*flags.split())
    assert (config.device_target, config.ms_mode, config.seed) == ("CPU", 1, 3)
    assert (config.train.mix, config.train.amp_level, config.train.batch_size) == (False, "O2", 4)
    assert (config.train.total_step, config.train.log_interval, config.train.clip_grad) == (9, 7, 1.0)
    assert (config.data.root, config.save_dir, config.eval.run_eval) == (Path("some/where"), Path("out"), False)
    assert (config.train.loss_scale.kind, config.train.loss_scale.value) == ("dynamic", 1024)
    assert config.model.dropout == 0.1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch_sise", "2"], "unknown flag --batch_sise. Did you mean --batch_size?"),
        (["--device_target", "TPU"], "device_target: Input should be 'Ascend', 'GPU' or 'CPU', got 'TPU'"),
        (["--set", "seed"], "write it as key=value"),
        (["--set", "train.steps=3"], "train.steps: unknown key (in --set train.steps)"),
        (["--mix", "maybe"], "train.mix: "),
    ],
)
def test_mistyped_flags_are_not_swallowed(flags, message):
    with pytest.raises(UserError) as error:
        parse(*flags)
    assert message in str(error.value)
