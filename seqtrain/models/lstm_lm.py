"""LSTM language model."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.models.base import (
    DecoderModel,
    Decoding,
    ModelConfig,
    ModelContext,
    ModelOutput,
    register_model,
)
from seqtrain.models.recurrent_decoding import RecurrentDecoding
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.embedding import TokenEmbedding
from seqtrain.modules.lstm_layers import LSTMLayer
from seqtrain.option_checks import require_fields, require_range


@dataclass(kw_only=True)
class LSTMLMConfig(ModelConfig):
    """LSTM language model."""

    dim: int = 256
    """Width of embeddings and layers."""
    layers: int = 2
    """Layers."""
    dropout: float = 0.2
    """Probability of dropping a value of embeddings and layer outputs."""
    tie_embeddings: bool = True
    """One weight for embeddings and output layer."""

    def __post_init__(self) -> None:
        require_fields("model", self, "dim", "layers", least=1)
        require_range("model.dropout", self.dropout, least=0, below=1)


@register_model("lstm_lm", config=LSTMLMConfig)
class LSTMLanguageModel(DecoderModel):
    """Layers that read a sequence once, from zero states; of any length.

    Args:
        config: Sizes.
        context: Tells the vocabulary.
    """

    def __init__(self, config: LSTMLMConfig, context: ModelContext) -> None:
        super().__init__()
        dim, vocab_size = config.dim, context.target_vocab_size
        self.embed_tokens = TokenEmbedding(vocab_size, dim, context.padding_index)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(LSTMLayer(dim, dim) for _ in range(config.layers))
        self.output_projection = nn.Linear(dim, vocab_size, bias=False)
        if config.tie_embeddings:
            self.output_projection.weight = self.embed_tokens.weight
        else:
            nn.init.normal_(self.output_projection.weight, std=dim**-0.5)

    @classmethod
    @override
    def from_config(cls, config: LSTMLMConfig, context: ModelContext) -> Self:
        context.require("lstm_lm", "target_vocab_size")
        return cls(config, context)

    @override
    def vocabulary_rows(self) -> dict[str, str]:
        return {"embed_tokens.weight": "target", "output_projection.weight": "target"}

    @override
    def forward(  # type: ignore[override] # names the inputs that the base leaves open
        self, prev_output_tokens: Tensor, document_ids: Tensor | None = None
    ) -> ModelOutput:
        if document_ids is None:
            return self.decode(prev_output_tokens, {}, None)[0]
        rows, columns = _one_document_a_row(document_ids)
        # One read of the host: the number and the longest of the documents.
        num_rows, longest = (torch.stack([rows.max(), columns.max()]) + 1).tolist()
        unpacked = prev_output_tokens.new_zeros((num_rows, longest))
        unpacked[rows, columns] = prev_output_tokens.flatten()
        output, _ = self.decode(unpacked, {}, None)
        features = output.features[rows, columns].view(*prev_output_tokens.shape, -1)
        return ModelOutput(features, self.output_projection)

    @override
    def decode(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor] | None
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        x = self.dropout(self.embed_tokens(prefix if state is None else prefix[:, -1:]))
        hidden, cell = [], []
        for index, layer in enumerate(self.layers):
            begin = None if state is None else (state["hidden"][:, index], state["cell"][:, index])
            x, (last_hidden, last_cell) = layer(x, begin)
            x = self.dropout(x)
            hidden.append(last_hidden)
            cell.append(last_cell)
        state = {"hidden": torch.stack(hidden, dim=1), "cell": torch.stack(cell, dim=1)}
        return ModelOutput(x, self.output_projection), state

    @override
    def decoding(self, width: int) -> Decoding | None:
        return RecurrentDecoding(self, width)

    def read_symbols(
        self, symbols: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        """Reads one more symbol of each prefix (see `RecurrentModel`)."""
        output, state = self.decode(symbols.view(-1, 1), memory, state)
        features = output.features.view(*symbols.shape, -1)
        return ModelOutput(features, self.output_projection), state


def _one_document_a_row(document_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Returns row and column of every position, if each document has a row of its own.

    Args:
        document_ids: int64 [batch, time]; equal numbers stand next to one another.

    Returns:
        Two of int64 [batch * time].
    """
    begins = torch.ones_like(document_ids, dtype=torch.bool)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    begins = begins.flatten()
    index = torch.arange(begins.numel(), device=begins.device)
    first = torch.where(begins, index, 0).cummax(dim=0).values
    return begins.cumsum(dim=0) - 1, index - first
