"""The evaluation report: one self-contained HTML file with scores and images."""

import base64
import re
from bisect import insort
from collections.abc import Callable
from math import ceil, floor, isfinite, log10
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ocrnet import errors
from ocrnet.config import Config
from ocrnet.data.datasets import palette
from ocrnet.evaluation.metrics import ConfusionMatrix
from ocrnet.visualization import colour, encode, error_map

LONGEST_SIDE = 1024  # of images in the report, pixels


def render(template: str, **values: object) -> str:
    """Render one of the package's templates; in .html and .svg, values are escaped for HTML."""
    environment = Environment(
        loader=PackageLoader("ocrnet.evaluation"),
        autoescape=select_autoescape(["html", "svg"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


class GalleryImage(NamedTuple):
    """An image in a gallery; the layers are data URIs of images of the same size."""

    score: float
    name: str
    width: int
    height: int
    layers: dict[str, str]


def gallery_image(
    score: float, name: str, palette: np.ndarray, image: np.ndarray, label: np.ndarray | None, prediction: np.ndarray
) -> GalleryImage:
    """Returns an image (H, W, 3) with label, if it has one, and prediction (H, W) in at most LONGEST_SIDE pixels."""
    height, width = prediction.shape
    factor = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    layers = {"image": _data_uri(cv2.resize(image, size, interpolation=cv2.INTER_AREA), "jpeg")}
    prediction = cv2.resize(prediction, size, interpolation=cv2.INTER_NEAREST)
    if label is not None:
        label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
        layers["label"] = _data_uri(colour(label, palette), "png")
    layers["prediction"] = _data_uri(colour(prediction, palette), "png")
    if label is not None:
        layers["errors"] = _data_uri(error_map(label, prediction), "png")
    return GalleryImage(score, name, *size, layers)


class Gallery:
    """The `eval.visualized_images` worst and best images of an evaluation by their mIoU."""

    def __init__(self, config: Config) -> None:
        self.classes = config.data.classes
        self.palette = palette(config.data)
        self.count = config.eval.visualized_images
        self._worst: list[GalleryImage] = []
        self._best: list[GalleryImage] = []

    def add(self, name: str, image: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> None:
        """Add an image (H, W, 3) with label and prediction (H, W) if it is among the worst or best so far."""
        matrix = ConfusionMatrix(self.classes)
        matrix.update(label, prediction)
        galleries = [entries for entries in (self._worst, self._best) if self._qualifies(matrix.miou, entries)]
        if not galleries or not matrix.counts.any():
            return
        entry = gallery_image(matrix.miou, name, self.palette, image, label, prediction)
        for entries in galleries:
            insort(entries, entry, key=self._sort_key(entries))
            del entries[self.count :]

    def merge(self, other: "Gallery") -> None:
        """Merge the gallery of another rank."""
        for mine, theirs in ((self._worst, other._worst), (self._best, other._best)):
            mine.extend(theirs)
            mine.sort(key=self._sort_key(mine))
            del mine[self.count :]

    def _sort_key(self, entries: list[GalleryImage]) -> Callable[[GalleryImage], float]:
        sign = 1 if entries is self._worst else -1
        return lambda entry: sign * entry.score

    def _qualifies(self, score: float, entries: list[GalleryImage]) -> bool:
        if len(entries) < self.count:
            return True
        return bool(entries) and (score < entries[-1].score if entries is self._worst else score > entries[-1].score)

    @property
    def worst(self) -> list[GalleryImage]:
        return self._worst

    @property
    def best(self) -> list[GalleryImage]:
        """The best images without those that are also among the worst, as in a small data set."""
        worst = {entry.name for entry in self._worst}
        return [entry for entry in self._best if entry.name not in worst]


def _data_uri(image: np.ndarray, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encode(image, f'.{kind}')).decode()}"


def css_colour(colour: np.ndarray) -> str:
    """Returns an RGB colour as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


class Curve(NamedTuple):
    """A line chart of 600 x 220: the path, and (position, text) of the ticks on both axes."""

    path: str
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    last: str


def read_curves(log: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns {"loss", "miou": (step, value)} from a run's train.log; of a repeated step the last value."""
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    loss = {int(step): float(value) for step, value in re.findall(r"^step (\d+)/\d+, loss: ([\d.]+)", text, re.M)}
    miou = {
        int(step): float(value)
        for step, value in re.findall(r"^step (\d+): (?:loss [^,]+, )?mIoU ([\d.]+) %", text, re.M)
    }
    return {name: sorted(points.items()) for name, points in (("loss", loss), ("miou", miou)) if len(points) > 1}


def draw_curve(points: list[tuple[int, float]], width: int = 600, height: int = 220) -> Curve:
    """Scale the points to the chart. The value axis starts at 0; the ticks are round numbers."""
    last, top = points[-1][0], max(value for _, value in points) or 1.0
    values, steps = _round_ticks(top), _round_ticks(last)
    top = max(top, values[-1])
    path = " ".join(f"{width * step / last:.1f},{height * (1 - value / top):.1f}" for step, value in points)
    return Curve(
        path,
        [(width * mark / last, f"{mark:g}") for mark in steps],
        [(height * (1 - mark / top), f"{mark:g}") for mark in values],
        f"{points[-1][1]:.4g}",
    )


def _round_ticks(top: float) -> list[float]:
    """Returns about four ticks from 0 to at most `top`, at multiples of 1, 2 or 5 times a power of ten."""
    power = 10 ** floor(log10(top / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= top / 5)
    return [step * number for number in range(ceil(top / step - 1e-9) + 1) if step * number <= top * 1.0001]


def write_report(
    folder: Path, config: Config, ckpt_path: Path, matrix: ConfusionMatrix, scores: dict, gallery: Gallery
) -> Path:
    """Write `folder`/index.html and return its path.

    Args:
        ckpt_path: evaluated checkpoint; the curves come from the train.log of its run, if it exists.
        scores: content of `--result_json`.
    """
    run = ckpt_path.resolve().parent.parent
    share = matrix.counts.sum(1) / max(1, matrix.counts.sum())
    columns = {"iou": matrix.iou, "acc": matrix.accuracy, "dice": matrix.dice}
    rows = [
        {
            "name": name,
            "colour": css_colour(gallery.palette[index]),
            "share": float(share[index]),
            **{key: float(values[index]) if isfinite(values[index]) else None for key, values in columns.items()},
        }
        for index, name in enumerate(matrix.classes)
    ]
    path = folder / "index.html"
    page = render(
        "report.html",
        config=config,
        ckpt_path=ckpt_path,
        scores=scores,
        rows=rows,
        matrix=matrix.counts.tolist(),
        galleries=[("worst", gallery.worst), ("best", gallery.best)],
        curves={name: draw_curve(points) for name, points in read_curves(run / "train.log").items()},
        config_yaml=config.to_yaml(),
    )
    errors.write_text(path, page.encode(errors="backslashreplace").decode())  # file names may not be valid UTF-8
    return path
