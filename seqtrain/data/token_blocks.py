"""Lines or documents as blocks of a limited number of symbols."""

from hashlib import blake2b

import numpy as np
from typing_extensions import override

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.sequence_store import SequenceStore, check_indices
from seqtrain.data.token_cuts import CutIndex, Cutter, EqualCutter, GreedyCutter, Units
from seqtrain.data.token_stream import IntArray, TokenStream
from seqtrain.data.vocabulary import EOS
from seqtrain.errors import ConfigError, DataError
from seqtrain.option_checks import require_range

BREAK_MODES = ("none", "complete", "complete_doc", "document", "eos")


class TokenBlocks(SequenceStore):
    """A view of a store as blocks. Every symbol of the stream is in exactly one block.

    The stream is entry, separator, entry, separator, ... Modes:

    - none: a cut every `tokens_per_sample` symbols, wherever that is.
    - complete: a block ends at the last end of a line that fits.
    - complete_doc: the same, and at the end of each document.
    - document: each document is cut every `tokens_per_sample` symbols.
    - eos: each line is a block.

    A line or document that is longer than a block is cut into several. Memory is a few bytes for
    each 64 blocks; all modes but none read the lengths once at the beginning.

    Args:
        store: One entry for each line (or document), without end-of-sequence symbols.
        tokens_per_sample: Most symbols of a block, separators counted.
        mode: One of BREAK_MODES.
        separator: Id after each entry; None for none.
        document_starts: The first entry of each document, ascending from 0, with or without the
            number of entries at the end, [documents (+ 1)]. None where each entry is a document.

    Raises:
        ConfigError: A mode that does not exist, or a size below 1.
        DataError: The documents do not begin with entry 0 or are not ascending.
    """

    def __init__(
        self,
        store: SequenceStore,
        tokens_per_sample: int,
        mode: str = "none",
        *,
        separator: int | None = EOS,
        document_starts: ArrayFile | IntArray | None = None,
    ) -> None:
        if mode not in BREAK_MODES:
            raise ConfigError(
                f"The mode of token blocks must be one of {', '.join(BREAK_MODES)}, got {mode!r}."
            )
        require_range("tokens_per_sample", tokens_per_sample, least=1)
        starts = None if document_starts is None else _with_end(document_starts, len(store))
        self.vocab_size = store.vocab_size
        self.stream = TokenStream(store, separator)
        """What is cut."""
        self.documents = Units(self.stream, starts)
        """The documents of the stream."""
        self.crosses_documents = mode in ("none", "complete")
        """True if a block may hold parts of several documents."""
        self.tokens_per_sample = tokens_per_sample
        """Most symbols of a block."""
        self._identity = (tokens_per_sample, mode, separator, _hash(starts))
        self._index = None if mode == "none" else CutIndex(self._cutter(mode), self.stream.size)

    @override
    def __len__(self) -> int:
        if self._index is None:
            return -(-self.stream.size // self.tokens_per_sample)
        return len(self._index)

    @property
    @override
    def num_tokens(self) -> int:
        return self.stream.size

    @property
    @override
    def fingerprint(self) -> str:
        parts = (self.stream.store.fingerprint, *self._identity)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    def extents(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        """Returns where blocks begin in the stream, and their lengths."""
        check_indices(indices, len(self), "the token blocks")
        if self._index is not None:
            begins, ends = self._index.blocks(indices)
            return begins, ends - begins
        begins = indices * self.tokens_per_sample
        return begins, np.minimum(begins + self.tokens_per_sample, self.stream.size) - begins

    @override
    def lengths_at(self, indices: IntArray) -> IntArray:
        return self.extents(indices)[1]

    @override
    def gather(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        begins, lengths = self.extents(indices)
        return self.stream.read(begins, lengths), lengths

    @override
    def begins_at(self, indices: IntArray) -> IntArray:
        inside = indices < len(self)
        begins = np.full(len(indices), self.stream.size)
        begins[inside] = self.extents(indices[inside])[0]
        return begins

    @override
    def read(self, begins: IntArray, lengths: IntArray) -> IntArray:
        return self.stream.read(begins, lengths)

    @override
    def count(self, token: int) -> int:
        separators = self.stream.num_entries if token == self.stream.separator else 0
        return self.stream.store.count(token) + separators

    def _cutter(self, mode: str) -> Cutter:
        if mode == "eos":
            return EqualCutter(Units(self.stream), self.tokens_per_sample)
        if mode == "document":
            return EqualCutter(self.documents, self.tokens_per_sample)
        documents = None if mode == "complete" else self.documents
        return GreedyCutter(self.stream, self.tokens_per_sample, documents)


def _with_end(starts: ArrayFile | IntArray, num_entries: int) -> ArrayFile:
    if not isinstance(starts, ArrayFile):
        starts = ArrayFile.in_memory(np.asarray(starts, dtype=np.int64))
    ends = starts.at(np.array([0, len(starts) - 1])).tolist() if len(starts) else [0, 0]
    if ends[1] < num_entries or len(starts) == 0:
        every = starts.at(np.arange(len(starts), dtype=np.int64))
        starts = ArrayFile.in_memory(np.append(every, num_entries))
    if (len(starts) < 2 and num_entries) or ends[0] != 0 or ends[1] > num_entries or _falls(starts):
        raise DataError(
            f"The documents of {num_entries} entries must begin with entry 0 and ascend. "
            "Prepare the data again."
        )
    return starts


def _falls(starts: ArrayFile) -> bool:
    """Says whether any document begins before the one before it."""
    last = 0
    for block in starts.blocks():
        if block[0] < last or (np.diff(block) < 0).any():
            return True
        last = int(block[-1])
    return False


def _hash(starts: ArrayFile | None) -> int | None:
    return None if starts is None else starts.crc32()
