"""Rates that go up and down in triangles."""

from dataclasses import dataclass

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRScheduler, LRSchedulerConfig, register_lr_scheduler
from seqtrain.option_checks import require_choice, require_fields, require_range

_MODES = ("triangular", "triangular2", "exp_range")


@dataclass(kw_only=True)
class TriangularConfig(LRSchedulerConfig):
    """Triangles between a base rate and `optimizer.lr` (Smith, 2017), which may shrink."""

    min_lr_scale: float = 0.1
    """The base rate relative to `optimizer.lr`; the first update has it."""

    period_updates: int = 5000
    """Length of a triangle, up and down, in updates."""

    lr_shrink: float = 0.1
    """Every triangle has the peak of the one before times this."""

    shrink_min: bool = False
    """The base rate shrinks with the peak."""

    def __post_init__(self) -> None:
        require_fields("lr_scheduler", self, "min_lr_scale", least=0, most=1)
        require_fields("lr_scheduler", self, "lr_shrink", above=0, most=1)
        require_range("lr_scheduler.period_updates", self.period_updates, least=2)


@dataclass(kw_only=True)
class CyclicConfig(LRSchedulerConfig):
    """Triangles between a base rate and `optimizer.lr`, as torch's CyclicLR has them."""

    min_lr_scale: float = 0.1
    """The base rate relative to `optimizer.lr`; the first update has it."""

    up_updates: int = 2000
    """Length of the rise, in updates."""

    down_updates: int = 0
    """Length of the fall, in updates; 0 for as long as the rise."""

    mode: str = "triangular"
    """triangular: every triangle is as high; triangular2: half as high as the one before;
    exp_range: multiplied by gamma at every update."""

    gamma: float = 0.9999
    """The factor of exp_range, above 0 and at most 1."""

    def __post_init__(self) -> None:
        require_fields("lr_scheduler", self, "min_lr_scale", least=0, most=1)
        require_fields("lr_scheduler", self, "gamma", above=0, most=1)
        if self.up_updates < 1 or self.down_updates < 0:
            raise ConfigError(
                f"lr_scheduler.up_updates ({self.up_updates}) must be at least 1, "
                f"lr_scheduler.down_updates ({self.down_updates}) not negative."
            )
        require_choice("lr_scheduler.mode", self.mode, _MODES)


@register_lr_scheduler("triangular", config=TriangularConfig)
class Triangular(LRScheduler):
    """fairseq's triangular at n - 1, with lr = min_lr_scale * max_lr.

    min + (max - min) * max(0, 1 - |s / half - 2 * c - 1|), where s = n - 1, half is half the
    period, c = floor(s / period), and max (and min, with shrink_min) is multiplied by
    lr_shrink ** c. A peak below the base rate is the base rate.
    """

    @override
    def lr_at(self, num_updates: int) -> float:
        config = self.config
        cycle, done = divmod(num_updates - 1, config.period_updates)
        shrink = config.lr_shrink**cycle
        highest = self.peak_lr * shrink
        lowest = self.peak_lr * config.min_lr_scale * (shrink if config.shrink_min else 1.0)
        height = 1.0 - abs(2.0 * done / config.period_updates - 1.0)
        return lowest + max(0.0, highest - lowest) * height


@register_lr_scheduler("cyclic", config=CyclicConfig)
class Cyclic(LRScheduler):
    """torch's CyclicLR at n - 1, with base_lr = min_lr_scale * max_lr and the momentum left alone.

    base + (max - base) * height * scale, where the height goes from 0 to 1 and back, and the scale
    is 1, 0.5 ** cycle or gamma ** (n - 1).
    """

    @override
    def lr_at(self, num_updates: int) -> float:
        up = self.config.up_updates
        down = self.config.down_updates or up
        cycle, done = divmod(num_updates - 1, up + down)
        height = done / up if done <= up else (up + down - done) / down
        base = self.peak_lr * self.config.min_lr_scale
        return base + (self.peak_lr - base) * height * self._scale(cycle, num_updates - 1)

    def _scale(self, cycle: int, done: int) -> float:
        if self.config.mode == "triangular":
            return 1.0
        return 0.5**cycle if self.config.mode == "triangular2" else float(self.config.gamma**done)
