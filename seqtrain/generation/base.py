"""Options and results of search."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError
from seqtrain.option_checks import require_choice, require_fields, require_range

LIMITING_LENGTHS = "limiting_lengths"
"""In a batch's extras: lengths to be taken for those of the sources in max_len_a * length."""
CONSTRAINTS = ("", "ordered", "unordered")
ALIGNMENTS = ("", "hard", "soft")
UTILITIES = ("chrf", "bleu")


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
    unkpen: float = 0.0
    """Taken off the log probability of the unknown symbol."""
    prefix_size: int = 0
    """Outputs begin with so many symbols of the target. A language model continues so many symbols
    of each example; 0 for all of them."""
    sampling: bool = False
    """Draw `beam` outputs of each example from the model's probabilities instead of searching."""
    sampling_topk: int = 0
    """Draw from the so many most probable symbols; 0 for all."""
    sampling_topp: float = 1.0
    """Draw from the most probable symbols that have this probability together."""
    sampling_minp: float = 0.0
    """Draw from symbols with at least this share of the highest probability."""
    sampling_typicalp: float = 1.0
    """Draw from the symbols that have this probability together and whose information is nearest
    to the entropy (Meister et al. 2022)."""
    seed: int = 1
    """Of sampling. What is drawn for an example depends on it and on the example's index alone."""
    diverse_beam_groups: int = 0
    """Groups of diverse beam search; must divide `beam`. 0 for plain beam search."""
    diverse_beam_strength: float = 0.5
    """What a symbol costs in a group for each time that earlier groups chose it."""
    fairseq_max_tokens: int = 0
    """Take the source length in max_len_a from the batch that fairseq-generate --max-tokens with
    this value would make, as it does; 0 for the example's own, so that no output depends on other
    examples."""
    fairseq_ngrams: bool = False
    """Repeat what fairseq does on a CPU with no_repeat_ngram_size: it compares with the unused end
    of its buffer, so that it blocks nothing. Runs made by seqtrain-import have it set, so that
    their outputs are fairseq's; false really blocks."""
    retain_dropout: bool = False
    """Leave dropout on, to sample models. Outputs then depend on the batch."""
    lm_weight: float = 0.0
    """Log probabilities of a language model are added with this weight, where one is given."""
    constraints: str = ""
    """Phrases that an output must contain stand behind its input line, after a tab each: ordered
    (in this order and not inside one another) or unordered (anywhere); empty for no phrases."""
    forced_prefix: bool = False
    """What an output must begin with stands behind its input line, after a tab; phrases of
    `constraints` follow it."""
    contrastive_alpha: float = 0.0
    """Above 0: contrastive search (Su et al. 2022). Of the sampling_topk most probable symbols it
    writes the one with the largest (1 - alpha) * probability - alpha * similarity to what is
    written already. At most 1; `beam` does not matter."""
    mbr_samples: int = 0
    """Minimum Bayes risk: so many outputs are drawn, and the one that is most similar to all of
    them is taken. 0 for the most probable output."""
    mbr_scorer: str = "chrf"
    """Similarity of two outputs for mbr_samples: chrf or bleu, of the texts."""
    print_alignment: str = ""
    """Outputs tell which source symbol each of their symbols comes from: hard (the one with the
    most attention), soft (the attention to all of them as well); empty for neither."""
    alignment_layer: int = -1
    """Decoder layer whose attention is taken, the mean of its heads; counted from 0, or from the
    last one, which is -1."""

    def __post_init__(self) -> None:
        require_range("generation.beam", self.beam, least=1)
        if self.nbest < 1 or (self.nbest > self.beam and not self.mbr_samples):
            raise ConfigError(
                f"generation.nbest must be 1 to generation.beam ({self.beam}), got {self.nbest}."
            )
        require_range("generation.prefix_size", self.prefix_size, least=0)
        require_range("generation.fairseq_max_tokens", self.fairseq_max_tokens, least=0)
        self._check_sampling()
        self._check_kinds()
        if self.diverse_beam_groups < 0 or self.beam % max(self.diverse_beam_groups, 1):
            raise ConfigError(
                f"generation.diverse_beam_groups must divide generation.beam ({self.beam}), "
                f"got {self.diverse_beam_groups}."
            )
        if self.max_len_a < 0 or self.max_len_b < 0 or self.min_len < 0:
            raise ConfigError("generation.max_len_a, max_len_b and min_len must not be negative.")
        self._check_numbers()
        require_range("generation.no_repeat_ngram_size", self.no_repeat_ngram_size, least=0)

    def _check_numbers(self) -> None:
        for name in ("temperature", "lenpen", "unkpen"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(
                    f"generation.{name} must be a finite number, got {getattr(self, name)}."
                )
        require_range("generation.temperature", self.temperature, above=0)

    def _check_kinds(self) -> None:
        chosen = [
            f"generation.{name}"
            for name in ("sampling", "diverse_beam_groups", "contrastive_alpha", "constraints")
            if getattr(self, name)
        ]
        if self.mbr_samples and not self.sampling:
            chosen.append("generation.mbr_samples")  # it samples itself
        if len(chosen) > 1:
            raise ConfigError(
                f"{chosen[0]} and {chosen[1]} exclude each other: leave one of them out."
            )
        for name, choices in (
            ("constraints", CONSTRAINTS),
            ("mbr_scorer", UTILITIES),
            ("print_alignment", ALIGNMENTS),
        ):
            require_choice(f"generation.{name}", getattr(self, name), choices)
        if self.forced_prefix and self.prefix_size:
            raise ConfigError(
                "generation.forced_prefix and generation.prefix_size exclude each other: leave one "
                "of them out."
            )
        self._check_contrastive_search()
        if self.mbr_samples < 0 or 0 < self.mbr_samples < self.nbest:
            raise ConfigError(
                f"generation.mbr_samples must be 0 or at least generation.nbest ({self.nbest}), "
                f"got {self.mbr_samples}."
            )

    def _check_contrastive_search(self) -> None:
        require_range("generation.contrastive_alpha", self.contrastive_alpha, least=0, most=1)
        if self.contrastive_alpha and self.sampling_topk < 1:
            raise ConfigError(
                "generation.contrastive_alpha needs generation.sampling_topk, the number of "
                "symbols to choose from; 4 to 10 are usual."
            )
        if self.contrastive_alpha and self.nbest > 1:
            raise ConfigError(
                "generation.contrastive_alpha finds one output for each example, so "
                f"generation.nbest must be 1, got {self.nbest}."
            )

    def _check_sampling(self) -> None:
        drawn = bool(self.sampling or self.mbr_samples)
        idle = {
            "sampling_topk": self.sampling_topk and not self.contrastive_alpha,
            "sampling_topp": self.sampling_topp != 1.0,
            "sampling_minp": self.sampling_minp,
            "sampling_typicalp": self.sampling_typicalp != 1.0,
        }
        for name, is_set in idle.items():
            if is_set and not drawn:
                raise ConfigError(
                    f"generation.{name} has no meaning without generation.sampling=true. Leave it "
                    "out, or sample."
                )
        require_range("generation.sampling_topk", self.sampling_topk, least=0)
        require_fields("generation", self, "sampling_topp", "sampling_typicalp", above=0, most=1)
        require_range("generation.sampling_minp", self.sampling_minp, least=0, below=1)


@dataclass(frozen=True)
class Hypothesis:
    """One output of search.

    Args:
        tokens: Symbol ids, eos not included.
        score: Sum of log probabilities (natural, eos included) / length ** lenpen.
        token_scores: Log probability of each symbol and of eos at the end.
        alignment: With generation.print_alignment: position of the source symbol that each symbol
            comes from.
        attention: With generation.print_alignment=soft: for each symbol and for eos, the shares of
            the source symbols and their eos, which sum to 1.
    """

    tokens: list[int]
    score: float
    token_scores: list[float]
    alignment: list[int] | None = None
    attention: list[list[float]] | None = None


class Generator(ABC):
    """Writes targets for a batch of sources."""

    @abstractmethod
    def generate(self, batch: Batch) -> list[list[Hypothesis]]:
        """Returns the nbest hypotheses of each example, best first; empty for an empty batch."""

    def stream(self, batches: Iterable[Batch]) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields (id, nbest hypotheses) of each example of all batches, in any order."""
        for batch in batches:
            yield from zip(batch.ids.tolist(), self.generate(batch), strict=True)
