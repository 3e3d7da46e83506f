"""Sequences of ids in two files that are never read as a whole: PREFIX.tokens and PREFIX.index.

PREFIX.tokens holds the ids of all sequences one after the other, little-endian, in the narrowest
unsigned type. PREFIX.index holds a header and where each sequence begins, int64 [count + 1].
"""

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.data.array_file import ArrayFile, runs
from seqtrain.data.array_writer import ArrayWriter
from seqtrain.data.sequence_store import (
    SequenceStore,
    check_extents,
    check_ids,
    check_indices,
    entries_at,
)
from seqtrain.errors import DataError, MachineError

MAGIC = b"SEQTOKEN"
VERSION = 1
# magic, version, bytes per token, count, total, vocab_size, crc of tokens, crc of offsets
HEADER = struct.Struct("<8sIIQQQII")
HEADER_BYTES = 56  # the header, its own crc32 and four zero bytes
FLUSH_TOKENS = 1 << 18
Ids = Sequence[int] | npt.NDArray[np.int64]
WAY_OUT = "The file is damaged: restore it, or run seqtrain-preprocess again."


class TokenStore(SequenceStore):
    """Read-only sequences of ids, from files or from memory.

    Opening reads the header and compares the sizes. The checksums of files of up to 64 MB are
    compared at once; of larger ones by `verify`. Whatever was not verified is still checked when
    it is read, so that damage never reads outside of the file or gives an id that does not exist.

    Args:
        prefix: Path without `.tokens` and `.index`.

    Raises:
        DataError: A file is missing, damaged, or not of this kind.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix: Path | None = Path(prefix)
        self._open()
        for path, array in self._files():
            if array.is_small:
                self._verify_file(path, array)

    @classmethod
    def from_sequences(cls, sequences: Iterable[Ids], vocab_size: int) -> Self:
        """Returns a store that lives in memory; pickling copies it."""
        arrays = [_checked_ids(ids, vocab_size, index) for index, ids in enumerate(sequences)]
        store = cls.__new__(cls)
        store._prefix = None
        store.vocab_size = vocab_size
        offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        tokens = np.concatenate(
            [np.zeros(0, np.int64), *arrays], dtype=token_dtype(vocab_size), casting="unsafe"
        )
        store._offsets, store._tokens = ArrayFile.in_memory(offsets), ArrayFile.in_memory(tokens)
        store._crcs = (zlib.crc32(tokens.data), zlib.crc32(offsets.data))
        return store

    @override
    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    @override
    def num_tokens(self) -> int:
        return len(self._tokens)

    @property
    @override
    def fingerprint(self) -> str:
        """Hash of the content, the same in memory and in files."""
        parts = (len(self), self.num_tokens, self.vocab_size, *self._crcs)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @override
    def lengths_at(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        check_indices(indices, len(self), self._name(""))
        # Neighbours share a read: one more offset than there are entries in each stretch.
        begins, sizes = runs(indices)
        offsets = self._offsets.at_ranges(begins, sizes + 1)
        is_begin = np.ones(len(offsets), dtype=np.bool_)
        is_begin[np.cumsum(sizes + 1) - 1] = False
        places = np.flatnonzero(is_begin)
        return self._checked(indices, offsets[places], offsets[places + 1])[1]

    @override
    def gather(
        self, indices: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        begins, lengths = self._extents(indices)
        flat = self._tokens.at_ranges(begins, lengths).astype(np.int64)
        check_ids(flat, indices, lengths, self.vocab_size, self._name(".tokens"))
        return flat, lengths

    @override
    def begins_at(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        check_indices(indices, len(self) + 1, self._name(""))
        begins = self._offsets.at(indices)
        check_extents(indices, begins, 0 * begins, self.num_tokens, self._name(".index"))
        return begins

    @override
    def read(
        self, begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        if len(begins) and not 0 <= begins.min() <= (begins + lengths).max() <= self.num_tokens:
            raise DataError(f"{self._name('.index')}: entries are not in order. {WAY_OUT}")
        flat = self._tokens.at_ranges(begins, lengths).astype(np.int64)
        if flat.max(initial=0) >= self.vocab_size:
            entries = entries_at(self, begins)
            check_ids(flat, entries, lengths, self.vocab_size, self._name(".tokens"))
        return flat

    @override
    def count(self, token: int) -> int:
        return sum(int((block == token).sum()) for block in self._tokens.blocks())

    def verify(self) -> None:
        """Reads everything and compares it with the checksums.

        Raises:
            DataError: Something differs; the message names the file.
        """
        for path, array in self._files():
            self._verify_file(path, array)

    def _extents(
        self, indices: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        check_indices(indices, len(self), self._name(""))
        offsets = self._offsets.at_ranges(indices, np.full(len(indices), 2)).reshape(-1, 2)
        return self._checked(indices, offsets[:, 0], offsets[:, 1])

    def _checked(
        self,
        indices: npt.NDArray[np.int64],
        begins: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        lengths = ends - begins
        check_extents(indices, begins, lengths, self.num_tokens, self._name(".index"))
        return begins, lengths

    def _open(self) -> None:
        index_path, tokens_path = self._path(".index"), self._path(".tokens")
        raw = _read_header(index_path)
        magic, version, width, count, total, vocab_size, *crcs = HEADER.unpack_from(raw)
        if magic != MAGIC:
            raise DataError(f"{index_path}: not a token store. Run seqtrain-preprocess.")
        if raw[HEADER.size :] != struct.pack("<II", zlib.crc32(raw[: HEADER.size]), 0):
            raise DataError(f"{index_path}: the header's checksum differs. {WAY_OUT}")
        if version != VERSION or width != token_dtype(vocab_size).itemsize:
            raise DataError(
                f"{index_path}: format {version} with {width}-byte ids is not known here (this "
                f"program reads format {VERSION}). Run seqtrain-preprocess again."
            )
        _check_size(index_path, HEADER_BYTES + 8 * (count + 1))
        _check_size(tokens_path, width * total)
        self.vocab_size = vocab_size
        self._crcs = (crcs[0], crcs[1])
        self._offsets = ArrayFile(index_path, np.dtype("<i8"), HEADER_BYTES, count + 1)
        self._tokens = ArrayFile(tokens_path, token_dtype(vocab_size), 0, total)
        first, last = self._offsets.at(np.array([0, count])).tolist()
        if first != 0 or last != total:
            raise DataError(
                f"{index_path}: the entries span {first} to {last}, not 0 to {total}. {WAY_OUT}"
            )

    def _files(self) -> list[tuple[str, ArrayFile]]:
        return [(".tokens", self._tokens), (".index", self._offsets)]

    def _verify_file(self, suffix: str, array: ArrayFile) -> None:
        if array.crc32() != self._crcs[suffix == ".index"]:
            raise DataError(f"{self._name(suffix)}: the checksum differs. {WAY_OUT}")

    def _path(self, suffix: str) -> Path:
        return Path(f"{self._prefix}{suffix}")

    def _name(self, suffix: str) -> str:
        return f"{self._prefix}{suffix}" if self._prefix else "the data in memory"

    def __getstate__(self) -> dict[str, Any]:
        return {"_prefix": self._prefix} if self._prefix else self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._prefix:
            self._open()


class TokenStoreWriter:
    """Writes a token store; its files appear under their names when it is closed without error.

    Memory does not grow with what is written. Use it in a `with` block.

    Args:
        prefix: Path without `.tokens` and `.index`.
        vocab_size: Every id must be below it.
    """

    def __init__(self, prefix: Path, vocab_size: int) -> None:
        self._paths = [Path(f"{prefix}.tokens"), Path(f"{prefix}.index")]
        self._temporaries = [Path(f"{path}.{os.getpid()}.tmp") for path in self._paths]
        self._vocab_size = vocab_size
        self._dtype = token_dtype(vocab_size)
        self._waiting: list[npt.NDArray[np.int64]] = []
        self._num_waiting = self._count = self._total = 0
        self._tokens = ArrayWriter(self._temporaries[0], self._paths[0])
        self._index = ArrayWriter(self._temporaries[1], self._paths[1], HEADER_BYTES)
        self._index.write(np.zeros(1, dtype="<i8"))

    def append(self, ids: Ids) -> None:
        """Adds one sequence.

        Raises:
            DataError: An id is negative or not below vocab_size.
        """
        array = _checked_ids(ids, self._vocab_size, self._count + len(self._waiting))
        self._waiting.append(array)
        self._num_waiting += len(array) + 1
        if self._num_waiting >= FLUSH_TOKENS:
            self._flush()

    def append_many(self, sequences: Iterable[Ids]) -> None:
        """Adds several sequences."""
        for ids in sequences:
            self.append(ids)

    def append_ragged(self, flat: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> None:
        """Adds sequences that stand one after the other.

        Args:
            flat: Their ids, [sum of lengths].
            lengths: Length of each.
        """
        self._flush()
        _checked_ids(flat, self._vocab_size, self._count)
        self._tokens.write(flat.astype(self._dtype))
        self._index.write((self._total + np.cumsum(lengths)).astype("<i8"))
        self._count += len(lengths)
        self._total += len(flat)

    def close(self) -> None:
        """Writes what waits, makes it durable and gives the files their names."""
        self._flush()
        header = HEADER.pack(
            MAGIC,
            VERSION,
            self._dtype.itemsize,
            self._count,
            self._total,
            self._vocab_size,
            self._tokens.crc32,
            self._index.crc32,
        )
        self._index.write_header(header + struct.pack("<II", zlib.crc32(header), 0))
        self._tokens.close()
        self._index.close()
        try:
            for temporary, path in zip(self._temporaries, self._paths, strict=True):
                temporary.replace(path)
        except OSError as error:
            raise MachineError(f"{self._paths[1]}: cannot be written: {error}.") from error

    def discard(self) -> None:
        """Removes what was written."""
        self._tokens.abandon()
        self._index.abandon()
        for temporary in self._temporaries:
            temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._waiting:
            return
        ends = self._total + np.cumsum([len(ids) for ids in self._waiting], dtype=np.int64)
        self._tokens.write(np.concatenate(self._waiting).astype(self._dtype))
        self._index.write(ends.astype("<i8"))
        self._count += len(self._waiting)
        self._total = int(ends[-1])
        self._waiting, self._num_waiting = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Returns the narrowest little-endian unsigned type for ids below vocab_size."""
    return np.dtype("<u1" if vocab_size <= 1 << 8 else "<u2" if vocab_size <= 1 << 16 else "<u4")


def _checked_ids(ids: Ids, vocab_size: int, entry: int) -> npt.NDArray[np.int64]:
    array = np.asarray(ids, dtype=np.int64).reshape(-1)
    if len(array) and not 0 <= int(array.min()) <= int(array.max()) < vocab_size:
        raise DataError(
            f"entry {entry}: ids must be from 0 to {vocab_size - 1}, got {array.min()} to "
            f"{array.max()}. Encode the text with the vocabulary of this data."
        )
    return array


def _read_header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. Run seqtrain-preprocess.") from error
    if len(raw) < HEADER_BYTES:
        raise DataError(f"{path}: {len(raw)} bytes are too short for a header. {WAY_OUT}")
    return raw


def _check_size(path: Path, expected: int) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. Run seqtrain-preprocess.") from error
    if size != expected:
        raise DataError(f"{path}: has {size} bytes, its index says {expected}. {WAY_OUT}")
