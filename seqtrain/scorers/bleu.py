"""BLEU of a corpus, as sacrebleu computes it."""

from dataclasses import dataclass
from functools import partial

from sacrebleu.metrics.bleu import BLEU

from seqtrain.errors import MachineError
from seqtrain.option_checks import require_choice
from seqtrain.scorers.base import ScorerConfig, register_scorer
from seqtrain.scorers.sacrebleu_metric import SacrebleuScorer

TOKENIZERS = ("13a", "intl", "char", "zh", "none", "ja-mecab", "ko-mecab", "flores101", "flores200")


@dataclass(kw_only=True)
class BleuConfig(ScorerConfig):
    """BLEU (Papineni et al., 2002) of texts that are not tokenised, by sacrebleu (Post, 2018)."""

    tokenize: str = "13a"
    """Tokeniser of sacrebleu for both sides; those of flores download a model at first use."""

    lowercase: bool = False
    """Whether case is ignored."""

    def __post_init__(self) -> None:
        require_choice("scorer.tokenize", self.tokenize, TOKENIZERS)


@register_scorer("bleu", config=BleuConfig)
class Bleu(SacrebleuScorer):
    """Corpus BLEU with up to 4-grams, from 0 to 100."""

    def __init__(self, config: BleuConfig) -> None:
        try:
            build = partial(BLEU, tokenize=config.tokenize, lowercase=config.lowercase)
            # A sentence of three words has no 4-grams.
            metric, of_sentences = build(), build(effective_order=True)
        except (RuntimeError, ImportError) as error:
            raise MachineError(
                f"scorer.tokenize={config.tokenize} needs another package: "
                f"{' '.join(str(error).split())}"
            ) from error
        super().__init__(config, "bleu", metric, of_sentences)
