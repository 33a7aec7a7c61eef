"""Output files of an evaluation: predictions as label files, visualizations, the report."""

import json
from pathlib import Path

from ocrnet import errors, files
from ocrnet.config import Config
from ocrnet.data.datasets import SegmentationDataset, palette
from ocrnet.distributed import collectives, launcher
from ocrnet.evaluation.evaluator import Prediction, Scores
from ocrnet.evaluation.report import Gallery, write_report
from ocrnet.formats.label_values import file_values
from ocrnet.visualization import colour, side_by_side, write_image


class ResultFile:
    """The file of `eval.py --result_json`: the scores and what they are of.

    Create it before the evaluation: a training may replace or delete the checkpoint in the meantime.

    Args:
        checkpoint: the evaluated checkpoint, which is read for its SHA-256.
        split: the evaluated split.
    """

    def __init__(self, path: Path, config: Config, checkpoint: Path, split: str) -> None:
        self.path = path
        self.evaluated = {
            "checkpoint": str(checkpoint),
            "sha256": files.sha256(checkpoint),
            "data_root": str(config.data.root),
            "split": split,
        }

    def write(self, result: dict, failed: list[str]) -> None:
        """Write `Scores.to_dict` and the messages of the failed pairs. Raises UserError if it cannot be written."""
        errors.write_text(
            self.path, json.dumps({"evaluated": {**self.evaluated, "failed": failed}, **result}, indent=1)
        )


class Outputs:
    """Writes the output files of eval.py.

    Args:
        save_predictions: folder for one PNG per image, with the label values of the data set; with its colours if they
            are the labels (`data.label_encoding: color`).
        visualize: write image, label and prediction side by side for the first `eval.visualized_images` images.
        report: folder for the report.
    """

    def __init__(
        self,
        config: Config,
        dataset: SegmentationDataset,
        save_predictions: Path | None = None,
        visualize: bool = False,
        report: Path | None = None,
    ) -> None:
        self.config = config
        self.save_predictions = save_predictions
        self.images = config.save_dir / "images" if visualize else None
        self.report = report
        self.palette = palette(config.data)
        self.file_values = file_values(dataset.class_table, len(dataset.classes))
        self.gallery = Gallery(config) if report else None

    def add(self, prediction: Prediction) -> None:
        """Write the files of one image.

        Raises:
            UserError: a file cannot be written.
        """
        number, name, image, label, classes, _ = prediction
        if self.gallery:
            self.gallery.add(name, image, label, classes)
        if self.save_predictions:
            in_colour = self.config.data.label_encoding == "color"
            encoded = colour(classes, self.palette) if in_colour else self.file_values[classes]
            write_image(self.save_predictions / f"{name}.png", encoded)
        if self.images and number < self.config.eval.visualized_images:
            write_image(self.images / f"{name}.png", side_by_side(image, label, classes, self.palette))

    def finish(self, scores: Scores, ckpt_path: Path, result_file: ResultFile | None) -> None:
        """Write the files of the whole data set and print their paths. All ranks must call it.

        Raises:
            UserError: a file cannot be written.
        """
        galleries = collectives.all_gather_object(self.gallery)
        if self.images:
            print(f"images (image | label | prediction) in {self.images}")
        if self.save_predictions:
            print(f"predictions in {self.save_predictions}")
        if not launcher.ranks().is_main:
            return
        result = scores.to_dict(self.config)
        if result_file:
            result_file.write(result, scores.failed)
        if self.gallery:
            for other in galleries[1:]:
                self.gallery.merge(other)
            print(f"report: {write_report(self.report, self.config, ckpt_path, scores.matrix, result, self.gallery)}")
