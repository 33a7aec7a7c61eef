"""Export a network as ONNX, OpenVINO or MindIR, with BatchNorm folded into the convolutions.

    python scripts/export.py --config FILE.yml --format onnx --with_preprocessing True --verify True --output FILE.onnx

With `--with_preprocessing True` the input `image` is (1, H, W, 3) uint8 RGB, and the output `classes` is (1, H, W)
uint8: the file resizes, normalises and takes the largest class as eval.py does.

Otherwise the input `images` is (N, 3, H, W) float32 RGB, resized as data.test_size says and normalised with data.mean
and data.std. The output is `logits` (N, classes, H, W), or with --argmax True `classes` (N, H, W) uint8.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet import errors  # before MindSpore, whose environment it sets

# isort: split
import mindspore as ms

from ocrnet.config import Config, command_line
from ocrnet.data.datasets import palette
from ocrnet.data.splits import open_dataset
from ocrnet.evaluation.agreement import compare
from ocrnet.inference import exported, exported_files
from ocrnet.inference.engines import calibration_images
from ocrnet.inference.folding import fold_batch_norm
from ocrnet.inference.network import load_network
from ocrnet.inference.predictor import Predictor
from ocrnet.inference.preprocessing import preprocess
from ocrnet.inference.sources import find_source
from ocrnet.models.ocrnet import OCRNet
from ocrnet.runtime import device, program
from ocrnet.training.checkpoint import describe_checkpoint
from ocrnet.weights.ckpt import cause

MIN_AGREEMENT = {"fp32": 99.99, "fp16": 99.5, "int8": 95.0}
"""Default of --min_agreement, per cent."""


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Export a network as ONNX, OpenVINO or MindIR.")
    command_line.add_checkpoint_flag(parser)
    parser.add_argument("--format", choices=list(exported_files.PRECISIONS), default="onnx")
    parser.add_argument("--output", required=True, metavar="FILE", type=Path, help=".onnx, .xml (OpenVINO) or .mindir")
    parser.add_argument(
        "--with_preprocessing",
        type=command_line.parse_bool,
        default=False,
        help="True: from an image of 8 bits to its class map; resize, normalisation and argmax are in the file",
    )
    parser.add_argument(
        "--precision", choices=list(MIN_AGREEMENT), default="fp32", help="MindIR: fp32 only; int8: 64 training images"
    )
    parser.add_argument(
        "--batch", type=command_line.at_least(1), metavar="N", help="default: any; 1 with --with_preprocessing True"
    )
    parser.add_argument(
        "--size", type=command_line.at_least(1), nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: any"
    )
    parser.add_argument("--argmax", type=command_line.parse_bool, help="True: classes instead of logits")
    parser.add_argument(
        "--verify",
        type=_images,
        default=0,
        metavar="True|N",
        help="compare with eval.py on the validation split, or on N images of it; needs --with_preprocessing True",
    )
    parser.add_argument(
        "--min_agreement",
        type=float,
        metavar="PERCENT",
        help="pixels that --verify requires to be equal; default: "
        + ", ".join(f"{percent} for {precision}" for precision, percent in MIN_AGREEMENT.items()),
    )
    return parser


def _images(text: str) -> int | None:
    """Returns a number of images; None for all, 0 for False."""
    if text.isdecimal():
        return int(text)
    return None if command_line.parse_bool(text) else 0


def check(args: argparse.Namespace, config: Config) -> None:
    """Refuse flags that have no effect or cannot be had. Raises UserError."""
    supported = exported_files.PRECISIONS[args.format]
    suffix = exported_files.SUFFIXES[args.format]
    evaluation = config.eval
    problems = {
        f"--precision {args.precision}: --format {args.format} supports {', '.join(supported)}"
        + (": converter_lite makes a file for the device from it" if args.format == "mindir" else ""): (
            args.precision not in supported
        ),
        f"--output {args.output}: --format {args.format} needs a name that ends in {suffix}": (
            args.format != "onnx" and args.output.suffix != suffix
        ),
        "--verify: needs --with_preprocessing True, so that the file alone decides the classes": (
            args.verify != 0 and not args.with_preprocessing
        ),
        "--min_agreement: needs --verify": args.min_agreement is not None and args.verify == 0,
        "--with_preprocessing: the file takes one image and returns classes; leave out --batch and --argmax": (
            args.with_preprocessing and (args.batch not in (None, 1) or args.argmax is False)
        ),
        "--with_preprocessing: the file segments the whole image at once; set eval.window=null, eval.multi_scale=false "
        "and eval.flip=null": (
            args.with_preprocessing and bool(evaluation.window or evaluation.multi_scale or evaluation.mirrors)
        ),
    }
    for problem, occurs in problems.items():
        if occurs:
            raise errors.UserError(problem)


def metadata(config: Config, checkpoint: Path) -> dict[str, str]:
    """Returns what a file says about itself; values other than texts as JSON."""
    progress = describe_checkpoint(checkpoint).progress
    entries = {
        "classes": json.dumps(list(config.data.classes), ensure_ascii=False),
        "palette": json.dumps(palette(config.data).tolist()),
        "mean": json.dumps(list(config.data.mean)),
        "std": json.dumps(list(config.data.std)),
        "test_size": json.dumps(config.data.test_size),
        "config_sha256": hashlib.sha256(config.to_yaml().encode()).hexdigest(),
    }
    if progress and progress.miou is not None:
        entries["miou"] = json.dumps(progress.miou)
    return entries


def write(args: argparse.Namespace, config: Config, network: OCRNet) -> None:
    """Write the file. Raises UserError if a package is missing."""
    args.output.parent.mkdir(parents=True, exist_ok=True)
    texts = metadata(config, args.ckpt_path)
    size = tuple(args.size) if args.size else None
    if args.format == "mindir":
        sides = size or (None, None)
        if args.with_preprocessing:
            cell, shape, dtype = exported.ClassesOfImage(network, config.data, size), (1, *sides, 3), ms.uint8
        else:
            cell = (exported.Classes if args.argmax else exported.Logits)(network)
            shape, dtype = (args.batch, 3, *sides), ms.float32
        exported_files.write_mindir(cell, shape, dtype, args.output, texts)
        return
    if args.with_preprocessing:
        model = exported.image_model(network, config.data, size)
    else:
        make_model = exported.classes_model if args.argmax else exported.logits_model
        model = make_model(network, (args.batch, *(size or (None, None))))
    images = calibration_images(config)
    calibration = (image[None] if args.with_preprocessing else preprocess(image, config.data)[None] for image in images)
    writer = exported_files.write_onnx if args.format == "onnx" else exported_files.write_openvino
    writer(model, args.output, args.precision, calibration, texts)


def verify(args: argparse.Namespace, config: Config) -> None:
    """Print the agreement with eval.py. Raises UserError if it is too low."""
    dataset = open_dataset(config.data, "val")
    if args.verify:
        dataset = dataset.evenly_spaced(args.verify)
    predictor = Predictor(load_network(config, args.ckpt_path), config)
    run = exported_files.open_file(args.output, args.format)
    with device.execution_mode(config.ms_mode):
        agreement = compare(run, tuple(args.size) if args.size else None, predictor, dataset, config)
    print(f"{args.output}: {agreement}")
    lowest = MIN_AGREEMENT[args.precision] if args.min_agreement is None else args.min_agreement
    if 100 * agreement.equal < lowest:
        raise errors.UserError(
            f"{args.output}: {100 * agreement.equal:.3f} % of the pixels agree with eval.py, at least {lowest} % "
            "are required (--min_agreement)"
        )


def main() -> None:
    args, config = command_line.parse(make_parser(), find_source=find_source)
    check(args, config)
    device.init(config.device_target, 0, config.seed, config.device.options)
    config = config.replace({"train.amp": "none"})  # the export is in float32
    network = fold_batch_norm(load_network(config, args.ckpt_path))
    try:
        write(args, config, network)
    except OSError as error:
        raise errors.UserError(f"{args.output}: cannot write this file: {cause(error)}") from None
    weights = args.output.with_suffix(".bin") if args.format == "openvino" else None
    size = (args.output.stat().st_size + (weights.stat().st_size if weights else 0)) / 1e6
    print(f"{args.output}: {size:.1f} MB, {args.precision}" + ", from image to classes" * args.with_preprocessing)
    if args.verify != 0:
        verify(args, config)


if __name__ == "__main__":
    sys.exit(program.run(main))
