"""LSTM encoder-decoder with attention (Luong et al. 2015), without input feeding."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import (
    Decoding,
    EncoderDecoderModel,
    ModelConfig,
    ModelContext,
    ModelOutput,
    register_model,
)
from seqtrain.models.embedding_sharing import SHARING_CHOICES, shared_embeddings
from seqtrain.models.recurrent_decoding import RecurrentDecoding
from seqtrain.modules.attention import padding_bias
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.embedding import TokenEmbedding
from seqtrain.modules.lstm_layers import BidirectionalLayer, LSTMLayer
from seqtrain.option_checks import require_choice, require_fields, require_range


@dataclass(kw_only=True)
class LSTMConfig(ModelConfig):
    """LSTM encoder-decoder with attention."""

    dim: int = 256
    """Width of embeddings and layers; each direction of the encoder has half of it."""
    encoder_layers: int = 2
    """Encoder layers."""
    decoder_layers: int = 2
    """Decoder layers."""
    dropout: float = 0.2
    """Probability of dropping a value of embeddings and layer outputs."""
    share_embeddings: str = "auto"
    """all: source, target and output share one; decoder: target and output; none; auto: all
    where the vocabulary is shared, else decoder."""

    def __post_init__(self) -> None:
        if self.dim < 2 or self.dim % 2:
            raise ConfigError(f"model.dim must be even and at least 2, got {self.dim}.")
        require_fields("model", self, "encoder_layers", "decoder_layers", least=1)
        require_range("model.dropout", self.dropout, least=0, below=1)
        require_choice("model.share_embeddings", self.share_embeddings, SHARING_CHOICES)


@register_model("lstm", config=LSTMConfig)
class LSTMModel(EncoderDecoderModel):
    """Bidirectional encoder; decoder whose layers run over the whole target before attention.

    The attention is Luong's "general" one, on top of the last layer. Its result is not fed back
    as an input, so that training computes all positions of a layer at once.
    """

    def __init__(
        self,
        config: LSTMConfig,
        source_embedding: TokenEmbedding,
        target_embedding: TokenEmbedding,
        output_projection: nn.Linear,
    ) -> None:
        super().__init__()
        self.encoder = LSTMEncoder(config, source_embedding)
        self.decoder = LSTMDecoder(config, target_embedding, output_projection)

    @classmethod
    @override
    def from_config(cls, config: LSTMConfig, context: ModelContext) -> Self:
        context.require("lstm", "source_vocab_size", "target_vocab_size")
        return cls(config, *shared_embeddings(config.dim, config.share_embeddings, context))

    @override
    def vocabulary_rows(self) -> dict[str, str]:
        return {
            "encoder.embed_tokens.weight": "source",
            "decoder.embed_tokens.weight": "target",
            "decoder.output_projection.weight": "target",
        }

    @override
    def encode(self, source_tokens: Tensor) -> dict[str, Tensor]:
        return self.decoder.memory(*self.encoder(source_tokens))

    @override
    def decode(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor] | None
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        features, state = self.decoder(prefix, memory, state)
        return ModelOutput(features, self.decoder.output_projection), state

    @override
    def decoding(self, width: int) -> Decoding | None:
        return RecurrentDecoding(self, width)

    def read_symbols(
        self, symbols: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        """Reads one more symbol of each prefix (see `RecurrentModel`)."""
        features, state = self.decoder.extend(symbols, memory, state)
        return ModelOutput(features, self.decoder.output_projection), state

    @override
    def attention(self, source_tokens: Tensor, prev_output_tokens: Tensor, layer: int) -> Tensor:
        memory = self.encode(source_tokens)
        x, _ = self.decoder.run_layers(prev_output_tokens, memory)
        return self.decoder.attention_weights(x, memory)


class LSTMEncoder(nn.Module):
    """Embedding and bidirectional layers."""

    def __init__(self, config: LSTMConfig, embedding: TokenEmbedding) -> None:
        super().__init__()
        self.embed_tokens = embedding
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(
            BidirectionalLayer(config.dim) for _ in range(config.encoder_layers)
        )

    def forward(self, source_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encodes a source.

        Args:
            source_tokens: Symbol ids, int64 [batch, time], padded on the right.

        Returns:
            The encoded source, [batch, time, dim]; where each direction of the last layer ended,
            [batch, dim]; the padding mask, [batch, time].
        """
        padding_mask = source_tokens == self.embed_tokens.padding_index
        lengths = (~padding_mask).sum(dim=1).clamp(min=1)
        x = self.dropout(self.embed_tokens(source_tokens))
        last = x[:, 0]
        for layer in self.layers:
            x, last = layer(x, lengths)
            x = self.dropout(x)
        return x, last, padding_mask


class LSTMDecoder(nn.Module):
    """Embedding, layers, attention to the source, output projection."""

    def __init__(
        self, config: LSTMConfig, embedding: TokenEmbedding, output_projection: nn.Linear
    ) -> None:
        super().__init__()
        dim = config.dim
        self.embed_tokens = embedding
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(LSTMLayer(dim, dim) for _ in range(config.decoder_layers))
        self.bridge = nn.Linear(dim, config.decoder_layers * 2 * dim)
        self.key_proj = nn.Linear(dim, dim, bias=False)
        self.combine_proj = nn.Linear(2 * dim, dim)
        self.output_projection = output_projection

    def memory(self, encoded: Tensor, last: Tensor, padding_mask: Tensor) -> dict[str, Tensor]:
        """Returns what decoding needs of a source, from what the encoder returns.

        "hidden" and "cell" are the states that the layers begin with, [batch, layers, dim].
        """
        begin = torch.tanh(self.bridge(last)).view(last.size(0), 2, len(self.layers), -1)
        return {
            "encoded": encoded,
            "keys": self.key_proj(encoded),
            "padding_mask": padding_mask,
            "hidden": begin[:, 0],
            "cell": begin[:, 1],
        }

    def forward(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor] | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Runs the positions of the prefix that the state does not cover.

        Args:
            prefix: Symbol ids, int64 [rows, time].
            memory: From `memory`.
            state: None, or "hidden" and "cell" after all of the prefix but its last symbol.

        Returns:
            Features, [rows, new positions, dim], and the state after the whole prefix.
        """
        symbols = prefix if state is None else prefix[:, -1:]
        x, state = self.run_layers(symbols, memory if state is None else state)
        return self._attend(x, memory), state

    def extend(
        self, symbols: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns features of one more symbol of each prefix, and the state (`RecurrentModel`)."""
        x, state = self.run_layers(symbols.view(-1, 1), state)
        return self._attend(x.view(*symbols.shape, -1), memory), state

    def run_layers(
        self, symbols: Tensor, before: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Runs everything below the attention.

        Args:
            symbols: int64 [rows, time].
            before: "hidden" and "cell" before them.

        Returns:
            Queries of the attention, [rows, time, dim], and the state after the symbols.
        """
        x = self.dropout(self.embed_tokens(symbols))
        hidden, cell = [], []
        for index, layer in enumerate(self.layers):
            x, (last_hidden, last_cell) = layer(
                x, (before["hidden"][:, index], before["cell"][:, index])
            )
            x = self.dropout(x)
            hidden.append(last_hidden)
            cell.append(last_cell)
        return x, {"hidden": torch.stack(hidden, dim=1), "cell": torch.stack(cell, dim=1)}

    def attention_weights(self, x: Tensor, memory: dict[str, Tensor]) -> Tensor:
        """Returns the shares of source positions for each query, [rows, time, source time]."""
        bias = padding_bias(memory["padding_mask"], x.dtype)[:, 0]
        return torch.softmax(x @ memory["keys"].transpose(1, 2) + bias, dim=-1)

    def _attend(self, x: Tensor, memory: dict[str, Tensor]) -> Tensor:
        mixed = self.attention_weights(x, memory) @ memory["encoded"]
        return self.dropout(torch.tanh(self.combine_proj(torch.cat([mixed, x], dim=2))))
