"""LSTM encoder-decoder whose attention is fed back as an input (Luong et al. 2015)."""

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
from seqtrain.models.embedding_sharing import SHARING_CHOICES
from seqtrain.models.recorded_inputs import recorded_inputs
from seqtrain.models.recurrent_decoding import RecurrentDecoding
from seqtrain.modules.attention import padding_bias
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.embedding import TokenEmbedding
from seqtrain.option_checks import require_choice, require_fields, require_range

State = dict[str, Tensor]


@dataclass(kw_only=True)
class InputFeedingLSTMConfig(ModelConfig):
    """LSTM encoder-decoder with input feeding; model=lstm trains several times faster."""

    encoder_dim: int = 256
    """Width of source embeddings."""
    encoder_hidden_dim: int = 256
    """Width of one direction of the encoder's layers."""
    bidirectional: bool = False
    """Encode in both directions."""
    decoder_dim: int = 256
    """Width of target embeddings."""
    decoder_hidden_dim: int = 256
    """Width of the decoder's layers."""
    output_dim: int = 256
    """Width before the output projection; one linear layer goes there if it is another one."""
    num_layers: int = 1
    """Layers of the encoder, and of the decoder."""
    output_bias: bool = False
    """The output projection has a bias; not where it is shared."""
    dropout: float = 0.2
    """Probability of dropping a value of embeddings and layer outputs."""
    share_embeddings: str = "auto"
    """all: source, target and output share one; decoder: target and output; none; auto: decoder
    where widths allow it."""

    def __post_init__(self) -> None:
        counts = (
            "encoder_dim",
            "encoder_hidden_dim",
            "decoder_dim",
            "decoder_hidden_dim",
            "output_dim",
            "num_layers",
        )
        require_fields("model", self, *counts, least=1)
        require_range("model.dropout", self.dropout, least=0, below=1)
        require_choice("model.share_embeddings", self.share_embeddings, SHARING_CHOICES)
        can_share = self.decoder_dim == self.output_dim and not self.output_bias
        if self.share_embeddings in ("decoder", "all") and not can_share:
            raise ConfigError(
                f"model.share_embeddings={self.share_embeddings} needs model.decoder_dim "
                f"({self.decoder_dim}) equal to model.output_dim ({self.output_dim}) and "
                "model.output_bias=false."
            )

    @property
    def sharing(self) -> str:
        """What is shared, auto resolved."""
        if self.share_embeddings != "auto":
            return self.share_embeddings
        can_share = self.decoder_dim == self.output_dim and not self.output_bias
        return "decoder" if can_share else "none"


@register_model("lstm_input_feeding", config=InputFeedingLSTMConfig)
class InputFeedingLSTM(EncoderDecoderModel):
    """LSTM encoder; decoder whose first layer also reads what the attention gave a step before.

    The parameters are named as in fairseq's LSTM, but for `decoder.output_projection`.
    """

    def __init__(self, config: InputFeedingLSTMConfig, context: ModelContext) -> None:
        super().__init__()
        target = _embedding(context.target_vocab_size, config.decoder_dim, context)
        source = target
        if config.sharing != "all":
            source = _embedding(context.source_vocab_size, config.encoder_dim, context)
        self.encoder = _Encoder(config, source)
        self.decoder = _Decoder(config, target)

    @classmethod
    @override
    def from_config(cls, config: InputFeedingLSTMConfig, context: ModelContext) -> Self:
        context.require("lstm_input_feeding", "source_vocab_size", "target_vocab_size")
        if config.sharing == "all" and not (
            context.shared_vocab and config.encoder_dim == config.decoder_dim
        ):
            raise ConfigError(
                "model.share_embeddings=all needs one vocabulary for source and target, and "
                "model.encoder_dim equal to model.decoder_dim. Choose decoder or none."
            )
        return cls(config, context)

    @override
    def vocabulary_rows(self) -> dict[str, str]:
        return {
            "encoder.embed_tokens.weight": "source",
            "decoder.embed_tokens.weight": "target",
            "decoder.output_projection.weight": "target",
        }

    @override
    def encode(self, source_tokens: Tensor) -> State:
        return self.decoder.memory(*self.encoder(source_tokens))

    @override
    def decode(
        self, prefix: Tensor, memory: State, state: State | None
    ) -> tuple[ModelOutput, State]:
        features, state = self.decoder(prefix, memory, state)
        return ModelOutput(features, self.decoder.output_projection), state

    @override
    def decoding(self, width: int) -> Decoding | None:
        return RecurrentDecoding(self, width)

    def read_symbols(
        self, symbols: Tensor, memory: State, state: State
    ) -> tuple[ModelOutput, State]:
        """Reads one more symbol of each prefix (see `RecurrentModel`)."""
        features, state = self.decoder.run(symbols.view(-1, 1), memory, state)
        features = features.view(*symbols.shape, -1)
        return ModelOutput(features, self.decoder.output_projection), state

    @override
    def attention(self, source_tokens: Tensor, prev_output_tokens: Tensor, layer: int) -> Tensor:
        attention = self.decoder.attention
        with recorded_inputs(attention) as calls:
            self(source_tokens=source_tokens, prev_output_tokens=prev_output_tokens)
        queries = torch.stack([query for query, _, _ in calls], dim=1)
        return attention.weights(queries, *calls[0][1:])


class _Encoder(nn.Module):
    """Embedding and layers."""

    def __init__(self, config: InputFeedingLSTMConfig, embedding: TokenEmbedding) -> None:
        super().__init__()
        self.embed_tokens = embedding
        self.dropout = Dropout(config.dropout)
        self.lstm = nn.LSTM(
            config.encoder_dim,
            config.encoder_hidden_dim,
            config.num_layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        _initialize(self.lstm)

    def forward(self, source_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encodes a source.

        Args:
            source_tokens: Symbol ids, int64 [batch, time], padded on the right.

        Returns:
            The encoded source, [batch, time, dim]; the last hidden and cell states of each layer,
            both directions side by side, [batch, layers, dim]; the padding mask, [batch, time].
        """
        padding_mask = source_tokens == self.embed_tokens.padding_index
        lengths = (~padding_mask).sum(dim=1).clamp(min=1).cpu()
        x = self.dropout(self.embed_tokens(source_tokens))
        # In the precision of the weights, since CPUs lack kernels for some others.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.lstm.weight_hh_l0.dtype)
            packed = nn.utils.rnn.pack_padded_sequence(
                x, lengths, batch_first=True, enforce_sorted=False
            )
            outputs, (hidden, cell) = self.lstm(packed)
            encoded, _ = nn.utils.rnn.pad_packed_sequence(
                outputs, batch_first=True, total_length=source_tokens.size(1)
            )
        states = [self._side_by_side(state) for state in (hidden, cell)]
        return self.dropout(encoded), *states, padding_mask

    def _side_by_side(self, state: Tensor) -> Tensor:
        """Turns [layers * directions, batch, dim] into [batch, layers, directions * dim]."""
        by_layer = state.unflatten(0, (self.lstm.num_layers, -1))
        return by_layer.permute(2, 0, 1, 3).flatten(2)


class _Attention(nn.Module):
    """Luong's "general" attention and the layer that combines its result with the query."""

    def __init__(self, query_dim: int, source_dim: int) -> None:
        super().__init__()
        self.input_proj = _linear(query_dim, source_dim, bias=False)
        self.output_proj = _linear(query_dim + source_dim, query_dim, bias=False)

    def forward(self, query: Tensor, encoded: Tensor, bias: Tensor) -> Tensor:
        """Returns [rows, query dim] for a query of that shape; encoded is [rows, time, dim]."""
        scores = torch.bmm(encoded, self.input_proj(query).unsqueeze(2)).squeeze(2) + bias
        weights = torch.softmax(scores, dim=1)
        mixed = torch.bmm(weights.unsqueeze(1), encoded).squeeze(1)
        return torch.tanh(self.output_proj(torch.cat([mixed, query], dim=1)))

    def of_sentences(self, queries: Tensor, encoded: Tensor, bias: Tensor) -> Tensor:
        """Does the same for several queries of each sentence.

        Args:
            queries: [sentences, queries, query dim].
            encoded: [sentences, time, dim].
            bias: Hides padding, [sentences, time].

        Returns:
            In the shape of the queries.
        """
        mixed = torch.bmm(self.weights(queries, encoded, bias), encoded)
        return torch.tanh(self.output_proj(torch.cat([mixed, queries], dim=2)))

    def weights(self, queries: Tensor, encoded: Tensor, bias: Tensor) -> Tensor:
        """Returns the shares of source positions, [sentences, queries, time]."""
        scores = torch.bmm(self.input_proj(queries), encoded.transpose(1, 2))
        return torch.softmax(scores + bias[:, None], dim=2)


class _Decoder(nn.Module):
    """Embedding, cells, attention and the output projection, one position after the other."""

    encoder_hidden_proj: nn.Linear | None
    encoder_cell_proj: nn.Linear | None
    additional_fc: nn.Linear | None

    def __init__(self, config: InputFeedingLSTMConfig, embedding: TokenEmbedding) -> None:
        super().__init__()
        dim, encoded_dim = config.decoder_hidden_dim, config.encoder_hidden_dim
        encoded_dim *= 2 if config.bidirectional else 1
        self.embed_tokens = embedding
        self.dropout = Dropout(config.dropout)
        has_bridge = encoded_dim != dim
        self.encoder_hidden_proj = _linear(encoded_dim, dim) if has_bridge else None
        self.encoder_cell_proj = _linear(encoded_dim, dim) if has_bridge else None
        self.layers = nn.ModuleList(
            nn.LSTMCell(dim if index else config.decoder_dim + dim, dim)
            for index in range(config.num_layers)
        )
        _initialize(self.layers)
        self.attention = _Attention(dim, encoded_dim)
        is_wider = dim != config.output_dim
        self.additional_fc = _linear(dim, config.output_dim) if is_wider else None
        num_symbols = len(embedding.weight)
        self.output_projection = _linear(config.output_dim, num_symbols, config.output_bias)
        if config.sharing != "none":
            self.output_projection.weight = embedding.weight

    def memory(self, encoded: Tensor, hidden: Tensor, cell: Tensor, padding_mask: Tensor) -> State:
        """Returns what decoding needs of a source, from what the encoder returns."""
        if self.encoder_hidden_proj is not None and self.encoder_cell_proj is not None:
            hidden, cell = self.encoder_hidden_proj(hidden), self.encoder_cell_proj(cell)
        return {"encoded": encoded, "padding_mask": padding_mask, "hidden": hidden, "cell": cell}

    def forward(self, prefix: Tensor, memory: State, state: State | None) -> tuple[Tensor, State]:
        """Runs the positions of the prefix that the state does not cover.

        Args:
            prefix: Symbol ids, int64 [rows, time].
            memory: From `memory`.
            state: None, or "hidden", "cell" and "fed" after all of the prefix but its last symbol.

        Returns:
            Features, [rows, new positions, dim], and the state after the whole prefix.
        """
        return self.run(prefix if state is None else prefix[:, -1:], memory, state)

    def run(self, symbols: Tensor, memory: State, state: State | None) -> tuple[Tensor, State]:
        """Runs some positions; there may be several rows for each row of the memory.

        Args:
            symbols: int64 [rows, time].
            memory: From `memory`.
            state: Before the symbols.

        Returns:
            Features, [rows, time, dim], and the state after the symbols.
        """
        embedded = self.dropout(self.embed_tokens(symbols))
        before = memory if state is None else state
        dtype = memory["encoded"].dtype
        with torch.autocast(embedded.device.type, enabled=False):
            # As in the encoder; the memory has the precision of its weights.
            embedded = embedded.to(dtype)
            hidden = list(before["hidden"].to(dtype).unbind(1))
            cell = list(before["cell"].to(dtype).unbind(1))
            fed = torch.zeros_like(hidden[0]) if state is None else state["fed"]
            bias = padding_bias(memory["padding_mask"], dtype)[:, 0, 0]
            outputs = []
            for x in embedded.unbind(1):
                x = torch.cat([x, fed], dim=1)
                for index, layer in enumerate(self.layers):
                    hidden[index], cell[index] = layer(x, (hidden[index], cell[index]))
                    x = self.dropout(hidden[index])
                fed = self.dropout(self._attend(hidden[-1], memory["encoded"], bias))
                outputs.append(fed)
        features = torch.stack(outputs, dim=1)
        if self.additional_fc is not None:
            features = self.dropout(self.additional_fc(features))
        state = {"hidden": torch.stack(hidden, 1), "cell": torch.stack(cell, 1), "fed": fed}
        return features, state

    def _attend(self, query: Tensor, encoded: Tensor, bias: Tensor) -> Tensor:
        """Returns [rows, dim]; the memory has one row for each of them or for several."""
        if len(query) == len(encoded):
            mixed: Tensor = self.attention(query, encoded, bias)
            return mixed
        queries = query.unflatten(0, (len(encoded), -1))
        return self.attention.of_sentences(queries, encoded, bias).flatten(0, 1)


def _embedding(vocab_size: int, dim: int, context: ModelContext) -> TokenEmbedding:
    return TokenEmbedding(vocab_size, dim, context.padding_index, scale=1.0, std=0.1)


def _linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias)
    _initialize(linear)
    return linear


def _initialize(module: nn.Module) -> None:
    """Draws all weights from -0.1 to 0.1, as Sutskever et al. (2014) do about."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.1, 0.1)
