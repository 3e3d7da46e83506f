"""Error rates: edits between the texts and their references, in percent."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
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


class _ErrorRate(Scorer):
    """A score made of edits and lengths, summed over examples."""

    @override
    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        return self.score_of(self.statistics(hypotheses, references).sum(axis=0))

    @override
    def statistics(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> npt.NDArray[np.float64]:
        """Returns edits and elements of the closest reference, whether it is wrong, and 1."""
        return _table(_closest_by_words(hypotheses, references))

    @override
    def signature(self) -> str:
        return "tok:whitespace|refs:closest"


@register_scorer("wer", config=WordErrorRateConfig)
class WordErrorRate(_ErrorRate):
    """Edits of words over the number of words in the closest reference of each example."""

    @override
    def score_of(self, totals: npt.NDArray[np.float64]) -> dict[str, float]:
        return {"wer": _percent(totals[0], totals[1])}


@register_scorer("cer", config=CharacterErrorRateConfig)
class CharacterErrorRate(_ErrorRate):
    """Edits of characters (code points) over those in the closest reference of each example."""

    @override
    def statistics(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> npt.NDArray[np.float64]:
        check_references(hypotheses, references)
        pairs = zip(hypotheses, references, strict=True)
        return _table([_closest(text, choices) for text, choices in pairs])

    @override
    def score_of(self, totals: npt.NDArray[np.float64]) -> dict[str, float]:
        return {"cer": _percent(totals[0], totals[1])}

    @override
    def signature(self) -> str:
        return "tok:char|refs:closest"


@register_scorer("pronunciation", config=PronunciationConfig)
class Pronunciation(_ErrorRate):
    """Rates for pronunciations: `wer` of whole entries that are wrong, `per` of phones.

    An entry is right if it equals any of its references.
    """

    @override
    def score_of(self, totals: npt.NDArray[np.float64]) -> dict[str, float]:
        edits, length, num_wrong, num_examples = totals.tolist()
        return {"wer": 100.0 * num_wrong / num_examples, "per": _percent(edits, length)}


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


def _table(matches: Sequence[_Match]) -> npt.NDArray[np.float64]:
    """Returns edits, elements, whether it is wrong, and 1, of each example."""
    rows = [(m.num_edits, -m.minus_length, m.num_edits > 0, 1) for m in matches]
    return np.array(rows, dtype=np.float64)


def _percent(num_edits: float, length: float) -> float:
    if length:
        return float(100.0 * num_edits / length)
    return float("inf") if num_edits else 0.0
