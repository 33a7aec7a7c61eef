"""Converting mmsegmentation's configs without running them."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

from ocrnet.config import OHEMConfig
from ocrnet.config.combinations import notes
from ocrnet.config.loading import load_config, resolve

CONFIGS = Path(__file__).resolve().parents[2] / "config" / "ocrnet"
_SPEC = importlib.util.find_spec("mmseg")
MMSEG_CONFIGS = Path(
    os.environ.get("MMSEG_CONFIGS") or (Path(_SPEC.origin).parent / ".mim/configs" if _SPEC else "absent")
)
"""mmsegmentation's configs, from its wheel."""

BASE = """
widths = [18, 36, 72, 144]
deviation = [4.0, 5.0, 6.0]
window = (256, 512)
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='CascadeEncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[1.0, 2.0, 3.0], bgr_to_rgb=True, pad_val=0),
    backbone=dict(type='HRNet', norm_cfg=norm_cfg, norm_eval=True, extra=dict(
        stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4, ), num_channels=(64, )),
        stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4), num_channels=(18, 36)),
        stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4), num_channels=(18, 36, 72)),
        stage4=dict(num_modules=3, num_branches=4, block='BASIC', num_blocks=[4 for w in widths],
                    num_channels=widths))),
    decode_head=[
        dict(type='FCNHead', in_channels=widths, channels=sum(widths), kernel_size=1, num_convs=1, num_classes=5,
             dropout_ratio=-1, loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)),
        dict(type='OCRHead', channels=256, ocr_channels=128, num_classes=5, dropout_ratio=0.05,
             sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=5000),
             loss_decode=[dict(type='CrossEntropyLoss', loss_weight=1.0, class_weight=[1, 2, 3, 4, 5]),
                          dict(type='DiceLoss', loss_weight=2.0), dict(type='TverskyLoss', alpha=0.3)])],
    test_cfg=dict(mode='slide', crop_size=window, stride=(128, 256)))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4000, val_interval=500)
param_scheduler = [dict(type='LinearLR', start_factor=1e-3, begin=0, end=100, by_epoch=False),
                   dict(type='PolyLR', power=0.9, eta_min=1e-5, begin=0, end=4000, by_epoch=False)]
optimizer = dict(type='SGD', lr=0.02 / 2, momentum=0.9, weight_decay=0.0)
optim_wrapper = dict(type='AmpOptimWrapper', optimizer=optimizer, accumulative_counts=4,
    clip_grad=dict(max_norm=3, norm_type=2), paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.)}))
default_hooks = dict(timer=dict(type='IterTimerHook'), checkpoint=dict(type='CheckpointHook', interval=500))
"""
OWN = """
_base_ = ['./base.py']
import os
os.system('touch {marker}')
steps = os.cpu_count()
data_root = 'data/mine/'
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomResize', scale=(1024, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size={{{{_base_.window}}}}), dict(type='RandomRotFlip'), dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=3, num_workers=9, dataset=dict(
    type='MineDataset', data_root=data_root, metainfo=dict(classes=('a', 'b', 'c', 'd', 'e')),
    data_prefix=dict(img_path='img', seg_map_path='ann'), pipeline=pipeline))
val_dataloader = dict(batch_size=1, dataset=dict(type='MineDataset', data_root=data_root, pipeline=[]))
model = dict(data_preprocessor=dict(_delete_=True, mean=[9.0, 8.0 + 1, 9], std={{{{_base_.deviation}}}}))
randomness = dict(seed=7)
load_from = 'https://somewhere/ocrnet.pth'
"""


@pytest.fixture
def convert(run_script, tmp_path):
    def run(path: Path):
        return run_script("scripts/convert_config.py", "--input", path, "--output", tmp_path / f"{path.stem}.yml")

    return run


def test_a_config_is_parsed_and_not_run(convert, tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "own.py").write_text(OWN.format(marker=tmp_path / "marker"))
    done = convert(tmp_path / "own.py")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "marker").exists()
    config = load_config(tmp_path / "own.yml")
    assert config.model.backbone == "hrnet_w18" and config.model.freeze_norm and config.model.aux_channels is None
    assert (config.model.head_channels, config.model.key_channels, config.model.context_channels) == (256, 128, 256)
    assert (config.model.dropout, config.model.aux_dropout) == (0.05, 0)
    assert config.loss.class_weights == [1, 2, 3, 4, 5] and (config.loss.dice, config.loss.lovasz) == (2, 0)
    # min_kept is per image, keep per batch of 3; with class weights the mean is over the labels' weights
    assert (config.loss.ohem.threshold, config.loss.ohem.keep, config.loss.average) == (0.7, 15000, "valid")
    assert config.data.format == "list" and config.data.classes == [*"abcde"] and config.data.root == Path("data/mine")
    assert config.data.label_map == {0: 255, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4}
    assert config.data.mean == (9, 9, 9) and config.data.std == (4, 5, 6)
    assert (config.data.crop_size, config.data.cat_max_ratio, config.data.flip) == ((256, 512), 1, 0)
    assert config.data.photometric is None and config.data.base_size == (512, 1024)
    assert (config.eval.window, config.eval.stride, config.eval.interval) == ((256, 512), (128, 256), 125)
    assert config.checkpoint.interval == 125  # 500 batches, 4 of them in a step
    assert (config.schedule.lr, config.schedule.warmup_lr, config.schedule.warmup_steps) == (0.01, 1e-5, 25)
    assert (config.train.batch_size, config.train.accumulate_steps, config.train.total_step) == (3, 4, 1000)
    assert config.train.amp == "all" and config.train.loss_scale.kind == "dynamic" and config.train.clip_grad == 3
    assert config.optimizer.head_lr_factor == 10 and config.optimizer.weight_decay == 0 and config.seed == 7
    resolved = resolve(tmp_path / "own.yml")
    assert notes(resolved.config, resolved.given, training=True) == []  # all written keys have an effect
    for note in (
        "not read: own.py:3: import os",
        "not read: own.py:4: os.system(",
        "not read: own.py:5: steps = os.cpu_count()",
        "cannot be expressed: model.decode_head.1.loss_decode.TverskyLoss.alpha = 0.3",
        "loss.class_weights: the same for both heads here; [] in mmsegmentation's auxiliary head",
        "loss.dice: another formula. mmsegmentation: per image, over all pixels and classes at once",
        "p by sigmoid, p and y squared in the denominator, eps 0.001",
        "cannot be expressed: train_dataloader.dataset.pipeline.RandomRotFlip.type",
        "scripts/convert_weights.py --source mmseg --input ocrnet.pth, then set model.checkpoint",
        "data: MineDataset is read from lists",
    ):
        assert note in done.stdout and note in (tmp_path / "own.yml").read_text(), note
    assert "num_workers" not in done.stdout and "timer" not in done.stdout


def test_a_constant_learning_rate_has_no_power_and_no_min_lr(convert, tmp_path):
    start, rest = BASE.split("param_scheduler = ")
    (tmp_path / "base.py").write_text(f"{start}optimizer = {rest.split('optimizer = ', 1)[1]}")
    (tmp_path / "own.py").write_text(OWN.format(marker=tmp_path / "marker"))
    assert convert(tmp_path / "own.py").returncode == 0
    resolved = resolve(tmp_path / "own.yml")
    assert resolved.config.schedule.kind == "constant"
    assert not [note for note in notes(resolved.config, resolved.given, training=True) if "schedule" in note]


ADAMW = """
param_scheduler = [dict(type='LinearLR', start_factor=1e-3, begin=0, end=400, by_epoch=False),
                   dict(type='CosineAnnealingLR', eta_min=1e-6, begin=400, end=4000, T_max=3600, by_epoch=False)]
optim_wrapper = dict(_delete_=True, type='OptimWrapper', accumulative_counts=4,
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.99), eps=1e-6),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, custom_keys={
        'backbone': dict(lr_mult=0.1, decay_mult=0.5), 'backbone.stage4': dict(lr_mult=0.2),
        'decode_head.1': dict(lr_mult=10.), 'pos_block': dict(decay_mult=0.)}))
"""


def test_adamw_cosine_and_groups_are_converted(convert, tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "own.py").write_text(OWN.format(marker=tmp_path / "marker") + ADAMW)
    done = convert(tmp_path / "own.py")
    assert done.returncode == 0, done.stderr
    resolved = resolve(tmp_path / "own.yml")
    optimizer, schedule = resolved.config.optimizer, resolved.config.schedule
    assert (optimizer.kind, optimizer.betas, optimizer.eps, optimizer.weight_decay) == (
        "adamw",
        (0.9, 0.99),
        1e-6,
        0.01,
    )
    assert not optimizer.decay_norm_and_bias and optimizer.backbone_lr_factor == optimizer.head_lr_factor == 1
    assert [(group.name, group.lr_factor, group.decay_factor) for group in optimizer.groups] == [
        ("backbone", 0.1, 0.5), ("backbone.stage4", 0.2, 1), ("ocr_head", 10, 1),
    ]  # fmt: skip
    assert (schedule.kind, schedule.lr, schedule.min_lr) == ("cosine", 6e-5, 1e-6)
    assert (schedule.warmup_steps, resolved.config.train.total_step) == (100, 1000)  # in updates of 4 batches
    assert notes(resolved.config, resolved.given, training=True) == []
    assert "optimizer.decay_norm_and_bias: applies to all groups here, not to custom_keys" in done.stdout
    assert "cannot be expressed: optim_wrapper.paramwise_cfg.custom_keys.pos_block.decay_mult = 0.0" in done.stdout
    assert "param_scheduler" not in done.stdout and "optimizer.type" not in done.stdout


@pytest.mark.parametrize(
    ("schedulers", "kind", "expected"),
    [
        ("[dict(type='CosineAnnealingLR', T_max=4000, by_epoch=False)]", "cosine", []),
        (
            "[dict(type='CosineAnnealingLR', T_max=2000, begin=7, by_epoch=False)]",
            "cosine",
            ["CosineAnnealingLR.T_max = 2000", "CosineAnnealingLR.begin = 7"],
        ),
        (
            "[dict(type='LinearLR', end=100, by_epoch=False), dict(type='CosineAnnealingLR', by_epoch=False)]",
            "cosine",
            ["CosineAnnealingLR.begin = 0"],
        ),
        (
            "[dict(type='LinearLR', end=100, by_epoch=False), "
            "dict(type='PolyLR', power=1.0, begin=100, end=4000, by_epoch=False)]",
            "linear",
            [],
        ),
        (
            "[dict(type='LinearLR', end=100, by_epoch=False), "
            "dict(type='PolyLR', power=0.9, begin=100, by_epoch=False)]",
            "poly",
            ["PolyLR.begin = 100"],
        ),
    ],
)
def test_schedules_that_begin_after_the_warm_up(convert, tmp_path, schedulers, kind, expected):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "own.py").write_text(OWN.format(marker=tmp_path / "marker") + f"param_scheduler = {schedulers}\n")
    done = convert(tmp_path / "own.py")
    assert done.returncode == 0, done.stderr
    assert load_config(tmp_path / "own.yml").schedule.kind == kind
    found = [line for line in done.stdout.splitlines() if "param_scheduler" in line]
    assert found == [f"cannot be expressed: param_scheduler.{text}" for text in expected]


def test_intervals_in_epochs_are_steps_to_do_by_hand(convert, tmp_path):
    epochs = "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=7, val_interval=2)\n"
    epochs += "param_scheduler = [dict(type='LinearLR', start_factor=0.1, begin=0, end=3, by_epoch=True)]\n"
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "own.py").write_text(OWN.format(marker=tmp_path / "marker") + epochs)
    done = convert(tmp_path / "own.py")
    assert done.returncode == 0, done.stderr
    config = load_config(tmp_path / "own.yml")
    assert (config.train.epochs, config.eval.interval, config.checkpoint.interval) == (7, 4000, 4000)
    assert config.schedule.warmup_steps == 0
    assert "eval.interval: in steps here; train_cfg.val_interval is 2 epochs" in done.stdout
    assert "checkpoint.interval: in steps here; default_hooks.checkpoint.interval is 500 epochs" in done.stdout
    assert "schedule.warmup_steps: in steps here; param_scheduler.LinearLR.end is 3 epochs" in done.stdout


FORMULAS = [  # (text in BASE or OWN, replacement, keys of the converted config, expected notes, texts not in the notes)
    (
        "dict(type='DiceLoss', loss_weight=2.0)",
        "dict(type='DiceLoss', naive_dice=True, use_sigmoid=False, eps=1.0)",
        {"dice": 1},
        ["p by softmax, eps 1.0"],
        ["DiceLoss.", "squared"],
    ),
    (
        "dict(type='DiceLoss', loss_weight=2.0)",
        "dict(type='LovaszLoss', reduction='none', classes='present')",
        {"lovasz": 1, "dice": 0},
        [],
        ["LovaszLoss.", "loss.dice"],
    ),
    (
        "dict(type='DiceLoss', loss_weight=2.0)",
        "dict(type='LovaszLoss', classes='all', class_weight=[1, 2, 3, 4, 5], per_image=True)",
        {},
        ["LovaszLoss.classes = 'all'", "LovaszLoss.class_weight = [1, 2, 3, 4, 5]", "LovaszLoss.per_image = True"],
        [],
    ),
    (
        "dict(type='CrossEntropyLoss', loss_weight=1.0, class_weight=[1, 2, 3, 4, 5])",
        "dict(type='FocalLoss', gamma=1.5, class_weight=[1, 2, 3, 4, 5])",
        {"focal": 1.5, "class_weights": [1, 2, 3, 4, 5], "ohem": None},
        ["loss.focal: another formula", "by sigmoid", "alpha 0.5", "sampler.type = 'OHEMPixelSampler'"],
        ["always has a cross entropy", "FocalLoss."],
    ),
    (
        "dict(type='DiceLoss', loss_weight=2.0)",
        "dict(type='FocalLoss', loss_weight=0.5)",
        {"focal": 0, "dice": 0},
        ["FocalLoss.type = 'FocalLoss'", "FocalLoss.loss_weight = 0.5"],
        ["another formula"],
    ),
    ("dict(type='TverskyLoss', alpha=0.3)", "dict(type='TverskyLoss')", {}, ["TverskyLoss.type = 'TverskyLoss'"], []),
    (
        "loss_weight=1.0, class_weight",
        "use_sigmoid=True, class_weight",
        {},
        ["decode_head.1.loss_decode.CrossEntropyLoss.use_sigmoid = True"],
        [],
    ),
    (
        "loss_weight=1.0, class_weight=[1, 2, 3, 4, 5]",
        "avg_non_ignore=True",
        {"average": "valid", "class_weights": []},
        ["the auxiliary head's avg_non_ignore is False"],
        ["loss.class_weights"],
    ),
    (
        "sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=5000)",
        "sampler=dict(type='OHEMPixelSampler')",
        {"ohem": OHEMConfig(threshold=0, keep=300_000)},
        [],
        ["sampler"],
    ),
    (
        "dropout_ratio=-1,",
        "sampler=dict(type='OHEMPixelSampler'),",
        {},
        ["cannot be expressed: model.decode_head.0.sampler.type = 'OHEMPixelSampler'"],
        [],
    ),
    ("dropout_ratio=0.05,", "align_corners=True,", {}, ["HRNet's fuse step too", "the auxiliary head's is False"], []),
]


@pytest.mark.parametrize(("text", "replacement", "loss", "expected", "absent"), FORMULAS, ids=range(len(FORMULAS)))
def test_notes_on_losses_with_another_formula(convert, tmp_path, text, replacement, loss, expected, absent):
    assert text in BASE
    (tmp_path / "base.py").write_text(BASE.replace(text, replacement).replace("dropout_ratio=-1, loss", "loss"))
    (tmp_path / "own.py").write_text(OWN.format(marker=tmp_path / "marker"))
    done = convert(tmp_path / "own.py")
    assert done.returncode == 0, done.stderr
    config = load_config(tmp_path / "own.yml")
    assert {key: getattr(config.loss, key) for key in loss} == loss
    assert [note for note in expected if note not in done.stdout] == []
    assert [note for note in absent if note in done.stdout.replace("OHEMPixelSampler'", "")] == []


def test_flips_rotation_and_cutout_are_converted(convert, tmp_path):
    steps = """dict(type='RandomFlip', prob=0.6, direction=['horizontal', 'vertical']),
    dict(type='RandomRotate', prob=0.4, degree=15, pad_val=0, seg_pad_val=255), dict(type='RandomCutOut', prob=0.2,
    n_holes=(1, 4), cutout_ratio=[(0.1, 0.2), (0.3, 0.1)], seg_fill_in=255), dict(type='RandomRotFlip')"""
    (tmp_path / "base.py").write_text(BASE)
    own = OWN.format(marker=tmp_path / "marker").replace("dict(type='RandomRotFlip')", steps)
    (tmp_path / "own.py").write_text(own)
    done = convert(tmp_path / "own.py")
    assert done.returncode == 0, done.stderr
    data = load_config(tmp_path / "own.yml").data
    assert (data.flip, data.augment.vertical_flip) == (0.3, 0.3)
    assert (data.augment.rotation.probability, data.augment.rotation.degrees) == (0.4, 15)
    cutout = data.augment.cutout
    assert (cutout.probability, cutout.holes, cutout.size, cutout.ignore_label) == (0.2, (1, 4), (0.1, 0.3), True)
    for note in ("independent here, so an image may have both", "before the random crop", "the colour of data.pad"):
        assert note in done.stdout
    left = [line for line in done.stdout.splitlines() if "cannot be expressed" in line and "pipeline" in line]
    assert len(left) == 1 and "RandomRotFlip" in left[0]

    one_sided = own.replace("degree=15", "degree=(0, 15)").replace("['horizontal', 'vertical']", "'vertical'")
    (tmp_path / "own.py").write_text(one_sided)
    done = convert(tmp_path / "own.py")
    data = load_config(tmp_path / "own.yml").data
    assert (data.flip, data.augment.vertical_flip, data.augment.rotation) == (0, 0.6, None)
    assert "cannot be expressed: train_dataloader.dataset.pipeline.RandomRotate.degree = " in done.stdout


def test_defaults_of_resize_and_pad_are_those_of_mmsegmentation(convert, tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    own = OWN.format(marker=tmp_path / "marker").replace(", keep_ratio=True", "")
    own = own.replace("crop_size={{_base_.window}})", "crop_size=384), dict(type='Pad', size=(384, 384))")
    own = own.replace("pipeline=[])", "pipeline=[dict(type='Resize', scale=(1024, 512), keep_ratio=True)])")
    (tmp_path / "own.py").write_text(own)
    done = convert(tmp_path / "own.py")
    assert done.returncode == 0, done.stderr
    data = load_config(tmp_path / "own.yml").data
    assert (data.keep_ratio, data.crop_size, data.pad, data.test_size) == (False, (384, 384), "black", (512, 1024))
    assert "data.keep_ratio: the same for training and evaluation here; True in mmsegmentation's" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "cannot read this config"),
        ("_base_ = 'own.py'", "_base_ refers back"),
        ("_base_ = 'nowhere.py'", "nowhere.py: cannot read this config"),
        ("model = dict(type='EncoderDecoder')", "not an OCRNet config"),
        ("x = " + "(" * 9999, "cannot read this config"),
        ("x = 'a' * 10**10\ny = [1] * 10**10", "not an OCRNet config"),
        (
            BASE.replace("num_channels=(18, 36))", "num_channels=(20, 40))"),
            "backbone HRNet: its type, width or depth is not supported",
        ),
    ],
    ids=range(7),
)
def test_invalid_and_other_configs_are_errors(convert, tmp_path, text, message):
    (tmp_path / "own.py").write_text(text)
    done = convert(tmp_path / "own.py")
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "own.yml").exists()


@pytest.mark.skipif(
    not (MMSEG_CONFIGS / "ocrnet").is_dir(), reason="set MMSEG_CONFIGS to mmsegmentation 1.2.2's configs"
)
def test_the_24_published_configs_are_converted_to_our_configs(convert, tmp_path):
    backbones = {"hr18s": "hrnet_w18_small", "hr18": "hrnet_w18", "hr48": "hrnet_w48", "r101-d8": "resnet101_v1c_d8"}
    files = sorted((MMSEG_CONFIGS / "ocrnet").glob("*.py"))
    assert len(files) == 24
    for file in files:
        done = convert(file)
        assert done.returncode == 0, done.stderr
        kind, devices, batch, length, data = re.match(r"ocrnet_(.+)_(\d)xb(\d)-(\d+k)_(\w+)-", file.stem).groups()
        name = f"ocrnet_{backbones[kind]}_{data.replace('voc12', 'voc2012')}_mmseg_{length}"
        ours = load_config(CONFIGS / f"{name}{f'_b{int(devices) * int(batch)}' if kind == 'r101-d8' else ''}.yml")
        found = load_config(tmp_path / f"{file.stem}.yml")
        assert (found.model.pretrained, ours.model.pretrained) == (None, "published")  # a note names the weights
        found = found.replace({"save_dir": ours.save_dir, "model.pretrained": "published"})
        if data == "ade20k":  # the path of the data may differ
            assert found.data.root == Path("data/ade/ADEChallengeData2016")
            found = found.replace({"data.root": ours.data.root})
        if data == "voc12aug":  # trained by version 0, which padded after the normalisation; version 1 pads before it
            assert (found.data.pad, ours.data.pad) == ("black", "mean")
            found = found.replace({"data.pad": ours.data.pad})
        assert found == ours, file.stem
        # the 80,000 steps of 16 images were published with a schedule that ends at 40,000
        expected = ["cannot be expressed: param_scheduler.PolyLR.end = 40000"] if "8xb2-80k" in file.stem else []
        printed = done.stdout.splitlines()[:-1]
        assert [note for note in printed if not note.startswith("weights: ")] == expected
