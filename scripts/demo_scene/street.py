"""What lines the street: ground, sky, buildings, walls, fences, trees, poles, traffic lights and signs."""

import math

import numpy as np

from demo_scene.canvas import (
    FAR,
    WEATHERS,
    Frame,
    Part,
    Scene,
    at,
    box,
    disc,
    frame,
    hue,
    line,
    paint,
    panel,
    pick,
    project,
    quad,
    shape,
)


def ground(scene: Scene, label: str | None, x: tuple, z: tuple, colour, texture=(0.05, 0.0, 0.07), opacity=1.0):
    """Strip of ground between two x and two z, following the road."""
    ahead = np.geomspace(max(z[0], 1.0), z[1], 24)
    x = [edge + scene.bend * ahead**2 for edge in x]
    points = [project(scene, x[0], ahead, 0.0), project(scene, x[1], ahead, 0.0)[::-1]]
    rows = np.arange(scene.image.shape[0])[:, None] - scene.horizon
    depth = np.clip(scene.focal * scene.eye[1] / np.maximum(rows, 0.1), 1, FAR)
    paint(scene, label, [Part(np.concatenate(points), np.asarray(colour, float))], depth, texture, opacity)


def along(scene: Scene, x: float, z: tuple) -> tuple[Frame, float, np.ndarray]:
    """Frame of something built along the road, its length, and its depth by picture column."""
    length, turn = z[1] - z[0], scene.bend * (z[1] ** 2 - z[0] ** 2)
    columns = np.abs(np.arange(scene.image.shape[1]) - scene.centre)
    depth = np.clip(scene.focal * abs(x - scene.eye[0]) / np.maximum(columns, 1.0), *z)
    return frame(scene, x, z[0], math.atan2(turn, length)), length, depth


def building(scene: Scene, x: float, z: tuple, v: tuple, height: float) -> None:
    """House with rows of windows on the faces in sight and a pitched or flat roof."""
    rng = scene.rng
    f, length, depth = along(scene, x, z)
    colour = hue(
        scene,
        (150, 92, 76),
        (196, 178, 146),
        (140, 136, 134),
        (186, 150, 104),
        (206, 204, 196),
        (120, 128, 142),
    )
    parts = box(f, (0, length), v, (0, height), colour)
    if rng.random() < 0.6:
        parts += box(f, (0, length), v, (height, height + 2.6), hue(scene, (112, 62, 50), (72, 72, 80)), (0.5, 2.4))
    glass, trim = hue(scene, (52, 62, 76), (84, 102, 120)), colour * rng.uniform(0.6, 1.35)
    bay, storey = rng.uniform(2.2, 3.4), rng.uniform(2.9, 3.5)
    wide, tall = bay * rng.uniform(0.2, 0.3), storey * rng.uniform(0.42, 0.62)
    lamps = 0.4 if scene.weather is WEATHERS["dusk"] else 0.04
    for on, span in (("end", v), ("side", (0, length))):
        middle = np.arange(span[0] + bay / 2, span[1] - bay / 3, bay)
        middle, floor = (axis.ravel() for axis in np.meshgrid(middle, np.arange(1, height // storey)))
        sill, lit = floor * storey + 0.8, rng.random(middle.size) < lamps
        for grow, tint, chosen in ((0.14, trim, lit | True), (0, glass, ~lit), (0, (300, 220, 120), lit)):
            m, s = middle[chosen], sill[chosen]
            if m.size:
                across, rows = (m - wide - grow, m + wide + grow), (s - grow, s + tall + grow)
                parts += panel(f, (0, length), v, on, across, rows, tint)
        shop = (0, 0.5, colour * 0.7), (0.7, 2.5, glass * 0.8), (2.6, 3.1, trim)
        for low, high, tint in (*shop, (height - 0.3, height, trim)):
            parts += panel(f, (0, length), v, on, span, (low, high), tint)
    paint(scene, "building", parts, depth, (0.03, 0.02, 0.06))


def barrier(scene: Scene, label: str, x: float, z: tuple) -> None:
    """Wall with courses of stone, or fence of slats and rails."""
    rng = scene.rng
    f, length, depth = along(scene, x, z)
    if label == "wall":
        high, colour = rng.uniform(2.0, 3.2), hue(scene, (168, 162, 150), (150, 96, 78), (128, 128, 132))
        parts = box(f, (0, length), (0, 0.01), (0, high), colour)
        courses, joints = np.arange(0.4, high, 0.45), np.arange(0.5, length, 1.5)
        parts.append(Part(quad(f, (0, length), 0, (courses, courses + 0.06)), colour * 0.66))
        parts.append(Part(quad(f, (joints, joints + 0.08), 0, (0, high)), colour * 0.66))
        parts.append(Part(quad(f, (0, length), 0, (high, high + 0.25)), colour * 1.3))
        paint(scene, label, parts, depth, (0.06, 0.03, 0.14))
        return
    high, colour = (
        rng.uniform(1.5, 2.2),
        hue(scene, (52, 74, 60), (128, 84, 52), (58, 58, 66), (206, 204, 200)),
    )
    gap, slat = pick(scene, (0.34, 0.14), (0.42, 0.3), (0.5, 0.2))
    slats = np.arange(0, length, gap)
    parts = [Part(quad(f, (slats, slats + slat), 0, (0, high)), colour)]
    parts += [Part(quad(f, (0, length), 0, (h, h + 0.14)), colour * 0.85) for h in (0.2, high * 0.8)]
    paint(scene, label, parts, depth, outline=quad(f, (0, length), 0, (0, high)))


def tree(scene: Scene, x: float, z: float, high: float, bush: bool = False) -> None:
    """Crown of leaf blobs, brighter to the sun, over a trunk; a bush has none."""
    f, rng = frame(scene, x, z), scene.rng
    if abs(at(f, 0, 0, 0)[0] - scene.centre) > scene.image.shape[1] * 0.6 + high * f.scale:
        return  # out of sight, most of a wide row is
    leaf = hue(scene, (64, 104, 40), (86, 118, 46), (48, 88, 48), (122, 122, 44))
    wide = high * rng.uniform(0.26, 0.4)
    parts = [] if bush else [line(f, [(0, 0), (rng.normal(0, 0.1), high * 0.6)], 0.06 * high, (84, 66, 50))]
    for _ in range(14 if z < 60 else 7):
        u, h = rng.normal(0, 0.42, 2)
        middle, spread = (0.4, 0.42) if bush else (0.68, 0.36)
        tint = leaf * (0.82 + 0.25 * u * scene.sun + 0.35 * h)
        centre = max(high * (middle + spread * np.clip(h, -0.7, 0.6)), 0.0 if bush else high * 0.3)
        parts.append(disc(f, u * wide * (1.8 if bush else 1), centre, wide * rng.uniform(0.4, 0.7), tint, 0, 0.16))
    paint(scene, "vegetation", parts, z, (0.08, 0.2, 0.1))


def post(scene: Scene, x: float, z: float, high: float) -> Frame:
    """Pole, a street lamp when tall."""
    f, thick = frame(scene, x, z), scene.rng.uniform(0.17, 0.26)
    grey = hue(scene, (120, 124, 126), (72, 78, 80), (160, 160, 156), spread=8)
    parts = [
        Part(quad(f, (-thick / 2, thick / 2), 0, (0, high)), grey),
        Part(quad(f, (0, thick / 2), 0, (0, high)), grey * 0.8),
    ]
    if high > 5:
        reach = -math.copysign(scene.rng.uniform(1, 2.2), x)
        parts.append(line(f, [(0, high - 0.1), (reach, high + 0.2)], thick * 0.8, grey))
        parts.append(Part(quad(f, (reach - 0.45, reach + 0.45), 0, (high, high + 0.4)), grey * 0.7))
    paint(scene, "pole", parts, z)
    return f


def traffic_light(scene: Scene, x: float, z: float) -> None:
    """Dark housing with three lamps, one of them on."""
    high = scene.rng.uniform(2.2, 3.0)
    f, lit = post(scene, x, z, high + 0.5), scene.rng.integers(3)
    parts = [Part(quad(f, (-0.3, 0.3), 0, (high, high + 1.5)), np.array((26, 28, 30.0)))]
    for k, colour in enumerate(((70, 255, 130), (255, 190, 30), (255, 40, 30))):
        parts.append(disc(f, 0, high + 0.28 + 0.47 * k, 0.19, np.array(colour) * (1.25 if k == lit else 0.28)))
    paint(scene, "traffic light", parts, z)


def traffic_sign(scene: Scene, x: float, z: float) -> None:
    """Round, triangular, square, octagonal or wide board on a pole."""
    high, size = scene.rng.uniform(2.0, 2.8), scene.rng.uniform(0.5, 0.66)
    f, kind = post(scene, x, z, high), scene.rng.integers(5)
    red, white, blue, yellow = ((206, 24, 30), (238, 238, 236), (24, 82, 190), (240, 196, 20))
    corners, turn = ((24, 0), (3, 1 / 2), (4, 1 / 4), (8, 1 / 8), (4, 1 / 4))[kind]
    rim = (red, red, white, white, white)[kind]
    inside = (white, white, blue, red, pick(scene, blue, yellow))[kind]
    angle = math.pi * (turn + np.arange(corners) * 2 / corners)
    stretch = 1.7 if kind == 4 else 1.15
    parts = [
        shape(f, [(stretch * size * r * math.cos(a), high + size * r * math.sin(a)) for a in angle], c)
        for r, c in ((1, rim), (0.76, inside))
    ]
    parts.append(
        Part(
            quad(f, (-0.5 * size, 0.5 * size), 0, (high - 0.12, high + 0.1)),
            np.array(white if inside != white else (30, 30, 34), float),
        )
    )
    paint(scene, "traffic sign", parts, z, (0.01, 0, 0))


def sky(scene: Scene) -> None:
    """Gradient with clouds down to the horizon."""
    height, width = scene.image.shape[:2]
    t = np.clip(np.arange(height) / max(scene.horizon, 1), 0, 1)[:, None, None] ** 1.3
    colour = (1 - t) * np.float32(scene.weather.zenith) + t * np.float32(scene.weather.haze)
    cloud = np.clip(scene.grain[2] * 0.5 + 0.1, 0, 0.8)[..., None] * scene.weather.clouds
    scene.image[:] = colour + (np.minimum(np.float32(scene.weather.haze) + 14, 255) - colour) * cloud
    corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    scene.objects.append({"label": "sky", "polygon": corners})


def bin_or_cart(scene: Scene, x: float, z: float, label: str) -> None:
    """Litter bin ("static") or cart on wheels ("dynamic")."""
    f, colour = frame(scene, x, z), hue(scene, (70, 90, 60), (60, 62, 66), (150, 90, 40))
    parts = [
        Part(quad(f, (-0.35, 0.35), 0, (0.1, 1.0)), colour),
        Part(quad(f, (-0.4, 0.4), 0, (0.95, 1.1)), colour * 0.7),
    ]
    parts += [disc(f, u, 0.14, 0.14, (24, 24, 24)) for u in (-0.3, 0.3)] if label == "dynamic" else []
    paint(scene, label, parts, z)
