"""A bidirectional LSTM that tells classes."""

from dataclasses import dataclass

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelConfig, ModelContext, register_model
from seqtrain.models.labelled_inputs import (
    POOLINGS,
    class_layer,
    pool,
)
from seqtrain.models.labelled_model import LabelledModel
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.lstm_layers import BidirectionalLayer
from seqtrain.option_checks import require_range

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
        require_range("model.dim", self.dim, least=1)
        require_range("model.num_layers", self.num_layers, least=1)
        require_range("model.dropout", self.dropout, least=0, below=1)
        if self.dim % 2:
            raise ConfigError(f"model.dim must be even, got {self.dim}.")
        if self.pooling not in (LAST, *POOLINGS):
            raise ConfigError(
                f"model.pooling must be last, {', '.join(POOLINGS)}, got {self.pooling!r}."
            )


@register_model("lstm_classifier", config=LSTMClassifierConfig)
class LSTMClassifier(LabelledModel):
    """Bidirectional layers, then the ends of both directions, or pooling."""

    def __init__(self, config: LSTMClassifierConfig, context: ModelContext) -> None:
        super().__init__("lstm_classifier", config, context)
        self.config = config
        self.first = nn.Linear(self.inputs.width, config.dim)
        self.layers = nn.ModuleList(
            BidirectionalLayer(config.dim) for _ in range(config.num_layers)
        )
        self.dropout = Dropout(config.dropout)
        self.output_layer = class_layer(config.dim, context.num_classes)

    @override
    def features(self, vectors: Tensor, padding_mask: Tensor) -> Tensor:
        x = self.first(vectors)
        lengths = (~padding_mask).sum(dim=1)
        last = x[:, 0]
        for layer in self.layers:
            x, last = layer(self.dropout(x), lengths)
        if not self.per_position:
            x = last if self.config.pooling == LAST else pool(x, padding_mask, self.config.pooling)
        return self.dropout(x)
