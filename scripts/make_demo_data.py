"""Draw street scenes in Cityscapes' layout, to try the whole pipeline without the real data set.

    python scripts/make_demo_data.py --output data/demo

writes 96 training and 24 validation scenes of 512 x 256 pixels:

    leftImg8bit/{train,val}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
    gtFine/{train,val}/<city>/<city>_<sequence>_<frame>_gtFine_{labelIds,instanceIds,color}.png
    gtFine/{train,val}/<city>/<city>_<sequence>_<frame>_gtFine_polygons.json

A scene is a road seen by a pinhole camera; everything (see demo_scene/) is placed in metres, x to the right,
z ahead and h up, projected and painted from far to near. The annotation of an object is the outline of what
was painted, so gaps in a fence or between spokes belong to the object, as in Cityscapes. Each scene holds the
common classes and, in turn, a truck, a bus or a tram, a bicycle or a motorcycle, and walls or fences. Scene n
of a split depends only on the seed, the split, the size and n; files of the same name are written over.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from demo_scene import street, traffic
from demo_scene.canvas import FAR, WEATHERS, Part, Scene, hue, paint, pick
from ocrnet import errors, progress
from ocrnet.data.cityscapes import LABELS
from ocrnet.errors import UserError

CITIES = {"train": ("aldenburg", "lindhafen", "rosental"), "val": ("brunnfeld", "westerau")}
SIDES = (("wall", "building"), ("building", "fence"), ("trees", "wall"), ("fence", "building"))


def new_scene(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Choose camera, road shape, light and weather; sizes in pixels."""
    white = rng.standard_normal((height, width), dtype=np.float32)
    coarse = [
        cv2.resize(rng.standard_normal(cells, dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for cells in ((128, 256), (22, 11))  # blotches and clouds are wider than tall
    ]
    kind = rng.choice(list(WEATHERS), p=(0.32, 0.2, 0.16, 0.1, 0.12, 0.1))
    return Scene(
        rng=rng,
        image=np.zeros((height, width, 3), np.uint8),
        objects=[],
        grain=np.stack([white, *coarse]),
        weather=WEATHERS[kind],
        sun=rng.choice((-1, 1)) * rng.uniform(0.3, 1.0) * (1.0 if kind in ("clear", "dusk") else 0.4),
        focal=width * rng.uniform(0.72, 0.84),
        centre=width * rng.uniform(0.4, 0.6),
        horizon=height * rng.uniform(0.38, 0.48),
        eye=(rng.uniform(-0.3, 1.8), rng.uniform(1.35, 1.7)),
        bend=rng.normal(0, 6e-4),
        hill=rng.uniform(0, 3e-4),
    )


def lay_street(scene: Scene, index: int, half: float, tram: bool) -> tuple[float, float]:
    """Paint sky, ground and both sides; return the widths of the two sidewalks in metres."""
    rng = scene.rng
    street.sky(scene)
    for x in np.arange(-70, 70, rng.uniform(10, 16)):
        if rng.random() < 0.6:
            street.building(scene, x, (FAR - 5, FAR + 5), (0, rng.uniform(8, 14)), rng.uniform(6, 20))
        else:
            street.tree(scene, x, FAR - 8, rng.uniform(7, 14))
    grass = hue(scene, (112, 140, 62), (134, 146, 76), (96, 128, 58), spread=8)
    paving = hue(scene, (176, 166, 158), (160, 158, 160), (184, 160, 142), spread=6)
    asphalt = hue(scene, (92, 92, 96), (106, 104, 104), (82, 84, 90), spread=4)
    street.ground(scene, "terrain", (-150, 150), (1, FAR), grass, (0.1, 0.1, 0.1))
    walks = rng.uniform(2.6, 4.4, 2)
    kinds = SIDES[index % 4] if rng.random() < 0.5 else SIDES[index % 4][::-1]
    for side, walk, kind in zip((-1, 1), walks, kinds, strict=True):
        edge, strip = half + walk, rng.uniform(0.0, 3.5) if kind == "building" else rng.uniform(0.8, 4.0)
        line_x, ahead, blocks = side * (edge + strip), rng.uniform(2, 5), []
        while ahead < 105:
            length = rng.uniform(9, 24)
            blocks.append((ahead, min(ahead + length, FAR)))
            ahead += length + (rng.uniform(2, 7) if rng.random() < 0.35 else 0.0)
        for block in reversed(blocks):
            back = line_x + side * (0 if kind == "building" else rng.uniform(5, 9))
            if kind == "building" or (kind != "trees" and rng.random() < 0.55):
                street.building(scene, back, block, (0, 10) if side > 0 else (-10, 0), rng.uniform(6, 19))
            else:
                for z in np.arange(block[1], max(block[0], 7), -rng.uniform(4, 6)):
                    street.tree(scene, back - side * 2, z, rng.uniform(5, 10))
        if kind in ("wall", "fence"):
            street.barrier(scene, kind, line_x, (rng.uniform(2, 4), rng.uniform(30, 70)))
        for z in np.sort(rng.uniform(8, 40, 5))[::-1]:
            if strip > 0.9:
                street.tree(scene, line_x - side * 0.5, z, rng.uniform(0.8, 1.5), bush=True)
    for side, walk in zip((-1, 1), walks, strict=True):
        inner, outer = sorted((side * half, side * (half + walk)))
        street.ground(scene, "sidewalk", (inner, outer), (1, FAR), paving, (0.05, 0.0, 0.05))
        for z in np.geomspace(3, 50, 16):
            street.ground(scene, None, (inner, outer), (z, z * 1.012), paving * 0.7)
        kerb = side * (half + 0.09)
        street.ground(scene, None, (kerb - 0.1, kerb + 0.1), (1, FAR), paving * 1.22)
    street.ground(scene, "road", (-half, half), (1, FAR), asphalt, (0.06, 0.02, 0.07))
    if rng.random() < 0.25:
        street.ground(scene, "parking", (half - 1.9, half), (12, 40), paving * 0.8)
    if tram:
        street.ground(scene, "rail track", (-half * 0.48 - 1.1, -half * 0.48 + 1.1), (1, FAR), asphalt * 1.25)
        for x in (-half * 0.48 - 0.75, -half * 0.48 + 0.75):
            street.ground(scene, None, (x - 0.07, x + 0.07), (1, FAR), (64, 60, 60))
    paint_white = np.array((232, 232, 226.0))
    dash, gap = pick(scene, (3.0, 5.0), (4.0, 4.0), (100.0, 1.0))
    for z in np.arange(rng.uniform(1, 4), 70, dash + gap):
        street.ground(scene, None, (-0.08, 0.08), (z, min(z + dash, FAR)), paint_white)
    if rng.random() < 0.6:
        for side in (-1, 1):
            street.ground(scene, None, (side * (half - 0.3) - 0.06, side * (half - 0.3) + 0.06), (1, FAR), paint_white)
    if rng.random() < 0.4:
        z = rng.uniform(6, 12)
        for x in np.arange(-half + 0.4, half - 0.4, 1.0):
            street.ground(scene, None, (x, x + 0.5), (z, z + 3), paint_white)
    if scene.weather.sight > 230:
        reach = half * rng.uniform(0.2, 1.0) * (1 if scene.sun > 0 else -1)
        edge = (half + 4) * (1 if scene.sun > 0 else -1)
        street.ground(scene, None, tuple(sorted((reach * 0.2, edge))), (1, FAR), (30, 32, 44), opacity=0.28)
    return walks[0], walks[1]


def fill_street(scene: Scene, index: int, half: float, walks: tuple[float, float], heavy: str) -> None:
    """Place everything that stands or moves on the street and paint it from far to near."""
    rng, lane, queue = scene.rng, half * 0.48, []

    def put(z: float, painter, *args, **options) -> None:
        queue.append((z, partial(painter, scene, *args, **options)))

    heavy_side = -1 if heavy == "train" else rng.choice((-1, 1))
    for side in (-1, 1):
        z = rng.uniform(9, 15) if side == heavy_side else rng.uniform(7, 12)
        for place in range(4):
            label = heavy if side == heavy_side and place == 0 else "car"
            put(z, traffic.vehicle, label, side * lane + rng.normal(0, 0.15), z, side < 0)
            z += rng.uniform(9, 22) + {"car": 0, "train": 14}.get(label, 6)
        for z in np.arange(rng.uniform(13, 20), 45, 7) if rng.random() < 0.3 else ():
            put(z, traffic.vehicle, "car", side * (half - 0.9), z, side < 0)
    main = ("bicycle", "motorcycle")[(index + index // 4) % 2]
    other = "bicycle" if main == "motorcycle" else "motorcycle"
    near = rng.choice((-1, 1))
    for label, side, chance in ((main, near, 1.0), (other, -near, 0.5)):
        z = rng.uniform(6.0, 8.5)
        if rng.random() < chance:
            x = side * rng.uniform(half - 2.2, half - 0.7)
            put(z, traffic.two_wheeler, label, x, z, rng.random() < 0.85)
    for side, walk in zip((-1, 1), walks, strict=True):
        kerb = side * (half + 0.4)
        for z in (rng.uniform(7.5, 12), *rng.uniform(10, 30, rng.integers(1, 4))):
            put(z, traffic.person, side * rng.uniform(half + 0.5, half + walk), z)
        for z in (rng.uniform(9, 15), rng.uniform(16, 30)):
            put(z, street.traffic_light, kerb, z)
        for z in (rng.uniform(9, 13), rng.uniform(14, 26)):
            put(z, street.traffic_sign, kerb + side * 0.9, z)
        for z in np.arange(rng.uniform(10, 18), 60, rng.uniform(14, 20)):
            put(z, street.post, kerb, z, rng.uniform(5.5, 8))
        for z in np.arange(rng.uniform(13, 28), 60, rng.uniform(10, 18)) if rng.random() < 0.45 else ():
            put(z, street.tree, side * (half + walk), z, rng.uniform(4.5, 7.5))
        if rng.random() < 0.4:
            z = rng.uniform(9, 20)
            put(z, street.bin_or_cart, side * (half + walk * 0.7), z, pick(scene, "static", "dynamic"))
    if rng.random() < 0.4:
        z = rng.uniform(5.8, 7)  # before any vehicle, never inside one
        put(z, traffic.person, rng.uniform(-half, half) * 0.8, z)
    for _, job in sorted(queue, key=lambda item: -item[0]):
        job()


def develop(scene: Scene) -> np.ndarray:
    """Rain, lens and sensor: streaks, vignette, colour cast, blur and noise on the painted picture."""
    rng, (height, width) = scene.rng, scene.image.shape[:2]
    picture = scene.image
    if scene.weather is WEATHERS["rain"]:
        streaks = picture.copy()
        for x, y in rng.uniform(0, 1, (260, 2)) * (width, height):
            tip = (round(x + width * 0.004), round(y + height * rng.uniform(0.02, 0.06)))
            cv2.line(streaks, (round(x), round(y)), tip, (206, 212, 218), max(1, width // 900), cv2.LINE_AA)
        picture = cv2.addWeighted(picture, 0.72, streaks, 0.28, 0)
    picture = cv2.GaussianBlur(picture, (0, 0), width / 1024 * rng.uniform(0.5, 1.0))
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    gain = np.float32(rng.uniform(0.88, 1.08) * rng.normal(1, 0.025, 3)) * (1 - 0.07 * (x**2 + y**2))[..., None]
    noise = scene.grain[0, ::-1, ::-1, None] * np.float32(rng.uniform(1.0, 3.5))
    return np.clip(picture * gain + noise, 0, 255).astype(np.uint8)


def draw_scene(seed: int, split: str, index: int, width: int, height: int) -> tuple[np.ndarray, list[dict]]:
    """Return one scene as RGB picture (height x width x 3, uint8) and its polygons in painter's order."""
    rng = np.random.default_rng([seed, list(CITIES).index(split), index])
    scene, heavy = new_scene(rng, width, height), ("truck", "bus", "train")[index % 3]
    half = rng.uniform(4.1, 5.4)
    fill_street(scene, index, half, lay_street(scene, index, half, heavy == "train"), heavy)
    if rng.random() < 0.4:
        rise, t = rng.uniform(0.04, 0.09), np.linspace(-1, 1, 25)
        rim = np.stack([(t + 1) / 2 * width, height * (1 - rise * (1 - 0.6 * t**4))], -1)
        bonnet = np.concatenate([rim, [[width, height + 9], [0, height + 9]]])
        paint(
            scene,
            "ego vehicle",
            [Part(bonnet, hue(scene, (40, 44, 50), (150, 152, 158)))],
            1.0,
            (0.01, 0, 0.1),
        )
    return develop(scene), scene.objects


def rasterise(objects: list[dict], width: int, height: int) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Fill polygons in order as cityscapesscripts does: labelIds (L), instanceIds (I;16), color (RGBA)."""
    rows, seen = {label.name: label for label in LABELS}, dict.fromkeys((label.name for label in LABELS), 0)
    pictures = [Image.new(mode, (width, height), fill) for mode, fill in (("L", 0), ("I", 0), ("RGBA", (0, 0, 0)))]
    pens = [ImageDraw.Draw(picture) for picture in pictures]
    for item in objects:
        name = item["label"]
        label = rows[name if name in rows else name.removesuffix("group")]
        if label.id < 0:
            continue
        instance = label.id
        if label.has_instances and name in rows:  # a "...group" has no instances
            instance = label.id * 1000 + seen[name]
            seen[name] += 1
        corners = [tuple(corner) for corner in item["polygon"]]
        for pen, fill in zip(pens, (label.id, instance, label.color), strict=True):
            pen.polygon(corners, fill=fill)
    return pictures[0], pictures[1].convert("I;16"), pictures[2]


def write_scene(output: Path, seed: int, split: str, index: int, width: int, height: int) -> None:
    """Draw one scene and write its five files."""
    picture, objects = draw_scene(seed, split, index, width, height)
    city = CITIES[split][index % len(CITIES[split])]
    stem = f"{city}_{index:06d}_000019"
    folders = [output / kind / split / city for kind in ("leftImg8bit", "gtFine")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folders[0] / f"{stem}_leftImg8bit.png", compress_level=1)
    for kind, label in zip(("labelIds", "instanceIds", "color"), rasterise(objects, width, height), strict=True):
        label.save(folders[1] / f"{stem}_gtFine_{kind}.png", compress_level=1)
    text = json.dumps({"imgHeight": height, "imgWidth": width, "objects": objects})
    (folders[1] / f"{stem}_gtFine_polygons.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Read the arguments and write both splits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to, created if missing")
    parser.add_argument("--train", type=int, default=96, help="training scenes (default 96)")
    parser.add_argument("--val", type=int, default=24, help="validation scenes (default 24)")
    parser.add_argument("--width", type=int, default=512, help="pixels (default 512)")
    parser.add_argument("--height", type=int, default=256, help="pixels (default 256)")
    parser.add_argument("--seed", type=int, default=0, help="0 or more; another seed draws other scenes")
    args = parser.parse_args()
    for name in ("train", "val", "seed"):
        if getattr(args, name) < 0:
            raise UserError(f"--{name} is {getattr(args, name)}; give 0 or more")
    for name in ("width", "height"):
        if getattr(args, name) < 64:
            raise UserError(f"--{name} is {getattr(args, name)}; give at least 64 pixels")
    counts = {"train": args.train, "val": args.val}
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        for split, index in progress.bar(iterable=jobs, desc="scenes", unit="scene"):
            write_scene(args.output, args.seed, split, index, args.width, args.height)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write to --output {args.output} ({reason}); give a folder you can write to") from None
    print(
        f"wrote {args.train} training and {args.val} validation scenes of {args.width} x {args.height} "
        f"to {args.output}; next: "
        f"python train.py --config config/ocrnet/config_ocrnet_demo.yml --dataset_dir {args.output}"
    )


if __name__ == "__main__":
    sys.exit(errors.run(main))
