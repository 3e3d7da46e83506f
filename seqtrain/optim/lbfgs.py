"""L-BFGS: a quasi-Newton method that computes the gradients several times in an update."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.optim.base import OptimizerConfig, OptimizerWrapper, register_optimizer


@dataclass(kw_only=True)
class LBFGSConfig(OptimizerConfig):
    """L-BFGS; for small problems with a deterministic loss: the whole data in one batch.

    It has no weight decay and one group of parameters.
    """

    lr: float = 1.0
    """Length of the first trial step."""

    max_iter: int = 20
    """Most iterations in an update."""

    history_size: int = 100
    """Most past steps that are remembered, each as large as the parameters, twice."""

    tolerance_grad: float = 1e-7
    """An update ends when the largest gradient is below this."""

    tolerance_change: float = 1e-9
    """An update ends when the parameters or the loss change by less."""

    strong_wolfe: bool = True
    """Search along the line until the strong Wolfe conditions hold, instead of a fixed step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_iter < 1 or self.history_size < 1:
            raise ConfigError(
                f"optimizer.max_iter ({self.max_iter}) and optimizer.history_size "
                f"({self.history_size}) must be at least 1."
            )
        refuse_what_lbfgs_lacks(self)


def refuse_what_lbfgs_lacks(config: OptimizerConfig) -> None:
    """Raises ConfigError for settings that L-BFGS cannot follow."""
    if config.weight_decay:
        raise ConfigError(
            f"optimizer.weight_decay ({config.weight_decay}) must be 0 with L-BFGS, which has none."
        )
    if any(g.lr_factor != 1 or g.freeze_updates or g.lr_scheduler for g in config.groups):
        raise ConfigError(
            "optimizer.groups can only freeze (freeze=true) with L-BFGS: it treats all parameters "
            "as one vector."
        )


def merge_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the one group that torch's L-BFGS accepts, of those that wrappers are built with."""
    return [groups[0] | {"params": [p for group in groups for p in group["params"]]}]


@register_optimizer("lbfgs", config=LBFGSConfig)
class LBFGS(OptimizerWrapper):
    """torch's L-BFGS. Its state describes all parameters and is kept under the first one's name."""

    needs_closure = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        config = self.config
        return torch.optim.LBFGS(
            merge_groups(groups),
            lr=config.lr,
            max_iter=config.max_iter,
            history_size=config.history_size,
            tolerance_grad=config.tolerance_grad,
            tolerance_change=config.tolerance_change,
            line_search_fn="strong_wolfe" if config.strong_wolfe else None,
        )

    @override
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        if closure is None:
            raise ConfigError("optimizer=lbfgs needs a closure that computes the gradients anew.")
        self.torch_optimizers[0].step(closure)  # type: ignore[arg-type] # torch takes a tensor too
        self.num_updates += 1

    @override
    def _check_slot(self, name: str, slot: str, value: object) -> None:
        """The slots are vectors over all parameters; the names were checked."""
