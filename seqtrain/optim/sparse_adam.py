"""Adam whose moments only move where a sparse gradient has values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.optim.adam import MomentsConfig
from seqtrain.optim.base import OptimizerWrapper, register_optimizer
from seqtrain.optim.groups import matches_any


@dataclass(kw_only=True)
class SparseAdamConfig(MomentsConfig):
    """Adam for embeddings with sparse gradients (`sparse=True`), and fused Adam for the rest.

    A parameter is used in one place only: torch adds a sparse and a dense gradient to a dense one.
    """

    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Decay of the running mean of gradients and of their squares."""

    sparse_parameters: list[str] = field(default_factory=lambda: ["*embed*"])
    """Shell patterns on names of parameters whose gradients are sparse."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay:
            raise ConfigError(
                f"optimizer.weight_decay ({self.weight_decay}) must be 0 with sparse_adam, which "
                "has none."
            )


@register_optimizer("sparse_adam", config=SparseAdamConfig)
class SparseAdam(OptimizerWrapper):
    """torch's SparseAdam for what `sparse_parameters` names, torch's fused Adam for the rest."""

    @override
    def build(self, groups: list[dict[str, Any]]) -> list[torch.optim.Optimizer]:
        config = self.config
        sparse, dense = self._split(groups, True), self._split(groups, False)
        if not sparse:
            raise ConfigError(
                f"optimizer.sparse_parameters {list(config.sparse_parameters)} matches no "
                f"parameter; names are like {', '.join(list(self.parameters)[:3])}."
            )
        settings: dict[str, Any] = {
            "lr": config.lr,
            "betas": tuple(config.betas),
            "eps": config.eps,
        }
        optimizers: list[torch.optim.Optimizer] = [torch.optim.SparseAdam(sparse, **settings)]
        if dense:
            optimizers.append(torch.optim.Adam(dense, **settings, fused=True))
        return optimizers

    @override
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        for name, parameter in self.parameters.items():
            is_sparse = parameter.grad is not None and parameter.grad.is_sparse
            if parameter.grad is not None and is_sparse != self._is_named_sparse(name):
                raise ConfigError(
                    f"The gradient of {name} is {'sparse' if is_sparse else 'dense'}, but "
                    f"optimizer.sparse_parameters says otherwise "
                    f"({list(self.config.sparse_parameters)}). Sparse gradients are those of an "
                    "embedding made with sparse=True."
                )
        super().step()

    def _split(self, groups: list[dict[str, Any]], sparse: bool) -> list[dict[str, Any]]:
        split = [
            group | {"params": [p for p in group["params"] if self._is_sparse(p) == sparse]}
            for group in groups
        ]
        return [group for group in split if group["params"]]

    def _is_sparse(self, parameter: torch.nn.Parameter) -> bool:
        return self._is_named_sparse(self.name_of(parameter))

    def _is_named_sparse(self, name: str) -> bool:
        return matches_any(name, self.config.sparse_parameters)
