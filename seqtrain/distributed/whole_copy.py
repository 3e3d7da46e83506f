"""A copy of a module that holds whole parameters for as long as somebody needs them."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import nn

from seqtrain.distributed.blocks import local_part, whole_of

M = TypeVar("M", bound=nn.Module)


class WholeCopy(Generic[M]):
    """A plain module beside one whose parameters are about to be spread over ranks.

    It runs as any module, without a word to other ranks: for evaluation and search, where ranks
    have different work. While nobody needs it, it holds no parameters.

    Args:
        module: Not spread yet.
    """

    def __init__(self, module: M) -> None:
        self.module = copy.deepcopy(module)
        self._spread = module
        self._let_go()

    @contextmanager
    def filled(self) -> Iterator[M]:
        """Gives the copy with the module's parameters and buffers; all ranks call this together."""
        spread = dict(self._spread.named_parameters())
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                whole = whole_of(spread[name], local_part(spread[name]))
                parameter.data = whole.to(parameter.device)
            for mine, other in zip(self.module.buffers(), self._spread.buffers(), strict=True):
                mine.copy_(other)
        try:
            yield self.module
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for parameter in self.module.parameters():
            parameter.data = parameter.data.new_empty(0)
