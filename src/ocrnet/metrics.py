"""mIoU and its relatives from an integer confusion matrix."""

import numpy as np

from ocrnet.config import IGNORED


class ConfusionMatrix:
    """counts[true class, predicted class] in int64; ignored pixels are not counted."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self.counts = np.zeros((len(classes), len(classes)), np.int64)
        self.images = 0

    def update(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Add one picture: label (H, W) with 255 ignored, prediction (H, W)."""
        size = len(self.classes)
        valid = label != IGNORED
        pairs = label[valid].astype(np.int64) * size + prediction[valid]
        self.counts += np.bincount(pairs, minlength=size * size).reshape(size, size)
        self.images += 1

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class; NaN where a class occurs neither in labels nor in predictions."""
        hits = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean over the classes that occur; 0 when none does."""
        iou = self.iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0

    @property
    def pixel_accuracy(self) -> float:
        """Share of counted pixels that are right."""
        return float(np.diag(self.counts).sum() / max(1, self.counts.sum()))

    def to_dict(self) -> dict:
        """For JSON; the IoU of an absent class is null."""
        return {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "images": self.images,
            "iou": {name: None if np.isnan(v) else float(v) for name, v in zip(self.classes, self.iou, strict=True)},
            "confusion_matrix": self.counts.tolist(),
        }

    def table(self) -> str:
        """A line a class: name, IoU in per cent, share of the labelled pixels; then the means."""
        width = max(12, *(len(name) for name in self.classes))
        share = self.counts.sum(1) / max(1, self.counts.sum())
        lines = [f"{'class':<{width}}  IoU %   pixels %"]
        for name, iou, part in zip(self.classes, self.iou, share, strict=True):
            score = "absent" if np.isnan(iou) else f"{100 * iou:6.2f}"
            lines.append(f"{name:<{width}}  {score}  {100 * part:6.2f}")
        lines.append(f"{'mIoU':<{width}}  {100 * self.miou:6.2f}  ({self.images} images)")
        lines.append(f"{'pixel acc.':<{width}}  {100 * self.pixel_accuracy:6.2f}")
        return "\n".join(lines)
