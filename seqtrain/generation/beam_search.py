"""Beam search: the prefixes of highest probability."""

from torch import Tensor
from typing_extensions import override

from seqtrain.generation.best_candidates import best_candidates
from seqtrain.generation.prefixes import Extensions, Prefixes
from seqtrain.generation.strategy import Strategy


class BeamSearch(Strategy):
    """Keeps the `beam` best prefixes of each sentence; with one it is greedy search.

    The rules are fairseq's: of the 2 * beam best extensions, those that end a sentence and are
    among the first `beam` are finished; the best `beam` others go on.

    Args:
        beam: Prefixes of each sentence.
    """

    def __init__(self, beam: int) -> None:
        self.beam = beam

    @override
    def extend(self, scores: Tensor, prefixes: Prefixes) -> Extensions:
        totals, origins, symbols, symbol_scores = best_candidates(
            scores, prefixes.totals, 2 * self.beam
        )
        return Extensions(totals, origins, symbols, symbol_scores)
