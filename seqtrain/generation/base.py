"""Options and results of search."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError


@dataclass(kw_only=True)
class GenerationConfig:
    """How a target is searched for."""

    beam: int = 5
    """Hypotheses kept for each sentence."""
    nbest: int = 1
    """Hypotheses returned for each sentence, at most `beam`."""
    lenpen: float = 1.0
    """Scores are divided by length ** lenpen: above 1 favours long outputs."""
    max_len_a: float = 0.0
    """Outputs have at most max_len_a * source length + max_len_b symbols, eos not counted."""
    max_len_b: int = 200
    """See max_len_a."""
    min_len: int = 1
    """Symbols before eos at least."""
    temperature: float = 1.0
    """Logits are divided by it: above 1 evens out the probabilities."""
    no_repeat_ngram_size: int = 0
    """No sequence of that many symbols is written twice; 0 allows all."""

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ConfigError(f"generation.beam must be at least 1, got {self.beam}.")
        if not 1 <= self.nbest <= self.beam:
            raise ConfigError(
                f"generation.nbest must be 1 to generation.beam ({self.beam}), got {self.nbest}."
            )
        if self.max_len_a < 0 or self.max_len_b < 0 or self.min_len < 0:
            raise ConfigError("generation.max_len_a, max_len_b and min_len must not be negative.")
        if self.temperature <= 0:
            raise ConfigError(f"generation.temperature must be above 0, got {self.temperature}.")
        if self.no_repeat_ngram_size < 0:
            raise ConfigError(
                "generation.no_repeat_ngram_size must not be negative, "
                f"got {self.no_repeat_ngram_size}."
            )


@dataclass(frozen=True)
class Hypothesis:
    """One output of search.

    Args:
        tokens: Symbol ids, eos not included.
        score: Sum of log probabilities (natural, eos included) / length ** lenpen.
        token_scores: Log probability of each symbol and of eos at the end.
    """

    tokens: list[int]
    score: float
    token_scores: list[float]


class Generator(ABC):
    """Writes targets for a batch of sources."""

    @abstractmethod
    def generate(self, batch: Batch) -> list[list[Hypothesis]]:
        """Returns the nbest hypotheses of each example, best first; empty for an empty batch."""
