"""What a scorer is: compares the texts of a whole split with their references."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from seqtrain.registry import ComponentConfig, Registry


@dataclass(kw_only=True)
class ScorerConfig(ComponentConfig):
    """Base of every scorer's config."""


@dataclass(frozen=True)
class Likelihood:
    """What a model says of the targets of a split."""

    nll: float
    """Sum of negative log probabilities, in nats."""
    num_targets: int
    """Symbols that it is a sum over."""
    num_bytes: int = 0
    """Bytes of UTF-8 that they stand for, line ends included; 0: not known."""


class Scorer(ABC):
    """Base of every scorer."""

    reads_texts: ClassVar[bool] = True
    """It compares generated texts; else it is asked by `score_model`, and nothing is generated."""

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

    def sentence_scores(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> list[float]:
        """Returns the first score of each example alone."""
        pairs = zip(hypotheses, references, strict=True)
        return [next(iter(self.score([text], [right]).values())) for text, right in pairs]

    def score_model(self, likelihood: Likelihood) -> dict[str, float]:
        """Returns named scores of a model's own probabilities."""
        raise NotImplementedError(f"scorer={self.config.name} compares texts.")

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


def build_scorers(names: Sequence[str]) -> list[Scorer]:
    """Returns scorers by name, each with its default options."""
    configs = [SCORERS.parse({"name": name}) for name in names]
    return [SCORERS.get(config.name).cls(config) for config in configs]
