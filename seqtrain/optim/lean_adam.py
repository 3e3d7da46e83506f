"""torch's Adam without a look at torch's compiler, whose import takes longer than a short run.

torch decorates the methods of its optimizers with what tells the compiler to leave them alone, and
imports the compiler for that on the first call. Nothing here is compiled, so that the functions
inside the decorations do the same; they are what functools.wraps keeps as `__wrapped__`.
"""

from collections.abc import Callable
from typing import Any

import torch
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
        return _STEP(self, closure)


class LeanAdamW(torch.optim.AdamW):
    """torch.optim.AdamW."""

    @override
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        _ADD_PARAM_GROUP(self, param_group)

    @torch.no_grad()
    @override
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return _STEP(self, closure)
