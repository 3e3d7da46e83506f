"""Several optimizers in one run, each for the parameters that its pattern takes."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.optim.base import (
    NO_RATES,
    OPTIMIZERS,
    OptimizerConfig,
    OptimizerWrapper,
    register_optimizer,
)
from seqtrain.optim.groups import OwnSchedule


@dataclass(kw_only=True)
class CompositeConfig(OptimizerConfig):
    """An optimizer for every pattern; the first pattern that matches wins.

    As members=[{pattern:"*embed*",name:sgd,lr:0.1},{pattern:"*",name:adamw,lr:0.001}]. Each member
    is a section as `optimizer` itself has, with its own `weight_decay` and `groups`. A member
    follows the run's schedule, and its rate is the scheduled one times its `lr` / `optimizer.lr`;
    or it has a section `lr_scheduler` of its own, whose peak is its `lr`.
    """

    members: list[dict[str, Any]] = field(
        default_factory=lambda: [{"pattern": "*", "name": "adamw"}]
    )
    """Optimizer sections, each with a shell `pattern` on parameter names besides, and with an
    `lr_scheduler` where it has its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay or self.groups or self.no_decay:
            raise ConfigError(
                "optimizer.weight_decay, optimizer.groups and optimizer.no_decay belong into the "
                "members of optimizer=composite."
            )
        if not self.members:
            raise ConfigError("optimizer.members must hold at least one optimizer.")
        for index, member in enumerate(self.members):
            if not isinstance(member.get("pattern"), str):
                raise ConfigError(
                    f"optimizer.members[{index}] needs a pattern, as model.encoder.*."
                )

    @override
    def with_rates_times(self, factor: float) -> Self:
        members = [member | {"lr": _parse(member).lr * factor} for member in self.members]
        return replace(self, lr=self.lr * factor, members=members)

    @override
    def own_schedules(self) -> dict[str, OwnSchedule]:
        found: dict[str, OwnSchedule] = {}
        for index, member in enumerate(self.members):
            config = _parse(member)
            if section := member.get("lr_scheduler"):
                found[_key(index)] = OwnSchedule(dict(section), config.lr)
            for key, schedule in config.own_schedules().items():
                found[f"{_key(index)}.{key}"] = schedule
        return found


@register_optimizer("composite", config=CompositeConfig)
class Composite(OptimizerWrapper):
    """Wrappers side by side, each over its own parameters."""

    @override
    def build(self, groups: list[dict[str, Any]]) -> list[torch.optim.Optimizer]:
        self.members = [
            _build(member, parameters)
            for member, parameters in zip(
                self.config.members, self._divided(self.parameters), strict=True
            )
        ]
        self.parameters = {name: p for name, p in self.parameters.items() if p.requires_grad}
        return [optimizer for member in self.members for optimizer in member.torch_optimizers]

    @property
    def is_elementwise(self) -> bool:  # type: ignore[override] # it depends on the members
        """Whether all members are."""
        return all(member.is_elementwise for member in self.members)

    @property
    def changes_in_step_only(self) -> bool:  # type: ignore[override] # see is_elementwise
        """Whether that holds for all members."""
        return all(member.changes_in_step_only for member in self.members)

    @override
    def group_lines(self) -> list[str]:
        lines = []
        for section, member in zip(self.config.members, self.members, strict=True):
            own = section.get("lr_scheduler") or {}
            label = f"{member.config.name}, "
            label += f"own schedule {own.get('name')}, " if own else ""
            lines += [label + line for line in member.group_lines()]
        return lines

    @override
    def zero_grad(self) -> None:
        for member in self.members:
            member.zero_grad()

    @override
    def set_lr(self, lr: float, own: Mapping[str, float] = NO_RATES) -> None:
        for index, member in enumerate(self.members):
            inside = f"{_key(index)}."
            rate = own.get(_key(index), lr * member.config.lr / self.config.lr)
            member.set_lr(
                rate, {k.removeprefix(inside): own[k] for k in own if k.startswith(inside)}
            )

    @override
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        for member in self.members:
            member.step()
        self.num_updates += 1

    @override
    def prepare_for_evaluation(self) -> None:
        for member in self.members:
            member.prepare_for_evaluation()

    @override
    def prepare_for_training(self) -> None:
        for member in self.members:
            member.prepare_for_training()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": type(self).__name__,
            "num_updates": self.num_updates,
            "members": [member.state_dict() for member in self.members],
        }

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["optimizer"] != type(self).__name__ or len(state["members"]) != len(self.members):
            raise CheckpointError(
                f"The saved optimizer state is of {state['optimizer']} with "
                f"{len(state.get('members', ()))} members, this run has {type(self).__name__} with "
                f"{len(self.members)}."
            )
        for member, saved in zip(self.members, state["members"], strict=True):
            member.load_state_dict(saved)
        self.num_updates = state["num_updates"]

    @override
    def _resting(self) -> list[nn.Parameter]:
        return [parameter for member in self.members for parameter in member._resting()]

    def _divided(self, parameters: dict[str, nn.Parameter]) -> list[dict[str, nn.Parameter]]:
        patterns = [member["pattern"] for member in self.config.members]
        divided: list[dict[str, nn.Parameter]] = [{} for _ in patterns]
        for name, parameter in parameters.items():
            taking = [i for i, text in enumerate(patterns) if fnmatch.fnmatchcase(name, text)]
            if not taking:
                raise ConfigError(
                    f"No pattern of optimizer.members takes {name}. Add a last member with the "
                    'pattern "*".'
                )
            divided[taking[0]][name] = parameter
        for index, taken in enumerate(divided):
            if not taken:
                raise ConfigError(
                    f"optimizer.members[{index}].pattern {patterns[index]!r} takes no parameter; "
                    f"names are like {', '.join(list(parameters)[:3])}."
                )
        return divided


def _key(index: int) -> str:
    return f"members[{index}]"


def _parse(section: Mapping[str, Any]) -> OptimizerConfig:
    own = {key: section[key] for key in section if key not in ("pattern", "lr_scheduler")}
    config = OPTIMIZERS.parse(own)
    if not isinstance(config, OptimizerConfig):
        raise ConfigError(
            f"optimizer.members: the config of {config.name!r} must derive from OptimizerConfig."
        )
    return config


def _build(section: Mapping[str, Any], parameters: dict[str, nn.Parameter]) -> OptimizerWrapper:
    config = _parse(section)
    wrapper: OptimizerWrapper = OPTIMIZERS.get(config.name).cls(config, parameters.items())
    if wrapper.needs_closure:
        raise ConfigError("An optimizer that needs a closure cannot be a member of a composite.")
    return wrapper
