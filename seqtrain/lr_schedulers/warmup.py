"""What schedules share: a linear ramp at the beginning, and the length of what follows.

Update n <= warmup_updates uses the fraction n / warmup_updates of the ramp, so the first update
learns. What follows counts the updates that are done with it, n - warmup_updates - 1: update
warmup_updates + 1 uses the peak, and the last update of a descent is one short of its end, so no
update is spent on the final rate. fairseq, torch and BasicTS count from 0: their rate of update n
is their formula at n - 1. After the ramp that is the same rate. On the ramp theirs is that of
n - 1, so that their first update does nothing where the ramp begins with 0.
"""

from dataclasses import dataclass

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRSchedulerConfig
from seqtrain.option_checks import require_fields


@dataclass(kw_only=True)
class WarmupConfig(LRSchedulerConfig):
    """Base of the configs of schedules that begin with a linear ramp."""

    warmup_updates: int = 0
    """Length of the linear ramp up to `optimizer.lr`, in updates; 0 for none."""

    warmup_init_lr: float = 0.0
    """Rate that the ramp begins from; the first update is already one step above it."""

    def __post_init__(self) -> None:
        require_fields("lr_scheduler", self, "warmup_updates", "warmup_init_lr", least=0)


@dataclass(kw_only=True)
class DescentConfig(WarmupConfig):
    """Base of the configs of schedules that descend from `optimizer.lr` to an end."""

    decay_updates: int = 0
    """Length of the descent, in updates; 0 means up to `optimization.max_update`."""

    min_lr: float = 0.0
    """Rate at the end of the descent and after it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fields("lr_scheduler", self, "decay_updates", "min_lr", least=0)


def require_at_most_peak(config: LRSchedulerConfig, name: str, peak_lr: float) -> None:
    """Raises ConfigError if a rate of the config is above `optimizer.lr`."""
    value = getattr(config, name)
    if value > peak_lr:
        raise ConfigError(
            f"lr_scheduler.{name} ({value}) must not exceed optimizer.lr ({peak_lr})."
        )


def warmup_lr(config: WarmupConfig, peak_lr: float, num_updates: int) -> float:
    """Returns the rate of an update on the ramp, 1 <= num_updates <= warmup_updates."""
    ramp = num_updates / config.warmup_updates
    return config.warmup_init_lr + (peak_lr - config.warmup_init_lr) * ramp


def descent_length(config: DescentConfig, total_updates: int) -> int:
    """Returns the length of the descent, in updates.

    Raises:
        ConfigError: Neither the config nor the run says where it ends.
    """
    length = config.decay_updates or total_updates - config.warmup_updates
    if length < 1:
        raise ConfigError(
            f"lr_scheduler={config.name or 'this'} needs an end: set lr_scheduler.decay_updates, "
            "or optimization.max_update above lr_scheduler.warmup_updates "
            f"({config.warmup_updates}), got {total_updates}."
        )
    return length
