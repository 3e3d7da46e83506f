"""Perplexity: how many symbols a model hesitates between."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.scorers.base import Likelihood, Scorer, ScorerConfig, register_scorer


@dataclass(kw_only=True)
class PerplexityConfig(ScorerConfig):
    """Of the targets, by the model's own probabilities; nothing is generated for it."""


@register_scorer("perplexity", config=PerplexityConfig)
class Perplexity(Scorer):
    """`perplexity` for each symbol, and `bits_per_byte`, which compares different vocabularies."""

    reads_texts = False

    @override
    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        raise ConfigError(
            "scorer=perplexity measures a model and not texts: use seqtrain-evaluate "
            "checkpoint=RUN scorers=[perplexity]."
        )

    @override
    def score_model(self, likelihood: Likelihood) -> dict[str, float]:
        mean = likelihood.nll / likelihood.num_targets if likelihood.num_targets else math.nan
        found = {"perplexity": math.exp(mean) if not mean > 700.0 else math.inf}
        if likelihood.num_bytes:
            found["bits_per_byte"] = likelihood.nll / math.log(2.0) / likelihood.num_bytes
        return found
