"""Criteria on outputs that a test gives, without a real model."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqtrain.batch import Batch
from seqtrain.criteria.base import CRITERIA, Criterion, LossOutput
from seqtrain.models.base import ModelContext, ModelOutput
from seqtrain.plugins import import_built_ins

import_built_ins()

PAD = -1
"""Padding of targets that are classes; symbols have padding 1."""


class Given(nn.Module):
    """A model whose logits are given, one tensor after the other at each call."""

    def __init__(self, *logits: Tensor, **aux: Tensor) -> None:
        super().__init__()
        self.logits = list(logits)
        self.aux = aux
        self.num_calls = 0

    def forward(self, **inputs: Tensor) -> ModelOutput:
        logits = self.logits[self.num_calls % len(self.logits)]
        self.num_calls += 1
        return ModelOutput(logits, nn.Identity(), self.aux)


def build(name: str, context: ModelContext, **fields: Any) -> Criterion:
    config = CRITERIA.parse({"name": name, **fields})
    return CRITERIA.get(name).cls(config, context)


def batch_of(targets: Tensor, num_targets: int, **extras: Tensor) -> Batch:
    """A batch whose inputs do not matter; without targets it is an empty one."""
    num_rows = len(targets) if num_targets else 0
    return Batch(
        inputs={}, targets=targets, ids=torch.arange(num_rows), num_targets=num_targets,
        extras=extras,
    )  # fmt: skip


def loss_of(criterion: Criterion, batch: Batch, *logits: Tensor, **aux: Tensor) -> LossOutput:
    loss: LossOutput = criterion(Given(*logits, **aux), batch)
    return loss


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def check_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    assert torch.autograd.gradcheck(function, inputs)
