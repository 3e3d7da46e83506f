"""Plain text as ids, with the tokenizer and the vocabulary that made them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.side import Side
from seqtrain.data.text.corpus import SplitTotals, encode_in_memory, high_share_notes
from seqtrain.data.text.monolingual_text import LINE, TextCorpus, TextSettings
from seqtrain.errors import DataError


@dataclass(frozen=True)
class TextCounts:
    """What a split holds.

    Args:
        num_lines: Lines kept: entries of the store.
        num_documents: Documents.
        num_tokens: Tokens, eos not counted.
        num_unknown: Unknown ones among them; None if they were not counted.
        num_bytes: Bytes of the lines in UTF-8, one more for the end of each; None if unknown.
        num_characters: The same in characters.
    """

    num_lines: int
    num_documents: int
    num_tokens: int
    num_unknown: int | None
    num_bytes: int | None
    num_characters: int | None

    def __str__(self) -> str:
        text = f"{self.num_lines} lines in {self.num_documents} documents, {self.num_tokens} tokens"
        if self.num_unknown is not None:
            text += f", {100.0 * self.num_unknown / max(self.num_tokens, 1):.2f}% unknown"
        if self.num_bytes is not None:
            text += f", {self.num_bytes} bytes"
        return text


@dataclass(frozen=True)
class TextData:
    """Encoded text.

    Args:
        side: Tokenizer and vocabulary.
        split_stores: Ids of each split: an entry for each line, without eos.
        split_documents: Of each split the first entry of each document, and the number of
            entries at the end, int64 [documents + 1]; None: every entry is a document.
        counts: What each split holds.
    """

    side: Side
    split_stores: dict[str, SequenceStore]
    split_documents: dict[str, ArrayFile | None]
    counts: dict[str, TextCounts]

    def splits(self) -> list[str]:
        """Returns the names of the splits."""
        return list(self.split_stores)

    def store(self, split: str) -> SequenceStore:
        """Returns the ids of a split."""
        self._check(split)
        return self.split_stores[split]

    def documents(self, split: str) -> ArrayFile | None:
        """Returns where the documents of a split begin; None if every entry is one."""
        self._check(split)
        return self.split_documents[split]

    def lines(self) -> list[str]:
        """Returns what there is, for people."""
        text = [f"{split}: {counts}" for split, counts in self.counts.items()]
        text.append(f"vocabulary: {len(self.side.vocabulary)} symbols")
        for split, counts in self.counts.items():
            unknown = {"the text": (counts.num_tokens, counts.num_unknown)}
            text += high_share_notes(split, counts.num_lines, 0, unknown)
        return text

    def _check(self, split: str) -> None:
        if split not in self.split_stores:
            known = ", ".join(self.split_stores)
            raise DataError(f"There is no {split!r} here. There are: {known}.")


def load_raw_text(settings: TextSettings) -> TextData:
    """Learns a tokenizer and a vocabulary from raw text and encodes it in memory.

    Raises:
        DataError: A file cannot be used.
    """
    (side,), stores, totals = encode_in_memory(TextCorpus(settings))
    documents = {}
    for split, each in totals.items():
        starts = ArrayFile.in_memory(each.document_starts())
        documents[split] = starts if has_documents(settings) else None
    counts = {split: count_text(settings, each) for split, each in totals.items()}
    return TextData(side, {split: each[0] for split, each in stores.items()}, documents, counts)


def has_documents(settings: TextSettings) -> bool:
    """Says whether a document may have more than one line."""
    return settings.documents != LINE


def count_text(settings: TextSettings, totals: SplitTotals) -> TextCounts:
    """Returns what a split of text holds."""
    (column,) = totals.columns
    num_documents = totals.num_entries
    if has_documents(settings):
        num_documents = len(totals.document_starts()) - 1
    return TextCounts(
        num_lines=totals.num_entries,
        num_documents=num_documents,
        num_tokens=column.num_tokens,
        num_unknown=column.num_unknown,
        num_bytes=column.num_bytes,
        num_characters=column.num_characters,
    )


def join_text(parts: Sequence[TextData]) -> TextData:
    """Returns several corpora as one: the training texts one after the other, the rest once.

    Raises:
        DataError: Their vocabularies differ.
    """
    first = parts[0]
    if any(part.side.vocabulary.symbols != first.side.vocabulary.symbols for part in parts):
        raise DataError(
            "The folders of one corpus have different vocabularies. Prepare all of them with one."
        )
    stores, documents, counts = {}, {}, {}
    for split in dict.fromkeys(split for part in parts for split in part.splits()):
        having = [part for part in parts if split in part.splits()]
        if not split.startswith("train"):
            having = having[:1]
        joined = [part.store(split) for part in having]
        stores[split] = joined[0] if len(joined) == 1 else JoinedStore(joined)
        documents[split] = _join_documents(
            [(len(part.store(split)), part.documents(split)) for part in having]
        )
        counts[split] = _add_counts([part.counts[split] for part in having])
    return TextData(first.side, stores, documents, counts)


def _join_documents(parts: list[tuple[int, ArrayFile | None]]) -> ArrayFile | None:
    if len(parts) == 1 or all(documents is None for _, documents in parts):
        return parts[0][1]
    before, starts = 0, []
    for num_entries, documents in parts:
        if documents is None:
            own = np.arange(num_entries, dtype=np.int64)
        else:
            own = documents.at(np.arange(len(documents) - 1, dtype=np.int64))
        starts.append(before + own)
        before += num_entries
    return ArrayFile.in_memory(np.concatenate([*starts, [before]]))


def _add_counts(parts: list[TextCounts]) -> TextCounts:
    def total(name: str) -> int | None:
        values = [getattr(part, name) for part in parts]
        return None if None in values else sum(values)

    return TextCounts(
        num_lines=sum(part.num_lines for part in parts),
        num_documents=sum(part.num_documents for part in parts),
        num_tokens=sum(part.num_tokens for part in parts),
        num_unknown=total("num_unknown"),
        num_bytes=total("num_bytes"),
        num_characters=total("num_characters"),
    )
