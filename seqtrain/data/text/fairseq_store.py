r"""Sequences of ids in fairseq's two memory-mapped files, PREFIX.idx and PREFIX.bin.

PREFIX.bin holds the ids one after the other. PREFIX.idx is of one of two kinds:

- `MMIDIDX\0\0`, u64 version 1, u8 type code, u64 count, sizes int32 [count], byte offsets into
  PREFIX.bin int64 [count];
- `TNTIDX\0\0`, u64 version 1, u64 type code, u64 bytes of an id, u64 count, u64 number of sizes,
  then int64 [count + 1] offsets into the sizes, [count + 1] offsets into PREFIX.bin in ids, and
  the sizes. Its ids count from 1.
"""

import struct
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.sequence_store import (
    IntArray,
    SequenceStore,
    check_extents,
    check_ids,
    check_indices,
)
from seqtrain.data.vocabulary import EOS
from seqtrain.errors import DataError

MMAP_MAGIC = b"MMIDIDX\0\0"
MMAP_HEADER = struct.Struct("<9sQBQ")
TNT_MAGIC = b"TNTIDX\0\0"
TNT_HEADER = struct.Struct("<8sQQQQQ")
INTEGER_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2", 9: "<u4", 10: "<u8"}
WHOLE_BYTES = 64 << 20
NUM_PROBES = 64
PROBE_BYTES = 64 << 10
WAY_OUT = "Restore the file, or run fairseq-preprocess again."


@dataclass(frozen=True)
class _Layout:
    """What an index says: the type of ids, and where sequences lie."""

    dtype: np.dtype[Any]
    sizes: ArrayFile
    offsets: ArrayFile
    bytes_per_offset: int
    first_id: int


class FairseqStore(SequenceStore):
    """Sequences that fairseq-preprocess wrote, read as they are, without their final eos.

    Args:
        prefix: Path without `.idx` and `.bin`.
        vocab_size: Symbols of the dictionary; the files do not say.

    Raises:
        DataError: A file is missing, damaged or not of this kind.
    """

    def __init__(self, prefix: Path, vocab_size: int) -> None:
        self._prefix = Path(prefix)
        self.vocab_size = vocab_size
        self._open()
        self._fingerprint = self._hash()

    @override
    def __len__(self) -> int:
        return len(self._layout.sizes)

    @property
    @override
    def num_tokens(self) -> int:
        return len(self._ids) - len(self)

    @property
    @override
    def fingerprint(self) -> str:
        """Hash of the files: all of it up to 64 MB, beyond that the size and 64 samples."""
        return self._fingerprint

    @override
    def lengths_at(self, indices: IntArray) -> IntArray:
        check_indices(indices, len(self), str(self._prefix))
        return self._layout.sizes.at(indices).astype(np.int64) - 1

    @override
    def gather(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        begins, with_eos = self._extents(indices)
        last = self._ids.at(begins + with_eos - 1).astype(np.int64) - self._layout.first_id
        if (last != EOS).any():
            entry = int(indices[np.argmax(last != EOS)])
            raise DataError(
                f"{self._name('.bin')}: entry {entry} does not end with the end of sentence "
                f"(id {EOS}). Only text of fairseq-preprocess can be read."
            )
        flat = self._ids.at_ranges(begins, with_eos - 1).astype(np.int64) - self._layout.first_id
        check_ids(flat, indices, with_eos - 1, self.vocab_size, self._name(".bin"))
        return flat, with_eos - 1

    @override
    def begins_at(self, indices: IntArray) -> IntArray:
        check_indices(indices, len(self) + 1, str(self._prefix))
        inside = np.minimum(indices, max(len(self) - 1, 0))
        begins = self._extents(inside)[0] - inside if len(self) else indices
        return np.where(indices < len(self), begins, self.num_tokens)

    @override
    def count(self, token: int) -> int:
        wanted = token + self._layout.first_id
        found = sum(int((block == wanted).sum()) for block in self._ids.blocks())
        return found - len(self) if token == EOS else found

    def _extents(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        check_indices(indices, len(self), str(self._prefix))
        layout = self._layout
        sizes = layout.sizes.at(indices).astype(np.int64)
        offsets = layout.offsets.at(indices).astype(np.int64)
        begins, rest = np.divmod(offsets, layout.bytes_per_offset)
        check_extents(indices, begins, sizes, len(self._ids), self._name(".idx"))
        if rest.any() or (sizes < 1).any():
            entry = int(indices[np.argmax((rest != 0) | (sizes < 1))])
            raise DataError(f"{self._name('.idx')}: entry {entry} is no sentence. {WAY_OUT}")
        return begins, sizes

    def _open(self) -> None:
        index, ids = Path(self._name(".idx")), Path(self._name(".bin"))
        self._layout = _read_layout(index)
        self._ids = ArrayFile(ids, self._layout.dtype)
        if len(self._layout.sizes) == 0:
            return
        last = np.array([len(self._layout.sizes) - 1])
        offset, size = (
            int(part.at(last)[0]) for part in (self._layout.offsets, self._layout.sizes)
        )
        expected = offset // self._layout.bytes_per_offset + size
        if expected != len(self._ids):
            raise DataError(f"{ids}: holds {len(self._ids)} ids, not {expected}. {WAY_OUT}")

    def _hash(self) -> str:
        digest = blake2b(digest_size=8)
        for suffix in (".idx", ".bin"):
            content = ArrayFile(Path(self._name(suffix)), np.dtype("u1"))
            digest.update(struct.pack("<Q", len(content)))
            begins, sizes = _probes(len(content))
            digest.update(content.at_ranges(begins, sizes).data)
        return digest.hexdigest()

    def _name(self, suffix: str) -> str:
        return f"{self._prefix}{suffix}"

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("_prefix", "vocab_size", "_fingerprint")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def _probes(size: int) -> tuple[IntArray, IntArray]:
    if size <= WHOLE_BYTES:
        return np.array([0]), np.array([size])
    step = (size - PROBE_BYTES) // (NUM_PROBES - 1)
    return np.arange(NUM_PROBES) * step, np.full(NUM_PROBES, PROBE_BYTES)


def _read_layout(path: Path) -> _Layout:
    raw = ArrayFile(path, np.dtype("u1"))
    header_size = min(len(raw), max(MMAP_HEADER.size, TNT_HEADER.size))
    start = raw.at(np.arange(header_size)).tobytes()
    if start.startswith(MMAP_MAGIC) and len(start) >= MMAP_HEADER.size:
        _, version, code, count = MMAP_HEADER.unpack_from(start)
        dtype = _id_type(path, version, code)
        sizes, offsets = _arrays(path, len(raw), MMAP_HEADER.size, [("<i4", count), ("<i8", count)])
        return _Layout(dtype, sizes, offsets, dtype.itemsize, 0)
    if start.startswith(TNT_MAGIC) and len(start) >= TNT_HEADER.size:
        _, version, code, width, count, num_sizes = TNT_HEADER.unpack_from(start)
        dtype = _id_type(path, version, code)
        if width != dtype.itemsize or num_sizes != count:
            raise DataError(f"{path}: these are not sequences of ids. {WAY_OUT}")
        parts = [("<i8", count + 1), ("<i8", count), ("<i8", 1), ("<i8", count)]
        _, offsets, _, sizes = _arrays(path, len(raw), TNT_HEADER.size, parts)
        return _Layout(dtype, sizes, offsets, 1, 1)
    raise DataError(
        f"{path}: not an index of fairseq-preprocess (it begins with {start[:9]!r}). "
        "Run fairseq-preprocess with --dataset-impl mmap."
    )


def _id_type(path: Path, version: int, code: int) -> np.dtype[Any]:
    if version != 1 or code not in INTEGER_TYPES:
        raise DataError(f"{path}: version {version} with id type {code} is not known. {WAY_OUT}")
    return np.dtype(INTEGER_TYPES[code])


def _arrays(path: Path, size: int, begin: int, parts: list[tuple[str, int]]) -> list[ArrayFile]:
    expected = begin + sum(np.dtype(kind).itemsize * count for kind, count in parts)
    if size != expected:
        raise DataError(f"{path}: has {size} bytes, its header says {expected}. {WAY_OUT}")
    arrays = []
    for kind, count in parts:
        array = ArrayFile(path, np.dtype(kind), begin, count)
        arrays.append(array)
        begin += array.num_bytes
    return arrays
