"""Every config under config/ocrnet loads, and configs of published runs have the published number of steps."""

from pathlib import Path

import pytest
import yaml

from ocrnet.config import Config, OHEMConfig, TrainConfig
from ocrnet.config.loading import load_config
from ocrnet.errors import UserError
from ocrnet.training.run_progress import Progress

FOLDER = Path(__file__).resolve().parents[2] / "config"
TRAINING_IMAGES = {
    "cityscapes": 2975,
    "ade20k": 20210,
    "voc2012": 10582,
    "pascal_context_59": 4998,
    "pascal_context_60": 4998,
    "lip": 30462,
    "coco_stuff_10k": 9000,
    "coco_stuff_164k": 118287,
}
HRNETS = ("hrnet_w18_small", "hrnet_w18", "hrnet_w48")
PUBLISHED = {  # name: (devices, images per step of all devices, steps, lr, min_lr, weight decay)
    "hrnet_w48_cityscapes_hrnet_ocr_484e": (4, 12, 119_548, 0.01, 0, 5e-4),
    "hrnet_w48_cityscapes_trainval_hrnet_ocr_484e": (4, 12, 139_876, 0.01, 0, 5e-4),
    "hrnet_w48_ade20k_hrnet_ocr_120e": (4, 16, 151_560, 0.02, 0, 1e-4),
    "hrnet_w48_lip_hrnet_ocr_150e": (4, 40, 114_150, 7e-3, 0, 5e-4),
    "hrnet_w48_pascal_context_59_hrnet_ocr_200e": (4, 16, 62_400, 1e-3, 0, 1e-4),
    "hrnet_w48_pascal_context_60_hrnet_ocr_200e": (4, 16, 62_400, 1e-3, 0, 1e-4),
    "hrnet_w48_coco_stuff_10k_hrnet_ocr_110e": (4, 16, 61_820, 1e-3, 0, 1e-4),
    "hrnet_w18_cityscapes_paddleseg_160k": (4, 8, 160_000, 0.01, 0, 4e-5),
    "hrnet_w48_cityscapes_paddleseg_160k": (4, 8, 160_000, 0.01, 0, 4e-5),
    "resnet101_v1c_d8_cityscapes_mmseg_40k_b8": (4, 8, 40_000, 0.01, 1e-4, 5e-4),
    "resnet101_v1c_d8_cityscapes_mmseg_40k_b16": (8, 16, 40_000, 0.02, 2e-4, 5e-4),
    "resnet101_v1c_d8_cityscapes_mmseg_80k_b16": (8, 16, 80_000, 0.02, 2e-4, 5e-4),
}
for backbone in HRNETS:
    for data, batch, lengths in (
        ("cityscapes", 8, (40, 80, 160)),
        ("ade20k", 16, (80, 160)),
        ("voc2012aug", 16, (20, 40)),
    ):
        for length in lengths:
            PUBLISHED[f"{backbone}_{data}_mmseg_{length}k"] = (4, batch, 1000 * length, 0.01, 1e-4, 5e-4)
for backbone in (*HRNETS, "resnet50_v1c_d8", "resnet101_v1c_d8"):
    PUBLISHED[f"{backbone}_cityscapes_ssseg_440e"] = (8, 8, 163_240, 0.01, 0, 5e-4)
    PUBLISHED[f"{backbone}_ade20k_ssseg_130e"] = (8, 16, 164_190, 0.01, 0, 5e-4)
    PUBLISHED[f"{backbone}_voc2012aug_ssseg_60e"] = (8, 16, 39_660, 0.01, 0, 5e-4)
UNPUBLISHED = {"hrnet_w48_coco_stuff_164k_hrnet_ocr_80k", "hrnet_w48_daodixian_seg_hrnet_ocr_484e"}


def load(name: str) -> Config:
    return load_config(FOLDER / "ocrnet" / f"ocrnet_{name}.yml")


def test_there_is_a_config_for_each_published_run():
    names = {path.stem.removeprefix("ocrnet_") for path in (FOLDER / "ocrnet").glob("ocrnet_*_*_*.yml")}
    assert names - {"hrnet_w18_small_bdd100k", "hrnet_w18_small_thin", "hrnet_w48_thin"} == {
        *PUBLISHED,
        *UNPUBLISHED,
    }


def steps_of_run(config: TrainConfig, images: int, devices: int) -> int:
    progress, step_samples = Progress(), config.images_per_step * devices
    progress.start(images, step_samples)
    return progress.steps_left(config, step_samples)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_schedule_has_the_published_number_of_steps(name):
    devices, images, steps, lr, min_lr, weight_decay = PUBLISHED[name]
    config = load(name)
    assert config.train.batch_size * devices == images
    training_images = 3475 if config.data.train == "trainval" else TRAINING_IMAGES[config.data.format]
    assert steps_of_run(config.train, training_images, devices) == steps
    assert (config.schedule.kind, config.schedule.power, config.schedule.warmup_steps) == ("poly", 0.9, 0)
    assert (config.schedule.lr, config.schedule.min_lr) == (lr, min_lr)
    assert (config.optimizer.weight_decay, config.optimizer.momentum) == (weight_decay, 0.9)
    assert config.loss.auxiliary_weight == 0.4 and config.train.clip_grad == 0 and config.train.amp == "none"
    assert name.startswith(config.model.backbone)


@pytest.mark.parametrize("name", sorted([*PUBLISHED, *UNPUBLISHED]))
def test_configs_have_the_settings_of_their_source_project(name):
    config = load(name)
    model, data = config.model, config.data
    net = (model.align_corners, model.conv_bias, model.context_channels, model.context_kernel)
    heads = (model.aux_channels, model.aux_kernel, model.dropout)
    if "mmseg" in name:
        assert net == (False, False, 512, 1)
        assert heads == ((256, 3, 0.1) if "resnet" in name else (None, 1, 0.0))
        assert (config.loss.average, data.scale_range, data.cat_max_ratio) == ("all", (0.5, 2.0), 0.75)
    elif "ssseg" in name:
        assert net == (False, False, 512, 3) and heads == (512, 3, 0.0)
        assert (config.loss.average, data.scale_range, data.cat_max_ratio) == ("valid", (0.5, 2.0), 0.75)
    elif "paddleseg" in name:
        assert net == (False, True, 512, 1) and heads == (None, 1, 0.1)
        assert (model.attention_bias, model.fuse, model.stride_padding) == (True, "bilinear_once", "same")
        assert (config.loss.average, data.scale_range, data.cat_max_ratio) == ("valid", (0.5, 2.0), 1)
        assert (data.mean, data.std) == ((127.5,) * 3, (127.5,) * 3)
    else:
        assert net == (True, True, 512, 1) and heads == (None, 1, 0.05)
        assert (config.loss.average, data.cat_max_ratio, data.photometric) == ("valid", 1, None)
        assert data.scale_range == ((0.5, 1.6) if "lip" in name else (0.5, 2.1))
        assert config.optimizer.head_lr_factor == (10 if "pascal" in name or "coco" in name else 1)
        # lib/datasets/cityscapes.py passes 19 class weights to the criterion, the other data sets None
        weights = config.loss.class_weights
        assert (len(weights), sum(weights)) == ((19, pytest.approx(19.0001)) if "cityscapes" in name else (0, 0))
        assert weights[:1] + weights[-2:] == ([0.8373, 1.1529, 1.0507] if weights else [])
        ohem = OHEMConfig(threshold=0.9, keep=131072) if "coco" in name or "ade20k" in name else None
        assert config.loss.ohem == ohem
    sizes = {
        "cityscapes": ((512, 1024), (1024, 2048), None),
        "ade20k": ((512, 512), (512, 2048), (512, 2048)),
        "voc2012": ((512, 512), (512, 2048), (512, 2048)),
        "lip": ((473, 473), (473, 473), (473, 473)),
        "pascal_context_59": ((520, 520), (520, 520), (520, 520)),
        "pascal_context_60": ((520, 520), (520, 520), (520, 520)),
        "coco_stuff_10k": ((520, 520), (520, 520), (520, 5200)),
        "coco_stuff_164k": ((520, 520), (520, 520), (520, 5200)),
        "list": ((512, 1024), (2048, 2048), (2048, 2048)),
    }
    if name == "hrnet_w48_ade20k_hrnet_ocr_120e":
        sizes["ade20k"] = sizes["coco_stuff_10k"]
    assert (data.crop_size, data.base_size, data.test_size) == sizes[data.format]
    assert data.keep_ratio == (data.format != "lip")


@pytest.mark.parametrize("path", sorted((FOLDER / "ocrnet").glob("*.yml")), ids=lambda path: path.stem)
def test_every_config_loads_and_has_its_command_in_a_comment(path, tmp_path):
    config = load_config(path)
    again = tmp_path / path.name
    again.write_text(config.to_yaml())
    assert load_config(again) == config
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    command = next(line for line in comments if "train.py --config" in line)
    assert path.name in command or path.stem == "ocrnet_own_data"


def test_every_base_file_is_used_by_a_config():
    def bases(path: Path) -> set[Path]:
        named = yaml.safe_load(path.read_text()).get("__BASE__", [])
        direct = {(path.parent / base).resolve() for base in ([named] if isinstance(named, str) else named)}
        return direct.union(*map(bases, direct))

    used = set().union(*(bases(path) for path in (FOLDER / "ocrnet").glob("*.yml")))
    assert used == {path.resolve() for path in FOLDER.rglob("*.yml") if path.parent.name != "ocrnet"}


def test_the_later_of_total_step_and_epochs_is_used(tmp_path):
    (tmp_path / "base.yml").write_text("train: {epochs: 5}\n")
    path = tmp_path / "run.yml"
    path.write_text("__BASE__: base.yml\nseed: 1\n")
    assert load_config(path).train == TrainConfig(epochs=5)
    assert load_config(path, {"train.total_step": (7, "--total_step")}).train == TrainConfig(total_step=7)
    path.write_text("__BASE__: base.yml\ntrain: {total_step: 9}\n")
    assert load_config(path).train == TrainConfig(total_step=9)
    assert load_config(path, {"train.epochs": (3, "--set train.epochs")}).train == TrainConfig(epochs=3)
    path.write_text("train: {total_step: 9, epochs: 3}\n")
    with pytest.raises(UserError, match=r"9 steps or 3 epochs\? Keep one"):
        load_config(path)
    assert TrainConfig().total_step == 40_000
