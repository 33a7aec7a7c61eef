"""Command-line flags of train.py and eval.py. A flag overrides the recipe only when it is given."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ocrnet.config import Config
from ocrnet.distributed.launcher import ranks
from ocrnet.errors import UserError, did_you_mean
from ocrnet.recipes import load_config, parse_value

RECIPE_FLAGS = {
    # flag: (key of the recipe, what help says)
    "device_target": ("device_target", "Ascend, GPU or CPU; left out: the one that is there"),
    "ms_mode": ("ms_mode", "0 graph, 1 PyNative"),
    "seed": ("seed", "of weights, order of pictures and augmentation"),
    "save_dir": ("save_dir", "everything a run writes"),
    "dataset_dir": ("data.root", "folder of the data set"),
    "num_parallel_workers": ("data.workers", "data threads"),
    "batch_size": ("train.batch_size", "pictures a step on each card"),
    "total_step": ("train.total_step", "steps of the whole run"),
    "mix": ("train.mix", "True: mixed precision at --amp_level"),
    "amp_level": ("train.amp_level", "O0, O2 or O3"),
    "ms_loss_scaler": ("train.loss_scale.kind", "static, dynamic or none"),
    "ms_loss_scaler_value": ("train.loss_scale.value", "static scale, or where the dynamic one starts"),
    "clip_grad": ("train.clip_grad", "largest global gradient norm; True is 1, False is none"),
    "log_interval": ("train.log_interval", "steps between log lines"),
    "lr_init": ("schedule.lr", "learning rate after warm-up"),
    "run_eval": ("eval.run_eval", "True: evaluate in training"),
    "multi_scale": ("eval.multi_scale", "True: mean over eval.ratios and the mirrored picture"),
}

CLOUD_FLAGS = {
    "data_url": "data set: obs:// or s3://, or a path that the platform has filled",
    "multi_data_url": "OpenI's JSON list of data sets",
    "ckpt_url": "train.py: weights of the backbone (model.pretrained); eval.py: the checkpoint",
    "train_url": "where everything a run writes goes",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def boolean(text: str) -> bool:
    """True or False, as the seeds write it."""
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")


def recipe_parser(description: str) -> argparse.ArgumentParser:
    """A parser with --config, --set, --print_config, flags for RECIPE_FLAGS, and those of ModelArts."""
    parser = _Parser(description=description, allow_abbrev=False)
    parser.add_argument("--config", required=True, metavar="FILE.yml", help="the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key: --set data.flip=0")
    parser.add_argument("--print_config", type=boolean, default=False, help="True: show the resolved recipe and stop")
    for flag, (key, text) in RECIPE_FLAGS.items():
        parser.add_argument(f"--{flag}", metavar="VALUE", help=f"{text} ({key})")
    cloud = parser.add_argument_group("on ModelArts and OpenI")
    cloud.add_argument("--enable_modelarts", type=boolean, default=False, help="True: the flags below count")
    for flag, text in CLOUD_FLAGS.items():
        cloud.add_argument(f"--{flag}", metavar="URL", default="", help=text)
    cloud.add_argument("--data_dir", metavar="DIR", default="/cache/data", help="where data from a bucket goes")
    return parser


def add_checkpoint_flag(parser: argparse.ArgumentParser) -> None:
    """--ckpt_path of the programs that use a trained network."""
    parser.add_argument(
        "--ckpt_path", "--checkpoint_path", metavar="FILE.ckpt", help="default: best.ckpt of the recipe's save_dir"
    )


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, Config]:
    """Flags and the recipe that they resolve to. With --print_config True the recipe is shown and the program ends.

    Raises:
        UserError: an unknown flag or key, a wrong value, an unreadable recipe.
    """
    args, unknown = parser.parse_known_args(argv)
    if args.enable_modelarts:
        if unknown and ranks().first:
            print(f"ignored, the platform's own: {' '.join(unknown)}")
    elif unknown:
        flags = [string for action in parser._actions for string in action.option_strings]
        raise UserError(f"unknown flag {unknown[0]}.{did_you_mean(unknown[0], flags)} (see {parser.prog} --help)")
    overrides: dict[str, tuple[Any, str]] = {
        key: (parse_value(value), f"--{flag}")
        for flag, (key, _) in RECIPE_FLAGS.items()
        if (value := getattr(args, flag)) is not None
    }
    for entry in args.set:
        key, equals, value = entry.partition("=")
        if not equals:
            raise UserError(f"--set {entry}: write it as key=value, e.g. --set data.flip=0")
        overrides[key] = (parse_value(value), f"--set {key}")
    config = load_config(args.config, overrides)
    if args.print_config:
        print(config.to_yaml(), end="")
        sys.exit(0)
    if "ckpt_path" in args:
        args.ckpt_path = Path(args.ckpt_path or config.save_dir / "checkpoint" / "best.ckpt")
    return args, config
