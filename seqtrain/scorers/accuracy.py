"""Share of texts that are right as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.scorers.base import Scorer, ScorerConfig, register_scorer
from seqtrain.scorers.references import check_references


@dataclass(kw_only=True)
class AccuracyConfig(ScorerConfig):
    """Texts that equal one of their references, for each 100."""

    strip: bool = True
    """White space at both ends does not count."""


@register_scorer("accuracy", config=AccuracyConfig)
class Accuracy(Scorer):
    """Percentage of texts that equal any of their references."""

    @override
    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        return self.score_of(self.statistics(hypotheses, references).sum(axis=0))

    @override
    def statistics(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> npt.NDArray[np.float64]:
        check_references(hypotheses, references)
        rows = [
            (self._form(text) in {self._form(choice) for choice in choices}, 1)
            for text, choices in zip(hypotheses, references, strict=True)
        ]
        return np.array(rows, dtype=np.float64)

    @override
    def score_of(self, totals: npt.NDArray[np.float64]) -> dict[str, float]:
        return {"accuracy": float(100.0 * totals[0] / totals[1])}

    @override
    def signature(self) -> str:
        return "match:stripped" if self.config.strip else "match:exact"

    def _form(self, text: str) -> str:
        return text.strip() if self.config.strip else text
