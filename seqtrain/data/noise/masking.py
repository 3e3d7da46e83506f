"""Hiding symbols from a masked language model."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqtrain.data.collate import ranges
from seqtrain.data.keyed_random import ExampleRandom, FloatArray, rank_within
from seqtrain.data.noise.spans import limit_spans, place_spans
from seqtrain.data.noise.word_marks import BoolArray, WordMarks
from seqtrain.data.vocabulary import SPECIALS
from seqtrain.errors import ConfigError
from seqtrain.option_checks import require_choice, require_fields, require_range

IntArray = npt.NDArray[np.int64]
UNITS = ("token", "word", "span")


@dataclass(kw_only=True)
class MaskingConfig:
    """Which symbols are hidden, and what stands in their place (Devlin et al., 2019)."""

    rate: float = 0.15
    """Share of the symbols (or words) that is hidden, 0 to 1; specials never are."""
    unchanged: float = 0.1
    """Share of the hidden ones that stay as they are."""
    random: float = 0.1
    """Share of the hidden ones in whose place another symbol stands; the rest is masked."""
    units: str = "token"
    """What is hidden as a whole: token, word, or span (Joshi et al., 2020, "SpanBERT")."""
    span_p: float = 0.2
    """Of spans: chance to end after each symbol; their length is geometric, 3.8 on average with
    a longest_span of 10."""
    longest_span: int = 10
    """Of spans: most symbols."""

    def __post_init__(self) -> None:
        require_fields("masking", self, "rate", "unchanged", "random", least=0, most=1)
        if self.unchanged + self.random > 1.0:
            raise ConfigError(
                f"masking.unchanged={self.unchanged} and masking.random={self.random} are more "
                "than 1 together."
            )
        require_choice("masking.units", self.units, UNITS)
        require_range("masking.span_p", self.span_p, above=0, most=1)
        require_range("masking.longest_span", self.longest_span, least=1)


@dataclass(frozen=True)
class Rows:
    """Sequences one after the other.

    Args:
        flat: Their ids.
        lengths: The length of each.
    """

    flat: IntArray
    lengths: IntArray

    @property
    def owners(self) -> IntArray:
        """Which sequence each id is of."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def hide(
    rows: Rows,
    config: MaskingConfig,
    random: ExampleRandom,
    mask_index: int,
    marks: WordMarks | None = None,
) -> tuple[IntArray, BoolArray]:
    """Hides symbols of some sequences.

    Args:
        rows: The sequences.
        config: What to hide.
        random: Of the sequences.
        mask_index: Id that stands for hidden symbols; ids below it are symbols.
        marks: Where words begin; None if units are not words.

    Returns:
        What the model sees, and which symbols it has to tell, both as `rows.flat`.
    """
    if config.units == "span":
        units = _spans(rows, config, random, mask_index)
    else:
        words = marks if config.units == "word" else None
        units = choose_units(rows, config.rate, random, "hidden", mask_index, words)
    hidden = units >= 0
    # What stands in the place is decided for each unit.
    fates = _of_units(units, rows, random)
    seen = np.where(hidden, mask_index, rows.flat)
    num_specials = len(SPECIALS)
    others = random.uniform("others", rows.lengths) * (mask_index - num_specials)
    seen = np.where(hidden & (fates < config.random), num_specials + others.astype(np.int64), seen)
    is_unchanged = hidden & (fates >= 1.0 - config.unchanged)
    return np.where(is_unchanged, rows.flat, seen), hidden


def is_symbol(flat: IntArray, mask_index: int) -> BoolArray:
    """Says which ids are symbols of text: no specials and no masks."""
    return (flat >= len(SPECIALS)) & (flat < mask_index)


def choose_units(
    rows: Rows,
    rate: float,
    random: ExampleRandom,
    purpose: str,
    mask_index: int,
    marks: WordMarks | None = None,
) -> IntArray:
    """Chooses a share of the symbols, or of the words where marks are given.

    Of n units of a sequence rate * n are chosen, rounded up or down at random.

    Returns:
        For each id the number of its unit within the sequence if it is chosen, otherwise -1.
    """
    symbols = is_symbol(rows.flat, mask_index)
    owners = rows.owners
    starts = symbols if marks is None else symbols & marks.starts(rows.flat, rows.lengths)
    counts = np.bincount(owners[starts], minlength=len(rows.lengths))
    chosen_counts = np.floor(rate * counts + random.uniform_each(f"{purpose} count"))
    unit_owners = np.repeat(np.arange(len(counts)), counts)
    ranks = rank_within(unit_owners, random.uniform(purpose, counts))
    is_chosen = ranks < chosen_counts[unit_owners]
    units = np.cumsum(starts) - 1
    chosen = symbols & (is_chosen[units] if len(is_chosen) else False)
    first_units = (np.cumsum(counts) - counts)[owners]
    return np.where(chosen, units - first_units, -1)


def symbol_places(rows: Rows, mask_index: int) -> tuple[IntArray, IntArray]:
    """Returns where the symbols stand in `rows.flat`, and how many each sequence has."""
    symbols = is_symbol(rows.flat, mask_index)
    counts = np.bincount(rows.owners[symbols], minlength=len(rows.lengths))
    return np.flatnonzero(symbols), counts


def _spans(rows: Rows, config: MaskingConfig, random: ExampleRandom, mask_index: int) -> IntArray:
    """Does what `choose_units` does for spans; a span goes on behind a special."""
    places, room = symbol_places(rows, mask_index)
    budget = np.floor(config.rate * room + random.uniform_each("hidden count")).astype(np.int64)
    chances = config.span_p * (1.0 - config.span_p) ** np.arange(config.longest_span)
    limits = np.cumsum(chances / chances.sum())
    drawn = 1 + np.searchsorted(limits[:-1], random.uniform("hidden", budget), side="right")
    counts, lengths = limit_spans(drawn, budget, budget, room)
    spans = place_spans(random, room, counts, lengths)
    first = np.cumsum(room) - room
    units = np.full(len(rows.flat), -1, dtype=np.int64)
    numbers = ranges(0 * counts, counts)
    covered = places[ranges(first[spans.rows] + spans.begins, spans.lengths)]
    units[covered] = np.repeat(numbers, spans.lengths)
    return units


def _of_units(units: IntArray, rows: Rows, random: ExampleRandom) -> FloatArray:
    """Returns one random number for each unit, at the places of its ids."""
    fates = random.uniform("fates", rows.lengths)
    first = (np.cumsum(rows.lengths) - rows.lengths)[rows.owners]
    return fates[first + np.maximum(units, 0)]
