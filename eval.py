"""Evaluate a network: python eval.py --config config/ocrnet/....yml --ckpt_path FILE.ckpt, or --model NAME"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from ocrnet import errors
from ocrnet.cloud import modelarts
from ocrnet.config import Config, command_line
from ocrnet.data.splits import open_dataset
from ocrnet.distributed import collectives
from ocrnet.evaluation.evaluator import Evaluator
from ocrnet.evaluation.outputs import Outputs, ResultFile
from ocrnet.inference.engines import add_flags
from ocrnet.inference.model import Model
from ocrnet.inference.sources import find_source
from ocrnet.runtime import device, program


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Evaluate OCRNet on a split of its data set.")
    command_line.add_checkpoint_flag(parser)
    parser.add_argument("--split", choices=["train", "val", "test"], default="val", help="test needs no labels")
    parser.add_argument("--result_json", metavar="FILE", type=Path, help="write the scores and the confusion matrix")
    parser.add_argument(
        "--save_predictions",
        metavar="DIR",
        type=Path,
        help="write predictions as PNGs with the label values of the data set",
    )
    parser.add_argument("--report", metavar="DIR", type=Path, help="write index.html with scores and images")
    parser.add_argument(
        "--visualize", type=command_line.parse_bool, default=False, help="True: write image | label | prediction"
    )
    add_flags(parser)
    return parser


def parse() -> tuple[argparse.Namespace, Config]:
    args, config = command_line.parse(make_parser(), find_source=find_source)
    if args.split == "test" and (args.result_json or args.report):
        raise errors.UserError("--split test: has no labels, so no scores for --result_json or --report")
    return args, config


def main() -> None:
    args, config = parse()
    with modelarts.job(args, config) as (config, _):
        evaluate(args, config)
    collectives.barrier()  # no rank exits before the others are done


def evaluate(args: argparse.Namespace, config: Config) -> None:
    target = device.init(config.device_target, config.ms_mode, config.seed, config.device.options)
    dataset = open_dataset(config.data, args.split)
    model = Model(config, args.ckpt_path, args.engine, args.precision, compile_first=True)
    print(f"OCRNet {config.model.backbone} on {target}: {args.ckpt_path} on {len(dataset)} images")

    result_file = ResultFile(args.result_json, config, args.ckpt_path, args.split) if args.result_json else None
    outputs = Outputs(config, dataset, args.save_predictions, args.visualize, args.report)
    scores = Evaluator(model.predictor, dataset, config, skip_failures=True).evaluate(outputs.add)
    if table := scores.table(config):
        print(table)
    outputs.finish(scores, args.ckpt_path, result_file)
    if scores.failed:
        message = f"{len(scores.failed)} of {len(dataset)} pairs failed and are not in the results"
        raise errors.UserError(message, scores.failed)


if __name__ == "__main__":
    sys.exit(program.run(main))
