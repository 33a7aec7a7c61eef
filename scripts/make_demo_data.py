"""Draw street scenes in Cityscapes' layout, to try the whole program without the real data set.

    python scripts/make_demo_data.py --output data/demo

Writes 96 training and 24 validation scenes of 512 x 256 pixels:

    leftImg8bit/{train,val}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
    gtFine/{train,val}/<city>/<city>_<sequence>_<frame>_gtFine_{labelIds,instanceIds,color}.png
    gtFine/{train,val}/<city>/<city>_<sequence>_<frame>_gtFine_polygons.json

An object is annotated by its outline, so gaps in a fence or between spokes belong to the object, as in Cityscapes. Each
scene has the common classes and, alternately, a truck, a bus or a tram, a bicycle or a motorcycle, and walls or fences.
Scene n of a split depends only on the seed, the split, the size and n. Existing files of the same name are overwritten.
"""

import argparse
import json
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet.errors import UserError  # before OpenCV: ocrnet sets its environment

# isort: split
import cv2
import numpy as np
from PIL import Image, ImageDraw

import demo_scene as draw
from ocrnet.formats.cityscapes import LABELS
from ocrnet.runtime import program, progress

CITIES = {"train": ("aldenburg", "lindhafen", "rosental"), "val": ("brunnfeld", "westerau")}
SIDES = (("wall", "building"), ("building", "fence"), ("trees", "wall"), ("fence", "building"))


def new_scene(rng: np.random.Generator, width: int, height: int) -> draw.Scene:
    """Returns an empty scene with random camera, road shape, light and weather; sizes in pixels."""
    white = rng.standard_normal((height, width), np.float32)
    leafy = cv2.resize(rng.standard_normal((128, 256), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return draw.Scene(
        rng=rng,
        image=np.zeros((height, width, 3), np.uint8),
        objects=[],
        grain=np.stack([white, leafy]),
        weather=draw.WEATHERS[rng.choice(len(draw.WEATHERS), p=(0.32, 0.2, 0.16, 0.1, 0.12, 0.1))],
        sun=rng.uniform(-1, 1),
        focal=width * rng.uniform(0.72, 0.84),
        centre=width * rng.uniform(0.4, 0.6),
        horizon=height * rng.uniform(0.38, 0.48),
        eye=(rng.uniform(-0.3, 1.8), rng.uniform(1.35, 1.7)),
        bend=rng.normal(0, 6e-4),
    )


def draw_street(scene: draw.Scene, index: int, half: float, walks: np.ndarray) -> None:
    """Draws sky, ground and the objects along the street.

    Args:
        half: half the width of the road in metres.
        walks: widths of both sidewalks in metres.
    """
    rng, far = scene.rng, draw.FAR
    draw.sky(scene)
    for x in np.arange(-70, 70, 12):
        draw.building(scene, (x, x + rng.uniform(8, 14)), (far - 5, far + 5), rng.uniform(6, 20))
    grass = scene.hue((112, 140, 62), (134, 146, 76), (96, 128, 58))
    draw.ground(scene, "terrain", (-150, 150), (1, far), grass)
    for side, walk, kind in zip((-1, 1), walks, SIDES[index % 4][:: scene.pick(-1, 1)], strict=True):
        strip = rng.uniform(0, 3.5) if kind == "building" else rng.uniform(0.8, 4)
        line, back = half + walk + strip, 0 if kind == "building" else rng.uniform(5, 9)
        starts = np.cumsum([rng.uniform(2, 5), *rng.uniform(9, 26, 6)])
        for near, end in reversed([*pairwise(starts)]):
            if kind == "building" or (kind != "trees" and rng.random() < 0.55):
                x = sorted((side * (line + back), side * (line + back + 10)))
                draw.building(scene, tuple(x), (near, end - scene.pick(0, 0, 4)), rng.uniform(6, 19))
            else:
                for z in np.arange(end, max(near, 7), -5):
                    draw.tree(scene, side * (line + back - 2), z, rng.uniform(5, 10))
        if kind in ("wall", "fence"):
            draw.barrier(scene, kind, side * line, (rng.uniform(2, 4), rng.uniform(30, 70)))
        for z in np.sort(rng.uniform(8, 40, 5))[::-1] if strip > 0.9 else ():
            draw.tree(scene, side * (line - 0.5), z, rng.uniform(0.8, 1.5), bush=True)
    paving = scene.hue((176, 166, 158), (160, 158, 160), (184, 160, 142))
    for side, walk in zip((-1, 1), walks, strict=True):
        edges = side * half, side * (half + walk)
        draw.ground(scene, "sidewalk", edges, (1, far), paving)
        for z in np.geomspace(3, 50, 16):
            draw.ground(scene, None, edges, (z, z * 1.012), paving * 0.7)
        draw.ground(scene, None, (side * half, side * (half + 0.2)), (1, far), paving * 1.22)
    asphalt = scene.hue((92, 92, 96), (106, 104, 104), (82, 84, 90), spread=4)
    draw.ground(scene, "road", (-half, half), (1, far), asphalt)
    dash, gap = scene.pick((3, 5), (4, 4), (100, 1))
    for z in np.arange(rng.uniform(1, 4), 70, dash + gap):
        draw.ground(scene, None, (-0.08, 0.08), (z, z + dash), draw.WHITE)
    if rng.random() < 0.4:  # a zebra crossing
        z = rng.uniform(6, 12)
        for x in np.arange(-half + 0.4, half - 0.4, 1.0):
            draw.ground(scene, None, (x, x + 0.5), (z, z + 3), draw.WHITE)
    if scene.weather.sight > 230:
        shade = half * rng.uniform(0.1, 0.6) * np.sign(scene.sun)
        draw.ground(scene, None, (shade, (half + 4) * np.sign(scene.sun)), (1, far), (30, 32, 44), opacity=0.28)


def draw_objects(scene: draw.Scene, index: int, half: float, walks: np.ndarray) -> None:
    """Places poles, signs, people and vehicles in the street and draws them from far to near."""
    rng, queue = scene.rng, []

    def put(painter, x: float, z: float, *args) -> None:
        queue.append((z, partial(painter, scene, x, z, *args)))

    heavy, heavy_side = ("truck", "bus", "train")[index % 3], -1 if index % 3 == 2 else scene.pick(-1, 1)
    for side in (-1, 1):
        z = rng.uniform(9, 15) if side == heavy_side else rng.uniform(7, 12)
        for index_in_lane in range(4):
            label = heavy if side == heavy_side and index_in_lane == 0 else "car"
            put(draw.vehicle, side * half * 0.48 + rng.normal(0, 0.15), z, label, side < 0)
            z += rng.uniform(9, 22) + draw.VEHICLES[label][0] - 4
    labels = ("bicycle", "motorcycle") if (index + index // 4) % 2 == 0 else ("motorcycle", "bicycle")
    near = scene.pick(-1, 1)
    for label, side, chance in zip(labels, (near, -near), (1.0, 0.5), strict=True):
        x, z = side * rng.uniform(half - 2.2, half - 0.7), rng.uniform(6.0, 8.5)
        if rng.random() < chance:
            put(draw.two_wheeler, x, z, label, rng.random() < 0.85)
    for side, walk in zip((-1, 1), walks, strict=True):
        kerb = side * (half + 0.4)
        for z in (rng.uniform(7.5, 12), *rng.uniform(10, 30, rng.integers(1, 4))):
            put(draw.person, side * rng.uniform(half + 0.5, half + walk), z)
        for first, last in ((9, 14), (15, 28)):
            put(draw.traffic_light, kerb, rng.uniform(first, last))
            put(draw.traffic_sign, kerb + side * 0.9, rng.uniform(first, last))
        for z in np.arange(rng.uniform(10, 18), 60, rng.uniform(14, 20)):
            put(draw.post, kerb, z, rng.uniform(5.5, 8))
        for z in np.arange(rng.uniform(13, 28), 60, rng.uniform(10, 18)) if rng.random() < 0.45 else ():
            put(draw.tree, side * (half + walk), z, rng.uniform(4.5, 7.5))
    if rng.random() < 0.4:  # in front of the vehicles
        put(draw.person, rng.uniform(-half, half) * 0.8, rng.uniform(5.8, 7))
    for _, paint in sorted(queue, key=lambda entry: -entry[0]):
        paint()


def simulate_camera(scene: draw.Scene) -> np.ndarray:
    """Adds the effects of lens and sensor to the drawn image: blur, vignette, colour cast and noise."""
    rng, (height, width) = scene.rng, scene.image.shape[:2]
    image = cv2.GaussianBlur(scene.image, (0, 0), width / 1024 * rng.uniform(0.5, 1.0))
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    gain = np.float32(rng.uniform(0.88, 1.08) * rng.normal(1, 0.025, 3)) * (1 - 0.07 * (x**2 + y**2))[..., None]
    noise = scene.grain[0, ::-1, ::-1, None] * np.float32(rng.uniform(1.0, 3.5))
    return np.clip(image * gain + noise, 0, 255).astype(np.uint8)


def draw_scene(seed: int, split: str, index: int, width: int, height: int) -> tuple[np.ndarray, list[dict]]:
    """Returns one scene as an RGB image (height, width, 3) uint8, and its polygons in drawing order."""
    rng = np.random.default_rng([seed, list(CITIES).index(split), index])
    scene, half, walks = new_scene(rng, width, height), rng.uniform(4.1, 5.4), rng.uniform(2.6, 4.4, 2)
    draw_street(scene, index, half, walks)
    draw_objects(scene, index, half, walks)
    if rng.random() < 0.4:
        x, h = scene.eye
        lowest = h - (height - scene.horizon) / scene.focal  # lowest visible height, 1 m ahead
        bonnet = draw.disc(0, lowest - 1, 1.0, rng.uniform(1.03, 1.08), 48) * (2, 1, 1) + (x, 0, 0)
        scene.paint("ego vehicle", [draw.Part(bonnet, scene.hue((40, 44, 50), (150, 152, 158)))], 1.0)
    return simulate_camera(scene), scene.objects


def rasterise(objects: list[dict], width: int, height: int) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Fills polygons in order, as cityscapesscripts does. Returns labelIds (L), instanceIds (I;16) and color (RGBA)."""
    rows, seen = {label.name: label for label in LABELS}, dict.fromkeys((label.name for label in LABELS), 0)
    images = [Image.new(mode, (width, height), fill) for mode, fill in (("L", 0), ("I", 0), ("RGBA", (0, 0, 0)))]
    pens = [ImageDraw.Draw(image) for image in images]
    for item in objects:
        label, corners = rows[item["label"]], [tuple(corner) for corner in item["polygon"]]
        instance = label.id * 1000 + seen[label.name] if label.has_instances else label.id
        seen[label.name] += 1
        for pen, fill in zip(pens, (label.id, instance, label.color), strict=True):
            pen.polygon(corners, fill=fill)
    return images[0], images[1].convert("I;16"), images[2]


def write_scene(output: Path, seed: int, split: str, index: int, width: int, height: int) -> None:
    """Draws one scene and writes its five files."""
    image, objects = draw_scene(seed, split, index, width, height)
    city = CITIES[split][index % len(CITIES[split])]
    stem = f"{city}_{index:06d}_000019"
    folders = [output / kind / split / city for kind in ("leftImg8bit", "gtFine")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folders[0] / f"{stem}_leftImg8bit.png", compress_level=1)
    for kind, label in zip(("labelIds", "instanceIds", "color"), rasterise(objects, width, height), strict=True):
        label.save(folders[1] / f"{stem}_gtFine_{kind}.png", compress_level=1)
    text = json.dumps({"imgHeight": height, "imgWidth": width, "objects": objects})
    (folders[1] / f"{stem}_gtFine_polygons.json").write_text(text, encoding="utf-8")


FLAGS = {
    # flag: (default, minimum, help)
    "train": (96, 0, "training scenes"),
    "val": (24, 0, "validation scenes"),
    "width": (512, 64, "pixels"),
    "height": (256, 64, "pixels"),
    "seed": (0, 0, "random seed"),
}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to, created if missing")
    for flag, (default, _, text) in FLAGS.items():
        parser.add_argument(f"--{flag}", type=int, default=default, help=f"{text} (default {default})")
    return parser


def main() -> None:
    args = make_parser().parse_args()
    for flag, (_, minimum, _) in FLAGS.items():
        if getattr(args, flag) < minimum:
            raise UserError(f"--{flag} {getattr(args, flag)}: must be at least {minimum}")
    jobs = [(split, index) for split in ("train", "val") for index in range(getattr(args, split))]
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        for split, index in progress.bar(iterable=jobs, desc="scenes", unit="scene"):
            write_scene(args.output, args.seed, split, index, args.width, args.height)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--output {args.output}: cannot write here ({reason}); choose another folder") from None
    print(
        f"wrote {args.train} training and {args.val} validation scenes of {args.width} x {args.height} to {args.output}"
        f"; next: python train.py --config config/ocrnet/ocrnet_demo.yml --data_root {args.output}"
    )


if __name__ == "__main__":
    sys.exit(program.run(main))
