"""Diverse beam search (Vijayakumar et al. 2016): groups of a beam that avoid each other's words."""

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.generation.best_candidates import best_candidates
from seqtrain.generation.prefixes import Extensions, Prefixes
from seqtrain.generation.strategy import Strategy


class DiverseBeamSearch(Strategy):
    """Beam search in groups, one after another, as in fairseq.

    A symbol that a group before it has chosen at the same time costs `strength` for each time. As
    in fairseq the cost stays in the scores, and candidates of the groups take turns.

    Args:
        beam: Prefixes of each sentence, a multiple of num_groups.
        num_groups: Groups.
        strength: Of the cost.
    """

    def __init__(self, beam: int, num_groups: int, strength: float) -> None:
        self.size = beam // num_groups
        self.num_groups = num_groups
        self.strength = strength

    @override
    def extend(self, scores: Tensor, prefixes: Prefixes) -> Extensions:
        found = []
        cost = torch.zeros_like(scores[:, 0])
        is_first = scores.size(1) == 1
        for group in range(self.num_groups):
            members = slice(0, 1) if is_first else slice(group, None, self.num_groups)
            own = (
                scores[:, members] - self.strength * cost[:, None] if group else scores[:, members]
            )
            totals, origins, symbols, symbol_scores = best_candidates(
                own.contiguous(), prefixes.totals[:, members], 2 * self.size
            )
            if not is_first:
                origins = origins * self.num_groups + group
            cost = cost.scatter_add(1, symbols, torch.ones_like(symbols, dtype=cost.dtype))
            found.append((totals, origins, symbols, symbol_scores))
        turns = (torch.stack(values, dim=2).flatten(1) for values in zip(*found, strict=True))
        return Extensions(*turns)
