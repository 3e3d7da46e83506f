"""chrF of a corpus, as sacrebleu computes it."""

from dataclasses import dataclass

from sacrebleu.metrics.chrf import CHRF

from seqtrain.option_checks import require_range
from seqtrain.scorers.base import ScorerConfig, register_scorer
from seqtrain.scorers.sacrebleu_metric import SacrebleuScorer


@dataclass(kw_only=True)
class ChrfConfig(ScorerConfig):
    """chrF (Popovic, 2015): F-score of character n-grams, by sacrebleu."""

    word_order: int = 0
    """Longest word n-gram that counts too; 2 is chrF++, 0 is chrF."""

    lowercase: bool = False
    """Whether case is ignored."""

    def __post_init__(self) -> None:
        require_range("scorer.word_order", self.word_order, least=0)


@register_scorer("chrf", config=ChrfConfig)
class Chrf(SacrebleuScorer):
    """Corpus chrF with up to 6-grams of characters and beta 2, from 0 to 100."""

    def __init__(self, config: ChrfConfig) -> None:
        metric = CHRF(word_order=config.word_order, lowercase=config.lowercase)
        super().__init__(config, "chrf", metric)
