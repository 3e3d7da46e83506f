"""Files as streams of bytes: plain or compressed, here or behind a URL."""

import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from seqtrain.errors import DataError, MachineError

Location = Path | str
COMPRESSIONS = (".gz", ".xz", ".zst")


@contextmanager
def open_stream(location: Location) -> Iterator[BinaryIO]:
    """Opens a file for reading; one that ends with .gz, .xz or .zst is decompressed.

    Args:
        location: A path, or a URL such as s3://bucket/file, which needs the package fsspec and
            what it needs for the protocol.

    Raises:
        DataError: The file cannot be read or its compressed data is damaged.
        MachineError: A package is missing.
    """
    try:
        with open_raw(location) as raw, _decompressed(raw, str(location)) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise DataError(
            f"{location}: the compressed data is damaged: {error}. Copy the file again."
        ) from error


@contextmanager
def open_raw(location: Location) -> Iterator[BinaryIO]:
    """Opens a file for reading as it is; otherwise like `open_stream`."""
    try:
        if is_url(location):
            with _fsspec().open(location, "rb") as file:
                yield file
        else:
            with Path(location).open("rb") as file:
                yield file
    except gzip.BadGzipFile:  # an OSError, but of what the bytes mean
        raise
    except OSError as error:
        endings = Path(str(location)).suffixes[-2:]
        advice = "Give the path of a file that can be read."
        if len(endings) == 2 and endings[0] == endings[1]:
            advice = f"The ending {endings[0]} is added to what was given: leave it out."
        raise DataError(f"{location}: {error.strerror or error}. {advice}") from error


def is_url(location: Location) -> bool:
    """Says whether a location is a URL and no path."""
    return isinstance(location, str) and "://" in location


def exists(location: Location) -> bool:
    """Says whether there is a file."""
    if not is_url(location):
        return Path(location).is_file()
    try:
        system, path = _fsspec().core.url_to_fs(location)
    except ImportError as error:
        raise MachineError(f"{location}: {error}.") from error
    except ValueError as error:
        raise DataError(f"{location}: {error}. Correct the protocol.") from error
    return bool(system.exists(path))


def as_location(text: str) -> Location:
    """Returns a URL as it stands and anything else as a path."""
    return text if is_url(text) else Path(text)


def find_compressed(location: Location) -> Location:
    """Returns the location, or with .gz, .xz or .zst after it if only that is there."""
    if exists(location):
        return location
    for suffix in COMPRESSIONS:
        candidate = as_location(f"{location}{suffix}")
        if exists(candidate):
            return candidate
    return location


def name_without_compression(location: Location) -> str:
    """Returns a location without the ending of its compression."""
    name = str(location)
    return next((name.removesuffix(end) for end in COMPRESSIONS if name.endswith(end)), name)


@contextmanager
def _decompressed(raw: BinaryIO, name: str) -> Iterator[BinaryIO]:
    if name.endswith(".gz"):
        with gzip.open(raw) as stream:
            yield stream  # type: ignore[misc] # a GzipFile reads like any binary file
    elif name.endswith(".xz"):
        with lzma.open(raw) as stream:
            yield stream  # type: ignore[misc] # the same of an LZMAFile
    elif name.endswith(".zst"):
        package = _zstandard()
        try:
            with package.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
                yield stream
        except package.ZstdError as error:
            raise EOFError(str(error)) from error
    else:
        yield raw


def _fsspec() -> Any:
    try:
        import fsspec
        import fsspec.core
    except ImportError:
        raise MachineError(
            "Files behind a URL need a package: pip install 'seqtrain[remote]'."
        ) from None
    return fsspec


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise MachineError(
            "Files ending with .zst need a package: pip install 'seqtrain[zstd]'."
        ) from None
    return zstandard
