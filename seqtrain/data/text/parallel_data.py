"""Parallel text as ids, with the tokenizers and vocabularies that made them."""

from collections.abc import Iterator
from dataclasses import dataclass

from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.side import Side
from seqtrain.data.text.corpus import TRAIN, SplitTotals, encode_in_memory, high_share_notes
from seqtrain.data.text.parallel_text import (
    ParallelCorpus,
    ParallelSettings,
    raw_pairs,
    references_of,
)
from seqtrain.errors import DataError

Stores = tuple[SequenceStore, SequenceStore]


@dataclass(frozen=True)
class SideCounts:
    """What one side of a split holds.

    Args:
        num_tokens: Tokens, eos not counted.
        num_unknown: Unknown ones among them; None if they were not counted.
    """

    num_tokens: int
    num_unknown: int | None

    def __str__(self) -> str:
        if self.num_unknown is None:
            return f"{self.num_tokens} tokens"
        share = self.num_unknown / self.num_tokens if self.num_tokens else 0.0
        return f"{self.num_tokens} tokens, {100.0 * share:.2f}% unknown"


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds.

    Args:
        num_pairs: Pairs kept.
        num_dropped: Training pairs left out because a side is empty.
        source: Tokens of the source.
        target: Tokens of the target (of the first reference).
    """

    num_pairs: int
    num_dropped: int
    source: SideCounts
    target: SideCounts


@dataclass(frozen=True)
class ParallelData:
    """Encoded parallel text.

    Args:
        languages: Suffix of the source's and of the target's files.
        source: Tokenizer and vocabulary of the source.
        target: The same of the target; the same tokenizer and vocabulary objects if joined.
        joined: Source and target ids mean the same symbols.
        split_stores: Source and target ids of each split.
        split_references: Acceptable texts of each example, by split; of a split that is not there
            the reference is the text that the target ids spell.
        counts: What each split holds.
    """

    languages: tuple[str, str]
    source: Side
    target: Side
    joined: bool
    split_stores: dict[str, Stores]
    split_references: dict[str, list[list[str]]]
    counts: dict[str, SplitCounts]

    def splits(self) -> list[str]:
        """Returns the names of the splits."""
        return list(self.split_stores)

    def stores(self, split: str) -> Stores:
        """Returns the ids of a split, source and target."""
        if split not in self.split_stores:
            known = ", ".join(self.split_stores)
            raise DataError(f"There is no {split!r} here. There are: {known}.")
        return self.split_stores[split]

    def references(self, split: str) -> list[list[str]]:
        """Returns the acceptable texts of each example of a split."""
        if split in self.split_references:
            return self.split_references[split]
        target = self.stores(split)[1]
        return [[self.target.decode(target[index])] for index in range(len(target))]

    def lines(self) -> list[str]:
        """Returns what there is, for people."""
        text = []
        for split, counts in self.counts.items():
            dropped = f", {counts.num_dropped} with an empty side dropped"
            text.append(
                f"{split}: {counts.num_pairs} pairs{dropped if counts.num_dropped else ''}; "
                f"{self.languages[0]} {counts.source}; {self.languages[1]} {counts.target}"
            )
        sizes = f"{len(self.source.vocabulary)} symbols for both sides"
        if not self.joined:
            sizes = (
                f"{len(self.source.vocabulary)} symbols ({self.languages[0]}), "
                f"{len(self.target.vocabulary)} symbols ({self.languages[1]})"
            )
        return [*text, f"vocabulary: {sizes}", *self._notes()]

    def _notes(self) -> Iterator[str]:
        for split, counts in self.counts.items():
            sides = zip(self.languages, (counts.source, counts.target), strict=True)
            unknown = {language: (side.num_tokens, side.num_unknown) for language, side in sides}
            num_rows = counts.num_pairs + counts.num_dropped
            yield from high_share_notes(split, num_rows, counts.num_dropped, unknown)


def load_raw_parallel(settings: ParallelSettings) -> ParallelData:
    """Learns tokenizers and vocabularies from raw text and encodes it in memory.

    Raises:
        DataError: A file cannot be used, or the sides of a split differ in length.
    """
    corpus = ParallelCorpus(settings)
    corpus.num_rows(TRAIN)  # refuses files of different lengths before anything is learnt
    (source, target), stores, totals = encode_in_memory(corpus)
    references = {}
    for split in corpus.splits():
        if split != TRAIN:
            pairs = raw_pairs(settings, split)
            references[split] = [references_of(t, settings.reference_separator) for _, t in pairs]
    return ParallelData(
        languages=(settings.source, settings.target),
        source=source,
        target=target,
        joined=settings.joined,
        split_stores={split: (pair[0], pair[1]) for split, pair in stores.items()},
        split_references=references,
        counts={split: count_split(each) for split, each in totals.items()},
    )


def count_split(totals: SplitTotals) -> SplitCounts:
    """Returns what a split of pairs holds."""
    source, target = (SideCounts(each.num_tokens, each.num_unknown) for each in totals.columns)
    num_dropped = totals.num_rows - totals.num_entries
    return SplitCounts(totals.num_entries, num_dropped, source, target)
