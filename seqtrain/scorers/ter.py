"""TER of a corpus, as sacrebleu computes it."""

from dataclasses import dataclass

from sacrebleu.metrics.ter import TER

from seqtrain.scorers.base import ScorerConfig, register_scorer
from seqtrain.scorers.sacrebleu_metric import SacrebleuScorer


@dataclass(kw_only=True)
class TerConfig(ScorerConfig):
    """TER (Snover et al., 2006): edits and shifts for each 100 words, by sacrebleu."""

    normalized: bool = False
    """Split off punctuation first, as tercom's option does."""
    lowercase: bool = True
    """Whether case is ignored, as in sacrebleu."""


@register_scorer("ter", config=TerConfig)
class Ter(SacrebleuScorer):
    """Corpus TER against the closest reference; lower is better."""

    def __init__(self, config: TerConfig) -> None:
        metric = TER(normalized=config.normalized, case_sensitive=not config.lowercase)
        super().__init__(config, "ter", metric)
