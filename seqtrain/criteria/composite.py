"""A weighted sum of criteria."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import (
    CRITERIA,
    Criterion,
    CriterionConfig,
    LossOutput,
    register_criterion,
)
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean, Metrics
from seqtrain.models.base import ModelContext, ModelOutput


@dataclass(kw_only=True)
class CompositeConfig(CriterionConfig):
    """Weighted sum of criteria, as members=[{name:cross_entropy},{name:ctc,weight:0.3}]."""

    members: list[dict[str, Any]] = field(default_factory=lambda: [{"name": "cross_entropy"}])
    """Criterion sections, each with a `weight` (1 if not given) besides."""

    def __post_init__(self) -> None:
        if not self.members:
            raise ConfigError("criterion.members must hold at least one criterion.")
        for index, member in enumerate(self.members):
            weight = member.get("weight", 1.0)
            is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not is_number or not (weight >= 0 and math.isfinite(weight)):
                raise ConfigError(
                    f"criterion.members[{index}].weight must be a number and not negative, "
                    f"got {weight!r}."
                )


@register_criterion("composite", config=CompositeConfig)
class Composite(Criterion):
    """Sum over members of weight * loss.

    The model runs once, and all members read its output, except those that need passes of their
    own (`Criterion.shares_output`). Every member's sum is divided by the first one's number of
    targets, so that the split into batches does not matter. Metrics are "loss", and each member's
    with its name before them: "ctc_loss". A second one of the same name is "ctc_2".
    """

    shares_output: ClassVar[bool] = False  # a member may need passes of its own

    def __init__(self, config: CompositeConfig, context: ModelContext) -> None:
        super().__init__(config, context)
        self.weights = [float(member.get("weight", 1.0)) for member in config.members]
        self.members = nn.ModuleDict()
        for member in config.members:
            section = {key: value for key, value in member.items() if key != "weight"}
            parsed = CRITERIA.parse(section)
            label = _free_label(parsed.name, self.members)
            self.members[label] = CRITERIA.get(parsed.name).cls(parsed, context)

    @override
    def prepare_training(self, task_state: Mapping[str, Any], device: torch.device) -> None:
        for member in self.members.values():
            member.prepare_training(task_state, device)  # type: ignore[operator] # it is a Criterion

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        shared = _OneOutput(model)
        total: Tensor | None = None
        num_targets = 0
        metrics = Metrics()
        for (label, member), weight in zip(self.members.items(), self.weights, strict=True):
            loss: LossOutput = member(shared if member.shares_output else model, batch)
            weighted = weight * loss.total
            if total is None:
                total, num_targets = weighted, loss.num_targets
            else:
                total = total + weighted
            for name in loss.metrics:
                metrics[f"{label}_{name}"] = loss.metrics[name]
        if total is None:
            raise ConfigError("criterion.members must hold at least one criterion.")
        combined = Metrics({"loss": Mean(total, num_targets)})
        combined.merge(metrics)
        return LossOutput(total, num_targets, combined, shared.output)


class _OneOutput(nn.Module):
    """Runs a model at the first call and gives the same output at each further one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = [model]  # in a list: not a module of this one
        self.output: ModelOutput | None = None

    @override
    def forward(self, **inputs: Tensor) -> ModelOutput:
        if self.output is None:
            self.output = self._model[0](**inputs)
        return self.output


def _free_label(name: str, taken: nn.ModuleDict) -> str:
    label, number = name, 1
    while label in taken:
        number += 1
        label = f"{name}_{number}"
    return label
