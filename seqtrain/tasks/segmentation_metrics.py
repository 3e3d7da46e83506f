"""Metrics of a class at each position, all of them sums that merge over batches and ranks."""

import math

from torch import Tensor
from typing_extensions import override

from seqtrain.metrics import Metric, Metrics, Percent
from seqtrain.tasks.class_metrics import Confusion, MacroF1, confusion_counts

ABSENT_RULES = ("skip", "zero")


class MeanIoU(Confusion):
    """100 * mean over classes of intersection / union.

    Classes that neither occur nor are predicted do not count.
    """

    @override
    def compute(self) -> float:
        intersection, union = intersection_and_union(self.counts())
        occurs = union > 0
        if not bool(occurs.any()):
            return math.nan
        return 100.0 * self._mean(intersection / union.clamp(min=1.0), occurs)

    @override
    def details(self) -> dict[str, float]:
        return {"": self.compute()}

    def _mean(self, scores: Tensor, occurs: Tensor) -> float:
        return float(scores[occurs].mean())


class MeanIoUOfAll(MeanIoU):
    """The same with 0 for classes that neither occur nor are predicted."""

    @override
    def _mean(self, scores: Tensor, occurs: Tensor) -> float:
        return float(scores.mean())


class PixelAccuracyAndMeanIoU(MeanIoU):
    """(pixel accuracy + mean IoU) / 2, by which PyTorch-Encoding chooses the best model."""

    @override
    def compute(self) -> float:
        return (Confusion.compute(self) + super().compute()) / 2.0


class PixelAccuracyAndMeanIoUOfAll(MeanIoUOfAll):
    """The same with 0 for classes that neither occur nor are predicted."""

    @override
    def compute(self) -> float:
        return (Confusion.compute(self) + super().compute()) / 2.0


def intersection_and_union(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both for each class, [classes], of counts [true class, predicted class]."""
    intersection = counts.diagonal()
    return intersection, counts.sum(dim=0) + counts.sum(dim=1) - intersection


def segmentation_metrics(
    predicted: Tensor, targets: Tensor, ignored: int, classes: list[str], absent: str = "skip"
) -> Metrics:
    """Returns pixel accuracy, mean IoU, their mean, macro F1, and the IoU of each class.

    Args:
        predicted: Classes, int64 [...].
        targets: True classes, int64 [...].
        ignored: Target that does not count.
        classes: Names, for "iou_NAME".
        absent: What classes that neither occur nor are predicted count in mean IoU: "skip" for
            nothing, "zero" for 0.
    """
    size = len(classes)
    counts = confusion_counts(predicted, targets, size, ignored)
    intersection, union = intersection_and_union(counts.view(size, size))
    metrics: dict[str, Metric] = {
        "pixel_accuracy": Percent(intersection.sum(), counts.sum()),
        "miou": (MeanIoU if absent == "skip" else MeanIoUOfAll)(counts),
        "pixacc_miou": (
            PixelAccuracyAndMeanIoU if absent == "skip" else PixelAccuracyAndMeanIoUOfAll
        )(counts),
        "macro_f1": MacroF1(counts),
        "confusion": Confusion(counts),
    }
    for index, name in enumerate(classes):
        metrics[f"iou_{'_'.join(name.split())}"] = Percent(intersection[index], union[index])
    return Metrics(metrics)
