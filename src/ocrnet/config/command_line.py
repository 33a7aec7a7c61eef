"""Command-line flags of train.py and eval.py. A flag overrides the config only if it is given."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ocrnet.config import combinations
from ocrnet.config.flags import CLOUD_FLAGS, CONFIG_FLAGS, FLAGS, IGNORED_FLAGS, PROGRAM_FLAGS
from ocrnet.config.loading import Resolved, StoredConfig, parse_value, resolve
from ocrnet.config.schema import Config
from ocrnet.config.types import choices
from ocrnet.distributed.launcher import is_scheduler, ranks
from ocrnet.errors import UserError, did_you_mean

DATA_DIR = "/cache/data"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def parse_bool(text: str) -> bool:
    """Parses True or False, as mindspore-lab's flags write them."""
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")


def at_least(lowest: int) -> Callable[[str], int]:
    """Returns a type of an argument: a whole number from `lowest` on."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {lowest} on")
        return int(text)

    return parse


class _Override(argparse.Action):
    """Action of a flag that sets a key: appends (its name in FLAGS, the flag as written, its value) to `overrides`."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, text: Any, option: Any) -> None:
        earlier = [entry for entry in namespace.overrides if entry[1] != option]
        namespace.overrides = [*earlier, (self.dest, option, text)]


def config_parser(description: str, training: bool = False, uses: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Returns a parser with --config, --set, --print_config, the flags that set keys, and the flags of cloud platforms.

    The help shows only the flags that the program uses: training flags are shown if `training` is True or `uses` names
    them.
    """
    parser = _Parser(description=description, allow_abbrev=False)
    parser.set_defaults(overrides=[], uses=tuple(uses))
    parser.add_argument("--config", metavar="FILE.yml", help="config file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key: --set data.flip=0")
    parser.add_argument(
        "--print_config", type=parse_bool, default=False, help="True: print the resolved config and exit"
    )
    for title, flags in CONFIG_FLAGS.items():
        shown = {name: flag for name, flag in flags.items() if training or not flag.training_only or name in uses}
        group = parser.add_argument_group(title) if shown else parser
        for name, flag in flags.items():
            group.add_argument(
                *(f"--{option}" for option in (name, *flag.aliases)),
                dest=name,
                action=_Override,
                default=argparse.SUPPRESS,
                metavar=_metavar(flag.key),
                help=f"{flag.help} (sets {flag.key}{_default(flag.key)})" if name in shown else argparse.SUPPRESS,
            )
    for flag in IGNORED_FLAGS:
        parser.add_argument(f"--{flag}", metavar="VALUE", help=argparse.SUPPRESS)
    cloud = parser.add_argument_group("ModelArts and OpenI")
    cloud.add_argument("--enable_modelarts", type=parse_bool, help="True: use the flags below")
    for flag, text in CLOUD_FLAGS.items():
        cloud.add_argument(f"--{flag}", metavar="URL", help=text)
    cloud.add_argument("--data_dir", metavar="DIR", help=f"destination of data from a bucket, {DATA_DIR} by default")
    return parser


def _metavar(key: str) -> str:
    """Returns the choices of a key as {A,B}, or VALUE."""
    field = Config.field(key)
    options = choices(field.annotation) if field else ()
    return "{" + ",".join(map(str, options)) + "}" if options else "VALUE"


def _default(key: str) -> str:
    field = Config.field(key)
    default = field.get_default(call_default_factory=True) if field else None
    return "" if default is None or key == "save_dir" else f", default {default}"


class TrainedNetwork(Protocol):
    """What `parse` needs of a network that --model names; see `inference.sources.ModelSource`."""

    config: Path | StoredConfig
    checkpoint: Path
    settings: dict[str, Any]


def add_checkpoint_flag(parser: argparse.ArgumentParser) -> None:
    """Adds --model and --ckpt_path, for programs that use a trained network."""
    parser.add_argument(
        "--model",
        metavar="NAME|RUN|FILE.ckpt",
        help="instead of --config and --ckpt_path: a published network (`ocrnet models`), the folder of a run, or a "
        "checkpoint",
    )
    parser.add_argument(
        "--ckpt_path", "--checkpoint_path", metavar="FILE.ckpt", help="default: best.ckpt of the config's save_dir"
    )


def parse(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
    training: bool = False,
    find_source: Callable[[str], TrainedNetwork] | None = None,
) -> tuple[argparse.Namespace, Config]:
    """Returns the flags and the resolved configuration. With --print_config True, prints the configuration and exits.

    Rank 0 prints a note on stderr for each key that has no effect.

    Args:
        training: whether the program trains; if so, the rules for training are checked too.
        find_source: finds the network of --model, for parsers with `add_checkpoint_flag`.

    Raises:
        UserError: an unknown flag or key, an invalid value, an unreadable config file, or, with `training`, a harmful
            combination of keys.
    """
    args, unknown = parser.parse_known_args(argv)
    config_source, overrides = args.config, _overrides(args)
    if find_source and args.model:
        if args.config or args.ckpt_path:
            raise UserError(f"--model {args.model}: it has a config and weights: remove --config and --ckpt_path")
        if unknown:  # before a network is fetched
            _reject_unknown(parser, unknown)
        found = find_source(args.model)
        config_source, args.ckpt_path = found.config, found.checkpoint
        settings = {key: (value, f"--model {args.model}") for key, value in found.settings.items()}
        if isinstance(found.config, StoredConfig):  # the device where it was trained may not be here
            settings["device_target"] = (None, f"--model {args.model}")
        overrides = settings | overrides
    elif not args.config:
        raise UserError(f"give --config{' or --model' if find_source else ''} (see {parser.prog} --help)")
    resolved = resolve(config_source, overrides)
    _set_program_flags(args, resolved)
    if args.enable_modelarts:
        if unknown and ranks().is_main:
            print(f"ignored flags of the platform: {' '.join(unknown)}")
    elif unknown:
        _reject_unknown(parser, unknown)
    config = resolved.config
    if args.print_config:
        print(config.to_yaml(), end="")
        sys.exit(0)
    _check_combinations(args, resolved, training)
    if "ckpt_path" in args:
        if args.ckpt_path and args.ckpt_url:
            flag = "--model" if args.model else "--ckpt_path"
            raise UserError(f"{flag}, --ckpt_url {args.ckpt_url}: both are weights. Keep one of them.")
        args.ckpt_path = Path(args.ckpt_path or config.save_dir / "checkpoint" / "best.ckpt")
    return args, config


def _reject_unknown(parser: argparse.ArgumentParser, unknown: list[str]) -> NoReturn:
    flags = [string for action in parser._actions for string in action.option_strings]
    raise UserError(f"unknown flag {unknown[0]}.{did_you_mean(unknown[0], flags)} (see {parser.prog} --help)")


def _overrides(args: argparse.Namespace) -> dict[str, tuple[Any, str]]:
    """Returns {key: (value, the flag that sets it)}; --set KEY=VALUE overrides the flag of the same key."""
    overrides: dict[str, tuple[Any, str]] = {}
    for name, option, text in args.overrides:
        key = FLAGS[name].key
        if key in overrides:
            raise UserError(f"{overrides[key][1]} and {option} both set {key}. Keep one of them.")
        overrides[key] = _value(text, key, option)
    for entry in args.set:
        key, equals, text = entry.partition("=")
        if not equals:
            raise UserError(f"--set {entry}: write it as key=value, e.g. --set data.flip=0")
        overrides[key] = _value(text, key, f"--set {key}")
    return overrides


def _check_combinations(args: argparse.Namespace, resolved: Resolved, training: bool) -> None:
    config, given = resolved.config, resolved.given
    resumes = training and args.resume_ckpt not in (None, "auto")  # auto may find nothing
    platform = args.ckpt_url if args.enable_modelarts else ""
    from_scratch = not (config.model.pretrained or config.model.checkpoint or platform or resumes)
    lines = [
        f"{flag} ({f'--{flag}' if from_flag else resolved.flags[flag][1]}): no effect: {reason}"
        for flag, reason in IGNORED_FLAGS.items()
        if (from_flag := getattr(args, flag) is not None) or flag in resolved.flags
    ]
    lines += resolved.notices
    if not training:
        lines += [
            f"{option}: no effect: it is for training"
            for name, option, _ in args.overrides
            if FLAGS[name].training_only and name not in args.uses
        ]
        if given.get("eval.images") == "--set eval.images":
            lines.append("--set eval.images: no effect: it is for evaluations during training")
    lines += combinations.notes(config, given, training, from_scratch)
    if ranks().is_main and not is_scheduler():
        for line in lines:
            print(f"note: {line}", file=sys.stderr)
    if training:
        combinations.reject_harmful(config, given, from_scratch)


def _value(text: str, key: str, flag: str) -> tuple[Any, str]:
    try:
        return parse_value(text, key), flag
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None


def _set_program_flags(args: argparse.Namespace, resolved: Resolved) -> None:
    """Sets the flags that are not config keys. The command line overrides the config files.

    Raises:
        UserError: a config file has a value of the wrong type for a flag.
    """
    defaults = {"enable_modelarts": False, "data_dir": DATA_DIR}
    for flag in PROGRAM_FLAGS:
        if getattr(args, flag) is not None:
            continue
        value, file = resolved.flags.get(flag, (None, ""))
        if flag == "multi_data_url" and isinstance(value, list):
            value = json.dumps(value)
        elif value is not None and not isinstance(value, bool if flag == "enable_modelarts" else str):
            expected = "True or False" if flag == "enable_modelarts" else "a URL or path in quotes"
            raise UserError(f"{file}: {flag}: write {expected}, got {value!r}")
        setattr(args, flag, defaults.get(flag, "") if value is None else value)
