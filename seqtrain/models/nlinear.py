"""One linear map from the window to the horizon, relative to the last value."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor
from typing_extensions import override

from seqtrain.models.base import ModelConfig, ModelContext, register_model
from seqtrain.models.series_model import SeriesModel, require_series
from seqtrain.modules.channel_linear import ChannelLinear
from seqtrain.modules.window_norm import WINDOW_NORMS
from seqtrain.option_checks import require_choice


@dataclass(kw_only=True)
class NLinearConfig(ModelConfig):
    """One linear map in time, shared by all channels."""

    individual: bool = False
    """A map for each channel."""
    window_norm: str = "last"
    """What is taken from each window before and given back after: none, last (its last value) or
    standard (mean and deviation). With none it is the model `Linear` of the paper."""

    def __post_init__(self) -> None:
        require_choice("model.window_norm", self.window_norm, WINDOW_NORMS)


@register_model("nlinear", config=NLinearConfig)
class NLinear(SeriesModel):
    """NLinear (Zeng et al. 2023, "Are transformers effective for time series forecasting?")."""

    def __init__(self, config: NLinearConfig, context: ModelContext) -> None:
        super().__init__(context, config.window_norm)
        groups = context.num_channels if config.individual else 1
        self.linear = ChannelLinear(context.look_back, context.horizon * self.num_outputs, groups)

    @classmethod
    @override
    def from_config(cls, config: NLinearConfig, context: ModelContext) -> Self:
        require_series("nlinear", context)
        return cls(config, context)

    @override
    def forecast(self, window: Tensor, time_features: Tensor | None) -> Tensor:
        return self.linear(window)
