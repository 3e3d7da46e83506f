"""A Transformer whose symbols are the channels."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
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
class ITransformerConfig(SeriesAttentionConfig):
    """The whole window of a channel is one position; attention is between channels."""

    dim: int = 256
    """Width between layers, a multiple of num_heads."""
    num_heads: int = 8
    """Attention heads."""
    ffn_dim: int = 256
    """Width inside the feed-forward blocks."""


@register_model("itransformer", config=ITransformerConfig)
class ITransformer(SeriesModel):
    """iTransformer (Liu et al. 2024); features of time over the window are further channels."""

    def __init__(self, config: ITransformerConfig, context: ModelContext) -> None:
        super().__init__(context, config.window_norm)
        self.embedding = nn.Linear(context.look_back, config.dim)
        options = LayerOptions(
            dim=config.dim,
            ffn_dim=config.ffn_dim,
            num_heads=config.num_heads,
            dropout=config.dropout,
            attention_dropout=config.dropout,
            activation_dropout=config.dropout,
            activation="gelu",
            pre_norm=False,
        )
        self.layers = nn.ModuleList(EncoderLayer(options) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(config.dim, context.horizon * self.num_outputs)

    @classmethod
    @override
    def from_config(cls, config: ITransformerConfig, context: ModelContext) -> Self:
        require_series("itransformer", context)
        return cls(config, context)

    @override
    def forecast(self, window: Tensor, time_features: Tensor | None) -> Tensor:
        num_channels, look_back = window.shape[1:]
        if time_features is not None:
            known = time_features[:, :look_back].transpose(1, 2).to(window.dtype)
            window = torch.cat([window, known], dim=1)
        x = self.dropout(self.embedding(window))
        for layer in self.layers:
            x = layer(x, None)
        return self.head(self.norm(x[:, :num_channels]))
