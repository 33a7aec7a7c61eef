"""What moves in the street: persons, riders and their two-wheelers, cars, trucks, buses and trams."""

import math

import numpy as np

from demo_scene.canvas import (
    Frame,
    Part,
    Scene,
    box,
    disc,
    facing,
    frame,
    hue,
    line,
    paint,
    panel,
    pick,
    shadow,
    shape,
)

BLACK = np.array((22.0, 22.0, 24.0))
GLASS = np.array((46.0, 56.0, 68.0))


def body(f: Frame, hip: tuple, neck: tuple, feet: list, hands: list, helmet: bool) -> list[Part]:
    """Legs, arms, torso and head of somebody, from (u, h) points of the joints."""
    scene = f.scene
    coats = (180, 40, 44), (40, 74, 150), (36, 38, 44), (208, 196, 60), (220, 220, 222), (60, 120, 80)
    helmets, hair = (
        ((230, 230, 230), (220, 50, 40), (240, 200, 30)),
        ((54, 38, 26), (24, 22, 22), (170, 130, 70)),
    )
    coat, trousers = hue(scene, *coats), hue(scene, (34, 40, 64), (70, 66, 60), (30, 30, 32))
    skin, cap = (
        hue(scene, (226, 182, 150), (150, 104, 76), spread=8),
        hue(scene, *(helmets if helmet else hair)),
    )
    head = (neck[0] + 0.25 * (neck[0] - hip[0]), neck[1] + 0.2)
    parts = [line(f, [hip, *leg], 0.2, trousers * shade) for leg, shade in zip(feet, (0.75, 1.0), strict=True)]
    parts += [line(f, [hip, neck], 0.4, coat), line(f, [hip, neck], 0.2, coat * 1.12)]
    parts += [line(f, [(neck[0], neck[1] - 0.1), *arm], 0.13, coat * 0.8) for arm in hands]
    return [
        *parts,
        disc(f, head[0], head[1] + 0.03, 0.16, cap),
        disc(f, head[0] + 0.03, head[1] - 0.03, 0.11, skin),
    ]


def person(scene: Scene, x: float, z: float) -> None:
    """Somebody standing or walking."""
    f, rng, stride = frame(scene, x, z), scene.rng, scene.rng.uniform(0.08, 0.34)
    k = rng.choice((1.0, 1.0, 0.94, 1.05, 0.72))
    swing = rng.uniform(-0.3, 0.3)
    feet = [
        [(-stride * 0.5 * k, 0.45 * k), (-stride * k, 0.06)],
        [(stride * 0.7 * k, 0.45 * k), (stride * k, 0.06)],
    ]
    hands = [[(-0.26 * k, 1.1 * k), (swing - 0.2, 0.85 * k)], [(0.26 * k, 1.1 * k), (0.2 - swing, 0.85 * k)]]
    shadow(f, (-0.5, 0.5), (-0.3, 0.3))
    paint(scene, "person", body(f, (0, 0.88 * k), (0, 1.42 * k), feet, hands, False), z)


def two_wheeler(scene: Scene, label: str, x: float, z: float, ridden: bool = True) -> None:
    """Bicycle (thin frame, spoked wheels) or motorcycle (solid body, fat tyres), from the side."""
    f = frame(scene, x, z, pick(scene, 1.57, 4.71) + scene.rng.uniform(-0.6, 0.6))
    paintwork = hue(scene, (200, 36, 36), (30, 110, 190), (30, 150, 90), (236, 180, 30), (220, 220, 224))
    shadow(f, (-0.9, 0.9), (-0.2, 0.2))
    if label == "bicycle":
        wheel = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 20)]
        parts = [line(f, [(m + 0.35 * c, 0.37 + 0.35 * s) for c, s in wheel], 0.075, BLACK) for m in (-0.56, 0.56)]
        parts += [
            line(f, [(m - 0.3 * c, 0.37 - 0.3 * s), (m + 0.3 * c, 0.37 + 0.3 * s)], 0.02, (150, 150, 150))
            for m in (-0.56, 0.56)
            for c, s in wheel[:10:3]
        ]
        tubes = [
            [(-0.56, 0.37), (-0.05, 0.36), (0.38, 0.86), (-0.2, 0.86), (-0.56, 0.37)],
            [(-0.05, 0.36), (-0.24, 1.0)],
            [(0.56, 0.37), (0.36, 1.06)],
        ]
        parts += [line(f, tube, 0.08, paintwork) for tube in tubes]
        parts += [
            line(f, [(-0.4, 1.02), (-0.1, 1.02)], 0.1, BLACK),
            line(f, [(0.26, 1.1), (0.46, 1.08)], 0.07, BLACK),
        ]
        hip, neck, hand, foot = (-0.2, 1.08), (0.12, 1.6), (0.4, 1.12), 0.3
    else:
        parts = [disc(f, m, 0.34, r, c) for m in (-0.72, 0.74) for r, c in ((0.36, BLACK), (0.2, (120, 120, 124)))]
        parts += [
            line(f, [(0.74, 0.34), (0.42, 1.0)], 0.1, (170, 170, 174)),
            line(f, [(-0.95, 0.3), (-0.2, 0.28)], 0.12, (190, 190, 194)),
        ]
        parts.append(shape(f, [(-0.5, 0.25), (0.4, 0.25), (0.5, 0.6), (-0.6, 0.6)], (64, 64, 68)))
        tank = [(-1.0, 0.85), (-0.95, 0.62), (0.2, 0.5), (0.62, 0.7)]
        tank += [(0.66, 1.1), (0.4, 1.22), (0.1, 1.0), (-0.2, 0.8)]
        parts.append(shape(f, tank, paintwork))
        parts += [
            line(f, [(-0.75, 0.88), (-0.1, 0.86)], 0.14, BLACK),
            disc(f, 0.66, 0.94, 0.12, (255, 246, 200)),
            line(f, [(0.3, 1.2), (0.5, 1.26)], 0.08, BLACK),
        ]
        hip, neck, hand, foot = (-0.28, 0.98), (-0.02, 1.5), (0.4, 1.22), 0.36
    paint(scene, label, parts, z)
    if ridden:
        feet = [[(0.2, 0.82), (-0.05, foot)], [(0.26, 0.92), (0.1, foot + 0.12)]]
        paint(scene, "rider", body(f, hip, neck, feet, [[(0.2, 1.2), hand]], True), z)


def wheels(f: Frame, u: tuple, v: tuple, middles: tuple, radius: float) -> list[Part]:
    """Tyres and hubs on the side in sight."""
    side = facing(f, u, v)[1]
    rings = ((radius, BLACK), (0.55 * radius, (130, 130, 134)))
    return [disc(f, m, radius, r, c, side) for m in middles for r, c in rings if side is not None]


def car(f: Frame, u: tuple, v: tuple, colour: np.ndarray, oncoming: bool) -> list[Part]:
    """Low body with a glass cabin."""
    top = f.scene.rng.uniform(0.82, 1.0)
    front, back, high = (0.9, 3.9, top + 0.56) if oncoming else (0.25, 3.2, top + 0.56)
    parts = box(f, u, v, (0.22, top), colour)
    parts += box(f, (front, back), (-0.8, 0.8), (top, high), GLASS, (0.5, 0.16))
    parts += box(f, (front + 0.42, back - 0.42), (-0.68, 0.68), (high - 0.12, high), colour, (0.08, 0.04))
    side = facing(f, u, v)[1]
    if side is not None:
        parts += [line(f, [(m, top), (m, high)], 0.09, colour, side * 0.85) for m in (1.6, 2.5)]
    parts += panel(f, u, v, "end", v, (0.22, 0.38), BLACK * 2)
    parts += panel(f, u, v, "end", (-0.28, 0.28), (0.42, 0.55), (226, 226, 220))
    return parts + wheels(f, u, v, (0.8, 3.45), 0.34)


def truck(f: Frame, u: tuple, v: tuple, colour: np.ndarray, oncoming: bool) -> list[Part]:
    """Cab and higher cargo box on a chassis."""
    cab, load = ((0, 2.0), (2.3, 9.0)) if oncoming else ((6.9, 9.0), (0, 6.6))
    cargo = hue(f.scene, (232, 232, 228), (190, 196, 200), (214, 120, 40), (70, 110, 160))
    parts = box(f, u, v, (0.5, 1.0), BLACK * 2)
    stages = [box(f, load, v, (0.9, 3.7), cargo), box(f, cab, v, (0.5, 2.8), colour)]
    for stage in stages if oncoming else stages[::-1]:
        parts += stage
    parts += panel(f, load, v, "side", (load[0] + 0.6, load[1] - 0.6), (1.9, 2.6), colour * 0.9)
    parts += panel(f, cab, v, "side", (cab[0] + 0.5, cab[1] - 0.4), (1.8, 2.5), GLASS)
    if oncoming:
        parts += panel(f, u, v, "end", (-1.1, 1.1), (1.7, 2.5), GLASS)
        parts += panel(f, u, v, "end", (-0.8, 0.8), (0.8, 1.2), BLACK * 2)
    else:
        for seam in (-0.7, -0.03, 0.6):
            parts += panel(f, u, v, "end", (seam, seam + 0.08), (1.0, 3.6), cargo * 0.6)
        parts += panel(f, u, v, "end", (-1.2, 1.2), (0.75, 0.95), (214, 60, 40))
    return parts + wheels(f, u, v, (1.0, 2.1, 7.6), 0.5)


def bus(f: Frame, u: tuple, v: tuple, colour: np.ndarray, oncoming: bool) -> list[Part]:
    """One long box with a row of windows, doors and a destination board."""
    panes, doors = np.arange(0.7, u[1] - 1.4, 1.5), np.arange(2.5, u[1] - 1, 4.5)
    parts = box(f, u, v, (0.35, 3.1), colour)
    parts += panel(f, u, v, "side", u, (0.4, 0.75), colour * 0.7)
    parts += panel(f, u, v, "side", (panes, panes + 1.3), (1.55, 2.7), GLASS)
    parts += panel(f, u, v, "side", (doors, doors + 1.1), (0.45, 2.6), GLASS * 1.5)
    parts += panel(f, u, v, "end", (-1.15, 1.15), (1.2, 2.55) if oncoming else (1.7, 2.6), GLASS)
    parts += panel(f, u, v, "end", (-0.8, 0.8), (2.68, 3.0), BLACK)
    parts += panel(f, u, v, "end", (-0.5, 0.5), (2.74, 2.94), (255, 170, 40))
    return parts + wheels(f, u, v, (2.4, 8.6), 0.5)


def tram(f: Frame, u: tuple, v: tuple, colour: np.ndarray, oncoming: bool) -> list[Part]:
    """Two-coloured box without visible wheels, with a pantograph; both ends look alike."""
    panes, doors = np.arange(0.7, u[1] - 1.4, 1.5), np.arange(2.5, u[1] - 1, 4.5)
    cream, roof = np.array((236, 228, 204)), u[0] + 4.0
    parts = box(f, u, v, (0.3, 3.3), colour)
    parts += panel(f, u, v, "side", u, (1.3, 2.75), cream)
    parts += panel(f, u, v, "side", (panes, panes + 1.1), (1.5, 2.55), GLASS)
    parts += panel(f, u, v, "side", (doors, doors + 1.1), (0.45, 2.6), GLASS * 1.5)
    parts += panel(f, u, v, "end", v, (1.3, 3.0), cream)
    parts += panel(f, u, v, "end", (-0.95, 0.95), (1.5, 2.6), GLASS)
    parts += panel(f, u, v, "end", (-0.5, 0.5), (2.72, 2.95), (255, 190, 60))
    parts += panel(f, u, v, "end", (-0.2, 0.2), (0.8, 1.05), (255, 250, 220))
    parts += box(f, (2, u[1] - 2), (-0.8, 0.8), (3.3, 3.6), BLACK * 3)
    return [*parts, line(f, [(roof, 3.4), (roof + 1.2, 4.1), (roof, 4.8)], 0.1, BLACK * 2)]


def vehicle(scene: Scene, label: str, x: float, z: float, oncoming: bool) -> None:
    """Car, truck, bus or tram ("train") whose near end is at z, seen from ahead or from behind."""
    painter, length, wide, paints = VEHICLES[label]
    f = frame(scene, x, z, scene.rng.normal(0, 0.06) + 2 * scene.bend * z)
    u, v = (0, length), (-wide, wide)
    shadow(f, u, v)
    parts = []
    for low, high in ((-0.95, -0.65), (0.65, 0.95)):
        parts += panel(f, u, v, "end", (low * wide, high * wide), (0, 0.5), BLACK)
    parts += painter(f, u, v, hue(scene, *paints), oncoming)
    lamp, rows = (255, 246, 205) if oncoming else (210, 24, 24), (0.6, 0.8) if label == "car" else (0.7, 1.0)
    for low, high in ((-0.92, -0.6), (0.6, 0.92)):
        parts += panel(f, u, v, "end", (low * wide, high * wide), rows, lamp)
    paint(scene, label, parts, z if label == "car" else z + 0.3 * length, (0.015, 0, 0.03))


# Painter, length and half width in metres, colours.
# fmt: off
VEHICLES = {
    "car": (car, 4.3, 0.9, ((186, 24, 30), (36, 68, 140), (206, 208, 212), (40, 42, 46), (120, 124, 130),
                            (38, 92, 70), (226, 226, 222))),
    "truck": (truck, 9.0, 1.25, ((226, 226, 222), (60, 90, 150), (196, 150, 60), (150, 40, 40))),
    "bus": (bus, 11.5, 1.28, ((206, 40, 36), (240, 190, 30), (40, 110, 180), (60, 150, 90))),
    "train": (tram, 20.0, 1.3, ((200, 30, 40), (20, 110, 90), (30, 70, 150))),
}
# fmt: on
