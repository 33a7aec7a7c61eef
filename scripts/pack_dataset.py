"""Decode the training pairs of a config into one file, from which crops are read several times faster.

    python scripts/pack_dataset.py --config FILE.yml --output train.packed
    python train.py --config FILE.yml --set data.packed=train.packed

The training samples stay the same. The file has 4 bytes per pixel: 25 GB for Cityscapes. Pack again if images, labels
or `data.label_map` change.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet.config import command_line
from ocrnet.data.packed import pack
from ocrnet.data.splits import open_dataset
from ocrnet.runtime import program, progress


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Pack the training pairs of a config.")
    parser.add_argument("--output", required=True, metavar="FILE", type=Path)
    return parser


def main() -> None:
    args, config = command_line.parse(make_parser())
    dataset = open_dataset(config.data.replace({"packed": None, "on_bad_sample": "stop"}), "train")
    with progress.bar(iterable=range(len(dataset)), total=len(dataset), desc="pack", unit="pair") as numbers:
        pack(dataset, args.output, numbers)
    size = args.output.stat().st_size / 1e9
    print(f"{len(dataset)} pairs, {size:.2f} GB: {args.output}; use it with --set data.packed={args.output}")


if __name__ == "__main__":
    sys.exit(program.run(main))
