"""Noise that a sequence-to-sequence model learns to undo."""

from dataclasses import dataclass
from math import exp

import numpy as np

from seqtrain.data.collate import ranges
from seqtrain.data.keyed_random import ExampleRandom, FloatArray, IntArray, rank_within
from seqtrain.data.noise.masking import Rows, choose_units, symbol_places
from seqtrain.data.noise.spans import Spans, limit_spans, place_spans, split_evenly
from seqtrain.data.noise.word_marks import BoolArray, WordMarks
from seqtrain.data.vocabulary import EOS
from seqtrain.errors import ConfigError
from seqtrain.option_checks import require_fields


@dataclass(kw_only=True)
class DenoisingConfig:
    """Noise of BART (Lewis et al., 2020), or the spans of T5 (Raffel et al., 2020)."""

    infill: float = 0.3
    """Share of the symbols that stand in spans of which each becomes one mask."""
    poisson_lambda: float = 3.0
    """Mean length of these spans; one of length 0 puts a mask between two symbols."""
    mask: float = 0.0
    """Share of the symbols (or words) that become a mask each."""
    delete: float = 0.0
    """Share of the symbols (or words) that are left out."""
    whole_words: bool = False
    """Mask and delete words instead of symbols."""
    permute_sentences: bool = True
    """Put the sentences of an example, which end with eos, in random order."""
    rotate: float = 0.0
    """Share of the examples that begin in their midst and end with what was before."""
    span_corruption: bool = False
    """Instead of all this: spans of the source become one sentinel each, and the target is the
    sentinels, each with what it stands for."""
    density: float = 0.15
    """Of span_corruption: share of the symbols in spans."""
    mean_span: float = 3.0
    """Of span_corruption: mean length of a span."""
    num_sentinels: int = 100
    """Of span_corruption: most spans in an example."""

    def __post_init__(self) -> None:
        require_fields("noise", self, "infill", "mask", "delete", "rotate", least=0, most=1)
        if not 0.0 < self.density < 1.0:
            raise ConfigError(f"noise.density must be between 0 and 1, got {self.density}.")
        counts = ("poisson_lambda", "mean_span", "num_sentinels")
        require_fields("noise", self, *counts, least=1, most=1000)

    @property
    def num_extra_symbols(self) -> int:
        """Ids that the model needs besides the vocabulary's: the mask, then the sentinels."""
        return 1 + self.num_sentinels * self.span_corruption


@dataclass(frozen=True)
class Noise:
    """Makes noise of one configuration.

    Args:
        config: Which noise.
        mask_index: Id of the mask; symbols are below it, sentinels above.
        marks: Where words begin; None if words are not asked for.
    """

    config: DenoisingConfig
    mask_index: int
    marks: WordMarks | None

    def corrupt(self, rows: Rows, random: ExampleRandom) -> Rows:
        """Returns the noised sequences, none longer than it was.

        Args:
            rows: Sequences without their final eos.
            random: Of the sequences.
        """
        config = self.config
        marks = self.marks if config.whole_words else None
        if config.permute_sentences:
            rows = permute_sentences(rows, random)
        rows = self._infill(rows, random)
        masked = choose_units(rows, config.mask, random, "masked", self.mask_index, marks) >= 0
        rows = Rows(np.where(masked, self.mask_index, rows.flat), rows.lengths)
        deleted = choose_units(rows, config.delete, random, "deleted", self.mask_index, marks) >= 0
        return self._rotate(keep(rows, ~deleted), random)

    def replace_by_sentinels(self, rows: Rows, random: ExampleRandom) -> tuple[Rows, Rows]:
        """Returns sources whose spans are sentinels, and targets that tell the spans."""
        places, room = symbol_places(rows, self.mask_index)
        totals, counts = self.num_in_spans(room)
        lengths = split_evenly(random, totals, counts)
        spans = place_spans(random, room, counts, lengths)
        sentinels = self.mask_index + 1 + ranges(0 * counts, counts)
        first, covered = _covered(places, room, spans)
        source = rows.flat.copy()
        source[first] = sentinels
        is_kept = np.ones(len(source), dtype=np.bool_)
        is_kept[covered] = False
        is_kept[first] = True
        target_lengths = np.bincount(spans.rows, weights=lengths + 1, minlength=len(room))
        target = np.empty(len(covered) + len(first), dtype=np.int64)
        begins = np.cumsum(lengths + 1) - (lengths + 1)
        target[begins] = sentinels
        target[ranges(begins + 1, lengths)] = rows.flat[covered]
        return (
            keep(Rows(source, rows.lengths), is_kept),
            Rows(target, target_lengths.astype(np.int64)),
        )

    def num_in_spans(self, room: IntArray) -> tuple[IntArray, IntArray]:
        """Returns the symbols in spans, and the spans, of sequences of so many symbols.

        Neither falls with the number of symbols.
        """
        config = self.config
        wanted = np.round(room * config.density).astype(np.int64)
        totals = np.clip(wanted, np.minimum(room, 1), np.maximum(room - 1, np.minimum(room, 1)))
        counts = np.round(totals / config.mean_span).astype(np.int64)
        most = np.minimum(np.minimum(totals, room - totals + 1), config.num_sentinels)
        return totals, np.minimum(np.maximum(counts, 1), most)

    def _infill(self, rows: Rows, random: ExampleRandom) -> Rows:
        places, room = symbol_places(rows, self.mask_index)
        share = random.uniform_each("infilled count")
        budget = np.floor(self.config.infill * room + share).astype(np.int64)
        # One draw for each symbol of the budget is enough: a span has 1 or more on average.
        drawn = _poisson(self.config.poisson_lambda, random.uniform("infilled", budget))
        counts, lengths = _affordable(*limit_spans(drawn, budget, budget, room))
        spans = place_spans(random, room, counts, lengths)
        first, covered = _covered(places, room, spans)
        flat = rows.flat.copy()
        flat[first] = self.mask_index
        is_kept = np.ones(len(flat), dtype=np.bool_)
        is_kept[covered] = False
        is_kept[first] = True
        return _insert(Rows(flat, rows.lengths), is_kept, self._gaps(rows, places, room, spans))

    def _gaps(self, rows: Rows, places: IntArray, room: IntArray, spans: Spans) -> "_Insertion":
        """Returns where the empty spans stand: before which ids, and in which sequence."""
        empty = spans.lengths == 0
        owners, begins = spans.rows[empty], spans.begins[empty]
        ends = np.cumsum(rows.lengths)[owners]
        inside = begins < room[owners]
        number = (np.cumsum(room) - room)[owners] + begins
        before = ends.copy()
        before[inside] = places[number[inside]]
        return _Insertion(before, owners, self.mask_index)

    def _rotate(self, rows: Rows, random: ExampleRandom) -> Rows:
        is_rotated = random.uniform_each("rotated") < self.config.rotate
        begins = np.cumsum(rows.lengths) - rows.lengths
        shifts = (random.uniform_each("rotation") * rows.lengths).astype(np.int64) * is_rotated
        within = ranges(0 * rows.lengths, rows.lengths) + np.repeat(shifts, rows.lengths)
        lengths = np.repeat(rows.lengths, rows.lengths)
        return Rows(rows.flat[np.repeat(begins, rows.lengths) + within % lengths], rows.lengths)


def permute_sentences(rows: Rows, random: ExampleRandom) -> Rows:
    """Puts the sentences of each sequence in random order; an eos ends each but the last.

    Args:
        rows: Sequences without their final eos.
        random: Of the sequences.
    """
    lengths = rows.lengths + 1
    owners = np.repeat(np.arange(len(lengths)), lengths)
    flat = np.full(len(owners), EOS, dtype=np.int64)
    begins = np.cumsum(lengths) - lengths
    flat[ranges(begins, rows.lengths)] = rows.flat
    is_end = flat == EOS
    counts = np.bincount(owners[is_end], minlength=len(lengths))
    ranks = rank_within(np.repeat(np.arange(len(counts)), counts), random.uniform("order", counts))
    sentences = np.cumsum(is_end) - is_end
    flat = flat[np.lexsort((np.arange(len(flat)), ranks[sentences], owners))]
    return Rows(flat[ranges(begins, rows.lengths)], rows.lengths)


def keep(rows: Rows, is_kept: BoolArray) -> Rows:
    """Returns the sequences without some of their ids."""
    lengths = np.bincount(rows.owners[is_kept], minlength=len(rows.lengths))
    return Rows(rows.flat[is_kept], lengths)


@dataclass(frozen=True)
class _Insertion:
    """One more id before some places, in the sequences that own them."""

    before: IntArray
    owners: IntArray
    token: int


def _insert(rows: Rows, is_kept: BoolArray, insertion: _Insertion) -> Rows:
    """Leaves ids out and puts others between."""
    kept = keep(rows, is_kept)
    moved = np.concatenate([[0], np.cumsum(is_kept)])[insertion.before]
    flat = np.insert(kept.flat, moved, insertion.token)
    added = np.bincount(insertion.owners, minlength=len(rows.lengths))
    return Rows(flat, kept.lengths + added)


def _affordable(counts: IntArray, lengths: IntArray) -> tuple[IntArray, IntArray]:
    """Drops empty spans until their masks are no more than what the other spans save."""
    rows = np.repeat(np.arange(len(counts)), counts)
    is_empty = lengths == 0
    saved = np.bincount(rows, weights=np.maximum(lengths - 1, 0), minlength=len(counts))
    empty_rows = rows[is_empty]
    num_empty = np.bincount(empty_rows, minlength=len(counts))
    is_kept = ~is_empty
    is_kept[is_empty] = ranges(0 * num_empty, num_empty) < saved[empty_rows]
    return np.bincount(rows[is_kept], minlength=len(counts)), lengths[is_kept]


def _covered(places: IntArray, room: IntArray, spans: Spans) -> tuple[IntArray, IntArray]:
    """Returns the places of the first symbol of each span that has one, and of all symbols."""
    begins = (np.cumsum(room) - room)[spans.rows] + spans.begins
    has_symbols = spans.lengths > 0
    return places[begins[has_symbols]], places[ranges(begins, spans.lengths)]


def _poisson(mean: float, uniform: FloatArray) -> IntArray:
    """Returns Poisson numbers for uniform ones."""
    chances = [exp(-mean)]
    for number in range(1, int(mean + 10.0 * mean**0.5 + 10.0)):
        chances.append(chances[-1] * mean / number)
    return np.searchsorted(np.cumsum(chances), uniform, side="right").astype(np.int64)
