"""Muon for matrices, AdamW for the rest."""

from dataclasses import dataclass, field
from typing import Any

import torch
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.optim.adam import MomentsConfig
from seqtrain.optim.base import OptimizerWrapper, register_optimizer
from seqtrain.optim.groups import matches_any
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class MuonConfig(MomentsConfig):
    """Muon (Jordan et al., 2024): orthogonalised momentum; weight decay is decoupled.

    Weights of two dimensions are trained by Muon, unless a pattern of `adamw_parameters` names
    them; the others by AdamW with the same rate, schedule and decay.
    """

    weight_decay: float = 0.1
    """Decoupled weight decay."""

    momentum: float = 0.95
    """Decay of Muon's running mean of gradients."""

    nesterov: bool = True
    """Look ahead along the momentum."""

    ns_steps: int = 5
    """Newton-Schulz iterations that orthogonalise a step."""

    match_rms_adamw: bool = True
    """True: a step is scaled by 0.2 * sqrt(max(rows, columns)), which makes it as long as AdamW's,
    so that one rate fits both (Liu et al., 2025). False: by sqrt(max(1, rows / columns))."""

    adamw_parameters: list[str] = field(
        default_factory=lambda: [
            "criterion.*",
            "*embed*",
            "*output_projection*",
            "*output_layer*",
            "*.head.*",
            "*_head.*",
        ]
    )
    """Shell patterns on names of parameters that AdamW trains whatever their shape: embeddings and
    output layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("optimizer.momentum", self.momentum, least=0, below=1)
        require_range("optimizer.ns_steps", self.ns_steps, least=1, most=99)


@register_optimizer("muon", config=MuonConfig)
class Muon(OptimizerWrapper):
    """torch's Muon and torch's fused AdamW; works on CPU and GPU, in one process or several."""

    @override
    def build(self, groups: list[dict[str, Any]]) -> list[torch.optim.Optimizer]:
        config = self.config
        matrices, others = self._split(groups, True), self._split(groups, False)
        if not matrices:
            raise ConfigError(
                "optimizer=muon finds no weight of two dimensions outside "
                "optimizer.adamw_parameters; use optimizer=adamw."
            )
        muon = torch.optim.Muon(
            matrices,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            ns_steps=config.ns_steps,
            adjust_lr_fn="match_rms_adamw" if config.match_rms_adamw else "original",
        )
        if not others:
            return [muon]
        adamw = torch.optim.AdamW(
            others, lr=config.lr, betas=tuple(config.betas), eps=config.eps, fused=True
        )
        return [muon, adamw]

    @override
    def group_lines(self) -> list[str]:
        sizes = [
            sum(p.numel() for group in optimizer.param_groups for p in group["params"])
            for optimizer in self.torch_optimizers
        ]
        return [
            *super().group_lines(),
            f"Muon trains {sizes[0]:,} parameters, AdamW {sum(sizes[1:]):,}",
        ]

    def _split(self, groups: list[dict[str, Any]], for_muon: bool) -> list[dict[str, Any]]:
        split = [
            group | {"params": [p for p in group["params"] if self._is_matrix(p) == for_muon]}
            for group in groups
        ]
        return [group for group in split if group["params"]]

    def _is_matrix(self, parameter: torch.nn.Parameter) -> bool:
        name = self.name_of(parameter)
        return parameter.dim() == 2 and not matches_any(name, self.config.adamw_parameters)
