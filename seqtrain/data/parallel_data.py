"""Parallel text as ids, with the tokenizers and vocabularies that made them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from seqtrain.data.encoding import count_pieces
from seqtrain.data.parallel_text import (
    TRAIN,
    ParallelSettings,
    count_pairs,
    raw_pairs,
    read_pairs,
    references_of,
)
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.side import Side
from seqtrain.data.token_store import TokenStore
from seqtrain.data.tokenizers.base import TOKENIZERS, TokenizerConfig
from seqtrain.data.vocabulary import SPECIALS, UNKNOWN, Vocabulary
from seqtrain.errors import ConfigError, DataError

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
        return [*text, f"vocabulary: {sizes}"]


def load_raw_parallel(settings: ParallelSettings) -> ParallelData:
    """Learns tokenizers and vocabularies from raw text and encodes it in memory.

    Raises:
        DataError: A file cannot be used, or the sides of a split differ in length.
    """
    line_counts = count_pairs(settings)
    source, target = learn_sides(settings)
    stores: dict[str, Stores] = {}
    references: dict[str, list[list[str]]] = {}
    counts: dict[str, SplitCounts] = {}
    for split, num_lines in line_counts.items():
        pairs = list(read_pairs(settings, split))
        stores[split] = (
            TokenStore.from_sequences(
                (source.encode(pair[0]) for pair in pairs), len(source.vocabulary)
            ),
            TokenStore.from_sequences(
                (target.encode(pair[1]) for pair in pairs), len(target.vocabulary)
            ),
        )
        counts[split] = count_split(stores[split], num_lines)
        if split != TRAIN:
            separator = settings.reference_separator
            references[split] = [
                references_of(line, separator) for _, line in raw_pairs(settings, split)
            ]
    languages = (settings.source, settings.target)
    return ParallelData(languages, source, target, settings.joined, stores, references, counts)


def learn_sides(settings: ParallelSettings, num_workers: int = 1) -> tuple[Side, Side]:
    """Learns the tokenizers and vocabularies of both sides from the training text.

    Args:
        settings: The text.
        num_workers: Processes that count pieces; the result is the same for any number.
    """
    if next(read_pairs(settings, TRAIN), None) is None:
        raise DataError(
            f"{settings.path(TRAIN, settings.source)}: no pair has text on both sides. "
            "Give training text."
        )
    if settings.joined:
        both = _learn(settings, settings.source_tokenizer, (0, 1), num_workers)
        return both, both
    source = _learn(settings, settings.source_tokenizer, (0,), num_workers)
    return source, _learn(settings, settings.target_tokenizer, (1,), num_workers)


def count_split(stores: Stores, num_lines: int) -> SplitCounts:
    """Counts what the stores of a split hold; num_lines is that of the raw files."""
    num_pairs = len(stores[0])
    source, target = (SideCounts(store.num_tokens, store.count(UNKNOWN)) for store in stores)
    return SplitCounts(num_pairs, num_lines - num_pairs, source, target)


def _learn(
    settings: ParallelSettings, config: TokenizerConfig, columns: tuple[int, ...], num_workers: int
) -> Side:
    if 0 < config.vocab_size <= len(SPECIALS):
        raise ConfigError(
            f"tokenizer.vocab_size={config.vocab_size} leaves no room besides the "
            f"{len(SPECIALS)} special symbols. Raise it, or 0 for no limit."
        )
    tokenizer = TOKENIZERS.get(config.name).cls(config)
    tokenizer.train(_train_lines(settings, columns))
    # A tokenizer with a closed set of pieces has them all in the vocabulary, seen or not.
    alphabet = tuple(getattr(tokenizer, "alphabet", ()))
    counts = Counter(dict.fromkeys(alphabet, settings.min_count))
    counts.update(count_pieces(tokenizer, _train_lines(settings, columns), num_workers))
    return Side(tokenizer, Vocabulary.from_counts(counts, settings.min_count, config.vocab_size))


def _train_lines(settings: ParallelSettings, columns: tuple[int, ...]) -> Iterator[str]:
    for pair in read_pairs(settings, TRAIN):
        for column in columns:
            yield pair[column]
