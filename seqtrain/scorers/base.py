"""What a scorer is: compares the texts of a whole split with their references."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqtrain.registry import ComponentConfig, Registry


@dataclass(kw_only=True)
class ScorerConfig(ComponentConfig):
    """Base of every scorer's config."""


class Scorer(ABC):
    """Base of every scorer."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """Returns named scores in percent (BLEU and chrF on their scale of 100).

        Args:
            hypotheses: One text for each example.
            references: One or more acceptable texts for each example, in the same order.
        """

    def statistics(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> npt.NDArray[np.float64] | None:
        """Returns numbers of each example, [examples, numbers], whose totals give the score.

        None where there are no such numbers; then a resampled corpus is scored anew.
        """
        return None

    def score_of(self, totals: npt.NDArray[np.float64]) -> dict[str, float]:
        """Returns what `score` does, from the totals of `statistics`, [numbers]."""
        raise NotImplementedError(f"scorer={self.config.name} has no statistics.")

    def signature(self) -> str:
        """Returns what makes the figure comparable with others; empty if nothing does."""
        return ""


SCORERS: Registry[Scorer] = Registry("scorer", Scorer)
register_scorer = SCORERS.register
