"""Measures the losses and crops for thin objects on wires of 2 pixels width in less than 1 % of the pixels.

    python tests/studies/thin_lines.py --output /tmp/thin_lines

draws images with LabelMe polylines, creates label images, lists and a config with the scripts, and trains a tiny
network with cross entropy and with config/schedules/thin_objects.yml, three seeds each. About four minutes on two
cores. Prints the IoU of the line.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 320, 256


def draw_image(rng: np.random.Generator) -> tuple[np.ndarray, list[dict]]:
    """Draw sky, hills, poles and hanging wires. Returns the image and the wires as LabelMe shapes."""
    rows = np.linspace(0, 1, HEIGHT)[:, None, None]
    image = (rng.uniform(120, 230, 3) * (1 - 0.4 * rows) + np.zeros((HEIGHT, WIDTH, 3))).astype(np.float32)
    for _ in range(3):
        top = rng.uniform(0.5, 0.9) * HEIGHT + rng.uniform(5, 25) * np.sin(np.linspace(0, rng.uniform(2, 9), WIDTH))
        hill = np.concatenate([np.stack([np.arange(WIDTH), top], -1), [[WIDTH, HEIGHT], [0, HEIGHT]]])
        cv2.fillPoly(image, [hill.astype(np.int32)], rng.uniform(40, 150, 3).tolist())
    for x in rng.integers(0, WIDTH, 3).tolist():  # thin, but no wire
        cv2.line(image, (x, HEIGHT), (x + int(rng.integers(-9, 10)), int(rng.integers(60, 200))), (60, 50, 45), 3)
    shapes = []
    for _ in range(rng.integers(1, 3) if rng.random() < 0.75 else 0):
        x = np.linspace(0, WIDTH - 1, 17)
        ends, sag = rng.uniform(20, HEIGHT - 60, 2), rng.uniform(0, 40)
        y = np.interp(x, [0, WIDTH], ends) + sag * (1 - (2 * x / WIDTH - 1) ** 2)
        points = np.stack([x, y], -1)
        under = float(image.mean(2)[y.clip(0, HEIGHT - 1).astype(int), x.astype(int)].mean())
        colour = np.clip(under + rng.choice([-1, 1]) * rng.uniform(45, 90) + rng.uniform(-8, 8, 3), 0, 255)
        cv2.polylines(image, [np.round(points).astype(np.int32)], False, colour.tolist(), 2)
        shapes.append({"label": "line", "points": points.round(2).tolist(), "shape_type": "linestrip"})
    image = cv2.GaussianBlur(image, (0, 0), 0.7) + rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), shapes


def run(script: str, *arguments: object) -> None:
    """Run a script of the repository."""
    done = subprocess.run(
        [sys.executable, ROOT / script, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--set", action="append", default=[], help="--set flags of train.py for the runs with thin_objects.yml"
    )
    args = parser.parse_args()
    data = args.output / "data"
    for folder in ("images", "annotations"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    for number in range(80):
        image, shapes = draw_image(np.random.default_rng([7, number]))
        name = f"{number:03d}"
        cv2.imwrite(str(data / "images" / f"{name}.png"), image)
        about = {"shapes": shapes, "imagePath": f"{name}.png", "imageWidth": WIDTH, "imageHeight": HEIGHT}
        (data / "annotations" / f"{name}.json").write_text(json.dumps(about))
    (data / "classes.yml").write_text("background: {color: [0, 0, 0]}\nline: {color: [255, 80, 0], width: 2}\n")
    masks = ["--input", data / "annotations", "--output", data / "masks", "--classes", data / "classes.yml"]
    run("scripts/polygons_to_masks.py", *masks)
    pairs = ["--root", data, "--images", "images/*.png", "--labels", "masks/*.png", "--classes", data / "classes.yml"]
    run("scripts/make_lists.py", *pairs, "--split", "75,25", "--config", args.output / "made.yml")

    tiny = (
        f"__BASE__: [made.yml{{}}]\nmodel: {{{{backbone: hrnet_tiny, head_channels: 48, key_channels: 24, "
        f"context_channels: 48, aux_channels: 32}}}}\n"
        "data: {{crop_size: [64, 64], scale_range: [0.75, 1.5], photometric: null}}\n"
        f"schedule: {{{{lr: 0.05, warmup_steps: 20, warmup_lr: 1e-3}}}}\n"
        f"train: {{{{batch_size: 6, total_step: {args.steps}}}}}\neval: {{{{interval: {args.steps}}}}}\n"
        f"checkpoint: {{{{interval: {args.steps}}}}}\n"
    )
    thin = ROOT / "config/schedules/thin_objects.yml"
    (args.output / "plain.yml").write_text(tiny.format("") + "loss: {class_weights: []}\n")
    (args.output / "thin.yml").write_text(tiny.format(f", {thin}"))
    found: dict[str, list[float]] = {}
    for kind in ("plain", "thin"):
        for seed in range(args.seeds):
            folder = args.output / f"{kind}_{seed}"
            flags = [flag for entry in args.set if kind == "thin" for flag in ("--set", entry)]
            run(
                "train.py",
                "--config",
                args.output / f"{kind}.yml",
                "--save_dir",
                folder,
                "--seed",
                seed,
                *flags,
                "--run_eval",
                "False",
            )
            base = ["--config", args.output / f"{kind}.yml", "--ms_mode", "1", *flags]
            run(
                "eval.py",
                *base,
                "--ckpt_path",
                folder / "checkpoint/latest.ckpt",
                "--result_json",
                folder / "result.json",
            )
            found.setdefault(kind, []).append(100 * json.loads((folder / "result.json").read_text())["iou"]["line"])
    matrix = np.array(json.loads((args.output / "plain_0/result.json").read_text())["confusion_matrix"])
    print(f"line: {100 * matrix[1].sum() / matrix.sum():.2f} % of the validation pixels")
    for kind, values in found.items():
        print(f"{kind}: IoU of the line {[round(value, 2) for value in values]}, mean {np.mean(values):.2f}")


if __name__ == "__main__":
    main()
