"""Model and criterion together: one module to train, one batch to evaluate, one state to check."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import register_pytree_node

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, LossOutput
from seqtrain.distributed.parallelize import reaching_all
from seqtrain.errors import CheckpointError
from seqtrain.models.base import Model
from seqtrain.optim.precision import Precision

# So that torch's wrappers find the loss in the output, where static graphs need it.
register_pytree_node(
    LossOutput,
    lambda loss: ([loss.total], (loss.num_targets, loss.metrics)),
    lambda leaves, rest: LossOutput(next(iter(leaves)), *rest),
)


class LossModule(nn.Module):
    """Model and criterion as one module, so that every parameter is used inside its forward.

    Args:
        model: Trained.
        criterion: Trained with it, if it has parameters.
        reaches_all: Let the graph of the loss reach every parameter, as wrappers need it.
    """

    def __init__(self, model: Model, criterion: Criterion, reaches_all: bool = False) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self._reaches_all = reaches_all
        self._compiled: list[Callable[..., Any]] = []  # not an attribute: its parameters are known

    def call_through(self, compiled: Callable[..., Any]) -> None:
        """Has the criterion call the model through this, which has the same parameters."""
        self._compiled = [compiled]

    def forward(self, batch: Batch) -> LossOutput:
        """Returns the summed loss of a batch."""
        model = self._compiled[0] if self._compiled else self.model
        loss: LossOutput = self.criterion(model, batch)
        total = loss.total
        if self._reaches_all:
            total = reaching_all(total, self.parameters())
        # Without the output: nothing that backward does not need is held until it has run.
        return replace(loss, total=total, output=None)


@torch.no_grad()
def evaluate_batch(
    model: nn.Module, criterion: Criterion, precision: Precision, batch: Batch
) -> LossOutput:
    """Returns the loss of a batch on the model's device, in evaluation mode."""
    model.eval()
    criterion.eval()
    with precision.autocast():
        loss: LossOutput = criterion(model, batch)
    return loss


def check_module_state(module: nn.Module, state: Mapping[str, Any], part: str) -> None:
    """Raises CheckpointError if a saved state does not fit a module in names and shapes."""
    own = module.state_dict()
    for name in sorted(own.keys() | state.keys()):
        if name not in state:
            raise CheckpointError(f"The checkpoint's {part} has no {name}, which this one needs.")
        if name not in own:
            raise CheckpointError(f"The checkpoint's {part} has {name}, which this one has not.")
        if own[name].shape != state[name].shape:
            raise CheckpointError(
                f"The checkpoint's {part} has {name} in shape {list(state[name].shape)}, "
                f"this one in {list(own[name].shape)}."
            )
