"""torch's Adam with less around its kernel, which is what the update of a small model costs.

On a CPU the fused kernel is called directly. Elsewhere torch's own method runs, but without a look
at torch's compiler, whose import takes longer than a short run: torch decorates the methods of its
optimizers with what tells the compiler to leave them alone, and imports the compiler for that on
the first call. Nothing here is compiled, so that the functions inside the decorations do the same;
they are what functools.wraps keeps as `__wrapped__`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override


def _undecorated(method: Callable[..., Any]) -> Callable[..., Any]:
    inner: Callable[..., Any] = getattr(method, "__wrapped__", method)
    return inner


_ADD_PARAM_GROUP = _undecorated(torch.optim.Optimizer.add_param_group)
_STEP = _undecorated(torch.optim.Adam.step)


class LeanAdam(torch.optim.Adam):
    """torch.optim.Adam."""

    @override
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        _ADD_PARAM_GROUP(self, param_group)

    @torch.no_grad()
    @override
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return _step(self, closure)

    step.hooked = True  # type: ignore[attr-defined] # torch's mark; see `_step`


class LeanAdamW(torch.optim.AdamW):
    """torch.optim.AdamW."""

    @override
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        _ADD_PARAM_GROUP(self, param_group)

    @torch.no_grad()
    @override
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return _step(self, closure)

    step.hooked = True  # type: ignore[attr-defined] # torch's mark; see `_step`


def _step(optimizer: torch.optim.Adam, closure: Callable[[], Any] | None) -> Any:
    # torch wraps the step of each class without that mark: for a profiler, which costs more than
    # a small update itself, and for hooks.
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return _HOOKED_STEP(optimizer, closure)
    return _plain_step(optimizer, closure)


def _plain_step(optimizer: torch.optim.Adam, closure: Callable[[], Any] | None) -> Any:
    if closure is not None or not all(map(_suits_kernel, optimizer.param_groups)):
        return _STEP(optimizer, closure)
    for group in optimizer.param_groups:
        _step_group(optimizer, group)
    return None


_HOOKED_STEP = torch.optim.Optimizer.profile_hook_step(_plain_step)


def _suits_kernel(group: dict[str, Any]) -> bool:
    """Returns whether all that has a gradient is float32 on the CPU, and the choice is plain."""
    if not group["fused"] or group["amsgrad"] or group["differentiable"]:
        return False
    return all(
        p.grad is None or (p.device.type == "cpu" and p.dtype == p.grad.dtype == torch.float32)
        for p in group["params"]
    )


def _step_group(optimizer: torch.optim.Adam, group: dict[str, Any]) -> None:
    lists: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
    # Makes the moments that are missing, and checks what torch checks.
    optimizer._init_group(group, *lists)
    parameters, gradients, means, squares, maxima, steps = lists
    if not parameters:
        return
    beta1, beta2 = group["betas"]
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    torch._foreach_add_(steps, 1)
    kernel(
        parameters,
        gradients,
        means,
        squares,
        maxima,
        steps,
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=group["maximize"],
        grad_scale=getattr(optimizer, "grad_scale", None),
        found_inf=getattr(optimizer, "found_inf", None),
    )
