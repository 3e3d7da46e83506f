"""The naive forecast: the last value, or the last season, again."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelConfig, ModelContext, register_model
from seqtrain.models.series_model import SeriesModel, require_series
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class RepeatLastConfig(ModelConfig):
    """The last value of each channel, or its last season, repeated; nothing is learnt."""

    season: int = 1
    """Rows that are repeated: 1 for the last value, 24 for the last day of hourly data."""

    def __post_init__(self) -> None:
        require_range("model.season", self.season, least=1)


@register_model("repeat_last", config=RepeatLastConfig)
class RepeatLast(SeriesModel):
    """The baseline that every forecast is held against; all quantiles are the same value."""

    def __init__(self, config: RepeatLastConfig, context: ModelContext) -> None:
        super().__init__(context)
        self.season = config.season
        # Of no elements: there is nothing to learn, but an optimizer refuses to have nothing.
        self.nothing = nn.Parameter(torch.zeros(0))

    @classmethod
    @override
    def from_config(cls, config: RepeatLastConfig, context: ModelContext) -> Self:
        require_series("repeat_last", context)
        if config.season > context.look_back:
            raise ConfigError(
                f"model.season ({config.season}) is longer than task.look_back "
                f"({context.look_back}). Make one of them fit."
            )
        return cls(config, context)

    @override
    def forecast(self, window: Tensor, time_features: Tensor | None) -> Tensor:
        steps = torch.arange(self.context.horizon, device=window.device) % self.season
        repeated = window[:, :, window.size(2) - self.season :].index_select(2, steps)
        return repeated.repeat_interleave(self.num_outputs, dim=2) + self.nothing.sum()
