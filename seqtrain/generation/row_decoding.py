"""Extends prefixes by any model's `decode`: one row for each, its state moved when it is."""

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.models.base import AutoregressiveModel, Decoding, ModelOutput


class RowDecoding(Decoding):
    """Decoding by `decode`, whose rows all have one length: sentences begin together.

    Args:
        model: The model.
        width: Prefixes of each sentence.
    """

    takes_more = False

    def __init__(self, model: AutoregressiveModel, width: int) -> None:
        self.model = model
        self.width = width
        self._repeats = 1  # rows of each sentence now
        self._memory: dict[str, Tensor] = {}
        self._state: dict[str, Tensor] = {}
        self._prefixes = torch.zeros(0, 0, dtype=torch.int64)

    @override
    def add(self, memory: dict[str, Tensor], prefix: Tensor) -> ModelOutput:
        self._repeats, self._memory, self._prefixes = 1, memory, prefix
        output, self._state = self.model.decode(prefix, memory, None)
        return output

    @override
    def step(self, symbols: Tensor, origins: Tensor) -> ModelOutput:
        num_sentences, width = symbols.shape
        if self._repeats != width:
            self._memory = {
                name: rows.repeat_interleave(width, dim=0) for name, rows in self._memory.items()
            }
        first = torch.arange(num_sentences, device=symbols.device)[:, None] * self._repeats
        if width > 1 or self._repeats > 1:
            rows = (first + origins).flatten()
            self._state = _select(self._state, rows)
            self._prefixes = self._prefixes[rows]
        self._repeats = width
        self._prefixes = torch.cat([self._prefixes, symbols.view(-1, 1)], dim=1)
        output, self._state = self.model.decode(self._prefixes, self._memory, self._state)
        features = output.features[:, -1].unflatten(0, (num_sentences, width))
        return ModelOutput(features, output.output_layer)

    @override
    def select(self, positions: Tensor) -> None:
        places = torch.arange(self._repeats, device=positions.device)
        rows = (positions[:, None] * self._repeats + places).flatten()
        self._memory, self._state = _select(self._memory, rows), _select(self._state, rows)
        self._prefixes = self._prefixes[rows]


def decoding_for(model: AutoregressiveModel, width: int) -> Decoding:
    """Returns the model's own way to extend prefixes, or the one that suits all models."""
    return model.decoding(width) or RowDecoding(model, width)


def _select(tensors: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: tensor.index_select(0, rows) for name, tensor in tensors.items()}
