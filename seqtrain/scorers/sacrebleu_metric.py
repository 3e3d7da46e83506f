"""What scorers by sacrebleu share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.scorers.base import Scorer
from seqtrain.scorers.references import check_references, reference_documents


class SacrebleuScorer(Scorer):
    """A corpus metric of sacrebleu.

    Args:
        config: The scorer's config.
        name: Of the score.
        metric: sacrebleu's metric.
        of_sentences: The same for single sentences, where it is another one.
    """

    def __init__(self, config: Any, name: str, metric: Any, of_sentences: Any = None) -> None:
        super().__init__(config)
        self._name = name
        self._metric = metric
        self._of_sentences = of_sentences or metric
        self._signature = ""

    @override
    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        check_references(hypotheses, references)
        score = self._metric.corpus_score(hypotheses, reference_documents(references))
        self._signature = str(self._metric.get_signature())
        return {self._name: score.score}

    @override
    def sentence_scores(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> list[float]:
        check_references(hypotheses, references)
        pairs = zip(hypotheses, references, strict=True)
        return [self._of_sentences.sentence_score(text, list(right)).score for text, right in pairs]

    @override
    def statistics(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> npt.NDArray[np.float64] | None:
        check_references(hypotheses, references)
        # What sacrebleu's own bootstrap uses, and no public name gives: without it, scored anew.
        extract = getattr(self._metric, "_extract_corpus_statistics", None)
        if extract is None or not hasattr(self._metric, "_compute_score_from_stats"):
            return None
        return np.array(extract(hypotheses, reference_documents(references)), dtype=np.float64)

    @override
    def score_of(self, totals: npt.NDArray[np.float64]) -> dict[str, float]:
        return {self._name: self._metric._compute_score_from_stats(totals.tolist()).score}

    @override
    def signature(self) -> str:
        """Returns sacrebleu's signature; it tells the number of references, so after scoring."""
        return self._signature
