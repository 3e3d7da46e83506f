"""Schedule-free AdamW: the average of the path takes the place of a decaying rate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.optim.adam import MomentsConfig
from seqtrain.optim.base import OptimizerWrapper, register_optimizer
from seqtrain.optim.list_optimizer import ListOptimizer
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class ScheduleFreeAdamWConfig(MomentsConfig):
    """Schedule-free AdamW (Defazio et al., 2024); weight decay is decoupled.

    Use it with `lr_scheduler=fixed` and a warm-up, or `constant`: it needs no decay.
    """

    lr: float = 2.5e-3
    """The learning rate, up to ten times that of AdamW with a schedule."""

    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Weight of the average in the point where gradients are taken; decay of the squares."""

    weight_decay: float = 0.01
    """Decoupled weight decay, of the point where gradients are taken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("optimizer.betas[0]", self.betas[0], above=0)


@register_optimizer("schedule_free_adamw", config=ScheduleFreeAdamWConfig)
class ScheduleFreeAdamW(OptimizerWrapper):
    """Algorithm 1 of the paper, with the rate of the schedule as gamma_t.

    There are three points: z moves by Adam's steps, x is the average of all z, weighted by the
    squared rate, and y = (1 - beta1) * z + beta1 * x is where gradients are taken. The model holds
    y while it is trained and x while it is evaluated or saved. x and z are both kept, so that going
    to x and back gives y to the last bit.
    """

    is_elementwise = True
    changes_in_step_only = False

    def __init__(self, config: Any, named_parameters: Any) -> None:
        super().__init__(config, named_parameters)
        self._is_training = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        config = self.config
        return _ScheduleFreeAdamW(
            groups, {"lr": config.lr, "betas": list(config.betas), "eps": config.eps}
        )

    @override
    def zero_grad(self) -> None:
        self.prepare_for_training()
        super().zero_grad()

    @override
    def prepare_for_evaluation(self) -> None:
        if self._is_training:
            self._optimizer.show_average()
        self._is_training = False

    @override
    def prepare_for_training(self) -> None:
        if not self._is_training:
            self._optimizer.show_training_point()
        self._is_training = True

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        # Saved weights are x: the next zero_grad must find y.
        self._is_training = False

    @property
    def _optimizer(self) -> "_ScheduleFreeAdamW":
        optimizer = self.torch_optimizers[0]
        if not isinstance(optimizer, _ScheduleFreeAdamW):
            raise TypeError(f"Expected the optimizer that was built, got {type(optimizer)}.")
        return optimizer


class _ScheduleFreeAdamW(ListOptimizer):
    @torch.no_grad()
    def show_average(self) -> None:
        """Puts x into the parameters."""
        for parameter, state in self.state.items():
            parameter.copy_(state["average"])

    @torch.no_grad()
    def show_training_point(self) -> None:
        """Puts y into the parameters."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if state := self.state.get(parameter):
                    _set_training_points([parameter], [state], group["betas"][0])

    @override
    def update(
        self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        states = [self._state_of(p) for p in parameters]
        for state in states:
            state["step"] += 1
            state["weight_sum"] += lr**2
        squares = [state["square"] for state in states]
        fast = [state["fast"] for state in states]
        averages = [state["average"] for state in states]
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, [(1.0 - beta2 ** state["step"]) ** 0.5 for state in states])
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_addcdiv_(fast, gradients, roots, -lr)
        if group["weight_decay"]:
            torch._foreach_add_(fast, parameters, alpha=-lr * group["weight_decay"])
        for average, point, state in zip(averages, fast, states, strict=True):
            # A rate of 0 moves nothing and has no weight.
            average.lerp_(point, lr**2 / state["weight_sum"] if lr else 0.0)
        _set_training_points(parameters, states, beta1)

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state["weight_sum"] = 0.0
            state["square"] = torch.zeros_like(parameter)
            state["fast"] = parameter.detach().clone()
            state["average"] = parameter.detach().clone()
        return state


def _set_training_points(
    parameters: list[Tensor], states: list[dict[str, Any]], beta1: float
) -> None:
    for parameter, state in zip(parameters, states, strict=True):
        torch.lerp(state["fast"], state["average"], beta1, out=parameter)
