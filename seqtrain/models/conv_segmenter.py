"""Convolutions at several resolutions that tell the class of each position."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.data.vocabulary import PADDING
from seqtrain.errors import ConfigError
from seqtrain.models.base import Model, ModelConfig, ModelContext, ModelOutput, register_model
from seqtrain.models.labelled_inputs import class_layer
from seqtrain.models.side_heads import AUXILIARY, SideHeads
from seqtrain.modules.conv_levels import (
    Double,
    Halve,
    ResidualConvs,
    pad_to_multiple,
    repeat_positions,
)
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.embedding import TokenEmbedding
from seqtrain.option_checks import require_fields, require_range


@dataclass(kw_only=True)
class ConvSegmenterConfig(ModelConfig):
    """Classes of the positions of a sequence (symbols or numbers) or an image."""

    dim: int = 32
    """Channels at full resolution; each lower one has twice as many, up to max_dim."""
    max_dim: int = 128
    """Most channels."""
    num_levels: int = 4
    """Resolutions: each halves a sequence, or both sides of an image. 1 keeps the full one."""
    num_blocks: int = 1
    """Residual convolutions at each resolution on the way down, and again on the way up."""
    kernel_size: int = 3
    """Positions that a convolution sees along each side; odd."""
    dropout: float = 0.1
    """On the input and on what each block adds."""
    auxiliary_head: bool = False
    """Tell the classes from the lowest resolution too, for criterion.auxiliary_weight."""
    presence_head: bool = False
    """Tell which classes occur in the example, for criterion.presence_weight."""

    def __post_init__(self) -> None:
        counts = ("dim", "max_dim", "num_levels", "num_blocks", "kernel_size")
        require_fields("model", self, *counts, least=1)
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"model.kernel_size must be odd, got {self.kernel_size}.")
        require_range("model.dropout", self.dropout, least=0, below=1)

    def dims(self) -> list[int]:
        """Returns the channels of each level, the full resolution first."""
        return [
            self.dim if level == 0 else max(min(self.dim * 2**level, self.max_dim), self.dim)
            for level in range(self.num_levels)
        ]


@register_model("conv_segmenter", config=ConvSegmenterConfig)
class ConvSegmenter(Model):
    """Down to a low resolution and up again, with shortcuts (Ronneberger et al. 2015).

    Normalised over the channels of each position alone, so that neither the batch nor padding
    changes a result, and inputs of any size are read whole.
    """

    def __init__(self, config: ConvSegmenterConfig, context: ModelContext) -> None:
        super().__init__()
        context.require("conv_segmenter", "num_classes", "labels_per_position")
        dims, is_image = config.dims(), context.position_rank == 2
        side = 2 if is_image else 1
        kernel = (config.kernel_size if is_image else 1, config.kernel_size)
        self.factor = (side, 2)
        self.embed_tokens: TokenEmbedding | None = None
        self.embed_values: nn.Linear | None = None
        if context.num_channels:
            self.embed_values = nn.Linear(context.num_channels, config.dim)
        else:
            context.require("conv_segmenter", "source_vocab_size")
            self.embed_tokens = TokenEmbedding(context.source_vocab_size, config.dim, PADDING)
        self.dropout = Dropout(config.dropout)
        self.down = nn.ModuleList(
            ResidualConvs(dim, kernel, config.num_blocks, config.dropout) for dim in dims
        )
        self.up = nn.ModuleList(
            ResidualConvs(dim, kernel, config.num_blocks, config.dropout) for dim in dims[:-1]
        )
        self.to_lower = nn.ModuleList(
            Halve(dim, lower, self.factor) for dim, lower in pairwise(dims)
        )
        self.to_finer = nn.ModuleList(
            Double(lower, dim, self.factor) for dim, lower in pairwise(dims)
        )
        self.norm = nn.LayerNorm(dims[0])
        self.head = class_layer(dims[0], context.num_classes)
        self.side_heads = SideHeads(dims[-1], context, config.auxiliary_head, config.presence_head)

    @classmethod
    @override
    def from_config(cls, config: ConvSegmenterConfig, context: ModelContext) -> Self:
        return cls(config, context)

    @override
    def vocabulary_rows(self) -> dict[str, str]:
        return {} if self.embed_tokens is None else {"embed_tokens.weight": "source"}

    @override
    def forward(  # type: ignore[override] # names the inputs that the base leaves open
        self, padding_mask: Tensor, values: Tensor | None = None, tokens: Tensor | None = None
    ) -> ModelOutput:
        """Returns features of positions, [batch, time, dim] or [batch, height, width, dim].

        Args:
            padding_mask: True at padding, bool [batch, time] or [batch, height, width].
            values: [batch, *positions, channels], where inputs are numbers.
            tokens: int64 [batch, time], where inputs are symbols.
        """
        vectors = self.dropout(self._embed(values, tokens))
        shape = padding_mask.shape if padding_mask.dim() == 3 else (
            len(padding_mask), 1, padding_mask.size(1),
        )  # fmt: skip
        x = vectors.reshape(*shape, -1)
        is_real = (~padding_mask).to(x.dtype).reshape(*shape, 1)
        multiple = (self.factor[0] ** len(self.to_lower), self.factor[1] ** len(self.to_lower))
        x, is_real = pad_to_multiple(x, multiple), pad_to_multiple(is_real, multiple)
        x, lowest, lowest_real = self._through_levels(x, is_real)
        features = self.norm(x[:, : shape[1], : shape[2]])
        aux = self.side_heads(lowest, lowest_real.squeeze(3))
        if AUXILIARY in aux:
            whole = repeat_positions(aux[AUXILIARY], multiple)
            aux[AUXILIARY] = whole[:, : shape[1], : shape[2]]
        if padding_mask.dim() == 2:
            features = features.squeeze(1)
            aux = {k: v.squeeze(1) if k == AUXILIARY else v for k, v in aux.items()}
        return ModelOutput(features, self.head, aux)

    def _embed(self, values: Tensor | None, tokens: Tensor | None) -> Tensor:
        if self.embed_tokens is not None and tokens is not None:
            return self.embed_tokens(tokens)
        if self.embed_values is not None and values is not None:
            return self.embed_values(values)
        raise ValueError("conv_segmenter got symbols where it was built for numbers, or neither.")

    def _through_levels(self, x: Tensor, is_real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns features at full resolution, and features and `is_real` at the lowest."""
        finer: list[tuple[Tensor, Tensor]] = []
        for level, blocks in enumerate(self.down):
            if level:
                finer.append((x, is_real))
                x, is_real = self.to_lower[level - 1](x, is_real)
            x = blocks(x, is_real)
        lowest, lowest_real = x, is_real
        for double, blocks in zip(reversed(self.to_finer), reversed(self.up), strict=True):
            before, is_real = finer.pop()
            x = blocks(double(x, before), is_real)
        return x, lowest, lowest_real
