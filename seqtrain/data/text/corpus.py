"""What preparing needs to know of raw text, and how text becomes vocabularies and ids."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqtrain.data.side import Side
from seqtrain.data.text.byte_streams import Location
from seqtrain.data.text.encoding import Cutter, Row, chunks_of, cut
from seqtrain.data.text.piece_log import Segment
from seqtrain.data.token_store import TokenStore
from seqtrain.data.tokenizers.base import TOKENIZERS, Tokenizer, TokenizerConfig
from seqtrain.data.vocabulary import SPECIALS, UNKNOWN, Vocabulary
from seqtrain.errors import ConfigError, DataError

TRAIN = "train"
IntArray = npt.NDArray[np.int64]
Ragged = tuple[IntArray, IntArray]
HIGH_UNKNOWN = 0.05
HIGH_DROPPED = 0.1


class Corpus(ABC):
    """Raw text by split, in columns: pairs have two, plain text has one.

    Args:
        columns: Name of each column.
        configs: How each is cut into pieces.
        joined: All columns have one tokenizer (that of the first) and one vocabulary.
        min_count: Rarer pieces of the training text are unknown.
    """

    has_no_text = "no line has text"
    """What is wrong if nothing can be learnt from."""

    def __init__(
        self,
        columns: tuple[str, ...],
        configs: tuple[TokenizerConfig, ...],
        joined: bool,
        min_count: int,
    ) -> None:
        self.columns = columns
        self.configs = configs
        self.joined = joined
        self.min_count = min_count

    @abstractmethod
    def splits(self) -> list[str]:
        """Returns the names of the splits; train is the first."""

    @abstractmethod
    def files(self, split: str) -> list[Location]:
        """Returns the raw files of a split."""

    @abstractmethod
    def num_rows(self, split: str) -> int:
        """Returns how many rows `rows` will yield, breaks not counted."""

    @abstractmethod
    def rows(self, split: str) -> Iterator[Row | None]:
        """Yields the rows of a split; None where a document begins."""

    @abstractmethod
    def keeps_empty(self, split: str) -> bool:
        """Says whether rows with an empty column are kept."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Returns the settings that decide what is made of the text, as plain values."""

    def settings(self) -> dict[str, Any]:
        """Returns `identity` and what every corpus has."""
        return self.identity() | {
            "columns": list(self.columns),
            "joined": self.joined,
            "min_count": self.min_count,
            "tokenizers": [asdict(config) for config in self.configs],
        }


@dataclass(frozen=True)
class ColumnTotals:
    """What one column of a split holds; of pieces that are unknown among them, and of raw text."""

    num_tokens: int = 0
    num_unknown: int = 0
    num_characters: int = 0
    num_bytes: int = 0


@dataclass
class SplitTotals:
    """What a split holds, counted while it is encoded.

    Args:
        columns: Of each column.
        num_rows: Rows that were read.
        num_entries: Rows that were kept.
        breaks: Entries before which a document begins, in parts.
    """

    columns: list[ColumnTotals]
    breaks: list[IntArray]
    num_rows: int = 0
    num_entries: int = 0

    def document_starts(self) -> IntArray:
        """Returns the first entry of each document, and the number of entries."""
        starts = np.unique(np.concatenate([np.zeros(1, np.int64), *self.breaks]))
        return np.append(starts[starts < self.num_entries], self.num_entries)


def learn_tokenizers(corpus: Corpus) -> list[Tokenizer]:
    """Learns the tokenizer of each column from the training text; one for all if joined."""
    if next(_train_lines(corpus, _places(corpus)), None) is None:
        raise DataError(f"{corpus.files(TRAIN)[0]}: {corpus.has_no_text}. Give training text.")
    every = _places(corpus)
    groups = [every] if corpus.joined else [range(place, place + 1) for place in every]
    tokenizers: list[Tokenizer] = []
    for group in groups:
        config = corpus.configs[group[0]]
        if config.vocab_size <= len(SPECIALS) and config.vocab_size != 0:
            raise ConfigError(
                f"task.vocab_size={config.vocab_size} leaves no room besides the "
                f"{len(SPECIALS)} special symbols. Raise it, or 0 for no limit."
            )
        tokenizer = TOKENIZERS.get(config.name).cls(config)
        tokenizer.train(_train_lines(corpus, group))
        tokenizers += [tokenizer] * len(group)
    return tokenizers


def build_sides(
    corpus: Corpus, tokenizers: Sequence[Tokenizer], counts: Sequence[Mapping[str, int]]
) -> list[Side]:
    """Makes the vocabularies from how often each piece of each column occurs in training."""
    if corpus.joined:
        together: Counter[str] = Counter()
        for column in counts:
            together.update(column)
        return [_side(corpus, tokenizers[0], together)] * len(corpus.columns)
    return [
        _side(corpus, tokenizer, column)
        for tokenizer, column in zip(tokenizers, counts, strict=True)
    ]


def count_symbols(segments: Iterable[Segment], num_columns: int) -> list[Counter[str]]:
    """Returns how often each piece of each column occurs."""
    counters: list[Counter[str]] = [Counter() for _ in range(num_columns)]
    for segment in segments:
        for counter, column in zip(counters, segment.columns, strict=True):
            counter.update(dict(zip(column.symbols, column.counts.tolist(), strict=True)))
    return counters


def encode_segments(
    segments: Iterable[Segment], sides: Sequence[Side], totals: SplitTotals
) -> Iterator[list[Ragged]]:
    """Yields the ids of each column of each segment, and adds to the totals."""
    for segment in segments:
        encoded = []
        for place, (side, column) in enumerate(zip(sides, segment.columns, strict=True)):
            ids = side.vocabulary.encode(column.symbols)
            encoded.append((ids[column.flat], column.lengths.astype(np.int64)))
            so_far = totals.columns[place]
            totals.columns[place] = ColumnTotals(
                so_far.num_tokens + len(column.flat),
                so_far.num_unknown + int(column.counts[ids == UNKNOWN].sum()),
                so_far.num_characters + column.num_characters,
                so_far.num_bytes + column.num_bytes,
            )
        totals.breaks.append(totals.num_entries + segment.breaks)
        totals.num_rows += segment.num_rows
        totals.num_entries += len(encoded[0][1])
        yield encoded


def no_totals(num_columns: int) -> SplitTotals:
    """Returns the totals of a split that was not counted yet."""
    return SplitTotals([ColumnTotals()] * num_columns, [])


def encode_in_memory(
    corpus: Corpus,
) -> tuple[list[Side], dict[str, list[TokenStore]], dict[str, SplitTotals]]:
    """Learns from a corpus and encodes it without writing anything.

    Returns:
        The side of each column, the stores of each column of each split, and what they hold.
    """
    tokenizers = learn_tokenizers(corpus)
    segments = {
        split: [
            cut(Cutter(tokenizers, corpus.keeps_empty(split)), chunk)
            for chunk in chunks_of(corpus.rows(split))
        ]
        for split in corpus.splits()
    }
    sides = build_sides(corpus, tokenizers, count_symbols(segments[TRAIN], len(corpus.columns)))
    stores, totals = {}, {}
    for split in corpus.splits():
        totals[split] = no_totals(len(sides))
        entries: list[list[IntArray]] = [[] for _ in sides]
        for encoded in encode_segments(segments[split], sides, totals[split]):
            for column, (flat, lengths) in zip(entries, encoded, strict=True):
                column += np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []
        stores[split] = [
            TokenStore.from_sequences(column, len(side.vocabulary))
            for column, side in zip(entries, sides, strict=True)
        ]
    return sides, stores, totals


def given_files(corpus: Corpus) -> list[Path]:
    """Returns the files that hold tokenizers which are not learnt."""
    return [
        path
        for config in corpus.configs
        for path in TOKENIZERS.get(config.name).cls(config).given_files()
    ]


def high_share_notes(
    split: str, num_rows: int, num_dropped: int, unknown: Mapping[str, tuple[int, int | None]]
) -> Iterator[str]:
    """Yields what people should know where much of a split is left out or unknown.

    Args:
        split: Name of the split.
        num_rows: Rows of the raw text.
        num_dropped: Rows left out.
        unknown: For each column, how many pieces there are and how many of them are unknown.
    """
    if num_dropped > HIGH_DROPPED * num_rows:
        yield (
            f"note: {split}: {num_dropped} of {num_rows} rows are left out because text is "
            "missing. Look at the raw files."
        )
    for column, (num_tokens, num_unknown) in unknown.items():
        if num_unknown is not None and num_unknown > HIGH_UNKNOWN * num_tokens:
            share = 100.0 * num_unknown / num_tokens
            yield (
                f"note: {split}: {share:.1f}% of the symbols of {column} are unknown. Use "
                "subwords, bytes, a larger vocabulary, or training text of the same kind."
            )


def _places(corpus: Corpus) -> range:
    return range(len(corpus.columns))


def _train_lines(corpus: Corpus, columns: Sequence[int]) -> Iterator[str]:
    for row in corpus.rows(TRAIN):
        if row is not None and all(cell and not cell.isspace() for cell in row):
            yield from (row[column] for column in columns)


def _side(corpus: Corpus, tokenizer: Tokenizer, counts: Mapping[str, int]) -> Side:
    # A tokenizer with a closed set of pieces has them all in the vocabulary, seen or not.
    alphabet = tuple(getattr(tokenizer, "alphabet", ()))
    counted = Counter(dict.fromkeys(alphabet, corpus.min_count))
    counted.update(counts)
    max_size = tokenizer.config.vocab_size
    return Side(tokenizer, Vocabulary.from_counts(counted, corpus.min_count, max_size))
