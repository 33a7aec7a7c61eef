"""Convert published weights to a checkpoint of this program.

    python scripts/convert_weights.py --source mmseg --input ocrnet_hr18.pth --config FILE.yml --output ocrnet.ckpt

Reads .pth and .pdparams (without PyTorch or PaddlePaddle, and without running code in the file), .safetensors and
MindSpore's .ckpt. With --backbone, converts ImageNet weights for model.pretrained, of mmsegmentation (--source mmseg)
or mindcv (--source mindcv), from a file or by name (--input hrnetv2_w18); a name is downloaded to the folder of
--output. Prints which tensors were used, and why others were not. Writes nothing if a tensor of the network is missing,
or if the file belongs to a larger network.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet.config.loading import load_config
from ocrnet.errors import UserError
from ocrnet.runtime import program
from ocrnet.weights.published import RULES, Conversion
from ocrnet.zoo.conversion import convert_file, reject_problems
from ocrnet.zoo.download import DownloadError, download
from ocrnet.zoo.published import PublishedFile, backbones


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, choices=RULES, help="project that published the weights")
    parser.add_argument(
        "--input",
        required=True,
        metavar="FILE|NAME",
        help=f".pth, .pdparams, .safetensors, .ckpt or {', '.join(backbones())}",
    )
    parser.add_argument("--config", required=True, metavar="FILE.yml", help="config of the network to convert to")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.ckpt")
    parser.add_argument("--backbone", action="store_true", help="convert the backbone only, for model.pretrained")
    parser.add_argument("--list", action="store_true", help="print the name of every used tensor")
    return parser


def main() -> None:
    args = make_parser().parse_args()
    if args.output.suffix != ".ckpt":
        raise UserError(f"--output {args.output}: the suffix must be .ckpt")
    if args.source == "mindcv" and not args.backbone:
        raise UserError("--source mindcv: mindcv publishes backbones only; add --backbone")

    config = load_config(args.config)
    by_name = args.input in backbones() and not Path(args.input).exists()
    file = download_to(args.output.parent, backbones()[args.input]) if by_name else Path(args.input)
    converted = convert_file(file, args.source, config, args.backbone)
    conversion = converted.conversion
    describe(conversion, converted.others, args.list)
    reject_problems(file, converted, args.config)
    converted.save(args.output)
    print(f"{args.output}: {len(conversion.weights)} tensors")
    if args.source == "ssseg" and not args.backbone and config.model.backbone.startswith("hrnet"):
        print("note: weights of sssegmentation before 1.7.0, such as the published ones, need model.stem_relu=false")


def download_to(folder: Path, published: PublishedFile) -> Path:
    """Returns a published file in `folder`; downloads it if it is not there."""
    file = folder / published.file_name
    if file.is_file():
        return file
    try:
        download(published.url, file, published.sha256)
    except DownloadError as error:
        fix = f"Download {published.url} by other means and give its path."
        raise UserError(f"{published.name}: cannot download it ({error}). {fix}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot write this file: {error.strerror}") from None
    return file


def describe(conversion: Conversion, others: list[str], list_all: bool) -> None:
    """Prints which tensors were used, and why others were not."""
    print(f"used: {len(conversion.used)} tensors")
    if list_all:
        for name, ours in conversion.used.items():
            print(f"  {name} -> {ours}")
    reasons = defaultdict(list)
    for name, reason in conversion.unused.items():
        reasons[reason].append(name)
    for reason, names in reasons.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        print(f"not used: {len(names)} tensors, {reason}: {shown}")
    if others:
        print(f"not used: entries that are not tensors: {', '.join(others)}")


if __name__ == "__main__":
    sys.exit(program.run(main))
