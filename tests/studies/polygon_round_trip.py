"""Measures what polygons keep of masks: to a format of an annotation program and back.

    PYTHONPATH=src python tests/studies/polygon_round_trip.py --masks data/demo/gtFine/*/*/*_labelIds.png

writes the masks in each format with the tolerances 0, 1 and 2, reads them again and prints a table: equal pixels, gaps
(pixels without a polygon), points relative to tolerance 0, and CPU seconds of a mask. Every value of a mask
is a class. About two minutes of CPU for 100 masks of 256 x 512.
"""

import argparse
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from ocrnet.data.annotations.reading import read_annotations
from ocrnet.data.annotations.shapes import Annotation, Shape
from ocrnet.data.annotations.writing import FORMATS, file_text
from ocrnet.data.images import read_label
from ocrnet.data.masks import ClassTable, draw_mask
from ocrnet.data.polygons import polygons

LABELS = [f"class {value}" for value in range(255)]
TABLE = ClassTable({label: value for value, label in enumerate(LABELS)})


def measure(mask: np.ndarray, kind: str, tolerance: float, folder: Path) -> np.ndarray:
    """Returns [share of equal pixels, pixels without a polygon, points, seconds to the file, seconds back]."""
    start = time.process_time()
    shapes = [Shape(LABELS[value], points) for value, points in polygons(mask, tolerance)]
    found = Annotation("a", mask.shape[1], mask.shape[0], shapes, "centre")
    path = folder / ("a.xml" if kind == "cvat" else "a.json")
    path.write_text(file_text(kind, [found], LABELS, Path("a.png")), encoding="utf-8")
    written = time.process_time()
    (annotation,) = read_annotations(path, "a", folder)
    back = np.asarray(draw_mask(annotation, TABLE)[0])
    seconds = time.process_time() - written
    points = sum(len(shape.outline) for shape in shapes)
    return np.array([(back == mask).mean(), (back == 255).sum(), points, written - start, seconds])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", required=True, nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--number", type=int, default=100, help="masks drawn at random (default 100)")
    args = parser.parse_args()
    masks = [read_label(path) for path in random.Random(0).sample(args.masks, min(args.number, len(args.masks)))]
    print("| format | tolerance | equal pixels | worst mask | gaps | points | CPU to polygons | CPU back |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    points: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        for kind in FORMATS:
            for tolerance in (0, 1, 2):
                rows = np.array([measure(mask, kind, tolerance, Path(folder)) for mask in masks])
                equal, gaps, nodes, there, back = rows.T
                points[kind] = points[kind] or nodes.sum()
                print(
                    f"| {kind} | {tolerance} | {equal.mean():.2%} | {equal.min():.2%} | {int(gaps.sum())} | "
                    f"{nodes.sum() / points[kind]:.0%} | {there.mean():.2f} s | {back.mean():.2f} s |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
