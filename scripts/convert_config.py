"""Turn an mmsegmentation OCRNet config (version 1, .py) into a recipe. The config is read, never run.

    python scripts/convert_config.py --input ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py --output config/ocrnet/mine.yml

reads the config and those that its _base_ names: assignments of numbers, strings, lists, dict(...), sum([...]), lists
made with one `for`, and names set before. It prints what a recipe cannot express, each with its value, and what needs
a hand, such as weights to convert. Exit status 2 when the file cannot be read or describes no OCRNet of ours.
"""

import argparse
import ast
import operator
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import yaml

from ocrnet import errors
from ocrnet.errors import UserError
from ocrnet.models.hrnet import DEPTHS, stage_tables
from ocrnet.recipes import load_config

READ = (
    "model", "train_dataloader", "val_dataloader", "optim_wrapper", "param_scheduler", "train_cfg", "default_hooks",
    "custom_hooks", "val_evaluator", "tta_pipeline", "load_from", "resume", "randomness", "custom_imports",
)  # fmt: skip
"""What a config tells its program; its other names are variables, logging and hardware."""

DATASETS = {
    "CityscapesDataset": "cityscapes",
    "ADE20KDataset": "ade20k",
    "PascalVOCDataset": "voc2012",
    "PascalContextDataset": "pascal_context_60",
    "PascalContextDataset59": "pascal_context_59",
    "COCOStuffDataset": "coco_stuff_164k",
    "LIPDataset": "lip",
}
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_ANYWAY = re.compile(  # settings of mmsegmentation's own machinery, and what this program always does
    r".*\.(num_workers|persistent_workers|sampler\..*|pipeline\.(LoadImageFromFile|PackSegInputs)\..*)"
    r"|default_hooks\.(timer|logger|param_scheduler|sampler_seed|visualization|checkpoint)\.(type|by_epoch|log_metric_by_epoch)"
    r"|.*\.data_prefix\.seg_map_path|.*\.(img|seg_map)_suffix|.*\.in_(channels|index)|.*\.input_transform"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, type=Path, metavar="FILE.py")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.yml")
    args = parser.parse_args()
    notes: list[str] = []
    names = read_config(args.input, notes)
    source = Source({key: names[key] for key in READ if key in names}, notes)
    try:
        recipe = convert(source)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{args.input}: not an OCRNet config as mmsegmentation writes them: {error!r}") from None
    command = f"#   python train.py --config {args.output}"
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    notes += [f"cannot be expressed: {path} = {value!r}" for path, value in source.left()]
    comments = "".join(f"# {' '.join(note.split())}\n" for note in notes)
    errors.write_text(
        args.output, f"# Made by scripts/convert_config.py of {args.input.name}.\n{command}\n{comments}{text}"
    )
    load_config(args.output)
    print("\n".join([*notes, f"{args.output}: {len(notes)} remarks" if notes else str(args.output)]))


def read_config(path: Path, notes: list[str], chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The names that a config sets, over those of its bases. What cannot be read is added to `notes`."""
    if path.resolve() in chain:
        raise UserError(f"{path}: _base_ leads back to this file")
    try:
        statements = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: cannot read this config: {error}") from None
    base: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=value):
                try:
                    own[name] = evaluate(value, {**own, "_base_": base})
                except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
                    notes.append(f"not read: {path.name}:{statement.lineno}: {ast.unparse(statement)[:100]}")
                    continue
                if name == "_base_":
                    for other in [own[name]] if isinstance(own[name], str) else own[name]:
                        base = merge(base, read_config(path.parent / other, notes, (*chain, path.resolve())))
            case ast.Expr(ast.Constant()):
                pass
            case _:
                notes.append(f"not read: {path.name}:{statement.lineno}: {ast.unparse(statement)[:100]}")
    own.pop("_base_", None)
    return merge(base, own)


def evaluate(node: ast.AST, names: dict[str, Any]) -> Any:
    """The value of an expression without running it. Raises ValueError for all but the few kinds that configs need."""
    match node:
        case ast.Constant(value):
            placeholder = re.fullmatch(r"\{\{_base_\.(\w+)\}\}", value) if isinstance(value, str) else None
            return names["_base_"][placeholder[1]] if placeholder else value
        case ast.Name(name):
            return names[name]
        case ast.Attribute(ast.Name("_base_"), name) | ast.Set([ast.Set([ast.Attribute(ast.Name("_base_"), name)])]):
            return names["_base_"][name]
        case ast.List(parts) | ast.Tuple(parts):
            return [evaluate(part, names) for part in parts]
        case ast.Dict(keys, values) if None not in keys:
            return {evaluate(key, names): evaluate(value, names) for key, value in zip(keys, values, strict=True)}
        case ast.Call(ast.Name("dict"), [], keywords) if all(keyword.arg for keyword in keywords):
            return {keyword.arg: evaluate(keyword.value, names) for keyword in keywords}
        case ast.Call(ast.Name("sum"), [numbers], []):
            return sum(evaluate(numbers, names))
        case ast.UnaryOp(ast.USub(), operand):
            return -evaluate(operand, names)
        case ast.BinOp(left, kind, right) if type(kind) in _OPERATORS:
            values = evaluate(left, names), evaluate(right, names)
            if all(isinstance(value, int | float) for value in values):  # 'x' * 10**9 would fill the memory
                return _OPERATORS[type(kind)](*values)
        case ast.ListComp(element, [ast.comprehension(ast.Name(name), members, [], 0)]):
            return [evaluate(element, {**names, name: member}) for member in evaluate(members, names)]
        case ast.Subscript(whole, place):
            return evaluate(whole, names)[evaluate(place, names)]
    raise ValueError(f"line {getattr(node, 'lineno', 0)}")


def merge(base: Any, own: Any) -> Any:
    """mmengine's inheritance: dicts key by key unless `_delete_`, everything else replaces."""
    if not isinstance(own, dict):
        return own
    if not isinstance(base, dict) or own.get("_delete_"):
        base = {}
    merged = {key: merge(base.get(key), value) for key, value in own.items() if key != "_delete_"}
    return {**base, **merged}


class Source:
    """A config's tree, from which everything that is understood is taken; what is left was not."""

    def __init__(self, tree: dict, notes: list[str]) -> None:
        self.notes = notes
        self.leaves: dict[str, Any] = {}
        self._flatten(tree, "")

    def _flatten(self, value: Any, path: str) -> None:
        if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            # transforms and losses go by their type, heads by their place
            kinds = [part.get("type") for part in value]
            by_type = path.endswith("pipeline") or path.endswith("loss_decode") or path == "param_scheduler"
            value = dict(
                zip(kinds if by_type and len(set(kinds)) == len(kinds) else range(len(value)), value, strict=True)
            )
        if isinstance(value, dict) and value:
            for key, part in value.items():
                self._flatten(part, f"{path}.{key}" if path else str(key))
        elif value not in ({}, None):
            self.leaves[path] = value

    def take(self, path: str, default: Any = None) -> Any:
        return self.leaves.pop(path, default)

    def expect(self, path: str, *values: Any) -> None:
        """Take a value that says what this program does anyway. Another one stays, and is reported."""
        if self.leaves.get(path) in values:
            del self.leaves[path]

    def has(self, path: str) -> bool:
        return any(f"{key}.".startswith(f"{path}.") for key in self.leaves)

    def drop(self, path: str) -> None:
        self.leaves = {key: value for key, value in self.leaves.items() if not f"{key}.".startswith(f"{path}.")}

    def left(self) -> list[tuple[str, Any]]:
        return [(path, value) for path, value in self.leaves.items() if not _ANYWAY.fullmatch(path)]


def convert(source: Source) -> dict:
    """The recipe, as a tree of YAML. Raises KeyError or the like where a config has another form than OCRNet's."""
    model, loss = convert_model(source)
    data = convert_data(source, model.pop("num_classes"))
    schedule, optimizer, train = convert_schedule(source)
    evaluation: dict[str, Any] = {"interval": source.take("train_cfg.val_interval", 4000)}
    if source.take("model.test_cfg.mode", "whole") == "slide":
        evaluation["window"] = source.take("model.test_cfg.crop_size")
        evaluation["stride"] = source.take("model.test_cfg.stride")
    branches = source.take("tta_pipeline.TestTimeAug.transforms", [])
    source.drop("tta_pipeline")
    if ratios := [change["scale_factor"] for branch in branches for change in branch if "scale_factor" in change]:
        evaluation["ratios"] = ratios
    source.expect("val_evaluator.type", "IoUMetric")
    source.expect("val_evaluator.iou_metrics", ["mIoU"])
    for key in ("val_dataloader.batch_size", "resume", "model.data_preprocessor.size"):
        source.take(key)
    keep = source.take("default_hooks.checkpoint.max_keep_ckpts")
    every = source.take("default_hooks.checkpoint.interval", 4000)
    train["log_interval"] = source.take("default_hooks.logger.interval", 50)
    for path in ("model.pretrained", "model.backbone.init_cfg.checkpoint", "load_from"):
        if weights := source.take(path):
            key, flag = ("checkpoint", "") if path == "load_from" else ("pretrained", " --backbone")
            source.notes.append(
                f"weights: {weights}: scripts/convert_weights.py --source mmseg{flag}, then set model.{key}"
            )
    source.take("model.backbone.init_cfg.type")
    recipe = {"data": data, "model": model, "loss": loss, "optimizer": optimizer, "schedule": schedule}
    recipe["train"] = {"batch_size": source.take("train_dataloader.batch_size", 2), **train}
    recipe |= {"eval": evaluation, "checkpoint": {"interval": every, **({"keep": keep} if keep and keep > 0 else {})}}
    return {"seed": seed, **recipe} if (seed := source.take("randomness.seed")) is not None else recipe


def convert_model(source: Source) -> tuple[dict, dict]:
    """The sections model and loss."""
    backbone, aux, ocr = "model.backbone", "model.decode_head.0", "model.decode_head.1"
    source.expect("model.type", "CascadeEncoderDecoder")
    source.expect("model.num_stages", 2)
    kinds = tuple(source.take(f"{part}.type") for part in (backbone, aux, ocr))
    if kinds[1:] != ("FCNHead", "OCRHead"):
        raise UserError(f"decode_head is {kinds[1:]}; OCRNet's are FCNHead and OCRHead")
    for path in [path for path in source.leaves if ".norm_cfg." in path]:
        source.expect(path, *("SyncBN", "BN") if path.endswith("type") else (True,))
    frozen_norm = source.take(f"{backbone}.norm_eval", False)
    source.expect(f"{backbone}.frozen_stages", -1)
    if kinds[0] == "HRNet":
        stages = {}
        for stage in range(1, 5):
            keys = ("num_modules", "num_branches", "block", "num_blocks", "num_channels")
            stages[f"stage{stage}"] = {key: source.take(f"{backbone}.extra.stage{stage}.{key}") for key in keys}
        name = next((name for name in DEPTHS if stage_tables(name) == stages), None)
    else:
        depth, stem = source.take(f"{backbone}.depth"), {"ResNetV1c": "_v1c", "ResNet": ""}.get(kinds[0])
        name = f"resnet{depth}{stem}_d8" if depth in (50, 101) and stem is not None else None
        for key, value in {
            "num_stages": 4, "out_indices": [0, 1, 2, 3], "dilations": [1, 1, 2, 4], "strides": [1, 2, 1, 1],
            "style": "pytorch", "contract_dilation": True,
        }.items():  # fmt: skip
            source.expect(f"{backbone}.{key}", value)
    if not name:
        raise UserError(f"backbone {kinds[0]}: another width or depth than those that model.backbone has")
    corners = {source.take(f"{head}.align_corners", False) for head in (aux, ocr)}
    channels, reads = source.take(f"{aux}.channels"), source.leaves.get(f"{aux}.in_channels")
    model = {
        "backbone": name,
        "align_corners": corners == {True},
        "head_channels": (width := source.take(f"{ocr}.channels", 512)),
        "key_channels": source.take(f"{ocr}.ocr_channels", 256),
        "context_channels": width,
        "context_kernel": 1,
        "aux_channels": None if isinstance(reads, list) and sum(reads) == channels else channels,
        "aux_kernel": source.take(f"{aux}.kernel_size", 3),
        "dropout": max(0.0, source.take(f"{ocr}.dropout_ratio", 0.1)),
        "aux_dropout": max(0.0, source.take(f"{aux}.dropout_ratio", 0.1)),
        "num_classes": source.take(f"{ocr}.num_classes"),
        **({"freeze_norm": True} if frozen_norm else {}),
    }
    source.expect(f"{aux}.num_convs", 1)
    source.expect(f"{aux}.concat_input", False)
    source.expect(f"{ocr}.scale", 1)
    source.take(f"{aux}.num_classes")
    loss: dict[str, Any] = {"average": "all"}
    for head in (aux, ocr):
        start = f"{head}.loss_decode"
        several = source.has(f"{start}.CrossEntropyLoss")
        cross = f"{start}.CrossEntropyLoss" if several else start
        source.expect(f"{cross}.type", "CrossEntropyLoss")
        source.expect(f"{cross}.use_sigmoid", False)
        if head == aux:
            loss["auxiliary_weight"] = source.take(f"{cross}.loss_weight", 1.0)
        else:
            source.expect(f"{cross}.loss_weight", 1.0)
        if weights := source.take(f"{cross}.class_weight"):
            loss["class_weights"] = weights
        if source.take(f"{cross}.avg_non_ignore"):
            loss["average"] = "valid"
        for kind, key in (("DiceLoss", "dice"), ("LovaszLoss", "lovasz")) if head == ocr else ():
            if source.take(f"{start}.{kind}.type"):
                loss[key] = source.take(f"{start}.{kind}.loss_weight", 1.0)
                source.expect(f"{start}.{kind}.per_image", False)
    if source.take(f"{ocr}.sampler.type") == "OHEMPixelSampler":
        threshold, keep = source.take(f"{ocr}.sampler.thresh"), source.take(f"{ocr}.sampler.min_kept", 100000)
        loss["ohem"] = {"threshold": threshold or 0.0, "keep": keep}
        source.notes.append("loss.ohem: the mean is over the hard pixels here, over all of them in mmsegmentation")
    return model, loss


def convert_data(source: Source, classes: int) -> dict:
    """The section data; training lists that are joined are VOC's «trainaug»."""
    start = "train_dataloader.dataset"
    kind, splits = source.take(f"{start}.type"), []
    starts = [f"{start}.datasets.{place}" for place in range(9) if source.has(f"{start}.datasets.{place}")] or [start]
    for place in starts:
        kind = source.take(f"{place}.type", kind)
        splits.append(split_name(source, place))
        if place != starts[0]:
            source.drop(place)  # the pipeline once more
    form, val = DATASETS.get(kind, "list"), "val_dataloader.dataset"
    source.take(f"{val}.type")
    data = {"format": form, "root": source.take(f"{starts[0]}.data_root", "data").rstrip("/")}
    data |= {"train": "trainaug" if splits == ["train", "aug"] else splits[0], "val": split_name(source, val)}
    source.take(f"{val}.data_root")
    if form == "list":
        names = source.take(f"{starts[0]}.metainfo.classes", [f"class {number}" for number in range(classes)])
        data |= {"train": "train.lst", "val": "val.lst", "classes": list(names)}
        if palette := source.take(f"{starts[0]}.metainfo.palette"):
            data["palette"] = palette
        source.drop(f"{val}.metainfo")
        source.notes.append(f"data: {kind} is read from lists: scripts/make_lists.py writes them; look at data.classes")
    norm, before = "model.data_preprocessor", f"{starts[0]}.pipeline"
    source.take(f"{norm}.type")
    source.expect(f"{norm}.bgr_to_rgb", True)
    source.expect(f"{norm}.pad_val", 0)
    source.expect(f"{norm}.seg_pad_val", 255)
    data |= {key: source.take(f"{norm}.{key}") for key in ("mean", "std") if source.has(f"{norm}.{key}")}
    for pipeline in (before, f"{val}.pipeline"):
        zero = source.take(f"{pipeline}.LoadAnnotations.reduce_zero_label", False)
        if zero and form == "list":
            data["label_map"] = {0: 255, **{number + 1: number for number in range(classes)}}
        for transform in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs", "RandomFlip"):
            source.take(f"{pipeline}.{transform}.type")
    resized = source.take(f"{before}.RandomResize.type")
    data["resize_base"] = source.take(f"{before}.RandomResize.scale")
    data["scale_range"] = source.take(f"{before}.RandomResize.ratio_range") if resized else [1.0, 1.0]
    data["keep_ratio"] = source.take(f"{before}.RandomResize.keep_ratio", True)
    if source.take(f"{before}.RandomCrop.type"):
        data["crop_size"] = source.take(f"{before}.RandomCrop.crop_size")
        data["cat_max_ratio"] = source.take(f"{before}.RandomCrop.cat_max_ratio", 1.0)
    if source.take(f"{before}.Pad.type"):
        source.expect(f"{before}.Pad.size", data.get("crop_size"))
    data["flip"] = source.take(f"{before}.RandomFlip.prob", 0.0)
    data["photometric"] = None
    if source.take(f"{before}.PhotoMetricDistortion.type"):
        colours = {
            "brightness_delta": 32,
            "contrast_range": [0.5, 1.5],
            "saturation_range": [0.5, 1.5],
            "hue_delta": 18,
        }
        found = {name: source.take(f"{before}.PhotoMetricDistortion.{name}", usual) for name, usual in colours.items()}
        data["photometric"] = {name.partition("_")[0]: value for name, value in found.items()}
    if source.take(f"{val}.pipeline.Resize.type"):
        scale = source.take(f"{val}.pipeline.Resize.scale")
        data["test_scale"] = None if form == "cityscapes" and scale == [2048, 1024] else scale  # the pictures' own size
        source.expect(f"{val}.pipeline.Resize.keep_ratio", data["keep_ratio"])
    return data


def split_name(source: Source, start: str) -> str:
    """Name of a split: of its list, or of its pictures' folder."""
    folder, file = source.take(f"{start}.data_prefix.img_path", ""), source.take(f"{start}.ann_file")
    return Path(file).stem if file else Path(folder).name


def convert_schedule(source: Source) -> tuple[dict, dict, dict]:
    """The sections schedule, optimizer and train."""
    wrapper, sgd, poly = "optim_wrapper", "optim_wrapper.optimizer", "param_scheduler.PolyLR"
    source.expect(f"{sgd}.type", "SGD")
    source.expect(f"{sgd}.nesterov", False)
    source.expect("train_cfg.type", "IterBasedTrainLoop", "EpochBasedTrainLoop")
    lr, steps = source.take(f"{sgd}.lr"), source.take("train_cfg.max_iters")
    train: dict[str, Any] = {"total_step": steps} if steps else {"epochs": source.take("train_cfg.max_epochs")}
    optimizer = {
        "momentum": source.take(f"{sgd}.momentum", 0.0),
        "weight_decay": source.take(f"{sgd}.weight_decay", 0.0),
    }
    for key in ("head", "backbone"):
        if factor := source.take(f"{wrapper}.paramwise_cfg.custom_keys.{key}.lr_mult"):
            optimizer[f"{key}_lr_factor"] = factor
    decays = [source.leaves.get(f"{wrapper}.paramwise_cfg.{key}_decay_mult") for key in ("norm", "bias")]
    if decays == [0.0, 0.0]:
        optimizer["decay_norm_and_bias"] = False
        source.drop(f"{wrapper}.paramwise_cfg.norm_decay_mult")
        source.drop(f"{wrapper}.paramwise_cfg.bias_decay_mult")
    schedule: dict[str, Any] = {"kind": "constant", "lr": lr}
    if source.take(f"{poly}.type"):
        schedule |= {
            "kind": "poly",
            "power": source.take(f"{poly}.power", 1.0),
            "min_lr": source.take(f"{poly}.eta_min", 0.0),
        }
        source.expect(f"{poly}.begin", 0)
        source.expect(f"{poly}.end", steps)
        source.expect(f"{poly}.by_epoch", False)
    if source.leaves.get("param_scheduler.LinearLR.begin", 0) == 0 and source.take("param_scheduler.LinearLR.type"):
        start = source.take("param_scheduler.LinearLR.start_factor", 1 / 3)
        schedule |= {"warmup_steps": source.take("param_scheduler.LinearLR.end"), "warmup_lr": lr * start}
        source.expect("param_scheduler.LinearLR.begin", 0)
        source.expect("param_scheduler.LinearLR.by_epoch", False)
    if source.take(f"{wrapper}.type") == "AmpOptimWrapper":
        scale = source.take(f"{wrapper}.loss_scale", "dynamic")
        dynamic = scale == "dynamic"
        train |= {"mix": True, "loss_scale": {"kind": "dynamic"} if dynamic else {"kind": "static", "value": scale}}
    if norm := source.take(f"{wrapper}.clip_grad.max_norm"):
        train["clip_grad"] = norm
        source.expect(f"{wrapper}.clip_grad.norm_type", 2)
    if batches := source.take(f"{wrapper}.accumulative_counts"):
        train["accumulate_steps"] = batches
        if steps:  # an iteration there is a batch, a step here is an update
            train["total_step"] = steps // batches
    return schedule, optimizer, train


if __name__ == "__main__":
    sys.exit(errors.run(main))
