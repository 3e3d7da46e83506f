"""Several optimizers in one run, each for the parameters that its pattern takes."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.optim.base import OPTIMIZERS, OptimizerConfig, OptimizerWrapper, register_optimizer


@dataclass(kw_only=True)
class CompositeConfig(OptimizerConfig):
    """An optimizer for every pattern; the first pattern that matches wins.

    As members=[{pattern:"*embed*",name:sgd,lr:0.1},{pattern:"*",name:adamw,lr:0.001}]. Each member
    is a section as `optimizer` itself has, with its own `weight_decay` and `groups`. All follow the
    one schedule: a member's rate is the scheduled one times its `lr` / `optimizer.lr`.
    """

    members: list[dict[str, Any]] = field(
        default_factory=lambda: [{"pattern": "*", "name": "adamw"}]
    )
    """Optimizer sections, each with a shell `pattern` on parameter names besides."""

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

    @override
    def group_lines(self) -> list[str]:
        return [
            f"{member.config.name}, {line}"
            for member in self.members
            for line in member.group_lines()
        ]

    @override
    def zero_grad(self) -> None:
        for member in self.members:
            member.zero_grad()

    @override
    def set_lr(self, lr: float) -> None:
        for member in self.members:
            member.set_lr(lr * member.config.lr / self.config.lr)

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


def _build(section: Mapping[str, Any], parameters: dict[str, nn.Parameter]) -> OptimizerWrapper:
    config = OPTIMIZERS.parse({key: section[key] for key in section if key != "pattern"})
    wrapper: OptimizerWrapper = OPTIMIZERS.get(config.name).cls(config, parameters.items())
    if wrapper.needs_closure:
        raise ConfigError("An optimizer that needs a closure cannot be a member of a composite.")
    return wrapper
