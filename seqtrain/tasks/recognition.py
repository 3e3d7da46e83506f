"""Recognition: one class for a whole sequence of numbers or symbols, or an image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.labelled.augment import RandAugment
from seqtrain.data.labelled.cutmix import CutMix, OneOf
from seqtrain.data.labelled.dataset import ExampleTransform
from seqtrain.data.labelled.info import VALUES
from seqtrain.data.labelled.mixup import Mixup
from seqtrain.data.labelled.store import IGNORED
from seqtrain.errors import ConfigError
from seqtrain.metrics import Metrics
from seqtrain.models.base import ModelOutput
from seqtrain.option_checks import require_fields
from seqtrain.tasks.base import register_task
from seqtrain.tasks.class_metrics import Confusion, class_metrics
from seqtrain.tasks.labelled_task import LabelledTask, LabelledTaskConfig

NUM_SHOWN = 5
"""Most classes of a prediction with their probabilities."""


@dataclass(kw_only=True)
class RecognitionConfig(LabelledTaskConfig):
    """Examples with one label each."""

    mixup: float = 0.0
    """Alpha of mixup, 0.2 is usual: training examples are blended in pairs, so
    criterion=soft_cross_entropy is needed; 0 for none."""
    cutmix: float = 0.0
    """Alpha of cutmix along time, 1 is usual: stretches are exchanged between training examples.
    With mixup each batch gets one of both."""
    augment: list[str] = field(default_factory=list)
    """Changes that training examples may get: jitter, mask_channels, mask_time, offset, rotate,
    scale, shift, slope, smooth, stretch, warp."""
    augment_count: int = 2
    """How many of `augment` each training example gets in an epoch."""
    augment_strength: float = 0.3
    """How strong they are at most, 0 to 1."""
    test_shifts: list[int] = field(default_factory=list)
    """Evaluation averages the probabilities of each example moved by so many positions, as
    [-1,0,1]; empty for the example as it is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fields("task", self, "mixup", "cutmix", least=0)
        RandAugment(tuple(self.augment), self.augment_count, self.augment_strength)


@register_task("recognition", config=RecognitionConfig)
class RecognitionTask(LabelledTask):
    """Sequences of numbers or symbols, or images, with one class each."""

    @override
    def train_transform(self) -> ExampleTransform | None:
        config = self.config
        if not config.augment:
            return None
        if self.info.kind != VALUES or self.info.rank != 1:
            raise ConfigError("task.augment changes series of numbers; leave it empty here.")
        return RandAugment(tuple(config.augment), config.augment_count, config.augment_strength)

    @property
    @override
    def gives_soft_targets(self) -> bool:
        return bool(self.config.mixup or self.config.cutmix)

    @override
    def batch_transform(self) -> Callable[[Batch], Batch] | None:
        found: list[Mixup | CutMix] = []
        about: dict[str, Any] = {
            "input_name": "values",
            "mask_name": "padding_mask",
            "num_classes": len(self.info.classes),
            "padding_index": IGNORED,
        }
        if self.gives_soft_targets and self.info.kind != VALUES:
            raise ConfigError("task.mixup and task.cutmix blend numbers; set both to 0 for text.")
        if self.config.mixup:
            found.append(Mixup(alpha=self.config.mixup, **about))
        if self.config.cutmix:
            found.append(CutMix(alpha=self.config.cutmix, **about))
        if len(found) > 1:
            return OneOf(found)
        return found[0] if found else None

    @override
    def evaluation_model(self, model: nn.Module) -> nn.Module:
        shifts: list[int] = self.config.test_shifts
        if shifts and self.info.kind != VALUES:
            raise ConfigError("task.test_shifts moves numbers; leave it empty for text.")
        return ShiftedViews(model, shifts) if shifts else model

    @override
    def measure(self, output: ModelOutput, batch: Batch) -> Metrics:
        return class_metrics(output.logits, batch.targets, IGNORED)

    @override
    def tables(self, metrics: Metrics) -> dict[str, Any]:
        for found in (metrics[name] for name in metrics if name == "confusion"):
            if isinstance(found, Confusion):
                rows = found.rows()
                return {"confusion": {"classes": self.info.classes, "true_by_predicted": rows}}
        return {}

    @override
    def predict(self, output: ModelOutput, batch: Batch) -> list[dict[str, Any]]:
        logits = output.logits[: batch.num_examples]
        probabilities = torch.softmax(logits.float(), dim=-1)
        best = probabilities.topk(min(NUM_SHOWN, probabilities.size(1)), dim=-1)
        rows = []
        for values, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            names = [self.info.classes[index] for index in indices]
            shown = dict(zip(names, values, strict=True))
            rows.append({"label": names[0], "probability": values[0], "probabilities": shown})
        return rows


class ShiftedViews(nn.Module):
    """A model whose probabilities are those of moved inputs, averaged.

    Args:
        model: Reads "values", [batch, time, ...], and "padding_mask".
        shifts: Positions that the inputs are moved by, to the right; what enters is zero.
    """

    def __init__(self, model: nn.Module, shifts: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.shifts = list(shifts)

    def forward(self, padding_mask: Tensor, values: Tensor) -> ModelOutput:
        """Returns log probabilities as features, with nothing after them."""
        total = None
        for shift in self.shifts:
            moved = _moved(values, shift) * ~padding_mask[:, :, None]
            output: ModelOutput = self.model(padding_mask=padding_mask, values=moved)
            probabilities = torch.softmax(output.logits.float(), dim=-1)
            total = probabilities if total is None else total + probabilities
        if total is None:
            raise ValueError("ShiftedViews needs at least one shift.")
        mean = total / len(self.shifts)
        return ModelOutput(mean.clamp(min=torch.finfo(mean.dtype).tiny).log(), nn.Identity())


def _moved(values: Tensor, shift: int) -> Tensor:
    """Returns [batch, time, channels] moved to the right, or to the left by a negative shift."""
    if abs(shift) >= values.size(1):
        return torch.zeros_like(values)
    moved = torch.zeros_like(values)
    if shift >= 0:
        moved[:, shift:] = values[:, : values.size(1) - shift]
    else:
        moved[:, :shift] = values[:, -shift:]
    return moved
