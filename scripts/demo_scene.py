"""A pinhole camera and functions that draw the objects of a street; used by make_demo_data.py.

Coordinates are in metres: x to the right of the road's centre, h up, z ahead along the road. Objects are flat and face
the camera, except for buildings and vehicles: these are boxes along the road, of which the near end and the inner side
are visible.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

FAR = 120.0  # metres to the end of the street
BLACK, GLASS, WHITE = (22, 22, 24), (46, 56, 68), (236, 236, 232)
Span = tuple[float, float]


class Weather(NamedTuple):
    """Sky (RGB at the zenith and the horizon), light on surfaces (RGB gain), visibility in metres."""

    zenith: tuple[int, int, int]
    haze: tuple[int, int, int]
    light: tuple[float, float, float]
    sight: float


WEATHERS = (
    Weather((62, 122, 205), (190, 214, 236), (1.06, 1.03, 0.97), 420),  # clear
    Weather((105, 145, 195), (206, 216, 224), (0.98, 0.98, 0.98), 300),  # cloudy
    Weather((158, 165, 174), (208, 211, 213), (0.86, 0.87, 0.89), 220),  # overcast
    Weather((198, 202, 205), (208, 211, 212), (0.88, 0.89, 0.90), 62),  # fog
    Weather((70, 72, 122), (246, 172, 112), (0.80, 0.66, 0.64), 240),  # dusk
    Weather((112, 120, 130), (168, 174, 180), (0.68, 0.71, 0.76), 110),  # rain
)
BLOTCHES = {
    "vegetation": 0.22,
    "terrain": 0.12,
    "wall": 0.12,
    "road": 0.06,
    "sidewalk": 0.06,
}  # strength of the coarse noise per label


class Part(NamedTuple):
    """Filled polygons (..., corners, 3) of x, h, z in metres; lines if `width` (metres) is not 0."""

    points: np.ndarray
    colour: tuple | np.ndarray
    width: float = 0.0


@dataclass
class Scene:
    """The image drawn so far, its annotation, and the camera."""

    rng: np.random.Generator
    image: np.ndarray  # (height, width, 3) uint8 RGB
    objects: list[dict]  # as in Cityscapes' polygons.json
    grain: np.ndarray  # (2, height, width): fine and coarse noise
    weather: Weather
    sun: float  # -1 from the left .. 1 from the right
    focal: float  # pixels
    centre: float  # column of the vanishing point
    horizon: float  # row
    eye: tuple[float, float]  # x and h of the camera
    bend: float  # curvature: the road is shifted by bend * z ** 2

    def project(self, points: np.ndarray) -> np.ndarray:
        """Projects points (..., 3) in metres to (..., 2) pixels: column, row."""
        x, h, z = np.moveaxis(np.asarray(points, float), -1, 0)
        z = np.maximum(z, 0.8)
        column = self.centre + self.focal * (x + self.bend * z**2 - self.eye[0]) / z
        return np.stack([column, self.horizon - self.focal * (h - self.eye[1]) / z], -1)

    def paint(self, label: str | None, parts: list[Part], z, opacity=1.0, outline: np.ndarray | None = None) -> None:
        """Draws an object and adds its outline to the annotation (default: the outline of its parts).

        Args:
            label: class name; None: no annotation.
            z: distance in metres for the haze, a number or (height, 1).
        """
        height, width = self.image.shape[:2]
        projected = [self.project(part.points) for part in parts]
        corners = np.concatenate([points.reshape(-1, 2) for points in projected])
        left, top = np.clip(np.floor(corners.min(0)) - 8, 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(0)) + 9, 0, (width, height)).astype(int)
        if right - left < 2 or bottom - top < 2:
            return
        window, corner = np.s_[top:bottom, left:right], np.array((left, top))
        below = self.image[window]
        layer, cover = below.copy(), np.zeros(below.shape[:2], np.uint8)
        for part, points in zip(parts, projected, strict=True):
            colour = np.clip(np.asarray(part.colour) * self.weather.light, 0, 255).tolist()
            pixels = max(1, round(part.width * self.focal / np.max(part.points[..., 2]))) if part.width else 0
            for canvas, value in ((layer, colour), (cover, 255)):
                _draw(canvas, points - corner, pixels, value)
        relief = 1 + 0.03 * self.grain[0][window] + BLOTCHES.get(label, 0.03) * self.grain[1][window]
        clear = np.exp(-np.broadcast_to(np.float32(z), (height, width))[window] / self.weather.sight)[..., None]
        haze = np.float32(self.weather.haze)
        seen = (layer * relief[..., None] - haze) * clear + haze
        self.image[window] = np.clip(below + (seen - below) * (cover[..., None] * np.float32(opacity / 255)), 0, 255)
        if outline is not None:
            cover[:] = 0
            _draw(cover, self.project(outline) - corner, 0, 255)
        rims, _ = cv2.findContours((cover > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        rim = max(rims, key=len, default=())
        if label and len(rim) > 2:
            self.objects.append({"label": label, "polygon": (rim[:, 0] + corner).tolist()})

    def pick(self, *choices):
        """Returns a random argument."""
        return choices[self.rng.integers(len(choices))]

    def hue(self, *colours: tuple, spread: float = 12) -> np.ndarray:
        """Returns a random one of the RGB colours, slightly varied."""
        return np.clip(self.pick(*colours) + self.rng.normal(0, spread, 3), 8, 250)


def _draw(canvas: np.ndarray, points: np.ndarray, width: int, value) -> None:
    """Draws lines of `width` pixels through (..., corners, 2) pixels, or filled polygons if `width` is 0."""
    shapes = list(np.round(points * 16).astype(np.int32).reshape(-1, *points.shape[-2:]))  # in sixteenths of a pixel
    if width:
        cv2.polylines(canvas, shapes, False, value, width, cv2.LINE_AA, 4)
    else:
        cv2.fillPoly(canvas, shapes, value, cv2.LINE_AA, 4)


def quad(x, h, z) -> np.ndarray:
    """Returns rectangles: two of x, h, z are (low, high), with arrays for several rectangles; the third is a number."""
    corners = iter(((0, 1, 1, 0), (0, 0, 1, 1)))
    axes = [[value[end] for end in next(corners)] if isinstance(value, tuple) else [value] * 4 for value in (x, h, z)]
    return np.stack(np.broadcast_arrays(*(np.stack(np.broadcast_arrays(*axis), -1) for axis in axes)), -1)


def flat(x: float, z: float, points: list) -> np.ndarray:
    """Returns points of an object that faces the camera, from (u, h) points with u to the right of x."""
    u, h = np.transpose(points)
    return np.stack(np.broadcast_arrays(x + u, h, z), -1)


def disc(x: float, h: float, z: float, radius, corners: int = 18, turn: float = 0.0) -> np.ndarray:
    """Returns a disc that faces the camera, or a regular polygon."""
    angle = turn + np.arange(corners) * 2 * math.pi / corners
    return flat(x, z, np.stack([radius * np.cos(angle), h + radius * np.sin(angle)], -1))


def inner(scene: Scene, x: Span) -> float | None:
    """Returns x of the side of a box that the camera sees, or None."""
    return x[0] if scene.eye[0] < x[0] else x[1] if scene.eye[0] > x[1] else None


def box(scene: Scene, x: Span, h: Span, z: Span, colour) -> list[Part]:
    """Returns the inner side and the near end of a box; their brightness depends on the sun."""
    colour, side = np.asarray(colour, float), inner(scene, x)
    shade = 0.95 + 0.2 * scene.sun * (1 if side == x[1] else -1)
    parts = [] if side is None else [Part(quad(side, h, z), colour * shade)]
    return [*parts, Part(quad(x, h, z[0]), colour)]


def sky(scene: Scene) -> None:
    """Draws a gradient with clouds, the background of everything else."""
    height, width = scene.image.shape[:2]
    haze = np.float32(scene.weather.haze)
    t = np.clip(np.arange(height) / scene.horizon, 0, 1)[:, None, None] ** 1.3
    colour = (1 - t) * np.float32(scene.weather.zenith) + t * haze
    clouds = cv2.resize(scene.grain[1, : height // 4, : width // 8], (width, height), interpolation=cv2.INTER_CUBIC)
    scene.image[:] = np.clip(colour + (haze - colour) * np.clip(clouds * 0.5, 0, 0.8)[..., None], 0, 255)
    corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    scene.objects.append({"label": "sky", "polygon": corners})


def ground(scene: Scene, label: str | None, x: Span, z: Span, colour, opacity: float = 1.0) -> None:
    """Draws a strip of ground along the road."""
    ahead = np.geomspace(z[0], z[1], 24)
    ahead = np.concatenate([ahead, ahead[::-1]])
    points = np.stack([np.repeat(x, 24), np.zeros(48), ahead], -1)
    rows = np.arange(scene.image.shape[0])[:, None] - scene.horizon
    depth = np.clip(scene.focal * scene.eye[1] / np.maximum(rows, 0.1), 1, FAR)
    scene.paint(label, [Part(points, colour)], depth, opacity)


def building(scene: Scene, x: Span, z: Span, height: float) -> None:
    """Draws a house with rows of windows, some of them lit, and a roof."""
    rng, side = scene.rng, inner(scene, x)
    colour = scene.hue(
        (150, 92, 76), (196, 178, 146), (140, 136, 134), (186, 150, 104), (206, 204, 196), (120, 128, 142)
    )
    parts = box(scene, x, (0, height), z, colour)
    bay, storey, glass = rng.uniform(2.2, 3.4), rng.uniform(2.9, 3.5), scene.hue((52, 62, 76), (84, 102, 120))
    for on_side, span in ((True, z), (False, x)):
        middle, sill = np.meshgrid(
            np.arange(span[0] + bay / 2, span[1] - bay / 3, bay), np.arange(1, height - 2, storey)
        )
        middle, sill = middle.ravel(), sill.ravel()
        lit = rng.random(middle.size) < 0.08
        for chosen, tint in ((slice(None), glass), (lit, (250, 215, 130))):
            across, rows = (middle[chosen] - bay / 4, middle[chosen] + bay / 4), (sill[chosen], sill[chosen] + 1.7)
            if not on_side:
                parts.append(Part(quad(across, rows, z[0]), tint))
            elif side is not None:
                parts.append(Part(quad(side, rows, across), tint))
    roof = scene.hue((112, 62, 50), (72, 72, 80))
    parts += box(scene, x, (height - 0.4, height + rng.uniform(0, 2)), z, roof)
    scene.paint("building", [part for part in parts if part.points.size], sum(z) / 2)


def barrier(scene: Scene, label: str, x: float, z: Span) -> None:
    """Draws a wall with rows of stones, or a fence of slats, annotated including its gaps."""
    rng, along = scene.rng, np.arange(*z, 0.42)
    if label == "wall":
        high, colour = rng.uniform(2.0, 3.2), scene.hue((168, 162, 150), (150, 96, 78), (128, 128, 132))
        courses = np.arange(0.4, high, 0.45)
        parts = [Part(quad(x, (0, high), z), colour), Part(quad(x, (courses, courses + 0.06), z), colour * 0.66)]
    else:
        high, colour = rng.uniform(1.5, 2.2), scene.hue((52, 74, 60), (128, 84, 52), (58, 58, 66), (206, 204, 200))
        rails = np.array((0.2, high * 0.8))
        parts = [
            Part(quad(x, (0, high), (along, along + 0.2)), colour),
            Part(quad(x, (rails, rails + 0.14), z), colour),
        ]
    scene.paint(label, parts, sum(z) / 3, outline=quad(x, (0, high), z))


def tree(scene: Scene, x: float, z: float, high: float, bush: bool = False) -> None:
    """Draws a tree: blobs of leaves, brighter towards the sun, on a trunk; a bush has no trunk."""
    rng, wide = scene.rng, high * scene.rng.uniform(0.26, 0.4)
    leaf = scene.hue((64, 104, 40), (86, 118, 46), (48, 88, 48), (122, 122, 44))
    parts = [] if bush else [Part(flat(x, z, [(0, 0), (0, high * 0.6)]), (84, 66, 50), 0.06 * high)]
    for u, h in rng.normal(0, 0.42, (12, 2)):
        middle = high * ((0.4 if bush else 0.68) + 0.36 * np.clip(h, -0.7, 0.6))
        rough = wide * rng.uniform(0.4, 0.7) * rng.uniform(0.84, 1.16, 18)
        parts.append(Part(disc(x + u * wide, middle, z, rough), leaf * (0.82 + 0.25 * u * scene.sun + 0.35 * h)))
    scene.paint("vegetation", parts, z)


def post(scene: Scene, x: float, z: float, high: float) -> None:
    """Draws a pole, with a street lamp if it is tall."""
    grey, reach = scene.hue((120, 124, 126), (72, 78, 80), (160, 160, 156)), -math.copysign(1.6, x)
    parts = [Part(quad((x - 0.1, x + 0.1), (0, high), z), grey), Part(quad((x, x + 0.1), (0, high), z), grey * 0.8)]
    if high > 5:
        parts.append(Part(flat(x, z, [(0, high - 0.1), (reach, high + 0.2)]), grey, 0.16))
        parts.append(Part(quad((x + reach - 0.45, x + reach + 0.45), (high, high + 0.4), z), grey * 0.7))
    scene.paint("pole", parts, z)


def traffic_light(scene: Scene, x: float, z: float) -> None:
    """Draws a traffic light with one of its three lamps on."""
    high, lit = scene.rng.uniform(2.2, 3.0), scene.rng.integers(3)
    post(scene, x, z, high + 0.5)
    parts = [Part(quad((x - 0.3, x + 0.3), (high, high + 1.5), z), (26, 28, 30))]
    for lamp, colour in enumerate(((70, 255, 130), (255, 190, 30), (255, 40, 30))):
        shine = np.array(colour) * (1.25 if lamp == lit else 0.28)
        parts.append(Part(disc(x, high + 0.28 + 0.47 * lamp, z, 0.19), shine))
    scene.paint("traffic light", parts, z)


def traffic_sign(scene: Scene, x: float, z: float) -> None:
    """Draws a round, triangular, square or octagonal sign on a pole."""
    high, size = scene.rng.uniform(2.0, 2.8), scene.rng.uniform(0.58, 0.76)
    red, blue, yellow = (206, 24, 30), (24, 82, 190), (240, 196, 20)
    corners, turn, rim, inside = scene.pick(
        (24, 0, red, WHITE),
        (3, 1 / 2, red, WHITE),
        (4, 1 / 4, WHITE, blue),
        (8, 1 / 8, WHITE, red),
        (4, 0, WHITE, yellow),
    )
    post(scene, x, z, high)
    boards = [Part(disc(x, high, z, size * r, corners, turn * math.pi), c) for r, c in ((1, rim), (0.76, inside))]
    mark = (30, 30, 34) if inside in (WHITE, yellow) else WHITE
    scene.paint(
        "traffic sign", [*boards, Part(quad((x - size / 3, x + size / 3), (high - 0.1, high + 0.1), z), mark)], z
    )


def body(scene: Scene, x: float, z: float, hip: tuple, neck: tuple, feet: list, hands: list, cap) -> list[Part]:
    """Returns legs, arms, torso and head of a person, from the (u, h) points of the joints."""
    coat = scene.hue((180, 40, 44), (40, 74, 150), (36, 38, 44), (208, 196, 60), (220, 220, 222), (60, 120, 80))
    trousers, skin = scene.hue((34, 40, 64), (70, 66, 60), (30, 30, 32)), scene.hue((226, 182, 150), (150, 104, 76))
    lines = [([hip, *leg], 0.2, trousers) for leg in feet] + [([hip, neck], 0.4, coat)]
    lines += [([(neck[0], neck[1] - 0.1), *arm], 0.13, coat * 0.8) for arm in hands]
    u, h = neck[0] + 0.25 * (neck[0] - hip[0]), neck[1] + 0.22
    head = [Part(disc(x + u, h, z, 0.16), cap), Part(disc(x + u, h - 0.05, z, 0.11), skin)]
    return [*(Part(flat(x, z, points), colour, width) for points, width, colour in lines), *head]


def person(scene: Scene, x: float, z: float) -> None:
    """Draws a walking person; one in five is a child."""
    k, stride = scene.pick(1.0, 1.0, 0.94, 1.05, 0.72), scene.rng.uniform(0.08, 0.34)
    feet = [[(side * stride * 0.6, 0.45 * k), (side * stride, 0.06)] for side in (-1, 1)]
    hands = [[(side * 0.26, 1.1 * k), (side * scene.rng.uniform(0.1, 0.4), 0.85 * k)] for side in (-1, 1)]
    hair = scene.hue((54, 38, 26), (24, 22, 22), (170, 130, 70))
    scene.paint("person", body(scene, x, z, (0, 0.88 * k), (0, 1.42 * k), feet, hands, hair), z)


def two_wheeler(scene: Scene, x: float, z: float, label: str, ridden: bool) -> None:
    """Draws a bicycle (thin frame, spoked wheels) or a motorcycle (solid body, wide tyres) from the side."""
    direction = scene.pick(-1, 1)
    paintwork = scene.hue((200, 36, 36), (30, 110, 190), (30, 150, 90), (236, 180, 30), (220, 220, 224))

    def oriented(points: list) -> list:
        return [(direction * u, h) for u, h in points]

    def line(points: list, width: float, colour) -> Part:
        return Part(flat(x, z, oriented(points)), colour, width)

    if label == "bicycle":
        # each twice, half a turn apart: a line through 19 corners leaves a gap between the last and the first
        rims = [disc(x + u, 0.37, z, 0.35, 19, turn) for u in (-0.56, 0.56) for turn in (0, math.pi)]
        parts = [Part(rim, BLACK, 0.075) for rim in rims]
        parts += [Part(rim[[n, n + 9]], (150, 150, 150), 0.02) for rim in rims for n in (0, 3, 6)]
        parts.append(line([(-0.56, 0.37), (-0.05, 0.36), (0.38, 0.86), (-0.2, 0.86), (-0.56, 0.37)], 0.08, paintwork))
        parts.append(line([(0.56, 0.37), (0.36, 1.06)], 0.08, paintwork))
        parts += [line([(-0.4, 1.0), (-0.1, 1.0)], 0.1, BLACK), line([(0.26, 1.1), (0.46, 1.08)], 0.07, BLACK)]
        hip, neck, hand = (-0.2, 1.08), (0.12, 1.6), (0.4, 1.12)
    else:
        parts = [Part(disc(x + u, 0.34, z, r), c) for u in (-0.73, 0.73) for r, c in ((0.36, BLACK), (0.2, (120,) * 3))]
        tank = [(-1.0, 0.85), (-0.95, 0.62), (0.2, 0.5), (0.62, 0.7), (0.66, 1.1), (0.4, 1.22), (0.1, 1.0), (-0.2, 0.8)]
        engine = [(-0.5, 0.25), (0.4, 0.25), (0.5, 0.6), (-0.6, 0.6)]
        parts += [line([(0.74, 0.34), (0.42, 1.0)], 0.1, (170,) * 3), Part(flat(x, z, oriented(engine)), (64, 64, 68))]
        parts += [Part(flat(x, z, oriented(tank)), paintwork), line([(-0.75, 0.88), (-0.1, 0.86)], 0.14, BLACK)]
        hip, neck, hand = (-0.28, 0.98), (-0.02, 1.5), (0.4, 1.22)
    scene.paint(label, parts, z)
    if ridden:
        feet = [oriented([(0.2, 0.82), (-0.05, 0.33)]), oriented([(0.26, 0.92), (0.1, 0.45)])]
        (hip, neck), helmet = oriented([hip, neck]), scene.hue((230, 230, 230), (220, 50, 40), (240, 200, 30))
        scene.paint("rider", body(scene, x, z, hip, neck, feet, [oriented([(0.2, 1.2), hand])], helmet), z)


VEHICLES = {
    # length, half width and height in metres, colours
    "car": (4.3, 0.9, 0.92, ((186, 24, 30), (36, 68, 140), (206, 208, 212), (40, 42, 46), (38, 92, 70))),
    "truck": (9.0, 1.25, 3.7, ((226, 226, 222), (60, 90, 150), (196, 150, 60), (150, 40, 40))),
    "bus": (11.5, 1.28, 3.1, ((206, 40, 36), (240, 190, 30), (40, 110, 180), (60, 150, 90))),
    "train": (20.0, 1.3, 3.4, ((200, 30, 40), (20, 110, 90), (30, 70, 150))),
}


def vehicle(scene: Scene, x: float, z: float, label: str, oncoming: bool) -> None:
    """Draws a car, truck, bus or tram ("train") with its near end at z, seen from the front or from behind."""
    length, half, high, colours = VEHICLES[label]
    colour, span, far = scene.hue(*colours), (x - half, x + half), z + length
    side, is_car = inner(scene, span), label == "car"
    ground(scene, None, (x - half - 0.2, x + half + 0.2), (z - 0.2, far), BLACK, 0.5)

    def end(left: float, right: float, low: float, top: float, colour) -> None:
        parts.append(Part(quad((x + left * half, x + right * half), (low, top), z), colour))

    def flank(low: float, top: float, first: float, last: float, every: float, width: float, colour) -> None:
        starts = z + np.arange(first, last, every)
        if side is not None:
            parts.append(Part(quad(side, (low, top), (starts, starts + width)), colour))

    parts: list[Part] = []
    if is_car:
        front, back = (0.9, 3.9) if oncoming else (0.3, 3.2)
        parts += box(scene, (x - 0.72, x + 0.72), (high, 1.48), (z + front, z + back), GLASS)
        parts += box(scene, (x - 0.68, x + 0.68), (1.4, 1.5), (z + front, z + back), colour)
    if label != "train":
        end(-0.95, -0.65, 0, 0.5, BLACK)
        end(0.65, 0.95, 0, 0.5, BLACK)
        flank(0, 0.6 if is_car else 0.7, 0.5, length, length - 1.9, 0.8, BLACK)
    parts += box(scene, span, (0.25 if is_car else 0.4, high), (z, far), colour)
    if label == "truck":
        flank(0.5, 1.0, 0, 1, 1, length, (50, 50, 54))
        if oncoming:
            flank(0.5, high, 2, 3, 1, 0.3, colour * 0.4)
            end(-1, 1, 2.7, high, colour * 0.75)
        for seam in () if oncoming else (-0.6, 0, 0.6):
            end(seam - 0.03, seam + 0.03, 0.9, 3.6, colour * 0.6)
    elif not is_car:
        cream = (236, 228, 204) if label == "train" else colour * 0.9
        flank(1.3, 2.8, 0, 1, 1, length, cream)
        end(-1, 1, 1.3, high - 0.4, cream)
        flank(1.55, 2.7, 0.7, length - 1.4, 1.5, 1.2, GLASS)
        flank(0.45, 2.6, 2.5, length - 1, 4.5, 1.1, np.array(GLASS) * 1.5)
        end(-0.5, 0.5, high - 0.38, high - 0.12, (255, 170, 40))
    if label == "train":
        roof = [(0, high), (0.6, high + 0.7), (0, high + 1.4)]
        parts.append(Part(flat(x, z + 4, roof), (60, 60, 64), 0.1))
    if not is_car and (oncoming or label != "truck"):
        end(-0.85, 0.85, 1.5, 2.55, GLASS)
    for left in (-0.9, 0.6):
        end(left, left + 0.3, 0.6, 0.8 if is_car else 0.95, (255, 246, 205) if oncoming else (210, 24, 24))
    end(-0.3, 0.3, 0.42, 0.56, (226, 226, 220))
    scene.paint(label, parts, z if is_car else z + 0.3 * length)
