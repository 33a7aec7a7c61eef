"""Make a checkpoint of this program from published weights.

    python scripts/convert_weights.py --source mmseg --input ocrnet_hr18.pth --config FILE.yml --output ocrnet.ckpt

reads .pth (PyTorch is not needed, and no code in the file is ever run), .safetensors and MindSpore's .ckpt. With
--backbone it converts ImageNet weights for model.pretrained: mmsegmentation's zoo (--source mmseg) or mindcv's
(--source mindcv), from a file or by name (--input hrnetv2_w18), which downloads it beside --output. It says what was
used and what was not and why, and writes nothing when a tensor of the network would stay empty.
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
    parser.add_argument("--source", required=True, choices=RULES, help="whose names the file has")
    parser.add_argument(
        "--input", required=True, metavar="FILE|NAME", help=f".pth, .safetensors, .ckpt or {', '.join(URLS)}"
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE.yml", help="the config whose network takes the weights"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.ckpt")
    parser.add_argument("--backbone", action="store_true", help="the backbone alone, for model.pretrained")
    parser.add_argument("--list", action="store_true", help="name every tensor that was used")
    args = parser.parse_args()
    if args.output.suffix != ".ckpt":
        raise UserError(f"--output {args.output}: MindSpore's checkpoints end in .ckpt")
    if args.source == "mindcv" and not args.backbone:
        raise UserError("--source mindcv: mindcv publishes backbones alone, add --backbone")

    by_name = args.input in URLS and not Path(args.input).exists()
    file = fetch(args.input, args.output.parent) if by_name else Path(args.input)
    config = load_config(args.config)
    network = OCRNet(config.model, len(config.data.classes))
    wanted = {
        name: tuple(parameter.shape)
        for name, parameter in network.parameters_dict().items()
        if name.startswith("backbone.") or not args.backbone
    }
    tensors, others = read_tensors(file)
    conversion = convert(args.source, tensors, wanted)
    describe(conversion, others, args.list)
    if conversion.problems:
        part = f"{'backbone' if args.backbone else 'network'} ({config.model.backbone}, "
        part += f"{len(config.data.classes)} classes); nothing was written"
        raise UserError(f"{file}: does not fill {args.config}'s {part}", conversion.problems)
    if args.backbone:
        backbone = {name.removeprefix("backbone."): value for name, value in conversion.weights.items()}
        save_weights(args.output, backbone)
    else:
        save_weights(args.output, conversion.weights, config)
    print(f"{args.output}: {len(conversion.weights)} tensors")
    if args.source == "ssseg" and not args.backbone and config.model.backbone.startswith("hrnet"):
        print("note: weights of sssegmentation before 1.7.0, the published ones, need --set model.stem_relu=false")


def describe(conversion: Conversion, others: list[str], every: bool) -> None:
    """Print what was used, what was not and why."""
    print(f"used: {len(conversion.used)} tensors")
    if every:
        for name, ours in conversion.used.items():
            print(f"  {name} -> {ours}")
    reasons = defaultdict(list)
    for name, reason in conversion.unused.items():
        reasons[reason].append(name)
    for reason, names in reasons.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        print(f"not used: {len(names)} tensors, {reason}: {shown}")
    if others:
        print(f"not used: no tensors: {', '.join(others)}")


if __name__ == "__main__":
    sys.exit(program.run(main))
