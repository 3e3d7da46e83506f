"""Error rates: edits between the texts and their references, in percent."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from typing_extensions import override

from seqtrain.scorers.base import Scorer, ScorerConfig, register_scorer
from seqtrain.scorers.edit_distance import edit_distance
from seqtrain.scorers.references import check_references


@dataclass(kw_only=True)
class WordErrorRateConfig(ScorerConfig):
    """Word errors for each 100 words of the references. Words are parted by whitespace."""


@dataclass(kw_only=True)
class CharacterErrorRateConfig(ScorerConfig):
    """Character errors for each 100 characters of the references, spaces included."""


@dataclass(kw_only=True)
class PronunciationConfig(ScorerConfig):
    """Share of wrong words, and errors for each 100 phones, which are parted by whitespace."""


@register_scorer("wer", config=WordErrorRateConfig)
class WordErrorRate(Scorer):
    """Edits of words over the number of words in the closest reference of each example."""

    @override
    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        return {"wer": _percent(_closest_by_words(hypotheses, references))}

    @override
    def signature(self) -> str:
        return "tok:whitespace|refs:closest"


@register_scorer("cer", config=CharacterErrorRateConfig)
class CharacterErrorRate(Scorer):
    """Edits of characters (code points) over those in the closest reference of each example."""

    @override
    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        check_references(hypotheses, references)
        pairs = zip(hypotheses, references, strict=True)
        return {"cer": _percent([_closest(text, choices) for text, choices in pairs])}

    @override
    def signature(self) -> str:
        return "tok:char|refs:closest"


@register_scorer("pronunciation", config=PronunciationConfig)
class Pronunciation(Scorer):
    """Rates for pronunciations: `wer` of whole entries that are wrong, `per` of phones.

    An entry is right if it equals any of its references.
    """

    @override
    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        matches = _closest_by_words(hypotheses, references)
        num_wrong = sum(match.num_edits > 0 for match in matches)
        return {"wer": 100.0 * num_wrong / len(matches), "per": _percent(matches)}

    @override
    def signature(self) -> str:
        return "tok:whitespace|refs:closest"


class _Match(NamedTuple):
    """The closest reference: ordered by edits, then by rate (more elements: a lower rate)."""

    num_edits: int
    minus_length: int


def _closest(text: Sequence[Hashable], choices: Sequence[Sequence[Hashable]]) -> _Match:
    return min(_Match(edit_distance(choice, text), -len(choice)) for choice in choices)


def _closest_by_words(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> list[_Match]:
    check_references(hypotheses, references)
    return [
        _closest(text.split(), [choice.split() for choice in choices])
        for text, choices in zip(hypotheses, references, strict=True)
    ]


def _percent(matches: Sequence[_Match]) -> float:
    num_edits = sum(match.num_edits for match in matches)
    length = -sum(match.minus_length for match in matches)
    if length:
        return 100.0 * num_edits / length
    return float("inf") if num_edits else 0.0
