"""Several stores, one after the other, as one."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from typing_extensions import override

from seqtrain.data.collate import ranges
from seqtrain.data.sequence_store import IntArray, SequenceStore, check_indices
from seqtrain.errors import DataError


class JoinedStore(SequenceStore):
    """The sequences of several stores of one vocabulary: those of the first, then the second's.

    Args:
        stores: At least one.

    Raises:
        DataError: Their vocabularies differ in size.
    """

    def __init__(self, stores: Sequence[SequenceStore]) -> None:
        sizes = sorted({store.vocab_size for store in stores})
        if len(sizes) != 1:
            raise DataError(
                f"Stores of one corpus have vocabularies of {sizes} symbols. Prepare all of its "
                "parts with one vocabulary."
            )
        self.vocab_size = sizes[0]
        self._stores = list(stores)
        self._starts = np.cumsum([0, *map(len, stores)], dtype=np.int64)

    @override
    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    @override
    def num_tokens(self) -> int:
        return sum(store.num_tokens for store in self._stores)

    @property
    @override
    def fingerprint(self) -> str:
        parts = [store.fingerprint for store in self._stores]
        return blake2b(" ".join(parts).encode(), digest_size=8).hexdigest()

    @override
    def lengths_at(self, indices: IntArray) -> IntArray:
        lengths = np.empty(len(indices), dtype=np.int64)
        for store, places, local in self._parts(indices):
            lengths[places] = store.lengths_at(local)
        return lengths

    @override
    def gather(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        gathered = [(places, *store.gather(local)) for store, places, local in self._parts(indices)]
        lengths = np.empty(len(indices), dtype=np.int64)
        for places, _, part in gathered:
            lengths[places] = part
        begins = np.cumsum(lengths) - lengths
        flat = np.empty(int(lengths.sum()), dtype=np.int64)
        for places, ids, part in gathered:
            flat[ranges(begins[places], part)] = ids
        return flat, lengths

    @override
    def begins_at(self, indices: IntArray) -> IntArray:
        check_indices(indices, len(self) + 1, "the joined data")
        before = self._tokens_before()
        begins = np.full(len(indices), before[-1])
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(owners[indices < len(self)]).tolist():
            places = np.flatnonzero((owners == number) & (indices < len(self)))
            local = indices[places] - self._starts[number]
            begins[places] = before[number] + self._stores[number].begins_at(local)
        return begins

    @override
    def read(self, begins: IntArray, lengths: IntArray) -> IntArray:
        before, ends = self._tokens_before(), begins + lengths
        # A range is read in as many parts as there are stores that it reaches into.
        first = np.searchsorted(before, begins, side="right") - 1
        counts = np.maximum(np.searchsorted(before, ends, side="left") - first, 0)
        owners = ranges(first, counts)
        part_begins = np.maximum(np.repeat(begins, counts), before[owners])
        part_lengths = np.minimum(np.repeat(ends, counts), before[owners + 1]) - part_begins
        flat = np.empty(int(part_lengths.sum()), dtype=np.int64)
        places = np.cumsum(part_lengths) - part_lengths
        for number in np.unique(owners).tolist():
            own = owners == number
            local = part_begins[own] - before[number]
            part = self._stores[number].read(local, part_lengths[own])
            flat[ranges(places[own], part_lengths[own])] = part
        return flat

    @override
    def count(self, token: int) -> int:
        return sum(store.count(token) for store in self._stores)

    def _tokens_before(self) -> IntArray:
        return np.cumsum([0, *(store.num_tokens for store in self._stores)], dtype=np.int64)

    def _parts(self, indices: IntArray) -> list[tuple[SequenceStore, IntArray, IntArray]]:
        """Returns for each store that is asked: the places in `indices`, and the own indices."""
        check_indices(indices, len(self), "the joined data")
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        parts = []
        for number in np.unique(owners).tolist():
            places = np.flatnonzero(owners == number)
            parts.append((self._stores[number], places, indices[places] - self._starts[number]))
        return parts
