"""A flat array in a file, of which parts are read."""

import mmap
import os
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqtrain.data.collate import ranges
from seqtrain.errors import DataError

IntArray = npt.NDArray[np.int64]
MAPPED_BYTES = 64 << 20
BLOCK_BYTES = 16 << 20


class ArrayFile:
    """A read-only array of numbers in a file, or in memory with the same interface.

    Small files are mapped. Of large ones only what is asked for is read, with one call for each
    range: a map would cost up to 2 MB of memory for each number that is touched, since systems
    map whole groups of pages.

    Args:
        path: The file.
        dtype: Type of the numbers.
        begin: First byte of the array.
        count: How many numbers; None for those up to the end of the file.

    Raises:
        DataError: The file cannot be read, is too short, or ends within a number.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[Any], begin: int = 0, count: int | None = None
    ) -> None:
        try:
            file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}. {_WAY_OUT}") from error
        weakref.finalize(self, os.close, file)
        room = os.fstat(file).st_size - begin
        if count is None and room % dtype.itemsize:
            raise DataError(
                f"{path}: {room} bytes are not whole numbers of {dtype.itemsize} bytes. {_WAY_OUT}"
            )
        self._count = room // dtype.itemsize if count is None else count
        if self._count * dtype.itemsize > room:
            raise DataError(f"{path}: ends after {room} bytes of the array. {_WAY_OUT}")
        self._file, self._path, self._dtype, self._begin = file, path, dtype, begin
        self._array: npt.NDArray[Any] | None = None
        if self.num_bytes <= MAPPED_BYTES:
            self._array = self._map()

    @classmethod
    def in_memory(cls, array: npt.NDArray[Any]) -> "ArrayFile":
        """Returns an array in memory as if it were a file; pickling copies it."""
        self = cls.__new__(cls)
        self._array, self._dtype, self._count = array, array.dtype, len(array)
        return self

    def __len__(self) -> int:
        return self._count

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return self._dtype

    @property
    def is_small(self) -> bool:
        """True for an array that is mapped or in memory."""
        return self._array is not None

    @property
    def num_bytes(self) -> int:
        """Size of the array."""
        return self._count * self._dtype.itemsize

    def at(self, indices: IntArray) -> npt.NDArray[Any]:
        """Returns some numbers, [indices]. Neighbours that follow one another cost one read."""
        if self._array is not None:
            return self._array[indices]
        begins, lengths = runs(indices)
        return self.at_ranges(begins, lengths)

    def at_ranges(self, begins: IntArray, lengths: IntArray) -> npt.NDArray[Any]:
        """Returns some ranges, one after the other, [sum of lengths]; all lie in the array."""
        if self._array is not None:
            return self._array[ranges(begins, lengths)]
        width = self._dtype.itemsize
        places = (self._begin + begins * width).tolist()
        sizes = (lengths * width).tolist()
        parts = [self._read(place, size) for place, size in zip(places, sizes, strict=True)]
        return np.frombuffer(b"".join(parts), dtype=self._dtype)

    def blocks(self) -> Iterator[npt.NDArray[Any]]:
        """Yields the whole array in blocks of up to 16 MB."""
        step = max(BLOCK_BYTES // self._dtype.itemsize, 1)
        for begin in range(0, self._count, step):
            size = min(step, self._count - begin)
            yield self.at_ranges(np.array([begin]), np.array([size]))

    def crc32(self) -> int:
        """Returns zlib.crc32 of all numbers, as they lie in a file."""
        crc = 0
        for block in self.blocks():
            crc = zlib.crc32(np.ascontiguousarray(block).data, crc)
        return crc

    def _read(self, place: int, size: int) -> bytes:
        try:
            data = os.pread(self._file, size, place)
        except OSError as error:
            raise DataError(f"{self._path}: {error.strerror}. {_WAY_OUT}") from error
        if len(data) != size:
            raise DataError(f"{self._path}: became shorter while it was used. {_WAY_OUT}")
        return data

    def _map(self) -> npt.NDArray[Any]:
        if self._count == 0:
            return np.zeros(0, dtype=self._dtype)
        mapped = mmap.mmap(self._file, self._begin + self.num_bytes, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, self._dtype, self._count, self._begin)

    def __getstate__(self) -> dict[str, Any]:
        if not hasattr(self, "_path"):
            return {"array": self._array}
        return {"path": self._path, "dtype": self._dtype, "begin": self._begin, "count": len(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "array" in state:
            self.__dict__.update(ArrayFile.in_memory(state["array"]).__dict__)
        else:
            self.__init__(**state)  # type: ignore[misc] # opens the file as at first


def runs(indices: IntArray) -> tuple[IntArray, IntArray]:
    """Returns the first and the number of indices of each stretch that counts up by one."""
    if len(indices) == 0:
        return indices, indices
    starts = np.flatnonzero(np.diff(indices, prepend=indices[0] - 2) != 1)
    return indices[starts], np.diff(starts, append=len(indices))


_WAY_OUT = "The file is missing or damaged: restore it, or prepare the data again."
