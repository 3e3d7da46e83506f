"""A Transformer over patches of each channel."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelConfig, ModelContext, register_model
from seqtrain.models.series_model import (
    SeriesModel,
    check_attention_sizes,
    require_series,
)
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.transformer_layers import EncoderLayer, LayerOptions
from seqtrain.modules.window_norm import WINDOW_NORMS
from seqtrain.option_checks import require_choice, require_range

NORMS = ("none", "layer")


@dataclass(kw_only=True)
class PatchTSTConfig(ModelConfig):
    """Patches of each channel by itself, mixed by a Transformer; one linear map to the horizon."""

    patch_size: int = 16
    """Rows in a patch."""
    stride: int = 8
    """Rows from the beginning of a patch to that of the next."""
    dim: int = 16
    """Width between layers, a multiple of num_heads."""
    num_heads: int = 4
    """Attention heads."""
    ffn_dim: int = 128
    """Width inside the feed-forward blocks."""
    num_layers: int = 3
    """Layers."""
    dropout: float = 0.3
    """Probability of dropping a value of embeddings and block outputs."""
    head_dropout: float = 0.0
    """The same before the map to the horizon."""
    norm: str = "none"
    """Normalisation before each block: none or layer. Windows are normalised already, and layer
    normalisation, which takes the level of each patch away, learns long horizons worse."""
    window_norm: str = "standard"
    """What is taken from each window before and given back after: none, last or standard."""

    def __post_init__(self) -> None:
        require_choice("model.window_norm", self.window_norm, WINDOW_NORMS)
        counts = {
            name: getattr(self, name) for name in ("patch_size", "stride", "ffn_dim", "num_layers")
        }
        check_attention_sizes(self.dim, self.num_heads, counts, self.dropout)
        require_choice("model.norm", self.norm, NORMS)
        require_range("model.head_dropout", self.head_dropout, least=0, below=1)


@register_model("patch_tst", config=PatchTSTConfig)
class PatchTST(SeriesModel):
    """PatchTST (Nie et al. 2023), supervised, without normalisation between blocks.

    The paper normalises over the batch, which would make a result depend on how a batch is split.
    Once trained, that is a fixed linear map of each feature; leaving it out is nearer to it than
    layer normalisation is. The paper's layers also hand attention scores on to the next, which
    these do not. With look_back 336 there are 42 patches, the last over the last value repeated.
    """

    def __init__(self, config: PatchTSTConfig, context: ModelContext) -> None:
        super().__init__(context, config.window_norm)
        self.patch_size, self.stride = config.patch_size, config.stride
        self.num_patches = (context.look_back - config.patch_size) // config.stride + 2
        self.embedding = nn.Linear(config.patch_size, config.dim)
        self.positions = nn.Parameter(
            torch.empty(self.num_patches, config.dim).uniform_(-0.02, 0.02)
        )
        options = LayerOptions(
            dim=config.dim,
            ffn_dim=config.ffn_dim,
            num_heads=config.num_heads,
            dropout=config.dropout,
            activation_dropout=config.dropout,
            activation="gelu",
            pre_norm=True,
        )
        self.layers = nn.ModuleList(EncoderLayer(options) for _ in range(config.num_layers))
        if config.norm == "none":
            for layer in self.layers:
                layer.register_module("self_attn_layer_norm", nn.Identity())
                layer.register_module("final_layer_norm", nn.Identity())
        self.dropout, self.head_dropout = Dropout(config.dropout), Dropout(config.head_dropout)
        self.head = nn.Linear(self.num_patches * config.dim, context.horizon * self.num_outputs)

    @classmethod
    @override
    def from_config(cls, config: PatchTSTConfig, context: ModelContext) -> Self:
        require_series("patch_tst", context)
        if config.patch_size > context.look_back:
            raise ConfigError(
                f"model.patch_size ({config.patch_size}) is longer than task.look_back "
                f"({context.look_back}). Make one of them fit."
            )
        return cls(config, context)

    @override
    def forecast(self, window: Tensor, time_features: Tensor | None) -> Tensor:
        batch, channels, _ = window.shape
        padded = F.pad(window, (0, self.stride), mode="replicate")
        patches = padded.unfold(2, self.patch_size, self.stride).flatten(0, 1)
        x = self.dropout(self.embedding(patches) + self.positions)
        for layer in self.layers:
            x = layer(x, None)
        return self.head(self.head_dropout(x.flatten(1))).unflatten(0, (batch, channels))
