"""Pinhole camera and painter: parts placed in metres become pixels and annotated outlines."""

import math
from typing import NamedTuple

import cv2
import numpy as np

FAR = 120.0  # metres to the end of the street


class Weather(NamedTuple):
    """Sky colours (zenith, horizon), light on surfaces (RGB gain), sight in metres, cloud cover."""

    zenith: tuple[int, int, int]
    haze: tuple[int, int, int]
    light: tuple[float, float, float]
    sight: float
    clouds: float


WEATHERS = {
    "clear": Weather((62, 122, 205), (190, 214, 236), (1.06, 1.03, 0.97), 420, 0.5),
    "cloudy": Weather((105, 145, 195), (206, 216, 224), (0.98, 0.98, 0.98), 300, 1.0),
    "overcast": Weather((158, 165, 174), (208, 211, 213), (0.86, 0.87, 0.89), 220, 0.25),
    "fog": Weather((198, 202, 205), (208, 211, 212), (0.88, 0.89, 0.90), 62, 0.0),
    "dusk": Weather((70, 72, 122), (246, 172, 112), (0.80, 0.66, 0.64), 240, 0.6),
    "rain": Weather((112, 120, 130), (168, 174, 180), (0.68, 0.71, 0.76), 110, 0.2),
}


class Scene(NamedTuple):
    """Picture under way, its annotation, and the camera that projects metres to pixels."""

    rng: np.random.Generator
    image: np.ndarray  # height x width x 3, uint8 RGB
    objects: list[dict]
    grain: np.ndarray  # 3 x height x width noise: fine, leaf-sized, blotches
    weather: Weather
    sun: float  # -1 from the left .. 1 from the right
    focal: float  # pixels
    centre: float  # column of the vanishing point
    horizon: float  # row
    eye: tuple[float, float]  # camera x and height, metres
    bend: float  # the road's sideways offset is bend * z ** 2
    hill: float  # the ground's height is hill * z ** 2


class Part(NamedTuple):
    """Filled polygon(s), or with a width in pixels a line; points are ([polygons,] corners, 2)."""

    points: np.ndarray
    colour: np.ndarray
    width: float = 0.0


class Frame(NamedTuple):
    """Local axes of an object in metres: u ahead, v to the right, h up, turned by yaw (0 looks along z)."""

    scene: Scene
    x: float
    z: float
    yaw: float
    eye: tuple[float, float]  # the camera in (u, v)
    scale: float  # pixels per metre


def project(scene: Scene, x: np.ndarray, z: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Map points in metres to (column, row) pixels along a new last axis."""
    z = np.maximum(z, 0.8)
    column = scene.centre + scene.focal * (x - scene.eye[0]) / z
    row = scene.horizon - scene.focal * (h + scene.hill * z**2 - scene.eye[1]) / z
    return np.stack(np.broadcast_arrays(column, row), -1)


def frame(scene: Scene, x: float, z: float, yaw: float = math.pi / 2) -> Frame:
    """Place an object at x (from the middle of the road) and z; the default yaw faces the camera."""
    x = x + scene.bend * z**2
    right, ahead = scene.eye[0] - x, -z
    eye = (right * math.sin(yaw) + ahead * math.cos(yaw), right * math.cos(yaw) - ahead * math.sin(yaw))
    return Frame(scene, x, z, yaw, eye, scene.focal / z)


def at(f: Frame, u, v, h) -> np.ndarray:
    """Project local coordinates of a frame to pixels."""
    u, v, h = (np.asarray(value, float) for value in (u, v, h))
    sin, cos = math.sin(f.yaw), math.cos(f.yaw)
    return project(f.scene, f.x + u * sin + v * cos, f.z + u * cos - v * sin, h)


def quad(f: Frame, u, v, h) -> np.ndarray:
    """Rectangle(s): two of u, v, h are (low, high) pairs, of arrays for many, the third is a number."""
    first, second = (u, h) if np.ndim(v) == 0 else (v, h) if np.ndim(u) == 0 else (u, v)
    a = np.stack(np.broadcast_arrays(first[0], first[1], first[1], first[0]), -1)
    b = np.stack(np.broadcast_arrays(second[0], second[0], second[1], second[1]), -1)
    return at(f, a, v, b) if np.ndim(v) == 0 else at(f, u, a, b) if np.ndim(u) == 0 else at(f, a, b, h)


def facing(f: Frame, u: tuple, v: tuple) -> tuple[float | None, float | None]:
    """Which end (u) and which side (v) of a box the camera sees, None for neither."""
    ends = [bound if outside else None for bound, outside in ((u[0], f.eye[0] < u[0]), (u[1], f.eye[0] > u[1]))]
    sides = [bound if outside else None for bound, outside in ((v[0], f.eye[1] < v[0]), (v[1], f.eye[1] > v[1]))]
    return next((e for e in ends if e is not None), None), next((s for s in sides if s is not None), None)


def box(f: Frame, u: tuple, v: tuple, h: tuple, colour, taper: tuple = (0.0, 0.0)) -> list[Part]:
    """Visible faces of a box, lit by the sun; its top is smaller by ``taper`` metres at each u and v edge."""
    colour = np.asarray(colour, float)
    end, side = facing(f, u, v)
    top_u, top_v = (u[0] + taper[0], u[1] - taper[0]), (v[0] + taper[1], v[1] - taper[1])
    faces = []
    if f.scene.eye[1] > h[1]:
        faces.append(Part(quad(f, top_u, top_v, h[1]), colour * 1.15))
    if side is not None:
        top = top_v[0] if side == v[0] else top_v[1]
        points = at(f, [*u, *top_u[::-1]], [side, side, top, top], [h[0], h[0], h[1], h[1]])
        outward = math.cos(f.yaw) * (1 if side == v[1] else -1)
        faces.append(Part(points, colour * (0.92 + 0.22 * f.scene.sun * outward)))
    if end is not None:
        top = top_u[0] if end == u[0] else top_u[1]
        points = at(f, [end, end, top, top], [*v, *top_v[::-1]], [h[0], h[0], h[1], h[1]])
        outward = math.sin(f.yaw) * (1 if end == u[1] else -1)
        faces.append(Part(points, colour * (0.92 + 0.22 * f.scene.sun * outward)))
    return faces


def panel(f: Frame, u: tuple, v: tuple, on: str, across: tuple, h: tuple, colour) -> list[Part]:
    """Rectangle(s) on the "end" or the "side" of the box u, v in sight, nothing where that is hidden."""
    end, side = facing(f, u, v)
    if (end if on == "end" else side) is None:
        return []
    points = quad(f, end, across, h) if on == "end" else quad(f, across, side, h)
    return [Part(points, np.asarray(colour, float))]


def disc(f: Frame, u: float, h: float, radius: float, colour, v: float = 0.0, jitter: float = 0.0) -> Part:
    """Disc in the u-h plane; ``jitter`` roughens its rim."""
    angle = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    radii = radius * (1 + jitter * f.scene.rng.uniform(-1, 1, angle.size))
    return Part(at(f, u + radii * np.cos(angle), v, h + radii * np.sin(angle)), np.asarray(colour, float))


def line(f: Frame, points: list, metres: float, colour, v: float = 0.0) -> Part:
    """Line through (u, h) points, never thinner than a pixel."""
    u, h = np.transpose(points)
    return Part(at(f, u, v, h), np.asarray(colour, float), max(metres * f.scale, 1.0))


def shape(f: Frame, points: list, colour, v: float = 0.0) -> Part:
    """Polygon through (u, h) points."""
    u, h = np.transpose(points)
    return Part(at(f, u, v, h), np.asarray(colour, float))


def draw(canvas: np.ndarray, part: Part, value, origin: np.ndarray) -> None:
    """Fill or stroke a part, antialiased."""
    fixed = np.round((part.points - origin) * 16).astype(np.int32).reshape(-1, *part.points.shape[-2:])
    if part.width:
        cv2.polylines(canvas, list(fixed), False, value, max(1, round(part.width)), cv2.LINE_AA, 4)
    else:
        cv2.fillPoly(canvas, list(fixed), value, cv2.LINE_AA, 4)


def paint(scene: Scene, label: str | None, parts: list[Part], depth, texture=(0.03, 0.0, 0.03), opacity=1.0,
          outline: np.ndarray | None = None) -> None:  # fmt: skip
    """Paint an object's parts and annotate their joint outline; without a label it only shades what is there.

    ``depth`` in metres (a number or an array that broadcasts to the picture) sets how far haze hides it.
    """
    height, width = scene.image.shape[:2]
    corners = np.concatenate([np.reshape(part.points, (-1, 2)) for part in parts])
    margin = max(part.width for part in parts) + 1
    x0, y0 = np.clip(np.floor(corners.min(0) - margin), 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(0) + margin), 0, (width, height)).astype(int)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    window, origin = np.s_[y0:y1, x0:x1], np.array([x0, y0])
    below = scene.image[window]
    layer, cover = below.copy(), np.zeros((y1 - y0, x1 - x0), np.uint8)
    for part in parts:
        draw(layer, part, np.clip(part.colour * scene.weather.light, 0, 255).tolist(), origin)
        draw(cover, part, 255, origin)
    relief = 1 + np.tensordot(np.float32(texture), scene.grain[:, y0:y1, x0:x1], 1)
    depth = np.broadcast_to(np.float32(depth), (height, width))[window]
    clear = np.exp(-depth / np.float32(scene.weather.sight))[..., None]
    seen = (layer * relief[..., None] - scene.weather.haze) * clear + np.float32(scene.weather.haze)
    scene.image[window] = np.clip(below + (seen - below) * (cover[..., None] * np.float32(opacity / 255)), 0, 255)
    if label is None:
        return
    if outline is not None:
        cover[:] = 0
        draw(cover, Part(outline, np.zeros(3)), 255, origin)
    rims, _ = cv2.findContours((cover > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rim = max(rims, key=len, default=())
    if len(rim) > 2:
        scene.objects.append({"label": label, "polygon": (rim[:, 0] + origin).tolist()})


def pick(scene: Scene, *choices):
    """Choose one of the arguments."""
    return choices[scene.rng.integers(len(choices))]


def hue(scene: Scene, *choices: tuple, spread: float = 14) -> np.ndarray:
    """Choose one of some RGB colours and vary it."""
    return np.clip(np.asarray(pick(scene, *choices), float) + scene.rng.normal(0, spread, 3), 8, 250)


def shadow(f: Frame, u: tuple, v: tuple) -> None:
    """Darken the ground under something."""
    grow = 0.25
    parts = [Part(quad(f, (u[0] - grow, u[1] + grow), (v[0] - grow, v[1] + grow), 0.02), np.array((24, 24, 30.0)))]
    paint(f.scene, None, parts, 1.0, opacity=0.35 + 0.3 * (f.scene.weather.sight > 250))
