"""mIoU and related metrics from an integer confusion matrix."""

import cv2
import numpy as np

from ocrnet.formats.label_values import IGNORED


class ConfusionMatrix:
    """counts[true class, predicted class] in int64, without ignored pixels.

    A class that occurs neither in labels nor in predictions is absent: its scores are NaN and excluded from the means.
    """

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self.counts = np.zeros((len(classes), len(classes)), np.int64)
        self.images = 0

    def update(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Add one image: label (H, W) with 255 for ignored pixels, prediction (H, W)."""
        size = len(self.classes)
        valid = label != IGNORED
        pairs = label[valid].astype(np.int64) * size + prediction[valid]
        self.counts += np.bincount(pairs, minlength=size * size).reshape(size, size)
        self.images += 1

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        total = ConfusionMatrix(self.classes)
        total.counts, total.images = self.counts + other.counts, self.images + other.images
        return total

    def merged(self, groups: list[str]) -> "ConfusionMatrix":
        """Returns the matrix of groups of classes, such as Cityscapes' categories. `groups`: group of each class."""
        matrix = ConfusionMatrix(list(dict.fromkeys(groups)))
        member = np.array([[group == name for group in groups] for name in matrix.classes], np.int64)
        matrix.counts, matrix.images = member @ self.counts @ member.T, self.images
        return matrix

    @property
    def _true_positives(self) -> np.ndarray:
        return np.diag(self.counts)

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class."""
        return _ratio(self._true_positives, self.counts.sum(0) + self.counts.sum(1) - self._true_positives)

    @property
    def accuracy(self) -> np.ndarray:
        """Recall of each class; NaN if the class is in no label."""
        return _ratio(self._true_positives, self.counts.sum(1))

    @property
    def dice(self) -> np.ndarray:
        """Dice coefficient (F1) of each class."""
        return _ratio(2 * self._true_positives, self.counts.sum(0) + self.counts.sum(1))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur; 0 if none does."""
        return _mean(self.iou)

    @property
    def pixel_accuracy(self) -> float:
        """Fraction of the counted pixels that are correct."""
        return float(self._true_positives.sum() / max(1, self.counts.sum()))

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean IoU, each class weighted by its labelled pixels."""
        return float((np.nan_to_num(self.iou) * self.counts.sum(1)).sum() / max(1, self.counts.sum()))

    def means(self) -> dict[str, float]:
        """Returns the overall scores, each from 0 to 1."""
        return {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": _mean(self.accuracy),
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "mean_dice": _mean(self.dice),
        }

    def to_dict(self) -> dict:
        """Returns all scores for JSON; the scores of an absent class are null."""
        return {
            **self.means(),
            "images": self.images,
            "iou": self._by_class(self.iou),
            "accuracy": self._by_class(self.accuracy),
            "dice": self._by_class(self.dice),
            "confusion_matrix": self.counts.tolist(),
        }

    def _by_class(self, scores: np.ndarray) -> dict[str, float | None]:
        return {name: None if np.isnan(v) else float(v) for name, v in zip(self.classes, scores, strict=True)}

    def table(self) -> str:
        """Returns a table: per class name, scores in percent and share of the labelled pixels; then the means."""
        width = max(12, *(len(name) for name in self.classes))
        share = _ratio(self.counts.sum(1), np.array(max(1, self.counts.sum())))
        lines = [f"{'class':<{width}}   IoU %   acc. %  Dice %  pixels %"]
        for name, *scores, part in zip(self.classes, self.iou, self.accuracy, self.dice, share, strict=True):
            cells = "".join("  absent" if np.isnan(score) else f"{100 * score:8.2f}" for score in scores)
            lines.append(f"{name:<{width}}{cells}  {100 * part:8.2f}")
        mean = self.means()
        cells = "".join(f"{100 * mean[key]:8.2f}" for key in ("miou", "mean_accuracy", "mean_dice"))
        lines.append(f"{'mean':<{width}}{cells}")
        lines.append(
            f"mIoU {100 * mean['miou']:.2f} %, pixel accuracy {100 * mean['pixel_accuracy']:.2f} %, "
            f"frequency-weighted IoU {100 * mean['frequency_weighted_iou']:.2f} % ({self.images} images)"
        )
        return "\n".join(lines)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean(scores: np.ndarray) -> float:
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0


def near_boundaries(label: np.ndarray, distance: int) -> np.ndarray:
    """Returns the label (H, W) with only the pixels within `distance` of another class; the others are ignored (255).

    The trimap of Kohli, Ladicky, Torr, «Robust Higher Order Potentials», IJCV 2009, with the Chebyshev distance.
    Ignored pixels form no boundary.
    """
    window = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    highest = cv2.dilate(np.where(label == IGNORED, 0, label), window)
    lowest = cv2.erode(label, window)  # IGNORED is the highest value, so it is never the minimum next to a class
    return np.where(highest > lowest, label, IGNORED)
