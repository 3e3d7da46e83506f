"""Residual convolutions along time, that tell classes."""

from dataclasses import dataclass

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
from seqtrain.modules.drop_path import DropPath, drop_path_rates
from seqtrain.modules.dropout import Dropout
from seqtrain.option_checks import require_choice, require_fields, require_range


@dataclass(kw_only=True)
class ConvClassifierConfig(ModelConfig):
    """Classes of a sequence, or of each of its positions, by convolutions of growing reach."""

    dim: int = 64
    """Channels between blocks."""
    num_layers: int = 4
    """Residual blocks."""
    kernel_size: int = 5
    """Positions that a convolution sees; odd."""
    max_dilation: int = 8
    """Block n sees every 2 ** n-th position, up to this; the next one begins with 1 again."""
    pooling: str = "mean"
    """What makes one vector of all positions: mean or max."""
    dropout: float = 0.1
    """On the output of every block."""
    drop_path: float = 0.0
    """Probability that the last block is left out of an example; earlier ones less, linearly."""

    def __post_init__(self) -> None:
        require_fields("model", self, "dim", "num_layers", "kernel_size", "max_dilation", least=1)
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"model.kernel_size must be odd, got {self.kernel_size}.")
        require_range("model.dropout", self.dropout, least=0, below=1)
        require_range("model.drop_path", self.drop_path, least=0, below=1)
        require_choice("model.pooling", self.pooling, POOLINGS)

    def dilations(self) -> list[int]:
        """Returns the dilation of each block."""
        cycle = self.max_dilation.bit_length()
        return [2 ** (index % cycle) for index in range(self.num_layers)]


class ConvBlock(nn.Module):
    """Normalisation over channels, convolution, GELU, a linear layer, and a residual connection.

    Nothing is averaged over a batch, so that an example's result is its own.

    Args:
        dim: Channels.
        kernel_size: Odd.
        dilation: Positions between those that are seen.
        dropout: On what is added.
    """

    def __init__(self, dim: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        reach = dilation * (kernel_size // 2)
        self.conv = nn.Conv1d(dim, dim, kernel_size, padding=reach, dilation=dilation)
        self.linear = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.linear.weight)
        for layer in (self.conv, self.linear):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, is_real: Tensor) -> Tensor:
        """Returns [batch, time, dim] of the same.

        Args:
            x: [batch, time, dim].
            is_real: 0 at padding, else 1, [batch, time, 1]: what is padded looks like the outside.
        """
        hidden = (self.norm(x) * is_real).transpose(1, 2)
        hidden = F.gelu(self.conv(hidden).transpose(1, 2))
        return x + self.dropout(self.linear(hidden))


@register_model("conv_classifier", config=ConvClassifierConfig)
class ConvClassifier(LabelledModel):
    """Residual dilated convolutions (Bai et al. 2018, without causality), then pooling."""

    def __init__(self, config: ConvClassifierConfig, context: ModelContext) -> None:
        super().__init__("conv_classifier", config, context)
        self.config = config
        self.first = nn.Linear(self.inputs.width, config.dim)
        self.blocks = nn.ModuleList(
            ConvBlock(config.dim, config.kernel_size, dilation, config.dropout)
            for dilation in config.dilations()
        )
        self.drop_paths = nn.ModuleList(
            DropPath(p) for p in drop_path_rates(config.drop_path, config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.output_layer = class_layer(config.dim, context.num_classes)

    @override
    def features(self, vectors: Tensor, padding_mask: Tensor) -> Tensor:
        x = self.first(vectors)
        is_real = (~padding_mask)[:, :, None].to(x.dtype)
        for block, drop_path in zip(self.blocks, self.drop_paths, strict=True):
            x = drop_path(x, block(x, is_real))
        x = self.norm(x)
        if not self.per_position:
            x = pool(x, padding_mask, self.config.pooling)
        return x
