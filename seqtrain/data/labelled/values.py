"""Arrays of floats in two files that are never read as a whole: PREFIX.values and PREFIX.shapes.

PREFIX.values holds the numbers of all arrays one after the other, float32. PREFIX.shapes holds for
each array where its numbers begin and its shape without channels, int64 [count, 1 + rank].
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.array_writer import ArrayWriter
from seqtrain.data.sequence_store import check_indices
from seqtrain.errors import DataError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
VALUE, PLACE = np.dtype("<f4"), np.dtype("<i8")
WAY_OUT = "The file is damaged: restore it, or run seqtrain-preprocess again."


@dataclass(frozen=True, kw_only=True)
class ValueMeta:
    """What a store holds, and the checksums of its files: plain values for a card."""

    count: int
    """Arrays."""
    total: int
    """Numbers of all arrays together."""
    rank: int
    """Dimensions of an array, channels not counted: 1 for a sequence, 2 for an image."""
    num_channels: int
    """Numbers at each position."""
    crc_values: int
    """zlib.crc32 of the file of numbers."""
    crc_shapes: int
    """The same of the file of shapes."""

    @property
    def fingerprint(self) -> str:
        """Hash of the content."""
        return blake2b(repr(self).encode(), digest_size=8).hexdigest()


class ValueStore:
    """Read-only arrays [*positions, channels] by index. It is picklable: files are opened again.

    Files of up to 64 MB are compared with their checksums as they are opened; of larger ones the
    sizes, and what is read must lie within the file.

    Args:
        prefix: Path without `.values` and `.shapes`.
        meta: What `ValueStoreWriter.close` returned.

    Raises:
        DataError: A file is missing or damaged.
    """

    def __init__(self, prefix: Path, meta: ValueMeta) -> None:
        self.meta = meta
        self._name = str(prefix)
        self._values = ArrayFile(Path(f"{prefix}.values"), VALUE)
        self._shapes = ArrayFile(Path(f"{prefix}.shapes"), PLACE)
        for suffix, array, expected in (
            (".values", self._values, meta.total),
            (".shapes", self._shapes, meta.count * (1 + meta.rank)),
        ):
            if len(array) != expected:
                raise DataError(
                    f"{prefix}{suffix}: holds {len(array)} numbers, the card says {expected}. "
                    f"{WAY_OUT}"
                )
            if array.is_small:
                self._verify(suffix, array)

    @classmethod
    def from_arrays(cls, arrays: Iterable[FloatArray], rank: int, num_channels: int) -> Self:
        """Returns a store that lives in memory; pickling copies it.

        Args:
            arrays: Each [*positions, channels].
            rank: Dimensions without channels.
            num_channels: Numbers at each position.
        """
        kept = [np.ascontiguousarray(array, dtype=VALUE) for array in arrays]
        begins = np.cumsum([0, *(array.size for array in kept)])[:-1]
        shapes = np.array([array.shape[:-1] for array in kept], dtype=PLACE).reshape(-1, rank)
        places = np.concatenate([begins[:, None], shapes], axis=1, dtype=PLACE).reshape(-1)
        flat = np.concatenate([np.zeros(0, VALUE), *(array.reshape(-1) for array in kept)])
        store = cls.__new__(cls)
        store._name = "the data in memory"
        store._values, store._shapes = ArrayFile.in_memory(flat), ArrayFile.in_memory(places)
        store.meta = ValueMeta(
            count=len(kept),
            total=len(flat),
            rank=rank,
            num_channels=num_channels,
            crc_values=zlib.crc32(flat.data),
            crc_shapes=zlib.crc32(places.data),
        )
        return store

    def __len__(self) -> int:
        return self.meta.count

    @property
    def fingerprint(self) -> str:
        """Hash of the content, the same in memory and in files."""
        return self.meta.fingerprint

    def shapes_at(self, indices: IntArray) -> IntArray:
        """Returns the shapes of some arrays without channels, [indices, rank]."""
        return self._places(indices)[:, 1:]

    def gather(self, indices: IntArray) -> list[FloatArray]:
        """Returns some arrays, each [*positions, channels]; the caller may change them.

        Raises:
            DataError: The file is damaged there; the message names the entry.
        """
        places = self._places(indices)
        begins, shapes = places[:, 0], places[:, 1:]
        sizes = shapes.prod(axis=1) * self.meta.num_channels
        bad = (begins < 0) | (shapes < 0).any(axis=1) | (begins + sizes > self.meta.total)
        if bad.any():
            entry = int(indices[int(np.argmax(bad))])
            raise DataError(f"{self._name}.shapes: entry {entry} is not possible. {WAY_OUT}")
        flat = self._values.at_ranges(begins, sizes).astype(np.float32)
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        channels = self.meta.num_channels
        return [part.reshape(*shape, channels) for part, shape in zip(parts, shapes, strict=True)]

    def _places(self, indices: IntArray) -> IntArray:
        check_indices(indices, len(self), self._name)
        width = 1 + self.meta.rank
        flat = self._shapes.at_ranges(indices * width, np.full(len(indices), width))
        return flat.reshape(-1, width)

    def _verify(self, suffix: str, array: ArrayFile) -> None:
        expected = self.meta.crc_values if suffix == ".values" else self.meta.crc_shapes
        if array.crc32() != expected:
            raise DataError(f"{self._name}{suffix}: the checksum differs. {WAY_OUT}")


class ValueStoreWriter:
    """Writes a value store array by array. Use it in a `with` block, within a new folder.

    Args:
        prefix: Path without `.values` and `.shapes`.
        rank: Dimensions of every array, channels not counted.
        num_channels: Numbers at each position.
    """

    def __init__(self, prefix: Path, rank: int, num_channels: int) -> None:
        self._rank, self._num_channels = rank, num_channels
        self._count = self._total = 0
        self._values = ArrayWriter(Path(f"{prefix}.values"))
        self._shapes = ArrayWriter(Path(f"{prefix}.shapes"))

    def append(self, array: FloatArray) -> None:
        """Adds an array [*positions, channels]."""
        place = np.array([self._total, *array.shape[:-1]], dtype=PLACE)
        self._values.write(np.ascontiguousarray(array, dtype=VALUE).reshape(-1))
        self._shapes.write(place)
        self._count += 1
        self._total += array.size

    def close(self) -> ValueMeta:
        """Makes the files durable and returns what the store is opened with."""
        self._values.close()
        self._shapes.close()
        return ValueMeta(
            count=self._count,
            total=self._total,
            rank=self._rank,
            num_channels=self._num_channels,
            crc_values=self._values.crc32,
            crc_shapes=self._shapes.crc32,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._values.abandon()
        self._shapes.abandon()
