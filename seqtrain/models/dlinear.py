"""Two linear maps from the window to the horizon: of its trend, and of what is left."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelConfig, ModelContext, register_model
from seqtrain.models.series_model import SeriesModel, require_series
from seqtrain.modules.channel_linear import ChannelLinear
from seqtrain.modules.window_norm import WINDOW_NORMS
from seqtrain.option_checks import require_choice


@dataclass(kw_only=True)
class DLinearConfig(ModelConfig):
    """A linear map of the moving average and one of the rest, shared by all channels."""

    kernel_size: int = 25
    """Rows of the moving average, an odd number."""
    individual: bool = False
    """Maps for each channel."""
    window_norm: str = "none"
    """What is taken from each window before and given back after: none, last or standard."""

    def __post_init__(self) -> None:
        require_choice("model.window_norm", self.window_norm, WINDOW_NORMS)
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ConfigError(
                f"model.kernel_size must be odd and at least 1, got {self.kernel_size}."
            )


@register_model("dlinear", config=DLinearConfig)
class DLinear(SeriesModel):
    """DLinear (Zeng et al. 2023): trend and remainder, each by a linear map."""

    def __init__(self, config: DLinearConfig, context: ModelContext) -> None:
        super().__init__(context, config.window_norm)
        self.kernel_size = config.kernel_size
        groups = context.num_channels if config.individual else 1
        outputs = context.horizon * self.num_outputs
        self.trend = ChannelLinear(context.look_back, outputs, groups)
        self.remainder = ChannelLinear(context.look_back, outputs, groups)

    @classmethod
    @override
    def from_config(cls, config: DLinearConfig, context: ModelContext) -> Self:
        require_series("dlinear", context)
        return cls(config, context)

    @override
    def forecast(self, window: Tensor, time_features: Tensor | None) -> Tensor:
        trend = moving_average(window, self.kernel_size)
        return self.trend(trend) + self.remainder(window - trend)


def moving_average(window: Tensor, size: int) -> Tensor:
    """Returns the mean of the `size` values around each, the ends repeated, in the same shape.

    Args:
        window: [batch, channels, time].
        size: An odd number.
    """
    half = size // 2
    return F.avg_pool1d(F.pad(window, (half, half), mode="replicate"), size, stride=1)
