"""The safetensors format: written in one stream without a second copy, read without trust.

A file is the length of its header (8 bytes, little-endian), the header (JSON, padded with spaces
to a multiple of 8 bytes) and the tensors' bytes, without holes. Tensors lie in the order of
decreasing element size, then of names, so each is aligned and equal tensors give equal files.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from seqtrain.checkpoint import strict_json
from seqtrain.errors import CheckpointError

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F64": torch.float64,
    "C64": torch.complex64,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_MAX_DIMS = 64
_MAX_ELEMENTS = 2**60


class Source(Protocol):
    """A file that is read once from its start to its end."""

    def read(self, size: int) -> bytes:
        """Returns exactly `size` bytes, or raises CheckpointError."""
        ...

    def read_into(self, view: memoryview) -> None:
        """Fills the view, or raises CheckpointError."""
        ...

    def skip(self, size: int) -> None:
        """Passes over `size` bytes."""
        ...


@dataclass(frozen=True)
class TensorFile:
    """What a file will hold: its size is known before a byte is written."""

    header: bytes
    tensors: list[Tensor]
    size: int

    def chunks(self) -> Iterator[memoryview]:
        """Yields the file's bytes. Tensors on the CPU that are contiguous are not copied."""
        yield memoryview(self.header)
        for tensor in self.tensors:
            yield _bytes_of(tensor.detach().cpu().resolve_conj().resolve_neg().contiguous())


def plan(tensors: Mapping[str, Tensor], aliases: Mapping[str, str], what: str) -> TensorFile:
    """Lays out a file.

    Args:
        tensors: Tensors by name, on any device.
        aliases: Names of tied tensors and the name that each is saved under, for other readers.
        what: Part that the message of an error begins with.

    Raises:
        CheckpointError: A dtype has no name in the format, or the header is too long.
    """
    entries: dict[str, Any] = {_METADATA: {"format": "pt"}}
    if aliases:
        names = dict(sorted(aliases.items()))
        entries[_METADATA]["aliases"] = strict_json.dump(names, what).decode()
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    offset = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise CheckpointError(f"{what}: {name!r} has the dtype {tensor.dtype}, unknown here.")
        end = offset + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = strict_json.dump(entries, what)
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    return TensorFile(header, [tensors[name] for name in order], len(header) + offset)


def read(source: Source, size: int, what: str, keep: bool = True) -> dict[str, Tensor]:
    """Reads a file to its end.

    Args:
        source: The file.
        size: Its length in bytes.
        what: Its name, for messages.
        keep: Whether to return the tensors; otherwise they are only passed over.

    Returns:
        New tensors on the CPU, each with memory of its own; none if they are not kept.

    Raises:
        CheckpointError: The header lies about the file.
    """
    if size < 8:
        raise CheckpointError(f"{what}: {size} bytes are too few for a safetensors file.")
    length = int.from_bytes(source.read(8), "little")
    if length > min(size - 8, strict_json.MAX_BYTES):
        raise CheckpointError(
            f"{what}: a header of {length} bytes in a file of {size}; not a safetensors file."
        )
    entries = _parse_header(source.read(length), size - 8 - length, what)
    if not keep:
        source.skip(size - 8 - length)
        return {}
    tensors = {}
    for entry in entries:
        tensor = torch.empty(entry.shape, dtype=entry.dtype)
        source.read_into(_bytes_of(tensor))
        if entry.dtype is torch.bool and bool((tensor.view(torch.uint8) > 1).any()):
            raise CheckpointError(f"{what}: {entry.name!r} has bytes that are not booleans.")
        tensors[entry.name] = tensor
    return tensors


@dataclass(frozen=True)
class _Entry:
    name: str
    dtype: torch.dtype
    shape: list[int]
    begin: int
    end: int


def _parse_header(text: bytes, data_size: int, what: str) -> list[_Entry]:
    """Returns the entries in the order of their bytes, which they cover without overlap or hole."""
    header = strict_json.parse(text, what)
    if not isinstance(header, dict):
        raise CheckpointError(f"{what}: the header is not an object.")
    _check_metadata(header.pop(_METADATA, {}), what)
    entries = [_parse_entry(name, value, what) for name, value in header.items()]
    # Empty tensors come before the one whose bytes begin at the same place.
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise CheckpointError(
                f"{what}: {entry.name!r} begins at byte {entry.begin}, not at {position}: tensors "
                "overlap or leave a hole."
            )
        position = entry.end
    if position != data_size:
        raise CheckpointError(f"{what}: {position} bytes of tensors declared, {data_size} there.")
    return entries


def _check_metadata(metadata: Any, what: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{what}: the metadata is not an object of texts.")


def _parse_entry(name: str, value: Any, what: str) -> _Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{what}: the entry {name!r} has not the keys of a tensor.")
    shape, offsets = value["shape"], value["data_offsets"]
    if not isinstance(value["dtype"], str) or value["dtype"] not in _DTYPES:
        raise CheckpointError(f"{what}: {name!r} has the unknown dtype {value['dtype']!r}.")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise CheckpointError(f"{what}: {name!r} has no valid shape and offsets.")
    # Dimensions beside a zero count too: torch cannot say the strides of an absurd shape.
    if len(shape) > _MAX_DIMS or math.prod(max(size, 1) for size in shape) > _MAX_ELEMENTS:
        raise CheckpointError(f"{what}: {name!r} has an absurd shape.")
    dtype = _DTYPES[value["dtype"]]
    begin, end = offsets
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(
            f"{what}: {name!r} has {end - begin} bytes, its shape says otherwise."
        )
    return _Entry(name, dtype, shape, begin, end)


def _are_counts(values: Any) -> bool:
    # Not isinstance: True is an int, too.
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _bytes_of(tensor: Tensor) -> memoryview:
    """Returns the bytes of a contiguous CPU tensor, shared with it."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data
