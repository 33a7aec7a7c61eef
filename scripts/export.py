"""Export a network as MindIR or ONNX, with BatchNorm folded into the convolutions.

    python scripts/export.py --config FILE.yml --ckpt_path FILE.ckpt --format onnx --output ocrnet.onnx

Input `images`: (N, 3, H, W) float32 RGB, normalised with the config's data.mean and data.std. Output: logits
(N, classes, H, W), or with --argmax True the class of each pixel (N, H, W), uint8 in ONNX, int32 in MindIR.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import mindspore as ms
from mindspore import Tensor, nn, ops

from ocrnet import errors
from ocrnet.config import command_line
from ocrnet.inference import onnx_graph
from ocrnet.inference.folding import fold_batch_norm
from ocrnet.inference.network import Classes, MainLogits, load_network
from ocrnet.models.ocrnet import OCRNet
from ocrnet.runtime import device, program


class AtImageSize(nn.Cell):
    """Computes logits or classes at the size of the images."""

    def __init__(self, cell: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, images: Tensor) -> Tensor:
        return self.cell(images, images.shape[2:])


def write(network: OCRNet, kind: str, shape: tuple[int | None, ...], argmax: bool, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "onnx":
        path.write_bytes(onnx_graph.onnx_model(network, shape, argmax).SerializeToString())
        return
    network.separate_maps = False  # the file may be for any device
    logits = MainLogits(network, network.align_corners)
    size = shape[0], 3, *shape[1:]
    images = Tensor(shape=size, dtype=ms.float32) if None in size else ops.zeros(size, ms.float32)
    ms.export(AtImageSize(Classes(logits) if argmax else logits), images, file_name=str(path), file_format="MINDIR")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Export a network as MindIR or ONNX.")
    command_line.add_checkpoint_flag(parser)
    parser.add_argument("--format", choices=["mindir", "onnx"], default="onnx")
    parser.add_argument("--output", required=True, metavar="FILE", type=Path)
    parser.add_argument("--batch", type=int, metavar="N", help="default: any")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: any")
    parser.add_argument("--argmax", type=command_line.parse_bool, default=False, help="True: classes instead of logits")
    return parser


def main() -> None:
    args, config = command_line.parse(make_parser())
    shape = (args.batch, *(args.size or (None, None)))
    if min(side or 1 for side in shape) < 1:
        raise errors.UserError("--batch, --size: at least 1")

    device.init(config.device_target, 0, config.seed, config.device.options)
    config = config.replace({"train.amp": "none"})  # the export is in float32
    network = fold_batch_norm(load_network(config, args.ckpt_path))
    try:
        write(network, args.format, shape, args.argmax, args.output)
    except OSError as error:
        raise errors.UserError(f"{args.output}: cannot write this file: {error.strerror}") from None
    size = args.output.stat().st_size / 1e6
    print(
        f"{args.output}: {size:.1f} MB, images ({', '.join(str(side or 'any') for side in (shape[0], 3, *shape[1:]))})"
    )


if __name__ == "__main__":
    sys.exit(program.run(main))
