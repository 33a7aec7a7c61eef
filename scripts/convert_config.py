"""Turn an mmsegmentation OCRNet config (version 1, .py) into a config. The config is read, never run.

    python scripts/convert_config.py --input ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py --output config/ocrnet/mine.yml

reads the config and those that its _base_ names (mmengine_config.py says what it understands). It prints, and writes at
the head of the config, what a config cannot express and what needs a hand, such as weights to convert. Exit status 2
when the file cannot be read or describes no OCRNet of ours.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mmengine_config import read_config
from ocrnet import errors
from ocrnet.config import yaml_syntax
from ocrnet.config.loading import load_config, nest
from ocrnet.errors import UserError
from ocrnet.models.hrnet import DEPTHS, stage_tables
from ocrnet.runtime import program

Leaves = dict[str, Any]
"""A config or a config, flat: {dotted key: value}."""

BACKBONE, AUX, OCR, NORM = "model.backbone", "model.decode_head.0", "model.decode_head.1", "model.data_preprocessor"
TRAIN, VAL, PIPELINE = "train_dataloader.dataset", "val_dataloader.dataset", "train_dataloader.dataset.pipeline"
SGD, POLY, WARMUP = "optim_wrapper.optimizer", "param_scheduler.PolyLR", "param_scheduler.LinearLR"

# fmt: off
SAME = {  # their key: (ours, what it is where they say nothing; None: as here)
    f"{OCR}.channels": ("model.head_channels", None),
    f"{OCR}.ocr_channels": ("model.key_channels", None),
    f"{OCR}.align_corners": ("model.align_corners", False),
    f"{OCR}.dropout_ratio": ("model.dropout", 0.1),
    f"{AUX}.channels": ("model.aux_channels", None),
    f"{AUX}.kernel_size": ("model.aux_kernel", 3),
    f"{AUX}.dropout_ratio": ("model.aux_dropout", 0.1),
    f"{BACKBONE}.norm_eval": ("model.freeze_norm", None),
    f"{TRAIN}.data_root": ("data.root", None),
    f"{NORM}.mean": ("data.mean", None),
    f"{NORM}.std": ("data.std", None),
    f"{PIPELINE}.RandomResize.scale": ("data.base_size", None),
    f"{PIPELINE}.RandomResize.ratio_range": ("data.scale_range", [1.0, 1.0]),
    f"{PIPELINE}.RandomCrop.crop_size": ("data.crop_size", None),
    f"{PIPELINE}.RandomCrop.cat_max_ratio": ("data.cat_max_ratio", 1.0),
    f"{PIPELINE}.RandomFlip.prob": ("data.flip", 0.0),
    f"{PIPELINE}.PhotoMetricDistortion.brightness_delta": ("data.photometric.brightness", None),
    f"{PIPELINE}.PhotoMetricDistortion.contrast_range": ("data.photometric.contrast", None),
    f"{PIPELINE}.PhotoMetricDistortion.saturation_range": ("data.photometric.saturation", None),
    f"{PIPELINE}.PhotoMetricDistortion.hue_delta": ("data.photometric.hue", None),
    f"{VAL}.pipeline.Resize.scale": ("data.test_size", None),
    f"{SGD}.lr": ("schedule.lr", None),
    f"{SGD}.momentum": ("optimizer.momentum", 0.0),
    f"{SGD}.weight_decay": ("optimizer.weight_decay", 0.0),
    "optim_wrapper.paramwise_cfg.custom_keys.head.lr_mult": ("optimizer.head_lr_factor", None),
    "optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult": ("optimizer.backbone_lr_factor", None),
    "optim_wrapper.clip_grad.max_norm": ("train.clip_grad", None),
    "optim_wrapper.accumulative_counts": ("train.accumulate_steps", None),
    f"{POLY}.power": ("schedule.power", 1.0),
    f"{POLY}.eta_min": ("schedule.min_lr", 0.0),
    f"{WARMUP}.end": ("schedule.warmup_steps", None),
    "train_dataloader.batch_size": ("train.batch_size", None),
    "train_cfg.max_iters": ("train.total_step", None),
    "train_cfg.max_epochs": ("train.epochs", None),
    "train_cfg.val_interval": ("eval.interval", None),
    "model.test_cfg.crop_size": ("eval.window", None),
    "model.test_cfg.stride": ("eval.stride", None),
    "default_hooks.logger.interval": ("train.log_interval", None),
    "default_hooks.checkpoint.interval": ("checkpoint.interval", None),
    "randomness.seed": ("seed", None),
}
ANYWAY = {  # what this program does in any case, or derives; another value is reported
    "model.type": ["CascadeEncoderDecoder"], "model.num_stages": [2], "model.test_cfg.mode": ["whole", "slide"],
    f"{BACKBONE}.frozen_stages": [-1], f"{BACKBONE}.init_cfg.type": ["Pretrained"], f"{BACKBONE}.num_stages": [4],
    f"{BACKBONE}.out_indices": [[0, 1, 2, 3]], f"{BACKBONE}.dilations": [[1, 1, 2, 4]],
    f"{BACKBONE}.strides": [[1, 2, 1, 1]], f"{BACKBONE}.style": ["pytorch"], f"{BACKBONE}.contract_dilation": [True],
    f"{AUX}.num_convs": [1], f"{AUX}.concat_input": [False], f"{OCR}.scale": [1],
    f"{OCR}.loss_decode.CrossEntropyLoss.loss_weight": [1.0],
    f"{OCR}.loss_decode.CrossEntropyLoss.use_sigmoid": [False],
    f"{AUX}.loss_decode.CrossEntropyLoss.use_sigmoid": [False],
    f"{OCR}.loss_decode.LovaszLoss.per_image": [False], f"{OCR}.loss_decode.LovaszLoss.reduction": ["none"],
    f"{OCR}.loss_decode.LovaszLoss.classes": ["present"], f"{OCR}.loss_decode.LovaszLoss.loss_type": ["multi_class"],
    f"{NORM}.type": ["SegDataPreProcessor"], f"{NORM}.bgr_to_rgb": [True], f"{NORM}.pad_val": [0],
    f"{NORM}.seg_pad_val": [255], "optim_wrapper.type": ["OptimWrapper", "AmpOptimWrapper"], f"{SGD}.type": ["SGD"],
    f"{SGD}.nesterov": [False], "optim_wrapper.clip_grad.norm_type": [2],
    f"{POLY}.type": ["PolyLR"], f"{POLY}.begin": [0], f"{POLY}.by_epoch": [False],
    f"{WARMUP}.type": ["LinearLR"], f"{WARMUP}.begin": [0], f"{WARMUP}.by_epoch": [False],
    "train_cfg.type": ["IterBasedTrainLoop", "EpochBasedTrainLoop"], "val_evaluator.type": ["IoUMetric"],
    "val_evaluator.iou_metrics": [["mIoU"]], "resume": [False],
}
_ANYWAY = re.compile(  # the same, for keys of any value
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
"""What a config tells its program; its other names are variables, logging and hardware."""
# fmt: on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, type=Path, metavar="FILE.py")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.yml")
    args = parser.parse_args()
    notes: list[str] = []
    names = read_config(args.input, notes)
    theirs = flatten({key: names[key] for key in READ if key in names})
    try:
        ours = convert(theirs, notes)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{args.input}: not an OCRNet config as mmsegmentation writes them: {error!r}") from None
    notes += [f"cannot be expressed: {key} = {value!r}" for key, value in theirs.items() if not _ANYWAY.fullmatch(key)]
    tree = nest({tuple(key.split(".")): value for key, value in ours.items()})
    lines = [f"Made by scripts/convert_config.py of {args.input.name}.", f"  python train.py --config {args.output}"]
    head = "".join(f"# {' '.join(line.split()) if line in notes else line}\n" for line in [*lines, *notes])
    text = yaml_syntax.dump(tree, default_flow_style=None, width=120)
    errors.write_text(args.output, head + text)
    load_config(args.output)
    print("\n".join([*notes, f"{args.output}: {len(notes)} remarks"]))


def flatten(value: Any, path: str = "") -> Leaves:
    """A tree's leaves; lists of dicts by their `type` where that is how they are known, by place otherwise."""
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


def convert(theirs: Leaves, notes: list[str]) -> Leaves:
    """The config. What is understood is taken out of `theirs`; what needs a hand is added to `notes`."""
    ours: Leaves = {"model.backbone": backbone(theirs)}
    splits = join_datasets(theirs)
    ours["data.format"] = DATASETS.get(theirs.pop(f"{TRAIN}.type"), "list")
    if (heads := (theirs.pop(f"{AUX}.type"), theirs.pop(f"{OCR}.type"))) != ("FCNHead", "OCRHead"):
        raise UserError(f"decode_head is {heads}; OCRNet's are FCNHead and OCRHead")
    classes, reads = theirs.pop(f"{OCR}.num_classes"), theirs.get(f"{AUX}.in_channels")
    if isinstance(reads, list) and theirs[f"{AUX}.channels"] == sum(reads):
        del theirs[f"{AUX}.channels"]  # as wide as what it reads, which is derived here
    convert_losses(theirs, ours, notes)
    convert_resizes(theirs, ours, notes)
    if f"{PIPELINE}.PhotoMetricDistortion.type" not in theirs:
        ours["data.photometric"] = None
    if f"{PIPELINE}.Pad.type" in theirs:
        ours["data.pad"] = "black"  # before the mean is taken off, where the data preprocessor pads behind it
    if isinstance(size := theirs.get(f"{PIPELINE}.RandomCrop.crop_size"), int):
        theirs[f"{PIPELINE}.RandomCrop.crop_size"] = [size, size]
    if theirs.get("train_cfg.max_iters") == theirs.get(f"{POLY}.end"):
        theirs.pop(f"{POLY}.end", None)
    ours["schedule.kind"] = "poly" if f"{POLY}.type" in theirs else "constant"
    if f"{WARMUP}.type" in theirs:
        ours["schedule.warmup_lr"] = theirs[f"{SGD}.lr"] * theirs.pop(f"{WARMUP}.start_factor", 1 / 3)
    if theirs.get("optim_wrapper.type") == "AmpOptimWrapper":
        scale = theirs.pop("optim_wrapper.loss_scale", "dynamic")
        ours |= {"train.amp": "all", "train.loss_scale.kind": "dynamic" if scale == "dynamic" else "static"}
        ours |= {} if scale == "dynamic" else {"train.loss_scale.value": scale}
    decays = [f"optim_wrapper.paramwise_cfg.{kind}_decay_mult" for kind in ("norm", "bias")]
    if [theirs.get(key) for key in decays] == [0, 0]:
        ours["optimizer.decay_norm_and_bias"] = bool(theirs.pop(decays[0]) or theirs.pop(decays[1]))
    branches = theirs.get("tta_pipeline.TestTimeAug.transforms", [])
    if ratios := [change["scale_factor"] for branch in branches for change in branch if "scale_factor" in change]:
        ours["eval.ratios"] = ratios
    for key, values in ANYWAY.items():
        if theirs.get(key) in values:
            del theirs[key]
    for key in [key for key in theirs if ".norm_cfg." in key and theirs[key] in ("SyncBN", "BN", True)]:
        del theirs[key]
    for key, (name, usual) in SAME.items():
        if (value := theirs.pop(key, usual)) is not None:
            ours[name] = max(0.0, value) if name.endswith("dropout") else value  # -1 is none
    for name in ("data.base_size", "data.test_size"):  # theirs is (width, height), or one number for both
        if isinstance(ours.get(name), list | tuple):
            ours[name] = list(ours[name][::-1])
    if ours["schedule.kind"] == "constant":
        del ours["schedule.power"], ours["schedule.min_lr"]  # a PolyLR that is not there has neither
    ours["model.context_channels"] = ours.get("model.head_channels", 512)
    if (batches := ours.get("train.accumulate_steps", 1)) > 1 and "train.total_step" in ours:
        ours["train.total_step"] //= batches  # an iteration there is a batch, a step here an update
    convert_splits(theirs, ours, splits, classes, notes)
    for key in ("model.pretrained", f"{BACKBONE}.init_cfg.checkpoint", "load_from"):
        if weights := theirs.pop(key, None):
            name, flag = ("checkpoint", "") if key == "load_from" else ("pretrained", " --backbone")
            command = f"scripts/convert_weights.py --source mmseg{flag} --input {str(weights).rpartition('/')[2]}"
            notes.append(f"weights: {command}, then set model.{name}")
    if ours.get("model.freeze_norm"):
        notes.append("model.freeze_norm: of the heads, too; mmsegmentation's norm_eval is of the backbone alone")
    return ours


def convert_losses(theirs: Leaves, ours: Leaves, notes: list[str]) -> None:
    """The losses of both heads; a note for each formula that is another one here."""
    main, auxiliary = f"{OCR}.loss_decode.", f"{AUX}.loss_decode."
    cross, kept = theirs.pop(f"{main}CrossEntropyLoss.type", None), theirs.pop(f"{OCR}.sampler.type", None)
    if not cross:
        notes.append("loss: the main loss has cross entropy here in any case, with weight 1")
    ours["loss.auxiliary_weight"] = 0.0
    if theirs.pop(f"{auxiliary}CrossEntropyLoss.type", None):
        ours["loss.auxiliary_weight"] = theirs.pop(f"{auxiliary}CrossEntropyLoss.loss_weight", 1.0)
    weights, valid = (
        [theirs.pop(f"{head}CrossEntropyLoss.{key}", usual) for head in (main, auxiliary)]
        for key, usual in (("class_weight", []), ("avg_non_ignore", False))
    )
    ours["loss.class_weights"] = weights[0]
    # with class weights mmsegmentation divides by their sum over the labels, whatever avg_non_ignore says
    ours["loss.average"] = "valid" if weights[0] or valid[0] else "all"
    if weights[0] != weights[1]:
        notes.append(f"loss.class_weights: of both heads here; the auxiliary head's are {weights[1]} in mmsegmentation")
    elif not weights[0] and valid[0] != valid[1]:
        notes.append(f"loss.average: of both heads here; the auxiliary head's avg_non_ignore is {valid[1]}")
    if kept == "OHEMPixelSampler":  # min_kept is of an image; without thresh the min_kept largest losses are kept
        keep = theirs.pop(f"{OCR}.sampler.min_kept", 100_000)
        ours["loss.ohem.threshold"] = theirs.pop(f"{OCR}.sampler.thresh", 0.0)
        ours["loss.ohem.keep"] = keep * theirs["train_dataloader.batch_size"]
        notes.append("loss.ohem: the mean is over the hard pixels here, over all of them in mmsegmentation")
    elif kept:
        theirs[f"{OCR}.sampler.type"] = kept
    for loss, name in (("DiceLoss", "loss.dice"), ("LovaszLoss", "loss.lovasz")):
        if theirs.pop(f"{main}{loss}.type", None):
            ours[name] = theirs.pop(f"{main}{loss}.loss_weight", 1.0)
    if "loss.dice" in ours:
        sigmoid = theirs.pop(f"{main}DiceLoss.use_sigmoid", True)
        squares = not theirs.pop(f"{main}DiceLoss.naive_dice", False)
        eps = theirs.pop(f"{main}DiceLoss.eps", 1e-3)
        notes.append(
            "loss.dice: another formula. mmsegmentation's: of each image, over all pixels and classes at once and over "
            f"the ignored pixels' probabilities, p by {'sigmoid' if sigmoid else 'softmax'}, "
            f"{'p and y squared in the denominator, ' if squares else ''}eps {eps}. Here: mean over the classes that "
            "occur in the batch, labelled pixels only, p by softmax, no squares, 1 in the place of eps"
        )


def convert_resizes(theirs: Leaves, ours: Leaves, notes: list[str]) -> None:
    """keep_ratio of training and evaluation, which are one here, and align_corners."""
    given = [key for key in (f"{PIPELINE}.RandomResize", f"{VAL}.pipeline.Resize") if f"{key}.type" in theirs]
    keeps = {key: theirs.pop(f"{key}.keep_ratio", False) for key in given}
    if keeps:
        ours["data.keep_ratio"] = keeps[given[0]]
    if len(set(keeps.values())) > 1:
        notes.append(f"data.keep_ratio: of training and evaluation here; evaluation's is {keeps[given[1]]}")
    corners = theirs.get(f"{OCR}.align_corners", False), theirs.pop(f"{AUX}.align_corners", False)
    if corners[0] != corners[1]:
        notes.append(f"model.align_corners: of both heads here; the auxiliary head's is {corners[1]}")
    if corners[0] and ours["model.backbone"].startswith("hrnet"):
        notes.append("model.align_corners: of HRNet's fuse step, too, which mmsegmentation resizes without it")


def backbone(theirs: Leaves) -> str:
    """Our name of the backbone. Raises UserError when it has another width or depth."""
    kind, depth = theirs.pop(f"{BACKBONE}.type"), theirs.pop(f"{BACKBONE}.depth", 50)
    found = f"resnet{depth}{'_v1c' if kind == 'ResNetV1c' else ''}_d8" if depth in (50, 101) else None
    if kind == "HRNet":
        keys = ("num_modules", "num_branches", "block", "num_blocks", "num_channels")
        stages = {
            f"stage{stage}": {key: theirs.pop(f"{BACKBONE}.extra.stage{stage}.{key}") for key in keys}
            for stage in range(1, 5)
        }
        found = next((name for name in DEPTHS if stage_tables(name) == stages), None)
    if not found or kind not in ("HRNet", "ResNet", "ResNetV1c"):
        raise UserError(f"backbone {kind}: not one of those that model.backbone has, by its kind, width or depth")
    return found


def join_datasets(theirs: Leaves) -> list[str]:
    """Names of the training splits; of datasets that are joined, the first one's leaves stay, in the place of one."""
    names = [split_name(theirs, TRAIN)]
    if theirs.get(f"{TRAIN}.type") == "ConcatDataset":
        count = 1 + max(int(key.split(".")[3]) for key in theirs if key.startswith(f"{TRAIN}.datasets."))
        names = [split_name(theirs, f"{TRAIN}.datasets.{place}") for place in range(count)]
        for key in [key for key in theirs if key.startswith(f"{TRAIN}.datasets.")]:
            value, (place, rest) = theirs.pop(key), key.removeprefix(f"{TRAIN}.datasets.").split(".", 1)
            if place == "0":
                theirs[f"{TRAIN}.{rest}"] = value
    return names


def split_name(theirs: Leaves, start: str) -> str:
    """Name of a split: of its list, or of its images' folder."""
    folder, file = theirs.pop(f"{start}.data_prefix.img_path", ""), theirs.pop(f"{start}.ann_file", None)
    return Path(file).stem if file else Path(folder).name


def convert_splits(theirs: Leaves, ours: Leaves, splits: list[str], classes: int, notes: list[str]) -> None:
    """Where the images are, and what depends on whose they are."""
    kind, zero = theirs.pop(f"{VAL}.type"), theirs.pop(f"{PIPELINE}.LoadAnnotations.reduce_zero_label", False)
    ours["data.train"] = "trainaug" if splits == ["train", "aug"] else splits[0]
    ours["data.val"] = split_name(theirs, VAL)
    ours["data.root"] = ours.get("data.root", "data").rstrip("/")
    if ours["data.format"] == "cityscapes" and ours.get("data.test_size") == [1024, 2048]:
        del ours["data.test_size"]  # the images' own size
    if ours["data.format"] == "list":
        usual = [f"class {number}" for number in range(classes)]
        ours["data.classes"] = theirs.pop(f"{TRAIN}.metainfo.classes", usual)
        ours["data.palette"] = theirs.pop(f"{TRAIN}.metainfo.palette", [])
        ours |= {"data.train": "train.lst", "data.val": "val.lst"}
        if zero:
            ours["data.label_map"] = {0: 255, **{number + 1: number for number in range(classes)}}
        for key in [key for key in theirs if key.startswith(f"{VAL}.metainfo.")]:
            del theirs[key]
        notes.append(f"data: {kind} is read from lists, which scripts/make_lists.py writes; look at data.classes")


if __name__ == "__main__":
    sys.exit(program.run(main))
