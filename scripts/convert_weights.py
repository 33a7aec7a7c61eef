"""Convert published weights to a checkpoint of this program.

    python scripts/convert_weights.py --source mmseg --input ocrnet_hr18.pth --config FILE.yml --output ocrnet.ckpt

Reads .pth (without PyTorch, and without running code in the file), .safetensors and MindSpore's .ckpt. With --backbone,
converts ImageNet weights for model.pretrained, of mmsegmentation (--source mmseg) or mindcv (--source mindcv), from a
file or by name (--input hrnetv2_w18); a name is downloaded to the folder of --output. Prints which tensors were used,
and why others were not. Writes nothing if a tensor of the network is missing.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet.config.loading import load_config
from ocrnet.errors import UserError
from ocrnet.models.ocrnet import OCRNet
from ocrnet.runtime import program
from ocrnet.weights.ckpt import save_weights
from ocrnet.weights.download import URLS, fetch
from ocrnet.weights.foreign_files import read_tensors
from ocrnet.weights.published import RULES, Conversion, convert


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, choices=RULES, help="project that published the weights")
    parser.add_argument(
        "--input", required=True, metavar="FILE|NAME", help=f".pth, .safetensors, .ckpt or {', '.join(URLS)}"
    )
    parser.add_argument("--config", required=True, metavar="FILE.yml", help="config of the network to convert to")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.ckpt")
    parser.add_argument("--backbone", action="store_true", help="convert the backbone only, for model.pretrained")
    parser.add_argument("--list", action="store_true", help="print the name of every used tensor")
    args = parser.parse_args()
    if args.output.suffix != ".ckpt":
        raise UserError(f"--output {args.output}: the suffix must be .ckpt")
    if args.source == "mindcv" and not args.backbone:
        raise UserError("--source mindcv: mindcv publishes backbones only; add --backbone")

    by_name = args.input in URLS and not Path(args.input).exists()
    file = fetch(args.input, args.output.parent) if by_name else Path(args.input)
    config = load_config(args.config)
    network = OCRNet(config.model, len(config.data.classes))
    expected = {
        name: tuple(parameter.shape)
        for name, parameter in network.parameters_dict().items()
        if name.startswith("backbone.") or not args.backbone
    }
    tensors, others = read_tensors(file)
    conversion = convert(args.source, tensors, expected)
    describe(conversion, others, args.list)
    if conversion.problems:
        network_name = f"{'backbone' if args.backbone else 'network'} ({config.model.backbone}, "
        network_name += f"{len(config.data.classes)} classes)"
        raise UserError(
            f"{file}: does not match the {network_name} of {args.config}; nothing was written", conversion.problems
        )
    if args.backbone:
        backbone = {name.removeprefix("backbone."): value for name, value in conversion.weights.items()}
        save_weights(args.output, backbone)
    else:
        save_weights(args.output, conversion.weights, config)
    print(f"{args.output}: {len(conversion.weights)} tensors")
    if args.source == "ssseg" and not args.backbone and config.model.backbone.startswith("hrnet"):
        print("note: weights of sssegmentation before 1.7.0, such as the published ones, need model.stem_relu=false")


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
