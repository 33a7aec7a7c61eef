"""The report of an evaluation: one HTML file with scores and images that opens anywhere, without a network."""

import base64
import re
from bisect import insort
from collections.abc import Callable
from math import ceil, floor, isfinite, log10
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ocrnet import errors
from ocrnet.config import Config
from ocrnet.data.datasets import palette
from ocrnet.evaluation.metrics import ConfusionMatrix
from ocrnet.visualization import colour, encode, error_map

LONGEST_SIDE = 1024  # of images in the report, pixels


def render(template: str, **values: object) -> str:
    """Fill in one of the package's templates; values are escaped for HTML."""
    environment = Environment(
        loader=PackageLoader("ocrnet.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


class GalleryImage(NamedTuple):
    """An image in the gallery; the four layers are data URIs of one size."""

    score: float
    name: str
    width: int
    height: int
    layers: dict[str, str]


class Gallery:
    """The worst and the best images of an evaluation by their own mIoU, `eval.visualized_images` of each."""

    def __init__(self, config: Config) -> None:
        self.classes = config.data.classes
        self.palette = palette(config.data)
        self.count = config.eval.visualized_images
        self._worst: list[GalleryImage] = []
        self._best: list[GalleryImage] = []

    def add(self, name: str, image: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> None:
        """Keep an image (H, W, 3) with label and prediction (H, W) if it is among the worst or best so far."""
        own = ConfusionMatrix(self.classes)
        own.update(label, prediction)
        wanted = [shown for shown in (self._worst, self._best) if self._belongs(own.miou, shown)]
        if not wanted or not own.counts.any():
            return
        entry = self._shown(own.miou, name, image, label, prediction)
        for shown in wanted:
            insort(shown, entry, key=self._order(shown))
            del shown[self.count :]

    def merge(self, other: "Gallery") -> None:
        """Take in what another rank has kept."""
        for mine, theirs in ((self._worst, other._worst), (self._best, other._best)):
            mine.extend(theirs)
            mine.sort(key=self._order(mine))
            del mine[self.count :]

    def _order(self, shown: list[GalleryImage]) -> Callable[[GalleryImage], float]:
        sign = 1 if shown is self._worst else -1
        return lambda entry: sign * entry.score

    def _belongs(self, score: float, shown: list[GalleryImage]) -> bool:
        if len(shown) < self.count:
            return True
        return bool(shown) and (score < shown[-1].score if shown is self._worst else score > shown[-1].score)

    def _shown(
        self, score: float, name: str, image: np.ndarray, label: np.ndarray, prediction: np.ndarray
    ) -> GalleryImage:
        height, width = label.shape
        factor = min(1.0, LONGEST_SIDE / max(height, width))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        label, prediction = (cv2.resize(x, size, interpolation=cv2.INTER_NEAREST) for x in (label, prediction))
        layers = {
            "image": _data_uri(image, "jpeg"),
            "label": _data_uri(colour(label, self.palette), "png"),
            "prediction": _data_uri(colour(prediction, self.palette), "png"),
            "errors": _data_uri(error_map(label, prediction), "png"),
        }
        return GalleryImage(score, name, *size, layers)

    @property
    def worst(self) -> list[GalleryImage]:
        return self._worst

    @property
    def best(self) -> list[GalleryImage]:
        """Without those that are among the worst already, as in a set of few images."""
        worst = {shown.name for shown in self._worst}
        return [shown for shown in self._best if shown.name not in worst]


def _data_uri(image: np.ndarray, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encode(image, f'.{kind}')).decode()}"


class Curve(NamedTuple):
    """A line chart in a box of 600 x 220: the path, and (place, text) of the marks on both axes."""

    path: str
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    last: str


def read_curves(log: Path) -> dict[str, list[tuple[int, float]]]:
    """{"loss" and "miou": (step, value)} of a run's train.log; a step that was run again counts as it was last."""
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    loss = {int(step): float(value) for step, value in re.findall(r"^step (\d+)/\d+, loss: ([\d.]+)", text, re.M)}
    miou = {int(step): float(value) for step, value in re.findall(r"^step (\d+): mIoU ([\d.]+) %", text, re.M)}
    return {name: sorted(points.items()) for name, points in (("loss", loss), ("miou", miou)) if len(points) > 1}


def draw_curve(points: list[tuple[int, float]], width: int = 600, height: int = 220) -> Curve:
    """Fit the points into the box; the value axis starts at 0, and its marks are round numbers."""
    last, top = points[-1][0], max(value for _, value in points) or 1.0
    values, steps = _round_marks(top), _round_marks(last)
    top = max(top, values[-1])
    path = " ".join(f"{width * step / last:.1f},{height * (1 - value / top):.1f}" for step, value in points)
    return Curve(
        path,
        [(width * mark / last, f"{mark:g}") for mark in steps],
        [(height * (1 - mark / top), f"{mark:g}") for mark in values],
        f"{points[-1][1]:.4g}",
    )


def _round_marks(top: float) -> list[float]:
    """About four steps of 1, 2 or 5 times a power of ten from 0 to at most `top`."""
    power = 10 ** floor(log10(top / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= top / 5)
    return [step * number for number in range(ceil(top / step - 1e-9) + 1) if step * number <= top * 1.0001]


def write_report(
    folder: Path, config: Config, ckpt_path: Path, matrix: ConfusionMatrix, scores: dict, gallery: Gallery
) -> Path:
    """Write `folder`/index.html and return its path.

    Args:
        ckpt_path: its run's train.log gives the curves, where it is there.
        scores: what `--result_json` writes.
    """
    run = ckpt_path.resolve().parent.parent
    share = matrix.counts.sum(1) / max(1, matrix.counts.sum())
    columns = {"iou": matrix.iou, "acc": matrix.accuracy, "dice": matrix.dice}
    rows = [
        {
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*gallery.palette[index]),
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
        config_file=config.to_yaml(),
    )
    errors.write_text(path, page.encode(errors="backslashreplace").decode())  # names of files need not be text
    return path
