"""Convert an OCRNet config of mmsegmentation (version 1, .py) to a config of this program. It is parsed, not run.

    python scripts/convert_config.py --input ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py --output config/ocrnet/mine.yml

Reads the config and its _base_ files (mmengine_config.py lists the supported syntax). Settings that cannot be expressed
and steps to do by hand, such as converting weights, are printed and written as comments at the top of the output. The
exit status is 2 if the file cannot be read or is not a supported OCRNet.
"""

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mmengine_config import read_config
from mmseg_pipeline import PIPELINE, TEST_PIPELINE, Leaves, convert_pipeline
from ocrnet import errors
from ocrnet.config import yaml_syntax
from ocrnet.config.loading import load_config, nest
from ocrnet.errors import UserError
from ocrnet.models.hrnet import DEPTHS, stage_tables
from ocrnet.runtime import program

BACKBONE, AUX, OCR, NORM = "model.backbone", "model.decode_head.0", "model.decode_head.1", "model.data_preprocessor"
TRAIN, VAL = "train_dataloader.dataset", "val_dataloader.dataset"
OPTIMIZER, CUSTOM_KEYS = "optim_wrapper.optimizer", "optim_wrapper.paramwise_cfg.custom_keys"
POLY, COSINE, WARMUP = (f"param_scheduler.{name}" for name in ("PolyLR", "CosineAnnealingLR", "LinearLR"))

# fmt: off
KEYS = {  # key of mmsegmentation: (our key, mmsegmentation's default; None: our default)
    f"{OCR}.channels": ("model.head_channels", None),
    f"{OCR}.ocr_channels": ("model.key_channels", None),
    f"{OCR}.align_corners": ("model.align_corners", False),
    f"{OCR}.dropout_ratio": ("model.dropout", 0.1),
    f"{AUX}.channels": ("model.aux_channels", None),
    f"{AUX}.kernel_size": ("model.aux_kernel", 3),
    f"{AUX}.dropout_ratio": ("model.aux_dropout", 0.1),
    f"{BACKBONE}.norm_eval": ("model.freeze_norm", None),
    f"{TRAIN}.data_root": ("data.root", None),
    f"{NORM}.mean": ("data.mean", None), f"{NORM}.std": ("data.std", None),
    f"{PIPELINE}.RandomResize.scale": ("data.base_size", None),
    f"{PIPELINE}.RandomResize.ratio_range": ("data.scale_range", [1.0, 1.0]),
    f"{PIPELINE}.RandomCrop.crop_size": ("data.crop_size", None),
    f"{PIPELINE}.RandomCrop.cat_max_ratio": ("data.cat_max_ratio", 1.0),
    f"{PIPELINE}.PhotoMetricDistortion.brightness_delta": ("data.photometric.brightness", None),
    f"{PIPELINE}.PhotoMetricDistortion.contrast_range": ("data.photometric.contrast", None),
    f"{PIPELINE}.PhotoMetricDistortion.saturation_range": ("data.photometric.saturation", None),
    f"{PIPELINE}.PhotoMetricDistortion.hue_delta": ("data.photometric.hue", None),
    f"{TEST_PIPELINE}.Resize.scale": ("data.test_size", None),
    f"{OPTIMIZER}.lr": ("schedule.lr", None),
    f"{OPTIMIZER}.momentum": ("optimizer.momentum", 0.0),
    f"{OPTIMIZER}.weight_decay": ("optimizer.weight_decay", 0.0),
    f"{OPTIMIZER}.betas": ("optimizer.betas", None), f"{OPTIMIZER}.eps": ("optimizer.eps", None),
    f"{CUSTOM_KEYS}.head.lr_mult": ("optimizer.head_lr_factor", None),
    f"{CUSTOM_KEYS}.backbone.lr_mult": ("optimizer.backbone_lr_factor", None),
    "optim_wrapper.clip_grad.max_norm": ("train.clip_grad", None),
    "optim_wrapper.accumulative_counts": ("train.accumulate_steps", None),
    f"{POLY}.power": ("schedule.power", 1.0), f"{POLY}.eta_min": ("schedule.min_lr", 0.0),
    f"{WARMUP}.end": ("schedule.warmup_steps", None),
    "train_dataloader.batch_size": ("train.batch_size", None),
    "train_cfg.max_iters": ("train.total_step", None), "train_cfg.max_epochs": ("train.epochs", None),
    "train_cfg.val_interval": ("eval.interval", None),
    "model.test_cfg.crop_size": ("eval.window", None), "model.test_cfg.stride": ("eval.stride", None),
    "default_hooks.logger.interval": ("train.log_interval", None),
    "default_hooks.checkpoint.interval": ("checkpoint.interval", None),
    "randomness.seed": ("seed", None),
}
FIXED = {  # values that are fixed or derived in this program; other values are reported
    "model.type": ["CascadeEncoderDecoder"], "model.num_stages": [2], "model.test_cfg.mode": ["whole", "slide"],
    f"{BACKBONE}.frozen_stages": [-1], f"{BACKBONE}.init_cfg.type": ["Pretrained"], f"{BACKBONE}.num_stages": [4],
    f"{BACKBONE}.out_indices": [[0, 1, 2, 3]], f"{BACKBONE}.dilations": [[1, 1, 2, 4]],
    f"{BACKBONE}.strides": [[1, 2, 1, 1]], f"{BACKBONE}.style": ["pytorch"], f"{BACKBONE}.contract_dilation": [True],
    f"{AUX}.num_convs": [1], f"{AUX}.concat_input": [False], f"{OCR}.scale": [1],
    f"{OCR}.loss_decode.CrossEntropyLoss.loss_weight": [1.0],
    f"{OCR}.loss_decode.CrossEntropyLoss.use_sigmoid": [False],
    f"{AUX}.loss_decode.CrossEntropyLoss.use_sigmoid": [False],
    f"{OCR}.loss_decode.FocalLoss.loss_weight": [1.0], f"{OCR}.loss_decode.FocalLoss.use_sigmoid": [True],
    f"{OCR}.loss_decode.LovaszLoss.per_image": [False], f"{OCR}.loss_decode.LovaszLoss.reduction": ["none"],
    f"{OCR}.loss_decode.LovaszLoss.classes": ["present"], f"{OCR}.loss_decode.LovaszLoss.loss_type": ["multi_class"],
    f"{NORM}.type": ["SegDataPreProcessor"], f"{NORM}.bgr_to_rgb": [True], f"{NORM}.pad_val": [0],
    f"{NORM}.seg_pad_val": [255], "optim_wrapper.type": ["OptimWrapper", "AmpOptimWrapper"],
    f"{OPTIMIZER}.type": ["SGD", "AdamW"], f"{OPTIMIZER}.nesterov": [False], f"{OPTIMIZER}.amsgrad": [False],
    "optim_wrapper.clip_grad.norm_type": [2],
    f"{PIPELINE}.RandomRotate.pad_val": [0], f"{PIPELINE}.RandomRotate.seg_pad_val": [255],
    f"{PIPELINE}.RandomRotate.auto_bound": [False],
    f"{POLY}.type": ["PolyLR"], f"{POLY}.begin": [0], f"{POLY}.by_epoch": [False],
    f"{COSINE}.type": ["CosineAnnealingLR"], f"{COSINE}.by_epoch": [False],
    f"{WARMUP}.type": ["LinearLR"], f"{WARMUP}.begin": [0], f"{WARMUP}.by_epoch": [False],
    "train_cfg.type": ["IterBasedTrainLoop", "EpochBasedTrainLoop"], "val_evaluator.type": ["IoUMetric"],
    "val_evaluator.iou_metrics": [["mIoU"]], "resume": [False],
}
COUNTS = {"train.total_step", "schedule.warmup_steps", "eval.interval", "train.log_interval", "checkpoint.interval"}
_IGNORED = re.compile(  # keys that need no conversion, with any value
    r".*\.(num_workers|persistent_workers|pin_memory|in_channels|in_index|input_transform)"
    r"|(train|val)_dataloader\.sampler\.(shuffle|type)"
    r"|(train|val)_dataloader\.dataset\.(pipeline\.(LoadImageFromFile|LoadAnnotations|PackSegInputs|Resize|Pad|Random(Resize|Crop|Flip)"
    r"|PhotoMetricDistortion)\.(type|size)|data_root|(img|seg_map)_suffix|data_prefix\.seg_map_path)"
    r"|val_dataloader\.(batch_size|dataset\.pipeline\.\w+\.reduce_zero_label)"
    r"|default_hooks\.\w+\.(type|by_epoch|log_metric_by_epoch)|model\.data_preprocessor\.size|tta_pipeline\..*"
    r"|model\.decode_head\.0\.num_classes|.*\.loss_decode\.\w+\.loss_name"
)
DATASETS = {
    "CityscapesDataset": "cityscapes", "ADE20KDataset": "ade20k", "PascalVOCDataset": "voc2012",
    "PascalContextDataset": "pascal_context_60", "PascalContextDataset59": "pascal_context_59",
    "COCOStuffDataset": "coco_stuff_164k", "LIPDataset": "lip",
}
READ = (
    "model", "train_dataloader", "val_dataloader", "optim_wrapper", "param_scheduler", "train_cfg", "default_hooks",
    "custom_hooks", "val_evaluator", "tta_pipeline", "load_from", "resume", "randomness", "custom_imports",
)
"""The names of a config that are converted; others are variables, logging and hardware settings."""
# fmt: on


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, type=Path, metavar="FILE.py")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.yml")
    return parser


def main() -> None:
    args = make_parser().parse_args()
    notes: list[str] = []
    names = read_config(args.input, notes)
    mmseg = flatten({key: names[key] for key in READ if key in names})
    try:
        config = convert(mmseg, notes)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{args.input}: not an OCRNet config of mmsegmentation: {error!r}") from None
    notes += [f"cannot be expressed: {key} = {value!r}" for key, value in mmseg.items() if not _IGNORED.fullmatch(key)]
    tree = nest({tuple(key.split(".")): value for key, value in config.items()})
    lines = [
        f"Converted by scripts/convert_config.py from {args.input.name}.",
        f"  python train.py --config {args.output}",
    ]
    head = "".join(f"# {' '.join(line.split()) if line in notes else line}\n" for line in [*lines, *notes])
    text = yaml_syntax.dump(tree, default_flow_style=None, width=120)
    errors.write_text(args.output, head + text)
    load_config(args.output)
    print("\n".join([*notes, f"{args.output}: {len(notes)} notes"]))


def flatten(value: Any, path: str = "") -> Leaves:
    """Flattens a tree. Lists of dicts are keyed by `type` in pipelines, losses and schedulers, by index otherwise."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        kinds = [part.get("type") for part in value]
        by_type = path.endswith(("pipeline", "loss_decode", "param_scheduler")) and len(set(kinds)) == len(kinds)
        value = dict(zip(kinds if by_type else range(len(value)), value, strict=True))
    elif path.endswith("loss_decode") and isinstance(value, dict):
        value = {value.get("type"): value}
    if not isinstance(value, dict):
        return {} if value in (None, []) else {path: value}
    leaves: Leaves = {}
    for key, part in value.items():
        leaves |= flatten(part, f"{path}.{key}" if path else str(key))
    return leaves


def convert(mmseg: Leaves, notes: list[str]) -> Leaves:
    """Returns the converted config. Removes converted keys from `mmseg`; adds steps to do by hand to `notes`."""
    config: Leaves = {"model.backbone": backbone(mmseg)}
    splits = join_datasets(mmseg)
    config["data.format"] = DATASETS.get(mmseg.pop(f"{TRAIN}.type"), "list")
    if (heads := (mmseg.pop(f"{AUX}.type"), mmseg.pop(f"{OCR}.type"))) != ("FCNHead", "OCRHead"):
        raise UserError(f"decode_head is {heads}; OCRNet has FCNHead and OCRHead")
    classes, in_channels = mmseg.pop(f"{OCR}.num_classes"), mmseg.get(f"{AUX}.in_channels")
    if isinstance(in_channels, list) and mmseg[f"{AUX}.channels"] == sum(in_channels):
        del mmseg[f"{AUX}.channels"]  # the width of its input, which is the default here
    convert_losses(mmseg, config, notes)
    convert_pipeline(mmseg, config, notes)
    convert_align_corners(mmseg, config, notes)
    convert_optimizer(mmseg, config, notes)
    convert_schedule(mmseg, config)
    if mmseg.get("optim_wrapper.type") == "AmpOptimWrapper":
        scale = mmseg.pop("optim_wrapper.loss_scale", "dynamic")
        config |= {"train.amp": "all", "train.loss_scale.kind": "dynamic" if scale == "dynamic" else "static"}
        config |= {} if scale == "dynamic" else {"train.loss_scale.value": scale}
    branches = mmseg.get("tta_pipeline.TestTimeAug.transforms", [])
    if ratios := [step["scale_factor"] for branch in branches for step in branch if "scale_factor" in step]:
        config["eval.ratios"] = ratios
    note_epochs(mmseg, notes)
    for key, values in FIXED.items():
        if mmseg.get(key) in values:
            del mmseg[key]
    for key in [key for key in mmseg if ".norm_cfg." in key and mmseg[key] in ("SyncBN", "BN", True)]:
        del mmseg[key]
    for key, (name, default) in KEYS.items():
        if (value := mmseg.pop(key, default)) is not None:
            config[name] = max(0.0, value) if name.endswith("dropout") else value  # -1 means no dropout
    for name in ("data.base_size", "data.test_size"):  # (width, height) in mmsegmentation, or one number for both
        if isinstance(config.get(name), list | tuple):
            config[name] = list(config[name][::-1])
    if config["optimizer.kind"] == "adamw":
        del config["optimizer.momentum"]
    if config["schedule.kind"] != "poly":
        del config["schedule.power"]
    if config["schedule.kind"] == "constant":
        del config["schedule.min_lr"]
    config["model.context_channels"] = config.get("model.head_channels", 512)
    batches = config.get("train.accumulate_steps", 1)
    for name in COUNTS & config.keys():  # mmsegmentation counts batches, this program counts updates
        config[name] = math.ceil(config[name] / batches)
    convert_splits(mmseg, config, splits, classes, notes)
    for key in ("model.pretrained", f"{BACKBONE}.init_cfg.checkpoint", "load_from"):
        if weights := mmseg.pop(key, None):
            name, flag = ("checkpoint", "") if key == "load_from" else ("pretrained", " --backbone")
            command = f"scripts/convert_weights.py --source mmseg{flag} --input {str(weights).rpartition('/')[2]}"
            notes.append(f"weights: {command}, then set model.{name}")
    if config.get("model.freeze_norm"):
        notes.append("model.freeze_norm: applies to the heads too; mmsegmentation's norm_eval applies to the backbone")
    return config


def note_epochs(mmseg: Leaves, notes: list[str]) -> None:
    """Removes what is in epochs: this program counts in steps, and the number of images is not known here."""
    found = {}
    if mmseg.get("train_cfg.type") == "EpochBasedTrainLoop":
        found["train_cfg.val_interval"] = "eval.interval"
        if mmseg.get("default_hooks.checkpoint.by_epoch", True):
            found["default_hooks.checkpoint.interval"] = "checkpoint.interval"
    if mmseg.get(f"{WARMUP}.by_epoch"):
        found[f"{WARMUP}.end"] = "schedule.warmup_steps"
    for key, name in found.items():
        if epochs := mmseg.pop(key, None):
            notes.append(f"{name}: in steps here; {key} is {epochs} epochs")


def convert_optimizer(mmseg: Leaves, config: Leaves, notes: list[str]) -> None:
    """Converts the kind of the optimizer and paramwise_cfg. Names of parameters that differ here are not converted."""
    config["optimizer.kind"] = "adamw" if mmseg.get(f"{OPTIMIZER}.type") == "AdamW" else "sgd"
    if config["optimizer.kind"] == "adamw":
        mmseg.setdefault(f"{OPTIMIZER}.weight_decay", 0.01)  # PyTorch's default
    decays = [f"optim_wrapper.paramwise_cfg.{kind}_decay_mult" for kind in ("norm", "bias")]
    if [mmseg.get(key) for key in decays] == [0, 0]:
        config["optimizer.decay_norm_and_bias"] = bool(mmseg.pop(decays[0]) or mmseg.pop(decays[1]))
    custom = [key for key in mmseg if key.startswith(f"{CUSTOM_KEYS}.")]
    if set(custom) <= {f"{CUSTOM_KEYS}.{part}.lr_mult" for part in ("head", "backbone")}:
        return  # keys of their own, see KEYS
    groups: dict[str, Leaves] = {}
    for key in custom:
        name, _, kind = key.removeprefix(f"{CUSTOM_KEYS}.").rpartition(".")
        ours = name.replace("decode_head.0", "aux_head").replace("decode_head.1", "ocr_head")
        ours = "head" if ours == "decode_head" else ours
        if kind in ("lr_mult", "decay_mult") and ours.split(".")[0] in ("backbone", "head", "aux_head", "ocr_head"):
            group = groups.setdefault(ours, {"name": ours})
            group[kind.replace("mult", "factor")] = mmseg.pop(key)
    config["optimizer.groups"] = list(groups.values())
    if groups and not config.get("optimizer.decay_norm_and_bias", True):
        notes.append("optimizer.decay_norm_and_bias: applies to all groups here, not to custom_keys in mmsegmentation")


def convert_schedule(mmseg: Leaves, config: Leaves) -> None:
    """Converts the kind of the schedule and where it begins and ends."""
    total, warmup = mmseg.get("train_cfg.max_iters"), mmseg.get(f"{WARMUP}.end", 0)
    config["schedule.kind"] = "poly" if f"{POLY}.type" in mmseg else "constant"
    if f"{COSINE}.type" in mmseg and f"{POLY}.type" not in mmseg:
        config["schedule.kind"] = "cosine"
        mmseg.setdefault(f"{COSINE}.begin", 0)
        mmseg[f"{POLY}.eta_min"] = mmseg.pop(f"{COSINE}.eta_min", 0.0)
        if total and mmseg.get(f"{COSINE}.T_max") == total - warmup:
            del mmseg[f"{COSINE}.T_max"]
    elif warmup and mmseg.get(f"{POLY}.begin") == warmup and mmseg.get(f"{POLY}.power", 1.0) == 1:
        config["schedule.kind"] = "linear"  # which begins after the warm-up here, while poly begins at step 0
    for name in (POLY, COSINE):
        if total == mmseg.get(f"{name}.end"):
            mmseg.pop(f"{name}.end", None)
        if config["schedule.kind"] in ("linear", "cosine") and mmseg.get(f"{name}.begin") == warmup:
            del mmseg[f"{name}.begin"]
    if f"{WARMUP}.type" in mmseg:
        config["schedule.warmup_lr"] = mmseg[f"{OPTIMIZER}.lr"] * mmseg.pop(f"{WARMUP}.start_factor", 1 / 3)


def convert_losses(mmseg: Leaves, config: Leaves, notes: list[str]) -> None:
    """Converts the losses of both heads; adds a note for each loss whose formula differs."""
    main, auxiliary = f"{OCR}.loss_decode.", f"{AUX}.loss_decode."
    cross, kept = mmseg.pop(f"{main}CrossEntropyLoss.type", None), mmseg.pop(f"{OCR}.sampler.type", None)
    focal = None if cross else mmseg.pop(f"{main}FocalLoss.type", None)
    if focal:
        config["loss.focal"] = mmseg.pop(f"{main}FocalLoss.gamma", 2.0)
        notes.append(
            "loss.focal: another formula. mmsegmentation: a binary loss of each class, p by sigmoid, alpha "
            f"{mmseg.pop(f'{main}FocalLoss.alpha', 0.5)}. Here: of the label's class, p by softmax"
        )
    elif not cross:
        notes.append("loss: the main loss always has a cross entropy here, with weight 1")
    config["loss.auxiliary_weight"] = 0.0
    if mmseg.pop(f"{auxiliary}CrossEntropyLoss.type", None):
        config["loss.auxiliary_weight"] = mmseg.pop(f"{auxiliary}CrossEntropyLoss.loss_weight", 1.0)
    heads = ((main, "FocalLoss" if focal else "CrossEntropyLoss"), (auxiliary, "CrossEntropyLoss"))
    weights, valid = (
        [mmseg.pop(f"{head}{loss}.{key}", default) for head, loss in heads]
        for key, default in (("class_weight", []), ("avg_non_ignore", False))
    )
    config["loss.class_weights"] = weights[0]
    # with class weights, mmsegmentation divides by their sum over the labels, regardless of avg_non_ignore
    config["loss.average"] = "valid" if weights[0] or valid[0] else "all"
    if weights[0] != weights[1]:
        notes.append(
            f"loss.class_weights: the same for both heads here; {weights[1]} in mmsegmentation's auxiliary head"
        )
    elif not weights[0] and valid[0] != valid[1]:
        notes.append(f"loss.average: the same for both heads here; the auxiliary head's avg_non_ignore is {valid[1]}")
    if kept == "OHEMPixelSampler" and not focal:
        # min_kept is per image; without thresh, the min_kept largest losses are used
        keep = mmseg.pop(f"{OCR}.sampler.min_kept", 100_000)
        config["loss.ohem.threshold"] = mmseg.pop(f"{OCR}.sampler.thresh", 0.0)
        config["loss.ohem.keep"] = keep * mmseg["train_dataloader.batch_size"]
        notes.append("loss.ohem: the mean is over the hard pixels here, over all pixels in mmsegmentation")
    elif kept:
        mmseg[f"{OCR}.sampler.type"] = kept
    for loss, name in (("DiceLoss", "loss.dice"), ("LovaszLoss", "loss.lovasz")):
        if mmseg.pop(f"{main}{loss}.type", None):
            config[name] = mmseg.pop(f"{main}{loss}.loss_weight", 1.0)
    if "loss.dice" in config:
        sigmoid = mmseg.pop(f"{main}DiceLoss.use_sigmoid", True)
        squares = not mmseg.pop(f"{main}DiceLoss.naive_dice", False)
        eps = mmseg.pop(f"{main}DiceLoss.eps", 1e-3)
        notes.append(
            "loss.dice: another formula. mmsegmentation: per image, over all pixels and classes at once, including "
            f"the probabilities of ignored pixels, p by {'sigmoid' if sigmoid else 'softmax'}, "
            f"{'p and y squared in the denominator, ' if squares else ''}eps {eps}. Here: mean over the classes that "
            "occur in the batch, labelled pixels only, p by softmax, no squares, 1 instead of eps"
        )


def convert_align_corners(mmseg: Leaves, config: Leaves, notes: list[str]) -> None:
    """Takes the auxiliary head's align_corners, which is the OCR head's here."""
    corners = mmseg.get(f"{OCR}.align_corners", False), mmseg.pop(f"{AUX}.align_corners", False)
    if corners[0] != corners[1]:
        notes.append(f"model.align_corners: the same for both heads here; the auxiliary head's is {corners[1]}")
    if corners[0] and config["model.backbone"].startswith("hrnet"):
        notes.append("model.align_corners: applies to HRNet's fuse step too; in mmsegmentation it does not")


def backbone(mmseg: Leaves) -> str:
    """Returns our name of the backbone. Raises UserError if it has another type, width or depth."""
    kind, depth = mmseg.pop(f"{BACKBONE}.type"), mmseg.pop(f"{BACKBONE}.depth", 50)
    found = f"resnet{depth}{'_v1c' if kind == 'ResNetV1c' else ''}_d8" if depth in (50, 101) else None
    if kind == "HRNet":
        keys = ("num_modules", "num_branches", "block", "num_blocks", "num_channels")
        stages = {
            f"stage{stage}": {key: mmseg.pop(f"{BACKBONE}.extra.stage{stage}.{key}") for key in keys}
            for stage in range(1, 5)
        }
        found = next((name for name in DEPTHS if stage_tables(name) == stages), None)
    if not found or kind not in ("HRNet", "ResNet", "ResNetV1c"):
        raise UserError(f"backbone {kind}: its type, width or depth is not supported; see model.backbone")
    return found


def join_datasets(mmseg: Leaves) -> list[str]:
    """Returns the names of the training splits. A ConcatDataset is replaced by its first data set."""
    names = [split_name(mmseg, TRAIN)]
    if mmseg.get(f"{TRAIN}.type") == "ConcatDataset":
        count = 1 + max(int(key.split(".")[3]) for key in mmseg if key.startswith(f"{TRAIN}.datasets."))
        names = [split_name(mmseg, f"{TRAIN}.datasets.{index}") for index in range(count)]
        for key in [key for key in mmseg if key.startswith(f"{TRAIN}.datasets.")]:
            value, (index, rest) = mmseg.pop(key), key.removeprefix(f"{TRAIN}.datasets.").split(".", 1)
            if index == "0":
                mmseg[f"{TRAIN}.{rest}"] = value
    return names


def split_name(mmseg: Leaves, start: str) -> str:
    """Returns the name of a split: that of its list or its image folder."""
    folder, file = mmseg.pop(f"{start}.data_prefix.img_path", ""), mmseg.pop(f"{start}.ann_file", None)
    return Path(file).stem if file else Path(folder).name


def convert_splits(mmseg: Leaves, config: Leaves, splits: list[str], classes: int, notes: list[str]) -> None:
    """Converts the paths of the splits, and the settings that depend on the data set."""
    kind, zero = mmseg.pop(f"{VAL}.type"), mmseg.pop(f"{PIPELINE}.LoadAnnotations.reduce_zero_label", False)
    config["data.train"] = "trainaug" if splits == ["train", "aug"] else splits[0]
    config["data.val"] = split_name(mmseg, VAL)
    config["data.root"] = config.get("data.root", "data").rstrip("/")
    if config["data.format"] == "cityscapes" and config.get("data.test_size") == [1024, 2048]:
        del config["data.test_size"]  # the images' own size
    if config["data.format"] == "list":
        default = [f"class {number}" for number in range(classes)]
        config["data.classes"] = mmseg.pop(f"{TRAIN}.metainfo.classes", default)
        config["data.palette"] = mmseg.pop(f"{TRAIN}.metainfo.palette", [])
        config |= {"data.train": "train.lst", "data.val": "val.lst"}
        if zero:
            config["data.label_map"] = {0: 255, **{number + 1: number for number in range(classes)}}
        for key in [key for key in mmseg if key.startswith(f"{VAL}.metainfo.")]:
            del mmseg[key]
        notes.append(f"data: {kind} is read from lists; write them with scripts/make_lists.py and check data.classes")


if __name__ == "__main__":
    sys.exit(program.run(main))
