"""A transformer encoder over patches of a sequence, that tells classes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelConfig, ModelContext, register_model
from seqtrain.models.labelled_inputs import (
    POOLINGS,
    class_layer,
    pool,
)
from seqtrain.models.labelled_model import LabelledModel
from seqtrain.modules.attention import padding_bias
from seqtrain.modules.drop_path import DropPath, drop_path_rates
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.positions import build_positions
from seqtrain.modules.transformer_layers import EncoderLayer, LayerOptions
from seqtrain.option_checks import require_choice, require_fields


@dataclass(kw_only=True)
class PatchTransformerConfig(ModelConfig):
    """Classes of a sequence, or of each of its positions, by self-attention between patches."""

    dim: int = 64
    """Width between layers."""
    ffn_dim: int = 128
    """Width inside feed-forward blocks."""
    num_heads: int = 4
    """Attention heads."""
    num_layers: int = 3
    """Encoder layers."""
    patch_length: int = 1
    """Positions that become one patch."""
    patch_stride: int = 0
    """Positions from one patch to the next; 0 for patch_length. With labels for positions it is
    patch_length."""
    positions: str = "learned"
    """learned (as many as the longest example needs), or the fixed tables marian or fairseq."""
    max_positions: int = 0
    """Most patches that can be read; 0 for those of the longest example."""
    pooling: str = "mean"
    """What makes one vector of all patches: mean or max."""
    activation: str = "gelu"
    """gelu or relu."""
    dropout: float = 0.1
    """On the input, and on the output of every block."""
    attention_dropout: float = 0.0
    """On attention weights."""
    drop_path: float = 0.0
    """Probability that the last layer is left out of an example; earlier ones less, linearly."""

    def __post_init__(self) -> None:
        counts = ("dim", "ffn_dim", "num_heads", "num_layers", "patch_length")
        require_fields("model", self, *counts, least=1)
        if self.dim % self.num_heads:
            raise ConfigError(
                f"model.dim ({self.dim}) must be a multiple of model.num_heads ({self.num_heads})."
            )
        if not 0 <= self.patch_stride <= self.patch_length:
            raise ConfigError(
                "model.patch_stride must be from 0 to model.patch_length "
                f"({self.patch_length}), got {self.patch_stride}."
            )
        require_choice("model.activation", self.activation, ("gelu", "relu"))
        require_fields("model", self, "dropout", "attention_dropout", "drop_path", least=0, below=1)
        require_choice("model.pooling", self.pooling, POOLINGS)

    @property
    def stride(self) -> int:
        """Positions from one patch to the next."""
        return self.patch_stride or self.patch_length


@register_model("patch_transformer", config=PatchTransformerConfig)
class PatchTransformer(LabelledModel):
    """Patches, a linear layer, positions, pre-norm encoder layers, pooling (Dosovitskiy 2021)."""

    def __init__(self, config: PatchTransformerConfig, context: ModelContext) -> None:
        super().__init__("patch_transformer", config, context)
        if context.labels_per_position and config.stride != config.patch_length:
            raise ConfigError(
                "With a label for each position patches must not overlap: model.patch_stride is "
                f"{config.stride}, set it to model.patch_length={config.patch_length}."
            )
        self.config = config
        self.patches = nn.Linear(config.patch_length * self.inputs.width, config.dim)
        longest = config.max_positions or max(num_patches(config, context.max_source_positions), 1)
        self.positions = build_positions(config.positions, longest, config.dim, 1)
        options = LayerOptions(
            dim=config.dim,
            ffn_dim=config.ffn_dim,
            num_heads=config.num_heads,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation=config.activation,
        )
        self.layers = nn.ModuleList(EncoderLayer(options) for _ in range(config.num_layers))
        self.drop_paths = nn.ModuleList(
            DropPath(p) for p in drop_path_rates(config.drop_path, config.num_layers)
        )
        self.dropout = Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.dim)
        self.unpatch: nn.Linear | None = None
        if self.per_position and config.patch_length > 1:
            self.unpatch = nn.Linear(config.dim, config.patch_length * config.dim)
        self.output_layer = class_layer(config.dim, context.num_classes)

    @override
    def features(self, vectors: Tensor, padding_mask: Tensor) -> Tensor:
        x, patch_mask = self._patches(vectors, padding_mask)
        x = self.dropout(self.patches(x) + self.positions(0, x.size(1)))
        bias = padding_bias(patch_mask, x.dtype)
        for layer, drop_path in zip(self.layers, self.drop_paths, strict=True):
            x = drop_path(x, layer(x, bias))
        x = self.norm(x)
        if not self.per_position:
            return pool(x, patch_mask, self.config.pooling)
        if self.unpatch is not None:
            x = self.unpatch(x).unflatten(2, (self.config.patch_length, -1)).flatten(1, 2)
        return x[:, : padding_mask.size(1)]

    def _patches(self, vectors: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Returns [batch, patches, patch_length * width], and True where a patch is padding."""
        length, stride = self.config.patch_length, self.config.stride
        if length == 1:
            return vectors, padding_mask
        time = padding_mask.size(1)
        count = num_patches(self.config, time)
        x = F.pad(vectors, (0, 0, 0, (count - 1) * stride + length - time))
        patches = x.unfold(1, length, stride).transpose(2, 3).flatten(2)
        lengths = (~padding_mask).sum(dim=1)
        begins = torch.arange(count, device=x.device) * stride
        # A patch counts if it holds a position that no earlier one holds.
        reach = begins + (length - stride) if stride < length else begins
        mask = (reach >= lengths[:, None]) & (begins > 0)
        return patches, mask


def num_patches(config: PatchTransformerConfig, time: int) -> int:
    """Returns the patches that it takes to cover so many positions."""
    return 1 + max(0, -(-(time - config.patch_length) // config.stride))
