"""Draw what the network will see: training samples of a config, augmented, in one image file.

    python scripts/show_samples.py --config config/ocrnet/ocrnet_demo.yml
    python scripts/show_samples.py --config FILE.yml --set data.augment.rotation.degrees=30 --image NAME --count 8

Each sample is its image next to its label, in the colours of the classes; ignored pixels have white diagonal lines. The
training's own loader makes the samples, so the file shows exactly those of a run on one device with this
configuration. (On several devices the first epoch has the same samples.)
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet.errors import UserError, did_you_mean  # before OpenCV: ocrnet sets its environment

# isort: split
import cv2
import numpy as np

from ocrnet.config import Config, DataConfig, command_line
from ocrnet.data.datasets import palette
from ocrnet.data.loader import TrainingSamples
from ocrnet.data.splits import open_dataset
from ocrnet.formats.label_values import IGNORED
from ocrnet.runtime import program
from ocrnet.visualization import contact_sheet, label_overlay, write_image


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Draw training samples of a config.", uses=("seed", "batch_size"))
    parser.add_argument("--output", type=Path, default=Path("samples.png"), metavar="FILE", help="default: samples.png")
    parser.add_argument(
        "--count", type=command_line.at_least(1), default=8, metavar="N", help="number of samples, default 8"
    )
    parser.add_argument(
        "--first", type=command_line.at_least(0), default=0, metavar="N", help="number of the first one, default 0"
    )
    parser.add_argument("--image", metavar="NAME", help="show this image only, as it occurs in the following epochs")
    parser.add_argument(
        "--columns", type=command_line.at_least(1), default=2, metavar="N", help="samples next to each other, default 2"
    )
    parser.add_argument(
        "--width", type=command_line.at_least(1), default=480, metavar="PIXELS", help="of an image, default 480"
    )
    return parser


def main() -> None:
    args, config = command_line.parse(make_parser())
    samples = open_samples(config)
    numbers = list(itertools.islice(sample_numbers(samples, args.first, args.image), args.count))
    colours, tiles, captions, shown = palette(config.data), [], [], set()
    for number in numbers:
        image, label = restore(*samples[number], config.data)
        shown |= set(np.unique(label))
        tiles.append(draw(image, label, colours, args.width))
        name = samples.dataset.name(samples.image_index(number))
        captions.append(f"#{number}  epoch {number // samples.epoch_size}  {name}")
        print(captions[-1])
    for number, problem in samples.bad:
        print(f"#{number}: replaced by the next pair: {problem}")
    write_image(args.output, contact_sheet(tiles, captions, make_legend(shown, config.data, colours), args.columns))
    print(f"{len(tiles)} samples (image | label) in {args.output}")


def open_samples(config: Config) -> TrainingSamples:
    """Opens the samples of a whole run on one device."""
    dataset = open_dataset(config.data, "train")
    return TrainingSamples(dataset, config.data, config.seed, config.train.images_per_step, first=0, last=2**62)


def sample_numbers(samples: TrainingSamples, first: int, image: str | None) -> Iterator[int]:
    """Yields the sample numbers from `first` on; with the name of an image, only those that show it.

    Raises:
        UserError: no training image has this name.
    """
    if image is None:
        return itertools.count(first)
    if image not in samples.dataset.names:
        raise UserError(f"--image {image}: not a training image.{did_you_mean(image, samples.dataset.names)}")
    index = samples.dataset.names.index(image)
    return (number for number in itertools.count(first) if samples.image_index(number) == index)


def restore(image: np.ndarray, label: np.ndarray, config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Converts a sample back: image (h, w, 3) uint8 RGB and label (h, w) uint8."""
    grey = np.rint(image.transpose(1, 2, 0) * np.float32(config.std) + np.float32(config.mean))
    return np.clip(grey, 0, 255).astype(np.uint8), label.astype(np.uint8)


def draw(image: np.ndarray, label: np.ndarray, colours: np.ndarray, width: int) -> np.ndarray:
    """Returns image and label next to each other, each `width` pixels wide."""
    size = (width, max(1, round(label.shape[0] * width / label.shape[1])))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    return np.hstack([image, np.full((size[1], 4, 3), 255, np.uint8), label_overlay(image, label, colours)])


def make_legend(shown: set[int], config: DataConfig, colours: np.ndarray) -> dict[str, np.ndarray]:
    """Returns {name: a small image of its colour} of the classes that are shown, and of ignored pixels."""
    size = (16, 24)
    legend = {config.classes[value]: np.full((*size, 3), colours[value]) for value in sorted(shown - {IGNORED})}
    if IGNORED in shown:
        legend["ignored"] = label_overlay(np.zeros((*size, 3), np.uint8), np.full(size, IGNORED, np.uint8), colours)
    return legend


if __name__ == "__main__":
    sys.exit(program.run(main))
