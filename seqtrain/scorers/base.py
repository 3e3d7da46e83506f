"""What a scorer is: compares the texts of a whole split with their references."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

    def signature(self) -> str:
        """Returns what makes the figure comparable with others; empty if nothing does."""
        return ""


SCORERS: Registry[Scorer] = Registry("scorer", Scorer)
register_scorer = SCORERS.register
