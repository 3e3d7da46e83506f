"""An LSTM over the rows of a series; its last state forecasts all steps."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.models.base import ModelConfig, ModelContext, register_model
from seqtrain.models.series_model import SeriesModel, require_series
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.lstm_layers import LSTMLayer
from seqtrain.modules.window_norm import WINDOW_NORMS
from seqtrain.option_checks import require_choice, require_fields, require_range


@dataclass(kw_only=True)
class SeriesLSTMConfig(ModelConfig):
    """LSTM layers over all channels of the window, then a linear map to the whole horizon."""

    dim: int = 128
    """Width of the layers."""
    num_layers: int = 1
    """Layers."""
    dropout: float = 0.1
    """Probability of dropping a value of a layer's output."""
    window_norm: str = "last"
    """What is taken from each window before and given back after: none, last or standard."""

    def __post_init__(self) -> None:
        require_choice("model.window_norm", self.window_norm, WINDOW_NORMS)
        require_fields("model", self, "dim", "num_layers", least=1)
        require_range("model.dropout", self.dropout, least=0, below=1)


@register_model("series_lstm", config=SeriesLSTMConfig)
class SeriesLSTM(SeriesModel):
    """Hochreiter and Schmidhuber (1997) as an encoder; the steps are forecast together."""

    def __init__(self, config: SeriesLSTMConfig, context: ModelContext) -> None:
        super().__init__(context, config.window_norm)
        inputs = context.num_channels + context.num_time_features
        widths = [inputs] + [config.dim] * (config.num_layers - 1)
        self.layers = nn.ModuleList(LSTMLayer(width, config.dim) for width in widths)
        self.dropout = Dropout(config.dropout)
        outputs = context.num_channels * context.horizon * self.num_outputs
        self.head = nn.Linear(config.dim, outputs)

    @classmethod
    @override
    def from_config(cls, config: SeriesLSTMConfig, context: ModelContext) -> Self:
        require_series("series_lstm", context)
        return cls(config, context)

    @override
    def forecast(self, window: Tensor, time_features: Tensor | None) -> Tensor:
        x = window.transpose(1, 2)
        if time_features is not None:
            x = torch.cat([x, time_features[:, : x.size(1)].to(x.dtype)], dim=2)
        for layer in self.layers:
            x, _ = layer(x)
            x = self.dropout(x)
        return self.head(x[:, -1]).unflatten(1, (window.size(1), -1))
