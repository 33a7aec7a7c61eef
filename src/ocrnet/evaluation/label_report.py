"""The files of scripts/find_label_errors.py: a page with the outlined regions, CSV files and lists."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ocrnet import errors
from ocrnet.config import Config
from ocrnet.data.datasets import palette
from ocrnet.data.splits import write_list
from ocrnet.evaluation.label_errors import Region
from ocrnet.evaluation.report import css_colour, gallery_image, render

OUTLINED = 5
"""Regions of an image that the page shows."""


class RankedImage(NamedTuple):
    """An image and how suspicious its label is, or how uncertain the network is without one."""

    number: int
    """Index in its data set."""
    name: str
    path: Path
    label: Path | None
    score: float
    """`label_quality`, the lowest first; without a label the `uncertainty`, the highest first."""
    regions: Sequence[Region] = ()


def rank(images: Iterable[RankedImage]) -> list[RankedImage]:
    """Returns the images, those to look at first at the beginning; labels without a labelled pixel are left out."""
    known = [image for image in images if not np.isnan(image.score)]
    return sorted(known, key=lambda image: (-image.score if image.label is None else image.score, image.number))


def write_tables(folder: Path, config: Config, ranked: Sequence[RankedImage], count: int) -> None:
    """Writes images.csv and, for images with labels, regions.csv and suspicious.lst with the first `count` pairs.

    Raises:
        UserError: a file cannot be written.
    """
    if not ranked or ranked[0].label is None:
        _write_csv(folder / "images.csv", ("image", "uncertainty"), ((i.path, f"{i.score:.6f}") for i in ranked))
        return
    rows = ((i.path, i.label, f"{i.score:.6f}", len(i.regions)) for i in ranked)
    _write_csv(folder / "images.csv", ("image", "label", "label_quality", "regions"), rows)
    names = config.data.classes
    regions = sorted(((r, i) for i in ranked for r in i.regions), key=lambda entry: -entry[0].score)
    header = "image", "score", "label", "predicted", "pixels", "confidence", "left", "top", "width", "height"
    rows = (
        (i.path, f"{r.score:.4f}", names[r.label], names[r.prediction], r.area, f"{r.confidence:.4f}", *r.box)
        for r, i in regions
    )
    _write_csv(folder / "regions.csv", header, rows)
    write_list(folder / "suspicious.lst", config.data.root, ((i.path, i.label) for i in ranked[:count]))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    errors.write_text(path, text.getvalue())


class LabelPage:
    """The page: its images, with outlined regions, in the order in which they are added.

    Args:
        networks: text that names the network or the networks.
    """

    def __init__(self, config: Config, networks: str) -> None:
        self.config = config
        self.networks = networks
        self.palette = palette(config.data)
        self.shown: list[dict] = []
        self.classes: set[int] = set()

    def add(self, ranked: RankedImage, image: np.ndarray, label: np.ndarray | None, prediction: np.ndarray) -> None:
        """Adds an image (H, W, 3) RGB with label, if it has one, and prediction (H, W)."""
        names = self.config.data.classes
        regions = [
            {
                "label": names[region.label],
                "prediction": names[region.prediction],
                "area": region.area,
                "confidence": region.confidence,
                "path": _svg_path(region),
                "start": region.outline[0][0].tolist(),
            }
            for region in ranked.regions[:OUTLINED]
        ]
        for classes in (label, prediction):
            if classes is not None:
                self.classes |= set(np.unique(classes).tolist())
        height, width = prediction.shape
        view = gallery_image(ranked.score, ranked.name, self.palette, image, label, prediction)
        self.shown.append({"image": view, "size": (width, height), "regions": regions})

    def write(self, folder: Path, total: int) -> Path:
        """Writes `folder`/index.html and returns its path.

        Args:
            total: ranked images, of which the page shows the first.

        Raises:
            UserError: the file cannot be written.
        """
        path = folder / "index.html"
        legend = [
            {"name": name, "colour": css_colour(self.palette[index])}
            for index, name in enumerate(self.config.data.classes)
            if index in self.classes
        ]
        labelled = any("label" in shown["image"].layers for shown in self.shown)
        page = render(
            "label_errors.html",
            networks=self.networks,
            backbone=self.config.model.backbone,
            shown=self.shown,
            total=total,
            labelled=labelled,
            legend_entries=legend,
        )
        errors.write_text(path, page.encode(errors="backslashreplace").decode())  # file names may not be valid UTF-8
        return path


def _svg_path(region: Region) -> str:
    """Returns the outline through the centres of the border pixels as data of an SVG path."""
    return " ".join("M" + " ".join(f"{x + 0.5} {y + 0.5}" for x, y in ring) + "Z" for ring in region.outline)
