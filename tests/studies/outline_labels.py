"""Converts the labels of a data set to LabelMe polygons, to test the conversion from polygons to masks.

    python tests/studies/outline_labels.py --root DIR --lists train.lst val.lst --output data/mine \\
        --classes sky building pole road pavement tree sign fence car pedestrian bicyclist

writes data/mine/images/*.png (the images), data/mine/annotations/*.json (the outline of every connected region of a
class, the largest first) and data/mine/classes.yml. Label value n is the n-th class; other values get no polygon.
"""

import argparse
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def outlines(label: np.ndarray, classes: list[str]) -> list[dict]:
    """Returns the LabelMe shapes of an (H, W) label, the largest first, so that inner regions are drawn on top."""
    shapes = []
    for value, name in enumerate(classes):
        rings, _ = cv2.findContours((label == value).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for ring in rings:
            points = cv2.approxPolyDP(ring, 1.0, closed=True)[:, 0].tolist()
            if len(points) > 2:
                shapes.append((cv2.contourArea(ring), {"label": name, "points": points, "shape_type": "polygon"}))
    return [shape for _, shape in sorted(shapes, key=lambda entry: -entry[0])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder of the data set")
    parser.add_argument("--lists", required=True, nargs="+", help="its .lst files, one `image label` per line")
    parser.add_argument("--classes", required=True, nargs="+", metavar="NAME")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    for folder in ("images", "annotations"):
        (args.output / folder).mkdir(parents=True, exist_ok=True)
    pairs = [line.split() for name in args.lists for line in (args.root / name).read_text().splitlines()]
    for image, label_file in pairs:
        label = np.asarray(Image.open(args.root / label_file))
        name = Path(image).name
        shutil.copyfile(args.root / image, args.output / "images" / name)
        about = {"imagePath": f"../images/{name}", "imageHeight": label.shape[0], "imageWidth": label.shape[1]}
        shapes = {"version": "5.0.0", "shapes": outlines(label, args.classes)}
        (args.output / "annotations" / f"{Path(name).stem}.json").write_text(json.dumps({**shapes, **about}))
    (args.output / "classes.yml").write_text("".join(f"- {name}\n" for name in args.classes))
    print(f"{len(pairs)} images with polygons in {args.output}")


if __name__ == "__main__":
    main()
