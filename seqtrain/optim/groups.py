"""Parameter groups: which parameters get which share of the rate and of the weight decay."""

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from seqtrain.errors import ConfigError

REST = "the rest"
"""What the group of parameters that no pattern takes is called."""


@dataclass(kw_only=True)
class ParameterGroupConfig:
    """Settings of the parameters that a pattern takes; the first pattern that matches wins."""

    pattern: str = "*"
    """Shell pattern on the parameter's whole name, as `model.encoder.*`; `*` matches dots too."""

    lr_factor: float = 1.0
    """Multiplies the scheduled rate."""

    lr_scheduler: dict[str, Any] = field(default_factory=dict)
    """A schedule of the group's own, as {name:cosine,warmup_updates:100}: a section as
    `lr_scheduler` itself is, with the same peak and the same end; empty for the run's."""

    weight_decay_factor: float = 1.0
    """Multiplies `optimizer.weight_decay`."""

    freeze: bool = False
    """Never trained: no gradient, no optimizer state."""

    freeze_updates: int = 0
    """Not changed by the first so many updates; trained from then on."""

    def __post_init__(self) -> None:
        if not self.pattern:
            raise ConfigError("optimizer.groups: every group needs a pattern, as model.encoder.*.")
        for key in ("lr_factor", "weight_decay_factor", "freeze_updates"):
            value = getattr(self, key)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(
                    f"optimizer.groups: {key} of {self.pattern!r} must be finite and not negative, "
                    f"got {value}."
                )
        if self.freeze and self.lr_scheduler:
            raise ConfigError(
                f"optimizer.groups: {self.pattern!r} is frozen and needs no lr_scheduler."
            )


@dataclass(frozen=True)
class OwnSchedule:
    """A schedule besides the run's.

    Args:
        section: The schedule's name and settings.
        peak_lr: What it shapes over the updates.
    """

    section: dict[str, Any]
    peak_lr: float


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters by name, and what is special about them."""

    label: str
    parameters: dict[str, nn.Parameter]
    lr_factor: float = 1.0
    weight_decay_factor: float = 1.0
    is_frozen: bool = False
    freeze_updates: int = 0
    schedule: str = ""
    """Where the group's own schedule stands, as `groups[0]`; empty if it follows the run's."""
    schedule_name: str = ""

    def line(self, weight_decay: float) -> str:
        """Returns what the first screen says about the group."""
        count = sum(parameter.numel() for parameter in self.parameters.values())
        text = f"{self.label}: {len(self.parameters)} tensors, {count:,} parameters, "
        if self.is_frozen:
            return text + "frozen"
        text += f"lr x {self.lr_factor:g}, "
        if self.schedule:
            text += f"own schedule {self.schedule_name}, "
        text += f"weight decay {weight_decay * self.weight_decay_factor:g}"
        return text + (f", frozen for {self.freeze_updates} updates" if self.freeze_updates else "")


def split_parameters(
    configs: Sequence[ParameterGroupConfig],
    no_decay: bool,
    named_parameters: dict[str, nn.Parameter],
) -> list[ParameterGroup]:
    """Returns the groups that hold each parameter once; none is empty, and order is kept.

    Args:
        configs: `optimizer.groups`.
        no_decay: Whether what `is_exempt_from_decay` names gets no weight decay.
        named_parameters: Every parameter that can be trained.

    Raises:
        ConfigError: A pattern takes no parameter.
    """
    taken: dict[tuple[int, bool], dict[str, nn.Parameter]] = {}
    rules = [*configs, ParameterGroupConfig()]
    for name, parameter in named_parameters.items():
        index = next(i for i, rule in enumerate(rules) if fnmatch.fnmatchcase(name, rule.pattern))
        is_exempt = no_decay and is_exempt_from_decay(name, parameter)
        taken.setdefault((index, is_exempt), {})[name] = parameter
    _refuse_idle_patterns(configs, {index for index, _ in taken}, named_parameters)
    return [
        ParameterGroup(
            label=(rules[index].pattern if index < len(configs) else REST)
            + (" (no decay)" if is_exempt else ""),
            parameters=parameters,
            lr_factor=rules[index].lr_factor,
            weight_decay_factor=0.0 if is_exempt else rules[index].weight_decay_factor,
            is_frozen=rules[index].freeze,
            freeze_updates=rules[index].freeze_updates,
            schedule=schedule_key(index) if rules[index].lr_scheduler else "",
            schedule_name=str(rules[index].lr_scheduler.get("name", "")),
        )
        for (index, is_exempt), parameters in sorted(taken.items(), key=lambda item: item[0])
    ]


def schedule_key(index: int) -> str:
    """Returns what the own schedule of a group is called by, below `optimizer`."""
    return f"groups[{index}]"


def is_exempt_from_decay(name: str, parameter: nn.Parameter) -> bool:
    """Says whether `optimizer.no_decay` exempts a parameter.

    These are biases, gains of norms and all else of at most one dimension, and embeddings, which
    are known by `embed` in their name.
    """
    return parameter.dim() < 2 or "embed" in name


def matches_any(name: str, patterns: Sequence[str]) -> bool:
    """Says whether one of several shell patterns matches a parameter's name."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _refuse_idle_patterns(
    configs: Sequence[ParameterGroupConfig], used: set[int], names: dict[str, nn.Parameter]
) -> None:
    for index, config in enumerate(configs):
        if index not in used:
            is_shadowed = any(fnmatch.fnmatchcase(name, config.pattern) for name in names)
            reason = (
                "takes no parameter, because earlier ones take all that it matches: put it first"
                if is_shadowed
                else f"matches no parameter; names are like {', '.join(list(names)[:3])}"
            )
            raise ConfigError(f"optimizer.groups[{index}].pattern {config.pattern!r} {reason}.")
