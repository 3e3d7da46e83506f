"""Extends prefixes with keys and values that stay in place, for models made of attention."""

from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.models.base import Decoding, ModelOutput
from seqtrain.modules.beam_cache import BeamCache, BeamHistory, move_rows


class CachingModel(Protocol):
    """What a model offers to be decoded so."""

    def decode(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor] | None
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        """See AutoregressiveModel; the state holds keys.0, values.0, keys.1, ... of the layers."""

    def decode_symbols(
        self,
        symbols: Tensor,
        positions: Tensor,
        bias: Tensor,
        memory: dict[str, Tensor],
        caches: list[BeamCache],
    ) -> ModelOutput:
        """Reads one more symbol of each prefix.

        Args:
            symbols: int64 [sentences, width].
            positions: Where the symbols of each sentence stand, int64 [sentences].
            bias: Added to the scores of self-attention, [sentences, heads, width, times * width].
            memory: One row for each sentence.
            caches: Of each layer.

        Returns:
            The output, [sentences, width, dim].
        """


class CachedDecoding(Decoding):
    """Decoding by a CachingModel. Sentences share their memory among their prefixes.

    Args:
        model: The model.
        width: Prefixes of each sentence.
        heads: Rows of the bias of each sentence that the model wants: attention heads, or 1.
        device: Of the model.
    """

    def __init__(self, model: CachingModel, width: int, heads: int, device: torch.device) -> None:
        self.model = model
        self.history = BeamHistory(width, device)
        self.caches: list[BeamCache] = []
        self.memory: dict[str, Tensor] = {}
        self.heads = heads

    @override
    def add(self, memory: dict[str, Tensor], prefix: Tensor) -> ModelOutput:
        num_known = len(self.history)
        output, state = self.model.decode(prefix, memory, None)
        self.history.add(prefix.size(0), prefix.size(1))
        if not self.caches:
            self.caches = [BeamCache(self.history) for _ in range(len(state) // 2)]
        for index, cache in enumerate(self.caches):
            cache.add(state[f"keys.{index}"], state[f"values.{index}"])
        if num_known:
            known = {name: rows[:num_known] for name, rows in self.memory.items()}
            memory = stack_memories(known, memory)
        self.memory = memory
        return output

    @override
    def step(self, symbols: Tensor, origins: Tensor) -> ModelOutput:
        positions = self.history.lengths
        self.history.extend(origins)
        memory = {name: rows[: len(self.history)] for name, rows in self.memory.items()}
        bias = self.history.bias(self.heads)
        return self.model.decode_symbols(symbols, positions, bias, memory, self.caches)

    @override
    def select(self, positions: Tensor) -> None:
        self.history.select(positions)
        for cache in self.caches:
            cache.select(positions)
        for rows in self.memory.values():
            move_rows(rows, positions)


def stack_memories(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the memories of some sentences and of others behind them as one.

    Shorter sources are filled up; so one tensor of the memory must say what is padding.
    """
    return {name: _stacked(rows, second[name]) for name, rows in first.items()}


def _stacked(first: Tensor, second: Tensor) -> Tensor:
    """Returns one behind the other, both filled up to the larger size: a mask with True."""
    shape = [max(sizes) for sizes in zip(first.shape, second.shape, strict=True)]
    shape[0] = first.size(0) + second.size(0)
    stacked = first.new_full(shape, first.dtype == torch.bool)
    stacked[tuple(slice(0, size) for size in first.shape)] = first
    others = tuple(slice(0, size) for size in second.shape[1:])
    stacked[(slice(first.size(0), None), *others)] = second
    return stacked
