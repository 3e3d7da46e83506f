"""A Transformer whose symbols are the rows of a series, those to come included."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.models.base import ModelContext, register_model
from seqtrain.models.series_model import (
    SeriesAttentionConfig,
    SeriesModel,
    require_series,
)
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.transformer_layers import EncoderLayer, LayerOptions


@dataclass(kw_only=True)
class SeriesTransformerConfig(SeriesAttentionConfig):
    """All channels of a row are one position; the rows to come are positions without values."""


@register_model("series_transformer", config=SeriesTransformerConfig)
class SeriesTransformer(SeriesModel):
    """An encoder over look_back and horizon at once, read out at the rows to come.

    As in Vaswani et al. (2017), with learnt positions and normalisation before each block. Rows to
    come hold their features of time and nothing else; they are forecast together, not one by one.
    """

    def __init__(self, config: SeriesTransformerConfig, context: ModelContext) -> None:
        super().__init__(context, config.window_norm)
        self.embedding = nn.Linear(context.num_channels, config.dim)
        self.time_embedding: nn.Linear | None = None
        if context.num_time_features:
            self.time_embedding = nn.Linear(context.num_time_features, config.dim, bias=False)
        rows = context.look_back + context.horizon
        self.positions = nn.Parameter(torch.empty(rows, config.dim).normal_(std=0.02))
        options = LayerOptions(
            dim=config.dim,
            ffn_dim=config.ffn_dim,
            num_heads=config.num_heads,
            dropout=config.dropout,
            attention_dropout=config.dropout,
            activation="gelu",
        )
        self.layers = nn.ModuleList(EncoderLayer(options) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(config.dim, context.num_channels * self.num_outputs)

    @classmethod
    @override
    def from_config(cls, config: SeriesTransformerConfig, context: ModelContext) -> Self:
        require_series("series_transformer", context)
        return cls(config, context)

    @override
    def forecast(self, window: Tensor, time_features: Tensor | None) -> Tensor:
        horizon = self.context.horizon
        x = F.pad(self.embedding(window.transpose(1, 2)), (0, 0, 0, horizon)) + self.positions
        if time_features is not None and self.time_embedding is not None:
            known = self.time_embedding(time_features)
            # A task that fills in has features of the window alone: they hold for both parts.
            x = x + (known if known.size(1) == x.size(1) else known.repeat(1, 2, 1))
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, None)
        forecast = self.head(self.norm(x[:, -horizon:]))
        return forecast.unflatten(2, (-1, self.num_outputs)).transpose(1, 2).flatten(2)
