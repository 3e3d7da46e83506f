"""What a module inside a model was called with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def recorded_inputs(module: nn.Module) -> Iterator[list[tuple[Any, ...]]]:
    """Gives a list that gets the positional arguments of each call of the module meanwhile."""
    calls: list[tuple[Any, ...]] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: calls.append(arguments))
    try:
        yield calls
    finally:
        handle.remove()
