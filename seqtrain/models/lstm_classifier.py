"""A bidirectional LSTM that tells classes."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import Model, ModelConfig, ModelContext, ModelOutput, register_model
from seqtrain.models.labelled_inputs import (
    POOLINGS,
    InputVectors,
    check_drop,
    check_positive,
    class_layer,
    pool,
)
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.lstm_layers import BidirectionalLayer

LAST = "last"


@dataclass(kw_only=True)
class LSTMClassifierConfig(ModelConfig):
    """Classes of a sequence, or of each of its positions, by LSTM layers in both directions."""

    dim: int = 128
    """Width of both directions together; even."""
    num_layers: int = 2
    """Layers."""
    pooling: str = LAST
    """What makes one vector of all positions: last (where each direction ends), mean or max."""
    dropout: float = 0.2
    """On the input of every layer, and on the features."""

    def __post_init__(self) -> None:
        check_positive("dim", self.dim)
        check_positive("num_layers", self.num_layers)
        check_drop("dropout", self.dropout)
        if self.dim % 2:
            raise ConfigError(f"model.dim must be even, got {self.dim}.")
        if self.pooling not in (LAST, *POOLINGS):
            raise ConfigError(
                f"model.pooling must be last, {', '.join(POOLINGS)}, got {self.pooling!r}."
            )


@register_model("lstm_classifier", config=LSTMClassifierConfig)
class LSTMClassifier(Model):
    """Bidirectional layers, then the ends of both directions, or pooling."""

    def __init__(self, config: LSTMClassifierConfig, context: ModelContext) -> None:
        super().__init__()
        context.require("lstm_classifier", "num_classes")
        self.config, self.per_position = config, context.labels_per_position
        self.inputs = InputVectors("lstm_classifier", context, config.dim)
        self.first = nn.Linear(self.inputs.width, config.dim)
        self.layers = nn.ModuleList(
            BidirectionalLayer(config.dim) for _ in range(config.num_layers)
        )
        self.dropout = Dropout(config.dropout)
        self.output_layer = class_layer(config.dim, context.num_classes)

    @classmethod
    @override
    def from_config(cls, config: LSTMClassifierConfig, context: ModelContext) -> Self:
        return cls(config, context)

    @override
    def forward(  # type: ignore[override] # names the inputs that the base leaves open
        self, padding_mask: Tensor, values: Tensor | None = None, tokens: Tensor | None = None
    ) -> ModelOutput:
        """Returns features of examples, [batch, dim], or of positions, [batch, time, dim].

        Args:
            padding_mask: True at padding, bool [batch, time].
            values: [batch, time, channels], where inputs are numbers.
            tokens: int64 [batch, time], where inputs are symbols.
        """
        x = self.first(self.inputs(padding_mask, values, tokens))
        lengths = (~padding_mask).sum(dim=1)
        last = x[:, 0]
        for layer in self.layers:
            x, last = layer(self.dropout(x), lengths)
        if not self.per_position:
            x = last if self.config.pooling == LAST else pool(x, padding_mask, self.config.pooling)
        return ModelOutput(self.dropout(x), self.output_layer)
