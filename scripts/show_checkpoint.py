"""Show what a checkpoint holds: network, classes, step, score, data set, versions, checksum.

python scripts/show_checkpoint.py runs/ocrnet_demo/checkpoint/best.ckpt
python scripts/show_checkpoint.py best.ckpt --config True > config.yml    # its whole configuration
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import ocrnet  # noqa: F401  sets the environment
from ocrnet.config import command_line, load_config
from ocrnet.runtime import program
from ocrnet.training.checkpoint import Contents, describe_checkpoint


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, metavar="FILE.ckpt")
    parser.add_argument(
        "--config", type=command_line.parse_bool, default=False, help="True: print its configuration as YAML"
    )
    return parser


def main() -> None:
    args = make_parser().parse_args()
    contents = describe_checkpoint(args.checkpoint)
    if args.config:
        print(load_config(contents.require_config()).to_yaml(), end="")
    else:
        for name, value in lines(args.checkpoint, contents):
            print(f"{name + ':':<16}{value}")


def lines(path: Path, contents: Contents) -> list[tuple[str, str]]:
    """Returns (name, value) of each line."""
    found = [("file", f"{path}, {path.stat().st_size / 1e6:.1f} MB")]
    if contents.config:
        config = load_config(contents.config)
        data, train = config.data, config.train
        length = f"{train.epochs} epochs" if train.epochs else f"{train.total_step} steps"
        found += [
            ("network", f"OCRNet {config.model.backbone}, {contents.parameters / 1e6:.2f} M parameters"),
            ("data set", f"{data.format} in {data.root}, crops of {data.crop_size[0]} x {data.crop_size[1]}"),
            ("training", f"{length}, {train.batch_size} images per device and batch, seed {config.seed}"),
        ]
        if train.ema:
            found.append(("EMA", f"decay {train.ema:g}; the network has the averaged weights"))
    else:
        found.append(("network", f"{contents.parameters / 1e6:.2f} M parameters, no configuration: another program's"))
    if contents.classes:
        found.append(("classes", f"{len(contents.classes)}: {', '.join(contents.classes)}"))
    if progress := contents.progress:
        found.append(("step", f"{progress.step}, epoch {progress.epoch}, {progress.samples} images seen"))
        if progress.best:
            found.append(("best score", progress.best))
    found.append(("training state", "yes, --resume_ckpt can use it" if contents.progress else "no, weights only"))
    found.append(("versions", contents.versions or "not stored"))
    found.append(("SHA-256", f"{contents.checksum} (of its content; verified)" if contents.checksum else "not stored"))
    return found


if __name__ == "__main__":
    sys.exit(program.run(main))
