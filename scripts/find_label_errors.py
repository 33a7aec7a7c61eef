"""Rank images by how strongly a network contradicts their labels. Without labels, by its uncertainty.

    python scripts/find_label_errors.py --config FILE.yml --ckpt_path FILE.ckpt --output DIR
    python scripts/find_label_errors.py --config FILE.yml --folds 3 --output DIR
    python scripts/find_label_errors.py --model RUN --images FOLDER --output DIR

Writes DIR/index.html with the first images and their suspicious regions outlined, images.csv, regions.csv, the list
suspicious.lst, and the predicted class indices of these images in DIR/predictions. With --folds, trains that many
networks in DIR/folds, each without the images that it ranks; the same command resumes an interrupted training. With
--images or --split test, ranks images without labels: those to label next come first.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet import errors
from ocrnet.config import Config, command_line
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.images import read_label
from ocrnet.data.splits import open_dataset
from ocrnet.distributed import collectives, launcher
from ocrnet.evaluation.label_errors import find_regions, label_quality, uncertainty
from ocrnet.evaluation.label_report import LabelPage, RankedImage, rank, write_tables
from ocrnet.inference import media
from ocrnet.inference.engines import add_flags
from ocrnet.inference.model import Model
from ocrnet.inference.sources import checkpoint_of_run, find_source
from ocrnet.locations import PROGRAMS
from ocrnet.runtime import device, program, progress
from ocrnet.visualization import write_image


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Rank images by how strongly a network contradicts their labels.")
    command_line.add_checkpoint_flag(parser)
    parser.add_argument("--split", choices=["train", "val", "test"], default="train", help="test needs no labels")
    parser.add_argument("--images", nargs="+", metavar="FILE|FOLDER|GLOB", help="images without labels, not a split")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("label_errors"), help="default: label_errors"
    )
    parser.add_argument(
        "--count", metavar="N", type=command_line.at_least(1), default=40, help="images on the page, default 40"
    )
    parser.add_argument(
        "--folds",
        metavar="K",
        type=command_line.at_least(2),
        default=0,
        help="train K networks, each without its images",
    )
    parser.set_defaults(resume_ckpt="auto")  # of the trainings of --folds
    add_flags(parser)
    return parser


def main() -> None:
    args, config = parse()
    dataset = open_images(config, args)
    if args.folds > len(dataset):
        raise errors.UserError(f"--folds {args.folds}: there are {len(dataset)} images")
    checkpoints = train_folds(config, args.folds, args.output / "folds") if args.folds else [args.ckpt_path]

    device.init(config.device_target, config.ms_mode, config.seed, config.device.options)
    failed: list[str] = []
    found: list[RankedImage] = []
    for fold, checkpoint in enumerate(checkpoints):
        model = Model(config, checkpoint, args.engine, args.precision, compile_first=not args.images)
        found += score_images(model, dataset, range(fold, len(dataset), len(checkpoints)), args.output, failed)
    found = [image for part in collectives.all_gather_object(found) for image in part]
    failed = [problem for part in collectives.all_gather_object(failed) for problem in part]
    if launcher.ranks().is_main:
        write_results(config, args, dataset, rank(found), ", ".join(map(str, checkpoints)))
    if failed:
        raise errors.UserError(f"{len(failed)} of {len(dataset)} images failed and are not in the results", failed)


def parse() -> tuple[argparse.Namespace, Config]:
    """Returns the flags and the configuration.

    Raises:
        UserError: flags that exclude each other.
    """
    folds = make_parser().parse_known_args()[0].folds
    args, config = command_line.parse(make_parser(), training=bool(folds), find_source=find_source)
    if args.images and args.split != "train":
        raise errors.UserError(f"--images, --split {args.split}: give one of them")
    if folds:
        if args.model or args.ckpt_path != config.save_dir / "checkpoint" / "best.ckpt":
            raise errors.UserError("--folds: trains its own networks: give --config, without --ckpt_path or --model")
        if args.images or args.split != "train":
            raise errors.UserError("--folds: is for --split train; a network has not seen the labels of other images")
        if config.data.held_out_fold:
            raise errors.UserError("--folds: sets data.held_out_fold itself: remove it from the configuration")
        if launcher.ranks().size > 1:
            raise errors.UserError("--folds: start it in one process; see docs/own_data.md for several devices")
    return args, config


def open_images(config: Config, args: argparse.Namespace) -> SegmentationDataset:
    if not args.images:
        return open_dataset(config.data, args.split)
    files = [path for path in media.find_inputs(args.images) if path.suffix.lower() not in media.VIDEOS]
    if not files:
        raise errors.UserError("--images: these are videos; `ocrnet predict` writes their frames as images")
    return SegmentationDataset([(path, None) for path in files], config.data)


def train_folds(config: Config, folds: int, folder: Path) -> list[Path]:
    """Trains a network for each fold, without the pairs of that fold, or resumes it. Returns their checkpoints.

    Raises:
        UserError: a training failed.
    """
    path = folder / "config.yml"
    errors.write_text(path, config.to_yaml())
    checkpoints = []
    for fold in range(folds):
        run = folder / f"fold_{fold}_of_{folds}"
        print(f"fold {fold + 1} of {folds}: {run}", flush=True)
        flags = ["--config", path, "--set", f"data.held_out_fold=[{fold},{folds}]", "--save_dir", run]
        command = [sys.executable, PROGRAMS / "train.py", *flags, "--resume_ckpt", "auto"]
        process = subprocess.Popen(list(map(str, command)))
        try:
            status = process.wait()
        except KeyboardInterrupt:  # the training has received it, too, and saves
            process.wait()
            raise
        if status:
            raise errors.UserError(f"{run}: the training ended with status {status}; the same command resumes it")
        checkpoints.append(checkpoint_of_run(run))
    return checkpoints


def score_images(
    model: Model, dataset: SegmentationDataset, numbers: Sequence[int], folder: Path, failed: list[str]
) -> Iterator[RankedImage]:
    """Yields the scores of this rank's part of the images and writes their predictions. Appends to `failed`."""
    ranks = launcher.ranks()
    for number in progress.bar(iterable=numbers[ranks.rank :: ranks.size], desc="labels", unit="img"):
        path, label_path = dataset.pairs[number]
        try:
            image, label = dataset.open(number)
            model.predictor.check_memory(path, image.shape[:2])
            probabilities = model.probabilities(image[:, :])
            write_image(prediction_path(folder, dataset, number), probabilities.argmax(axis=0).astype("uint8"))
        except errors.UserError as error:
            failed.append(str(error))
            continue
        except (MemoryError, RuntimeError) as error:
            if not (reason := program.out_of_memory(error)):
                raise
            failed.append(f"{path}: out of memory ({reason}): set eval.window=[512,1024]")
            continue
        if label is None:
            score, regions = uncertainty(probabilities), []
        else:
            score, regions = label_quality(probabilities, label), find_regions(probabilities, label)
        yield RankedImage(number, dataset.name(number), path, label_path, score, regions)


def prediction_path(folder: Path, dataset: SegmentationDataset, number: int) -> Path:
    return folder / "predictions" / f"{dataset.name(number)}.png"


def write_results(
    config: Config, args: argparse.Namespace, dataset: SegmentationDataset, ranked: list[RankedImage], networks: str
) -> None:
    """Writes the page and the tables, and prints the first images.

    Predictions are read from their files. Those of other images than the first are removed then.
    """
    page = LabelPage(config, networks)
    for image in ranked[: args.count]:
        pixels, label = dataset.read(image.number)
        page.add(image, pixels, label, read_label(prediction_path(args.output, dataset, image.number)))
    for image in ranked[args.count :]:
        prediction_path(args.output, dataset, image.number).unlink(missing_ok=True)
    write_tables(args.output, config, ranked, args.count)
    for place, image in enumerate(ranked[:10], start=1):
        print(f"{place:3}. {'uncertainty' if image.label is None else 'quality'} {image.score:.3f}  {image.name}")
    print(f"{len(ranked)} images ranked: {page.write(args.output, len(ranked))}")


if __name__ == "__main__":
    sys.exit(program.run(main))
