"""Compares what is said to help with few images: 48 street scenes of CamVid, at equal steps, three seeds each.

    python tests/studies/small_data.py --output /tmp/small_data
    python tests/studies/small_data.py --output /tmp/w18 --backbone hrnet_w18_small --set model.pretrained=published

trains a network once for each variant and seed and prints mean and standard deviation of the mIoU on 16 images of
another video, after the last step. Finished runs are in OUTPUT/results.json and are not repeated; an interrupted one
continues at its last checkpoint. The data, `train.lst`, `val.lst` and what they name, are expected in
../shared/data/camvid_mini, next to the repository: 480 x 360 pixels, 11 classes, 11 is ignored.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CLASSES = "sky building pole road pavement tree sign fence car pedestrian bicyclist".split()  # noqa: SIM905
VARIANTS = {
    "baseline": [],
    "ema": ["train.ema=0.99"],
    "adamw": ["optimizer.kind=adamw", "optimizer.weight_decay=0.01", "schedule.lr=0.001", "schedule.min_lr=1e-6"],
    "augmentation": [
        "data.augment.rotation={degrees: 10}",
        "data.augment.shift_scale={}",
        "data.augment.blur={probability: 0.2}",
        "data.augment.noise={probability: 0.2}",
        "data.augment.jpeg={probability: 0.2}",
    ],
    "balanced_crops": ["data.balanced_crop=0.5"],
}
"""{variant: what it sets}"""
TINY_HEADS = {"head_channels": 48, "key_channels": 24, "context_channels": 48, "aux_channels": 32}


def make_config(args: argparse.Namespace) -> dict:
    """Returns the configuration of the baseline."""
    return {
        "data": {
            "format": "list",
            "root": str(args.data.resolve()),
            "train": "train.lst",
            "val": "val.lst",
            "classes": CLASSES,
            "ignore_index": len(CLASSES),
            "crop_size": args.crop,
        },
        "model": {"backbone": args.backbone, **(TINY_HEADS if args.backbone == "hrnet_tiny" else {})},
        "schedule": {"lr": 0.05 if args.backbone == "hrnet_tiny" else 0.01, "warmup_steps": args.steps // 20},
        "train": {"batch_size": 4, "total_step": args.steps},
        "eval": {"interval": args.steps},
        "checkpoint": {"interval": max(1, args.steps // 4), "keep": 2},
    }


def train(config: Path, folder: Path, seed: int, settings: list[str]) -> float:
    """Trains once. Returns the mIoU after the last step, in percent."""
    flags = [word for setting in settings for word in ("--set", setting)]
    command = ["train.py", "--config", config, "--save_dir", folder, "--seed", seed, "--resume_ckpt", "auto", *flags]
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    scores = (
        re.findall(r"step \d+: .*?mIoU ([\d.]+)", (folder / "train.log").read_text()) if not done.returncode else []
    )
    if not scores:
        sys.exit(f"{folder}: {done.stderr or 'no mIoU in train.log'}")
    return float(scores[-1])


def print_table(scores: dict[str, dict[str, float]]) -> None:
    """Prints mean and standard deviation of each variant, and its difference to the baseline with the same seeds."""
    baseline = scores.get("baseline", {})
    print("| variant | runs | mIoU, % | difference |\n| --- | ---: | ---: | ---: |")
    for variant, found in scores.items():
        values = list(found.values())
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        pairs = [found[seed] - baseline[seed] for seed in found if seed in baseline and variant != "baseline"]
        difference = f"{statistics.mean(pairs):+.2f}" if pairs else ""
        print(f"| {variant} | {len(values)} | {statistics.mean(values):.2f}{spread} | {difference} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/camvid_mini")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--backbone", default="hrnet_tiny")
    parser.add_argument("--crop", type=int, nargs=2, default=[256, 320], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all variants")
    args = parser.parse_args()
    if not (args.data / "train.lst").is_file():
        sys.exit(f"{args.data / 'train.lst'}: not found. This study needs 64 frames of CamVid there; see --help.")
    about = {"config": make_config(args), "set": args.set}
    file = args.output / "results.json"
    result = json.loads(file.read_text()) if file.is_file() else {**about, "miou": {}}
    if {key: result[key] for key in about} != about:
        sys.exit(f"{file}: these runs had other settings. Choose another --output, or delete it.")
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "baseline.yml"
    path.write_text(yaml.safe_dump(about["config"], sort_keys=False))
    for seed in args.seeds:
        for variant in args.variants:
            scores = result["miou"].setdefault(variant, {})
            if str(seed) in scores:
                continue
            settings = [*args.set, *VARIANTS[variant]]
            scores[str(seed)] = train(path, args.output / f"{variant}_{seed}", seed, settings)
            print(f"{variant}, seed {seed}: mIoU {scores[str(seed)]:.2f}", flush=True)
            file.write_text(json.dumps(result, indent=1))
    print_table(result["miou"])


if __name__ == "__main__":
    main()
