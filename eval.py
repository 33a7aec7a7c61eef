"""Evaluate a checkpoint: python eval.py --config config/ocrnet/....yml --ckpt_path FILE.ckpt"""

import argparse
import json
import sys
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from ocrnet import errors
from ocrnet.cloud import modelarts
from ocrnet.config import Config, command_line
from ocrnet.data.datasets import palette
from ocrnet.data.splits import open_dataset
from ocrnet.distributed import collectives, launcher
from ocrnet.evaluation.metrics import ConfusionMatrix, near_boundaries
from ocrnet.evaluation.report import Gallery, write_report
from ocrnet.formats.label_values import file_values
from ocrnet.inference.engines import add_flags, make_engine
from ocrnet.inference.predictor import Predictor, load_network, predict_dataset
from ocrnet.runtime import device, program
from ocrnet.visualization import side_by_side, write_image


def parse() -> tuple[argparse.Namespace, Config]:
    parser = command_line.config_parser("Evaluate OCRNet on a split of its data set.")
    command_line.add_checkpoint_flag(parser)
    parser.add_argument("--split", choices=["train", "val", "test"], default="val", help="test needs no labels")
    parser.add_argument("--result_json", metavar="FILE", help="write the scores and the confusion matrix")
    parser.add_argument(
        "--save_predictions", metavar="DIR", type=Path, help="write PNGs whose values are those of the label files"
    )
    parser.add_argument("--report", metavar="DIR", type=Path, help="write index.html: scores and images to look at")
    parser.add_argument(
        "--visualize", type=command_line.boolean, default=False, help="True: write image | label | prediction"
    )
    add_flags(parser)
    args, config = command_line.parse(parser)
    if args.split == "test" and (args.result_json or args.report):
        raise errors.UserError("--split test: without labels there are no scores for --result_json or --report")
    return args, config


def main() -> None:
    args, config = parse()
    with modelarts.job(args, config) as (config, _):
        evaluate(args, config)
    collectives.barrier()  # no rank leaves before the others are done


def evaluate(args: argparse.Namespace, config: Config) -> None:
    target = device.init(config.device_target, config.ms_mode, config.seed)
    dataset = open_dataset(config.data, args.split)
    network = load_network(config, args.ckpt_path)
    print(f"OCRNet {config.model.backbone} on {target}: {args.ckpt_path} on {len(dataset)} images")

    matrix, boundary = ConfusionMatrix(dataset.classes), ConfusionMatrix(dataset.classes)
    gallery = Gallery(config) if args.report else None
    colours, values = palette(config.data), file_values(dataset.class_table, len(dataset.classes))
    predictor = Predictor(network, config, engine=make_engine(args, network, config))
    failed: list[str] = []
    predicted = predict_dataset(predictor, dataset, config.eval.batch_size, failed)
    ranks = launcher.ranks()
    for number, (name, image, label, prediction) in zip(count(ranks.rank, ranks.size), predicted, strict=False):
        if label is not None:
            matrix.update(label, prediction)
            if config.eval.boundary:
                boundary.update(near_boundaries(label, config.eval.boundary), prediction)
        if gallery:
            gallery.consider(name, image, label, prediction)
        try:
            if args.save_predictions:
                write_image(args.save_predictions / f"{name}.png", values[prediction])
            if args.visualize and number < config.eval.visualized_images:
                panels = side_by_side(image, label, prediction, colours)
                write_image(config.save_dir / "images" / f"{name}.png", panels)
        except errors.UserError as error:
            failed.append(str(error))

    parts = collectives.gather((matrix, boundary, gallery, failed))
    if ranks.first:
        summarise(args, config, [part[:3] for part in parts])
    if failed := [problem for part in parts for problem in part[3]]:
        raise errors.UserError(f"{len(failed)} of {len(dataset)} pairs failed, the results are of the others", failed)


def summarise(args: argparse.Namespace, config: Config, parts: list[tuple]) -> None:
    """Join what the ranks have counted and kept; show and write what was asked for."""
    matrices, boundaries, galleries = zip(*parts, strict=True)
    empty = ConfusionMatrix(config.data.classes)
    matrix, boundary, gallery = sum(matrices, empty), sum(boundaries, empty), galleries[0]
    scores = matrix.to_dict()
    if matrix.images:
        print(matrix.table())
    if matrix.images and config.data.categories:
        categories = matrix.merged(config.data.categories)
        scores["categories"] = categories.to_dict()
        print(f"\nby category\n{categories.table()}")
    if config.eval.boundary:
        scores["boundary"] = boundary.to_dict()
        print(f"mIoU at most {config.eval.boundary} pixels from a boundary: {100 * boundary.miou:.2f} %")
    if args.visualize:
        print(f"images (image | label | prediction) in {config.save_dir / 'images'}")
    if args.save_predictions:
        print(f"predictions in {args.save_predictions}")
    if args.result_json:
        errors.write_text(Path(args.result_json), json.dumps(scores, indent=1))
    if gallery:
        for other in galleries[1:]:
            gallery.join(other)
        print(f"report: {write_report(args.report, config, args.ckpt_path, matrix, scores, gallery)}")


if __name__ == "__main__":
    sys.exit(program.run(main))
