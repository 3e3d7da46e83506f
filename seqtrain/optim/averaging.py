"""Averages of the weights over the course of training: exponential (EMA) or equal (SWA)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from seqtrain.checkpoint.spread_state import leaf_of, part_of
from seqtrain.distributed.blocks import local_part
from seqtrain.errors import CheckpointError
from seqtrain.option_checks import require_choice, require_range

KINDS = ("none", "ema", "swa")
NO_MASTERS: Mapping[Tensor, Tensor] = MappingProxyType({})
"""What a WeightAverage gets where the modules hold the exact weights."""


@dataclass(kw_only=True)
class AveragingConfig:
    """An average of the weights, kept beside those that are trained.

    Where there is one, validation, tests, generation, distillation and `seqtrain.pipeline.load`
    use it instead of the trained weights; `checkpoint.best_metric` is therefore its value. It does
    not change how the weights are trained. Checkpoints hold both.
    """

    kind: str = "none"
    """none; ema: exponential moving average; swa: equal average (Izmailov et al. 2018)."""
    decay: float = 0.9999
    """With ema: weight of the average so far when a new one enters it."""
    ramp_decay: bool = True
    """With ema: average number n uses at most the decay (1 + n) / (10 + n), so that the first
    weights are soon forgotten."""
    start_update: int = 0
    """The average begins with the weights after this update; before, there is none."""
    interval: int = 1
    """The weights enter the average every so many updates."""

    def __post_init__(self) -> None:
        require_choice("ema.kind", self.kind, KINDS)
        require_range("ema.decay", self.decay, least=0, below=1)
        require_range("ema.start_update", self.start_update, least=0)
        require_range("ema.interval", self.interval, least=1)


class WeightAverage:
    """The average of the weights of some modules, in float32 at least.

    Running statistics (floating-point buffers) are averaged like parameters; other buffers are
    always those of the modules. Tied parameters are averaged once.

    Args:
        config: What kind of average.
        modules: By name: "model", "criterion". On their device already.
        masters: What is averaged in the place of parameters that are only rounded copies of it.
    """

    def __init__(
        self,
        config: AveragingConfig,
        modules: Mapping[str, nn.Module],
        masters: Mapping[Tensor, Tensor] = NO_MASTERS,
    ) -> None:
        self.config = config
        self.num_averaged = 0
        """Weights that have entered the average; 0: there is none yet."""
        self._modules = dict(modules)
        self._masters = masters
        self._average: dict[Tensor, Tensor] = {}

    @property
    def exists(self) -> bool:
        """True once the average has begun."""
        return self.num_averaged > 0

    def update(self, num_updates: int) -> None:
        """Takes the weights in if it is their turn; called after every update.

        Args:
            num_updates: Updates that the weights have seen.
        """
        config = self.config
        since = num_updates - max(config.start_update, 1)
        if since >= 0 and since % config.interval == 0:
            self.add()

    @torch.no_grad()
    def add(self) -> None:
        """Takes the present weights in; the first ones are the average."""
        if not self.exists:
            self._average = {tensor: _copy(self._exact(tensor)) for tensor in self._tensors()}
        else:
            averages = list(self._average.values())
            weights = [self._exact(tensor).to(a.dtype) for tensor, a in self._average.items()]
            torch._foreach_lerp_(averages, weights, self._weight_of_next())
        self.num_averaged += 1

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Puts the average into the modules, and the trained weights back at the end."""
        trained = {tensor: local_part(tensor).clone() for tensor in self._average}
        _write(self._average)
        try:
            yield
        finally:
            _write(trained)

    def state_dict(self) -> dict[str, Any]:
        """Returns the count and, for each module, a state dict of averages."""
        # Tied parameters are one tensor here as well.
        averages = {
            name: {
                key: leaf_of(tensor, self._average.get(tensor, tensor))
                for key, tensor in _state(module)
            }
            for name, module in self._modules.items()
        }
        return {
            "kind": self.config.kind,
            "num_averaged": self.num_averaged,
            **{name: state for name, state in averages.items() if state},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Raises:
            CheckpointError: It is of other modules; nothing is changed.
        """
        restored: dict[Tensor, Tensor] = {}
        for name, module in self._modules.items():
            saved = state.get(name, {})
            own = dict(_state(module))
            if own.keys() != saved.keys():
                raise CheckpointError(
                    f"The checkpoint's averaged {name} has other parameters than this one: "
                    f"{', '.join(sorted(own.keys() ^ saved.keys())[:5])}."
                )
            for key, tensor in own.items():
                if tensor.shape != saved[key].shape:
                    raise CheckpointError(
                        f"The checkpoint's averaged {name} has {key} in shape "
                        f"{list(saved[key].shape)}, this one in {list(tensor.shape)}."
                    )
                if tensor.is_floating_point():
                    restored[tensor] = _copy(part_of(tensor, saved[key])).to(tensor.device)
        self._average = restored
        self.num_averaged = state["num_averaged"]

    def restore(self, state: Mapping[str, Any] | None, num_updates: int) -> str:
        """Continues the average of a checkpoint; the modules hold its weights already.

        A checkpoint without one, or with one of another kind, is no obstacle: the average begins
        with the weights, if it is to have begun by now.

        Args:
            state: What `state_dict` returned; None if there was no average.
            num_updates: Updates that the checkpoint has seen.

        Returns:
            A line for people if the average begins anew; else nothing.
        """
        if state is not None and state["kind"] == self.config.kind:
            self.load_state_dict(state)
            return ""
        self.num_averaged = 0
        self._average = {}
        if num_updates < max(self.config.start_update, 1):
            return ""
        self.add()
        found = f"an average of kind {state['kind']}" if state is not None else "no average"
        return (
            f"the checkpoint holds {found} of the weights: ema.kind={self.config.kind} begins "
            f"with its weights, after update {num_updates}"
        )

    def _weight_of_next(self) -> float:
        count = self.num_averaged
        if self.config.kind == "swa":
            return 1.0 / (count + 1)
        decay = self.config.decay
        return 1.0 - (min(decay, (1 + count) / (10 + count)) if self.config.ramp_decay else decay)

    def _exact(self, tensor: Tensor) -> Tensor:
        return self._masters.get(tensor, tensor)

    def _tensors(self) -> Iterator[Tensor]:
        """Yields what is averaged, each once."""
        seen: set[Tensor] = set()
        for module in self._modules.values():
            for _, tensor in _state(module):
                if tensor.is_floating_point() and tensor not in seen:
                    seen.add(tensor)
                    yield tensor


def _state(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields the parameters and buffers themselves by name, tied ones under each name."""
    yield from module.state_dict(keep_vars=True).items()


def _copy(tensor: Tensor) -> Tensor:
    """Returns a copy in float32, or in float64 of that."""
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.detach().to(dtype, copy=True)


@torch.no_grad()
def _write(values: Mapping[Tensor, Tensor]) -> None:
    for tensor, value in values.items():
        local_part(tensor).copy_(value)
