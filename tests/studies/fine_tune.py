"""Compares fine-tuning the demo's 19-class network to 5 other classes with training from scratch.

    python tests/studies/fine_tune.py --checkpoint runs/ocrnet_demo/checkpoint/best.ckpt --output /tmp/fine_tune

creates 24 new images with five classes and trains the demo's network on them twice, from the checkpoint and from
scratch, with the same images, steps and learning rates. The scores are on 6 other images.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from ocrnet.formats.cityscapes import LABELS  # noqa: E402

GROUPS = {
    "ground": ("flat",),
    "built": ("construction", "object"),
    "nature": ("nature",),
    "sky": ("sky",),
    "road users": ("human", "vehicle"),
}
"""The five classes as groups of Cityscapes' categories."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="a checkpoint of ocrnet_demo.yml")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=10, help="steps between evaluations")
    args = parser.parse_args()
    data = args.output / "data"
    scenes = ["--train", "24", "--val", "6", "--seed", "77", "--output", str(data)]
    subprocess.run([sys.executable, ROOT / "scripts/make_demo_data.py", *scenes], check=True, stderr=subprocess.DEVNULL)
    for split in ("train", "val"):
        images = sorted((data / "leftImg8bit" / split).glob("*/*.png"))
        names = [str(image.relative_to(data)) for image in images]
        labels = [name.replace("leftImg8bit", "gtFine", 1).replace("leftImg8bit", "gtFine_labelIds") for name in names]
        lines = (f"{name} {label}\n" for name, label in zip(names, labels, strict=True))
        (data / f"{split}.lst").write_text("".join(lines))
    indices = {category: number for number, categories in enumerate(GROUPS.values()) for category in categories}
    config = {
        "__BASE__": str(ROOT / "config/ocrnet/ocrnet_demo.yml"),
        "data": {
            "format": "list",
            "root": str(data),
            "crop_size": [96, 192],
            "train": "train.lst",
            "val": "val.lst",
            "classes": list(GROUPS),
            "palette": [],
            "categories": [],
            "label_map": {label.id: indices.get(label.category, 255) for label in LABELS if label.id >= 0},
        },
        "loss": {"class_weights": []},  # the demo has weights for its own classes
        "schedule": {"lr": 0.05, "warmup_steps": 5},
        "train": {"total_step": args.steps},
        "eval": {"interval": args.every},
    }
    scores = {}
    for name, model in (("from scratch", {}), ("fine-tuned", {"checkpoint": str(args.checkpoint.resolve())})):
        folder = args.output / name.replace(" ", "_")
        path = args.output / f"{folder.name}.yml"
        path.write_text(yaml.safe_dump({**config, "model": model}, sort_keys=False))
        command = [sys.executable, ROOT / "train.py", "--config", path, "--save_dir", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        print(*(line for line in done.stdout.splitlines() if "tensors loaded" in line))
        scores[name] = {
            int(step): float(miou)
            for step, miou in re.findall(r"step (\d+): (?:loss [^,]+, )?mIoU ([\d.]+)", done.stdout)
        }
    for step, fresh in scores["from scratch"].items():
        tuned = scores["fine-tuned"][step]
        print(f"step {step}: mIoU {fresh:.2f} from scratch, {tuned:.2f} fine-tuned, {tuned - fresh:+.2f}")


if __name__ == "__main__":
    main()
