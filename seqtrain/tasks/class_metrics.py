"""Metrics of classes, all of them sums that merge over batches and ranks."""

import math

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.metrics import Metric, Metrics, Percent


class Confusion(Metric):
    """Examples by class and predicted class; logged as nothing, reported as a table.

    Argument: one vector [classes * classes], row by row of the true class.
    """

    @override
    def compute(self) -> float:
        """Returns the share of the diagonal, in percent: the accuracy."""
        counts = self.counts()
        total = float(counts.sum())
        return 100.0 * float(counts.diagonal().sum()) / total if total else math.nan

    @override
    def details(self) -> dict[str, float]:
        return {}

    def counts(self) -> Tensor:
        """Returns the matrix, float64 [true class, predicted class]."""
        size = math.isqrt(self.sums.numel())
        return self.sums.view(size, size)

    def rows(self) -> list[list[int]]:
        """Returns the matrix as whole numbers."""
        return [[round(cell) for cell in row] for row in self.counts().tolist()]


class MacroF1(Confusion):
    """100 * mean of the classes' F1; classes that neither occur nor are predicted do not count."""

    @override
    def compute(self) -> float:
        scores, occurs = self.by_class()
        return 100.0 * float(scores[occurs].mean()) if bool(occurs.any()) else math.nan

    @override
    def details(self) -> dict[str, float]:
        return {"": self.compute()}

    def by_class(self) -> tuple[Tensor, Tensor]:
        """Returns F1 (0 to 1) of each class, and where it occurs or is predicted."""
        counts = self.counts()
        hits = counts.diagonal()
        size = counts.sum(dim=0) + counts.sum(dim=1)
        return 2.0 * hits / size.clamp(min=1.0), size > 0


def confusion_counts(predicted: Tensor, targets: Tensor, num_classes: int, ignored: int) -> Tensor:
    """Returns how often each class was taken for each, float64 [classes * classes].

    Args:
        predicted: Classes, int64 [...].
        targets: True classes, int64 [...].
        num_classes: Classes.
        ignored: Target that does not count.
    """
    is_target = targets.ne(ignored)
    cells = (targets.where(is_target, 0) * num_classes + predicted).flatten()
    counts = torch.zeros(num_classes**2, dtype=torch.float64, device=predicted.device)
    return counts.index_add_(0, cells, is_target.flatten().double())


def class_metrics(logits: Tensor, targets: Tensor, ignored: int, top: int = 5) -> Metrics:
    """Returns accuracy, accuracy of the best few, macro F1 and the confusion matrix.

    Args:
        logits: [..., classes].
        targets: True classes, int64 [...].
        ignored: Target that does not count.
        top: Guesses of "topN_accuracy"; without that many classes and one more it is left out.
    """
    num_classes = logits.size(-1)
    counts = confusion_counts(logits.argmax(dim=-1), targets, num_classes, ignored)
    total = counts.sum()
    metrics = Metrics(
        {
            "accuracy": Percent(counts.view(num_classes, num_classes).diagonal().sum(), total),
            "macro_f1": MacroF1(counts),
            "confusion": Confusion(counts),
        }
    )
    if num_classes > top:
        best = logits.topk(top, dim=-1).indices
        hits = best.eq(targets.unsqueeze(-1)).any(dim=-1) & targets.ne(ignored)
        metrics[f"top{top}_accuracy"] = Percent(hits.sum(), total)
    return metrics
