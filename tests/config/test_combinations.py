"""Notes for keys without effect and errors for harmful combinations: the whole tables, and whether they are true."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_config import keys

from ocrnet.config import Backbone, Config, DeviceConfig, command_line
from ocrnet.config.combinations import HARMFUL, IMAGENET_WEIGHTS, NO_EFFECT, notes
from ocrnet.config.loading import load_config, resolve
from ocrnet.data import transforms
from ocrnet.errors import UserError
from ocrnet.inference.preprocessing import preprocess
from ocrnet.inference.tta import tta_views
from ocrnet.training.schedule import learning_rate
from ocrnet.training.step import make_loss_scaler

FOLDER = Path(__file__).resolve().parents[2] / "config" / "ocrnet"
DEMO = FOLDER / "ocrnet_demo.yml"
ALWAYS = """
device_target ms_mode seed save_dir data.format data.root data.train data.val data.test data.packed data.classes
data.held_out_fold data.palette data.categories data.label_encoding data.mean data.std data.base_size data.scale_range
data.crop_size data.balanced_crop data.pad data.flip data.photometric.probability data.test_size data.workers
data.prefetch_size data.augment.vertical_flip data.augment.rotate90 data.augment.rotation.probability
data.augment.rotation.degrees data.augment.shift_scale.probability data.augment.shift_scale.shift
data.augment.shift_scale.scale data.augment.blur.probability data.augment.blur.sigma data.augment.noise.probability
data.augment.noise.std data.augment.jpeg.probability data.augment.jpeg.quality data.augment.cutout.probability
data.augment.cutout.holes data.augment.cutout.size data.augment.cutout.ignore_label
model.backbone model.pretrained model.checkpoint model.freeze model.freeze_norm
model.align_corners model.head_channels model.key_channels model.context_channels model.context_kernel
model.aux_channels model.aux_kernel model.conv_bias model.attention_bias model.head_norm_eps model.dropout
model.aux_dropout loss.auxiliary_weight loss.class_weights loss.label_smoothing loss.focal loss.ohem.threshold loss.dice
loss.lovasz optimizer.kind optimizer.weight_decay optimizer.head_lr_factor optimizer.groups schedule.kind schedule.lr
schedule.warmup_steps train.batch_size train.accumulate_steps train.amp train.total_step train.epochs
train.loss_scale.kind train.clip_grad train.ema train.log_interval
eval.run_eval eval.batch_size eval.multi_scale eval.flip eval.window eval.stride eval.boundary eval.visualized_images
checkpoint.interval checkpoint.keep
""".split()  # noqa: SIM905
"""Keys that always have an effect (or are rejected, as eval.stride without eval.window)."""
BY_DEVICE = [f"device.{name}" for name in DeviceConfig.model_fields]
"""Keys whose effect depends on the device, which the configuration does not know: see test_device_selection.py."""

EXAMPLES = {  # key: (flags that set it in a configuration in which it has no effect, text in the note)
    "model.fuse": ("--set model.fuse=nearest --set model.backbone=resnet50_d8", "with a ResNet"),
    "model.stride_padding": (
        "--set model.stride_padding=same --set model.backbone=resnet50_d8",
        "with a ResNet",
    ),
    "model.stem_relu": ("--set model.stem_relu=False --set model.backbone=resnet50_d8", "with a ResNet"),
    "data.keep_ratio": ("--set data.keep_ratio=False", "without data.base_size or data.test_size"),
    "data.flip_pairs": ("--set data.flip_pairs=[[0,1]] --set data.flip=0", "without data.flip, data.augment"),
    "data.label_map": ("--set data.label_map={1: 0} --set data.label_encoding=color", "with data.label_encoding color"),
    "data.ignore_index": (
        "--set data.ignore_index=7 --set data.label_encoding=color",
        "with data.label_encoding color",
    ),
    "data.ignore_colors": ("--set data.ignore_colors=[[1,2,3]]", "without data.label_encoding color"),
    "data.unknown_colors": ("--set data.unknown_colors=nearest", "without data.label_encoding color"),
    "eval.ratios": ("--set eval.ratios=[1,2]", "without eval.multi_scale"),
    "eval.interval": ("--run_eval False --set eval.interval=7", "without eval.run_eval"),
    "eval.images": ("--run_eval False --set eval.images=7", "without eval.run_eval"),
    "eval.best_by": ("--run_eval False --set eval.best_by=loss", "without eval.run_eval"),
    "train.patience": ("--run_eval False --set train.patience=7", "without eval.run_eval"),
    "eval.tensorboard_images": ("--run_eval False --set eval.tensorboard_images=7", "without eval.run_eval"),
    "data.rare_crop": ("--set data.rare_crop=0.3", "without data.rare_classes"),
    "data.rare_classes": ("--set data.rare_classes=[pole] --set data.rare_crop=0", "with data.rare_crop 0"),
    "data.cat_max_ratio": ("--set data.cat_max_ratio=1 --set data.balanced_crop=1", "with data.balanced_crop 1"),
    "data.on_bad_sample": ("--set data.on_bad_sample=skip --set data.packed=x", "with data.packed, whose pairs"),
    "data.photometric.brightness": ("--set data.photometric={brightness: 3, probability: 0}", "probability 0"),
    "data.photometric.contrast": ("--set data.photometric={contrast: [1, 2], probability: 0}", "probability 0"),
    "data.photometric.saturation": ("--set data.photometric={saturation: [1, 2], probability: 0}", "probability 0"),
    "data.photometric.hue": ("--set data.photometric={hue: 3, probability: 0}", "probability 0"),
    "loss.average": ("--set loss.average=all --set loss.ohem={} --set loss.auxiliary_weight=0", "with loss.ohem"),
    "loss.ohem.keep": ("--set loss.ohem={keep: 3, threshold: 1}", "with threshold 1"),
    "train.amp_dtype": ("--set train.amp_dtype=bfloat16", "without train.amp"),
    "optimizer.decay_norm_and_bias": (
        "--set optimizer.decay_norm_and_bias=False --set optimizer.weight_decay=0",
        "without optimizer.weight_decay",
    ),
    "optimizer.backbone_lr_factor": (
        "--set optimizer.backbone_lr_factor=0.1 --set model.freeze=backbone --set model.pretrained=x.ckpt",
        "with model.freeze backbone",
    ),
    "optimizer.layer_decay": (
        "--set optimizer.layer_decay=0.9 --set model.freeze=backbone --set model.pretrained=x.ckpt",
        "with model.freeze backbone",
    ),
    "optimizer.momentum": (
        "--set optimizer.momentum=0.5 --set optimizer.kind=adamw --lr 1e-3",
        "with optimizer.kind adamw",
    ),
    "optimizer.betas": ("--set optimizer.betas=[0.5,0.9]", "with optimizer.kind sgd"),
    "optimizer.eps": ("--set optimizer.eps=0.1", "with optimizer.kind sgd"),
    "schedule.min_lr": ("--set schedule.min_lr=0 --set schedule.kind=constant", "with schedule.kind constant"),
    "schedule.power": ("--set schedule.power=2 --set schedule.kind=linear", "without schedule.kind poly"),
    "schedule.warmup_lr": ("--set schedule.warmup_lr=0.1 --set schedule.warmup_steps=0", "without schedule.warmup"),
    "train.loss_scale.value": ("--ms_loss_scaler_value 8", "without a loss scale"),
    "train.overflow_limit": ("--set train.overflow_limit=8", "without a loss scale"),
    "train.loss_scale.factor": ("--ms_loss_scaler static --set train.loss_scale.factor=4", "kind dynamic"),
    "train.loss_scale.window": ("--set train.loss_scale.window=8", "kind dynamic"),
    "train.sync_batch_norm_operator": (
        "--set train.sync_batch_norm_operator=collectives --set train.sync_batch_norm=False",
        "without train.sync_batch_norm",
    ),
    "train.sync_batch_norm": (
        "--set train.sync_batch_norm=False --set model.freeze_norm=True --set model.checkpoint=x.ckpt",
        "with model.freeze_norm",
    ),
}


def words(flags: str) -> list[str]:
    """Splits `flags` as a shell does, but keeps spaces inside {} and []."""
    parts = [f"--{part}".split(" ", 2) for part in flags.split("--")[1:]]
    return [word.strip() for flag, *rest in parts for word in (flag, " ".join(rest))]


def printed_notes(capsys, *flags: str, training: bool = True) -> list[str]:
    """Returns the notes that a program prints with these flags."""
    parser = command_line.config_parser("test")
    parser.add_argument("--resume_ckpt")
    command_line.parse(parser, ["--config", str(DEMO), *flags], training=training)
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]


def test_every_key_is_in_one_of_the_tables():
    table = [key for rule in NO_EFFECT for key in rule.keys]
    assert len(set(table)) == len(table) and set(table) == set(EXAMPLES)
    assert sorted([*ALWAYS, *BY_DEVICE, *table]) == sorted(key for key, _ in keys())


@pytest.mark.parametrize("key", EXAMPLES)
def test_a_key_without_effect_gives_a_note_with_its_flag(key, capsys):
    flags, reason = EXAMPLES[key]
    lines = printed_notes(capsys, *words(flags))
    (line,) = [line for line in lines if line.startswith(f"note: {key} (--")]
    assert reason in line and "): no effect with" in line
    # with the published settings it has an effect
    config = load_config(FOLDER / "config_ocrnet_hrw48_16k.yml", {"data.base_size": ([64, 64], "")})
    (rule,) = [rule for rule in NO_EFFECT if key in rule.keys]
    published = {
        "train.loss_scale.kind": "dynamic",
        "eval.multi_scale": True,
        "data.rare_classes": ["pole"],
        "schedule.kind": "poly",
        "data.label_encoding": "color" if key in ("data.ignore_colors", "data.unknown_colors") else "index",
        "optimizer.kind": "adamw" if key in ("optimizer.betas", "optimizer.eps") else "sgd",
    }
    assert not rule.applies(config.replace(published))


def test_only_rank_0_prints_notes(capsys, monkeypatch):
    flags, _ = EXAMPLES["eval.ratios"]
    for rank, lines in ((0, 1), (1, 0)):
        for name, value in (("RANK", rank), ("SIZE", 2), ("LOCAL_RANK", rank), ("LOCAL_SIZE", 2)):
            monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", str(value))
        assert len(printed_notes(capsys, *words(flags))) == lines


def test_programs_that_do_not_train_print_notes_on_evaluation_only(capsys):
    flags = ["--amp_level", "O2", "--set", "eval.ratios=[1,2]", "--set", "schedule.warmup_lr=0.1"]
    flags += ["--set", "schedule.warmup_steps=0", "--set", "model.backbone=hrnet_w18"]
    lines = printed_notes(capsys, *flags, training=False)
    assert lines == [
        "note: train.amp_level (--amp_level): no effect without train.mix",
        "note: eval.ratios (--set eval.ratios): no effect without eval.multi_scale",
    ]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yml")), ids=lambda path: path.stem)
def test_no_shipped_or_resolved_config_has_a_key_without_effect(path, tmp_path):
    resolved = resolve(path)
    (tmp_path / "config.yml").write_text(resolved.config.to_yaml())
    for config, where, *_ in (resolved, resolve(tmp_path / "config.yml")):
        assert notes(config, where, training=True) == []


def test_default_values_in_a_file_give_no_note(tmp_path):
    path = tmp_path / "run.yml"
    path.write_text("train: {amp: none, loss_scale: {value: 256}}\neval: {ratios: [0.5]}\n")
    resolved = resolve(path, {"schedule.power": (0.9, "--set schedule.power"), "schedule.kind": ("linear", "--set")})
    assert notes(resolved.config, resolved.given, training=True) == [
        f"eval.ratios ({path}): no effect without eval.multi_scale",
        "schedule.power (--set schedule.power): no effect without schedule.kind poly",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--amp all --loss_scale none",
            "train.amp, train.loss_scale.kind: gradients in float16 underflow to 0 without a loss scale. Remove "
            "train.loss_scale.kind (--loss_scale); the default is dynamic (train.amp: --amp; "
            "train.loss_scale.kind: --loss_scale)",
        ),
        ("--set model.freeze=backbone", "model.freeze: the backbone has random weights"),
        ("--set model.freeze=backbone --resume_ckpt auto", "model.freeze: the backbone has random weights"),
        ("--set model.freeze_norm=True", "model.freeze_norm: BatchNorm has no stored statistics yet"),
        (
            "--lr_init 5e-5",
            "would increase until the last step. Lower schedule.min_lr (schedule.lr: --lr_init; schedule.min_lr: ",
        ),
        ("--set schedule.warmup_lr=0.5", "schedule.lr, schedule.warmup_lr: the learning rate would decrease during"),
        (
            "--lr_init 5e-5 --set model.freeze_norm=True",
            "3 combinations of keys would make this training fail\n  model.freeze_n",
        ),
    ],
)
def test_harmful_combinations_are_errors_in_training_only(capsys, flags, message):
    with pytest.raises(UserError) as error:
        printed_notes(capsys, *words(flags))
    assert message in str(error.value)
    lines = printed_notes(capsys, *words(flags), training=False)
    assert [line for line in lines if "no effect: it is for training" not in line] == []


def test_loaded_weights_may_be_frozen(capsys):
    frozen = ["--set", "model.freeze=backbone", "--set", "model.freeze_norm=True"]
    for weights in (
        ["--set", "model.pretrained=x.ckpt"],
        ["--set", "model.checkpoint=x.ckpt"],
        ["--resume_ckpt", "x.ckpt"],
        ["--enable_modelarts", "True", "--ckpt_url", "obs://bucket/x.ckpt"],
    ):
        assert printed_notes(capsys, *frozen, *weights, "--set", "model.backbone=hrnet_w48") == []
    assert len({rule.keys for rule in HARMFUL}) == len(HARMFUL) == 5


def test_a_backbone_with_random_weights_gives_a_note_with_the_fix(capsys):
    assert printed_notes(capsys) == []  # hrnet_tiny of the demo has no published weights
    (line,) = printed_notes(capsys, "--set", "model.backbone=hrnet_w18")
    assert "hrnet_w18 starts from random weights" in line and "--set model.pretrained=published" in line
    for backbone in Backbone.__args__:
        lines = notes(Config(model={"backbone": backbone}), {}, training=True, from_scratch=True)
        assert len(lines) == (backbone != "hrnet_tiny")
    assert IMAGENET_WEIGHTS.keys() <= set(Backbone.__args__)
    assert printed_notes(capsys, "--set", "model.backbone=hrnet_w18", "--set", "model.pretrained=x.ckpt") == []


def test_colours_and_categories_that_no_longer_apply_give_a_note(capsys):
    mine = ["--set", "data.classes=[moving, road]", "--set", "data.label_map={26: 0, 7: 1}"]
    mine += ["--set", "loss.class_weights=[]"]
    for training in (True, False):
        (line,) = printed_notes(capsys, *mine, training=training)
        assert "data.classes are not those of cityscapes: colours are derived from the names" in line
    assert (
        printed_notes(capsys, *mine, "--set", "data.classes=[car, road]") == []
    )  # their colours and categories are known


def test_a_warm_up_as_long_as_the_run_gives_a_note(capsys):
    (line,) = printed_notes(capsys, "--total_step", "20")
    assert line.startswith("note: schedule.warmup_steps: the warm-up of 20 steps does not end within the run of 20")
    assert printed_notes(capsys, "--total_step", "21") == []


def test_adamw_with_a_learning_rate_of_sgd_gives_a_note(capsys):
    (line,) = printed_notes(capsys, "--set", "optimizer.kind=adamw")
    assert line.startswith("note: schedule.lr: 0.15 is for SGD; published trainings with AdamW have 6e-5 to 1e-3")
    assert printed_notes(capsys, "--set", "optimizer.kind=adamw", "--lr", "1e-3") == []


def test_factors_of_a_weight_decay_of_0_give_a_note(capsys):
    groups = ["--set", "optimizer.groups=[{name: bn, decay_factor: 0}]"]
    assert printed_notes(capsys, *groups) == []
    (line,) = printed_notes(capsys, *groups, "--set", "optimizer.weight_decay=0")
    assert line == "note: optimizer.groups: decay_factor has no effect without optimizer.weight_decay"


def test_bfloat16_needs_no_loss_scale(capsys):
    bfloat16 = ["--amp", "all", "--set", "train.amp_dtype=bfloat16"]
    assert printed_notes(capsys, *bfloat16) == printed_notes(capsys, *bfloat16, "--loss_scale", "none") == []
    (line,) = printed_notes(capsys, *bfloat16, "--loss_scale", "static")
    assert line.startswith("note: train.loss_scale.kind: static is not needed with train.amp_dtype bfloat16")


rng = np.random.default_rng(0)
IMAGE = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (64, 48))
LABEL = cv2.resize(rng.integers(0, 3, (6, 8), np.uint8), (64, 48), interpolation=cv2.INTER_NEAREST)

CHOICES = {
    "schedule.kind": ("poly", "linear", "cosine", "constant"),
    "schedule.min_lr": (0.0, 0.005),
    "schedule.power": (0.5, 2.0),
    "schedule.warmup_steps": (0, 5),
    "schedule.warmup_lr": (0.0, 0.002),
    "train.amp": ("none", "convolutions", "all"),
    "train.amp_dtype": ("float16", "bfloat16"),
    "train.loss_scale.kind": ("none", "static", "dynamic"),
    "train.loss_scale.value": (8.0, 16.0),
    "train.loss_scale.factor": (2, 4),
    "train.loss_scale.window": (5, 50),
    "eval.multi_scale": (False, True),
    "eval.ratios": ([0.5], [0.5, 2.0]),
    "eval.flip": (None, False, True),
    "data.flip": (0.0, 0.5),
    "data.flip_pairs": ([], [(0, 1)]),
    "data.keep_ratio": (True, False),
    "data.base_size": (None, (40, 50)),
    "data.test_size": (None, (40, 40)),
    "data.rare_classes": ([], ["c"]),
    "data.rare_crop": (0.0, 1.0),
    "data.balanced_crop": (0.0, 1.0),
    "data.photometric.probability": (0.0, 1.0),
    "data.photometric.brightness": (0.0, 60.0),
    "data.photometric.contrast": ((1.0, 1.0), (0.2, 3.0)),
    "data.photometric.saturation": ((1.0, 1.0), (0.2, 3.0)),
    "data.photometric.hue": (0, 60),
    "data.augment.vertical_flip": (0.0, 1.0),
    "data.augment.rotate90": (0.0, 1.0),
    "data.augment.rotation": (None, {}),
    "data.augment.shift_scale": (None, {"shift": 0.3}),
    "data.augment.blur": (None, {}),
    "data.augment.noise": (None, {}),
    "data.augment.jpeg": (None, {}),
    "data.augment.cutout": (None, {}),
}


def effect(config: Config) -> tuple:
    """Everything that the keys in CHOICES affect: learning rates, loss scaler, precision, views, samples, images."""
    scaler, train = make_loss_scaler(config.train.loss_scale), config.train
    scaling = (type(scaler), *(() if scaler is None else (float(scaler.scale_value.asnumpy()),)))
    if train.loss_scale.kind == "dynamic":
        scaling += (scaler.scale_factor, scaler.scale_window)
    rates = tuple(learning_rate(config.schedule, step, 20) for step in range(20))
    kinds = tta_views(config.eval)
    samples = [
        transforms.training_transform(IMAGE, LABEL, config.data, np.random.default_rng(seed)) for seed in range(6)
    ]
    swapped = config.data.flip_pairs if any(view.mirrored for view in kinds) else []
    return (
        rates,
        scaling,
        train.amp,
        None if train.amp == "none" else train.amp_dtype,
        str(kinds),
        str(swapped),
        b"".join(part.tobytes() for sample in samples for part in sample),
        preprocess(IMAGE, config.data).tobytes(),
    )


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    values=st.fixed_dictionaries({key: st.sampled_from(choices) for key, choices in CHOICES.items()}),
    key=st.sampled_from(sorted(CHOICES)),
    data=st.data(),
)
def test_changing_a_key_has_an_effect_or_gives_a_note(values, key, data):
    settings = {"data.format": "list", "data.classes": ["a", "b", "c"], "data.crop_size": (24, 24), **values}
    other = data.draw(st.sampled_from([choice for choice in CHOICES[key] if choice != values[key]]))
    made = []
    for value in (values[key], other):
        tree: dict = {}
        for name, setting in {**settings, key: value}.items():
            *path, last = name.split(".")
            section = tree
            for part in path:
                section = section.setdefault(part, {})
            section[last] = setting
        made.append(Config(**tree))
    named = [any(line.startswith(f"{key} ") for line in notes(config, {key: "here"}, True)) for config in made]
    assume(key != "data.rare_classes" or values["data.rare_crop"])  # it draws a random number and does not use it
    assume(key != "data.balanced_crop" or not (values["data.rare_classes"] and values["data.rare_crop"]))
    assume(key != "eval.flip" or None not in (values[key], other))  # None means True or False
    # without these, keep_ratio changes the rounding of the size only: by one pixel at most
    assume(key != "data.keep_ratio" or values["data.base_size"] or values["data.test_size"])
    assert (effect(made[0]) == effect(made[1])) == all(named)
