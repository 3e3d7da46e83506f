"""chrF of a corpus, as sacrebleu computes it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.chrf import CHRF
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.scorers.base import Scorer, ScorerConfig, register_scorer
from seqtrain.scorers.references import check_references, reference_documents


@dataclass(kw_only=True)
class ChrfConfig(ScorerConfig):
    """chrF (Popovic, 2015): F-score of character n-grams, by sacrebleu."""

    word_order: int = 0
    """Longest word n-gram that counts too; 2 is chrF++, 0 is chrF."""

    lowercase: bool = False
    """Whether case is ignored."""

    def __post_init__(self) -> None:
        if self.word_order < 0:
            raise ConfigError(f"scorer.word_order must not be negative, got {self.word_order}.")


@register_scorer("chrf", config=ChrfConfig)
class Chrf(Scorer):
    """Corpus chrF with up to 6-grams of characters and beta 2, from 0 to 100."""

    def __init__(self, config: ChrfConfig) -> None:
        super().__init__(config)
        self._metric = CHRF(word_order=config.word_order, lowercase=config.lowercase)
        self._signature = ""

    @override
    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        check_references(hypotheses, references)
        score = self._metric.corpus_score(hypotheses, reference_documents(references))
        self._signature = str(self._metric.get_signature())
        return {"chrf": score.score}

    @override
    def signature(self) -> str:
        """Returns sacrebleu's signature; it tells the number of references, so after scoring."""
        return self._signature
