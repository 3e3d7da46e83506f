"""Extends prefixes by models whose state has one size, however long the prefix is."""

from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.models.base import Decoding, ModelOutput
from seqtrain.models.cached_decoding import stack_memories
from seqtrain.modules.beam_cache import move_rows


class RecurrentModel(Protocol):
    """What a model offers to be decoded so."""

    def decode(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor] | None
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        """See AutoregressiveModel; no tensor of the state grows with the prefix."""

    def read_symbols(
        self, symbols: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        """Reads one more symbol of each prefix.

        Args:
            symbols: int64 [sentences, width].
            memory: One row for each sentence.
            state: After the prefixes without it; a row for each, those of a sentence side by side.

        Returns:
            The output, [sentences, width, dim], and the state after the symbols.
        """


class RecurrentDecoding(Decoding):
    """Decoding by a RecurrentModel: prefixes of all lengths stand in one batch.

    Args:
        model: The model.
        width: Prefixes of each sentence.
    """

    def __init__(self, model: RecurrentModel, width: int) -> None:
        self.model = model
        self.width = width
        self._num_sentences = 0
        self._memory: dict[str, Tensor] = {}
        self._state: dict[str, Tensor] = {}

    @override
    def add(self, memory: dict[str, Tensor], prefix: Tensor) -> ModelOutput:
        output, state = self.model.decode(prefix, memory, None)
        state = {name: rows.repeat_interleave(self.width, dim=0) for name, rows in state.items()}
        if self._num_sentences:
            memory = stack_memories(self._known_memory(), memory)
            state = {name: torch.cat([self._state[name], rows]) for name, rows in state.items()}
        self._memory, self._state = memory, state
        self._num_sentences += prefix.size(0)
        return output

    @override
    def step(self, symbols: Tensor, origins: Tensor) -> ModelOutput:
        first = torch.arange(self._num_sentences, device=symbols.device)[:, None] * self.width
        state = _select(self._state, (first + origins).flatten())
        output, self._state = self.model.read_symbols(symbols, self._known_memory(), state)
        return output

    @override
    def select(self, positions: Tensor) -> None:
        self._num_sentences = positions.size(0)
        prefixes = torch.arange(self.width, device=positions.device)
        rows = (positions[:, None] * self.width + prefixes).flatten()
        self._state = _select(self._state, rows)
        for tensor in self._memory.values():
            move_rows(tensor, positions)

    def _known_memory(self) -> dict[str, Tensor]:
        return {name: rows[: self._num_sentences] for name, rows in self._memory.items()}


def _select(state: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: tensor.index_select(0, rows) for name, tensor in state.items()}
