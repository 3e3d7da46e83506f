"""Views of a store whose entries are cut, or begin or end with one more symbol."""

from hashlib import blake2b

import numpy as np
from typing_extensions import override

from seqtrain.data.collate import ranges
from seqtrain.data.sequence_store import IntArray, SequenceStore
from seqtrain.errors import ConfigError, DataError


class EdgedStore(SequenceStore):
    """Entries with one id before or after each, such as the tag of a language.

    Corpora of several languages get a tag each and are joined by JoinedStore.

    Args:
        store: The entries.
        vocab_size: Ids are below it; the tags may be new ones.
        prepend: Id before each entry; None for none.
        append: Id after each entry; None for none.

    Raises:
        DataError: An id is not below vocab_size.
    """

    def __init__(
        self,
        store: SequenceStore,
        vocab_size: int,
        prepend: int | None = None,
        append: int | None = None,
    ) -> None:
        for edge in (prepend, append):
            if edge is not None and not 0 <= edge < vocab_size:
                raise DataError(
                    f"The id {edge} cannot be put to entries: there are {vocab_size} symbols."
                )
        self.vocab_size = max(vocab_size, store.vocab_size)
        self._store = store
        self._prepend = [] if prepend is None else [prepend]
        self._append = [] if append is None else [append]
        self._num_edges = len(self._prepend) + len(self._append)

    @override
    def __len__(self) -> int:
        return len(self._store)

    @property
    @override
    def num_tokens(self) -> int:
        return self._store.num_tokens + len(self) * self._num_edges

    @property
    @override
    def fingerprint(self) -> str:
        parts = (self._store.fingerprint, self._prepend, self._append)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @override
    def lengths_at(self, indices: IntArray) -> IntArray:
        return self._store.lengths_at(indices) + self._num_edges

    @override
    def gather(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        inner, inner_lengths = self._store.gather(indices)
        lengths = inner_lengths + self._num_edges
        begins = np.cumsum(lengths) - lengths
        flat = np.empty(int(lengths.sum()), dtype=np.int64)
        flat[ranges(begins + len(self._prepend), inner_lengths)] = inner
        for edge in self._prepend:
            flat[begins] = edge
        for edge in self._append:
            flat[begins + lengths - 1] = edge
        return flat, lengths

    @override
    def begins_at(self, indices: IntArray) -> IntArray:
        return self._store.begins_at(indices) + indices * self._num_edges

    @override
    def count(self, token: int) -> int:
        edges = (self._prepend + self._append).count(token)
        return self._store.count(token) + edges * len(self)


class CutStore(SequenceStore):
    """Entries without what is behind their first so many ids.

    Its fingerprint is that of the uncut entries.

    Args:
        store: The entries.
        longest: Most ids of an entry.

    Raises:
        ConfigError: No id would be left.
    """

    def __init__(self, store: SequenceStore, longest: int) -> None:
        if longest < 1:
            raise ConfigError(f"Entries cannot be cut to {longest} symbols. Raise the limit.")
        self.vocab_size = store.vocab_size
        self._store = store
        self._longest = longest

    @override
    def __len__(self) -> int:
        return len(self._store)

    @property
    @override
    def num_tokens(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    @property
    @override
    def fingerprint(self) -> str:
        return self._store.fingerprint

    @override
    def lengths_at(self, indices: IntArray) -> IntArray:
        return np.minimum(self._store.lengths_at(indices), self._longest)

    @override
    def gather(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        lengths = self.lengths_at(indices)
        return self._store.read(self._store.begins_at(indices), lengths), lengths

    @override
    def count(self, token: int) -> int:
        every = (self[index] for index in range(len(self)))
        return sum(int((ids == token).sum()) for ids in every)
