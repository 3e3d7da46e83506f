"""What models of numeric series have in common: windows in, values of all channels out."""

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import Model, ModelConfig, ModelContext, ModelOutput
from seqtrain.modules.window_norm import WINDOW_NORMS, normalize_window
from seqtrain.option_checks import require_choice, require_range


class SeriesModel(Model):
    """Base of models that forecast (or fill in) every channel of a series at once.

    Args:
        context: Knows look_back, horizon and num_channels.
        window_norm: What is taken from each window before, and given back after: see
            `normalize_window`.
    """

    def __init__(self, context: ModelContext, window_norm: str = "none") -> None:
        super().__init__()
        self.context = context
        self.window_norm = window_norm
        self.num_outputs = max(context.num_quantiles, 1)
        """Numbers that are forecast for each channel and step."""

    @override
    def forward(  # type: ignore[override] # names the inputs that the base leaves open
        self, values: Tensor, time_features: Tensor | None = None
    ) -> ModelOutput:
        """Returns a value for each step and channel.

        Args:
            values: The window, float [batch, look_back, channels].
            time_features: Of the window and of the steps after it, float [batch, look_back +
                horizon, features]. Most models make no use of them.

        Returns:
            Values [batch, horizon, channels]; with quantiles [batch, horizon, channels, quantiles].
        """
        window, scale = normalize_window(values.transpose(1, 2), self.window_norm)
        forecast = self.forecast(window, time_features)
        forecast = forecast.unflatten(2, (self.context.horizon, self.num_outputs))
        if scale is not None:
            forecast = scale.undo(forecast)
        forecast = forecast.transpose(1, 2)
        if not self.context.num_quantiles:
            forecast = forecast.squeeze(3)
        return ModelOutput(forecast, _same)

    @abstractmethod
    def forecast(self, window: Tensor, time_features: Tensor | None) -> Tensor:
        """Returns the values of the steps to come, of a normalised window.

        Args:
            window: [batch, channels, look_back].
            time_features: As in `forward`.

        Returns:
            [batch, channels, horizon * num_outputs], the outputs of a step side by side.
        """


@dataclass(kw_only=True)
class SeriesAttentionConfig(ModelConfig):
    """Options of series models that consist of layers of attention."""

    dim: int = 64
    """Width between layers, a multiple of num_heads."""
    num_heads: int = 4
    """Attention heads."""
    ffn_dim: int = 128
    """Width inside the feed-forward blocks."""
    num_layers: int = 2
    """Layers."""
    dropout: float = 0.1
    """Probability of dropping a value of embeddings, attention weights and block outputs."""
    window_norm: str = "standard"
    """What is taken from each window before and given back after: none, last or standard."""

    def __post_init__(self) -> None:
        require_choice("model.window_norm", self.window_norm, WINDOW_NORMS)
        counts = {name: getattr(self, name) for name in ("ffn_dim", "num_layers")}
        check_attention_sizes(self.dim, self.num_heads, counts, self.dropout)


def require_series(model: str, context: ModelContext) -> None:
    """Raises ConfigError if the task is not about numeric series."""
    context.require(model, "look_back", "horizon", "num_channels")


def check_attention_sizes(dim: int, num_heads: int, counts: dict[str, int], dropout: float) -> None:
    """Raises ConfigError for sizes that no layers of attention can have."""
    for name, value in counts.items():
        require_range(f"model.{name}", value, least=1)
    if num_heads < 1 or dim < 1 or dim % num_heads:
        raise ConfigError(
            f"model.dim ({dim}) must be a positive multiple of model.num_heads ({num_heads})."
        )
    require_range("model.dropout", dropout, least=0, below=1)


def _same(values: Tensor) -> Tensor:
    return values
