"""A list of shards: token stores here or behind URLs, with what must be known before they open."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from seqtrain.data.dataset import Dataset
from seqtrain.data.sharded_dataset import ShardedDataset
from seqtrain.data.text.byte_streams import Location, as_location, is_url, open_stream
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import DataError, MachineError

KIND, VERSION = "seqtrain-shards", 1
SUFFIXES = (".tokens", ".index")
WAY_OUT = "Write the manifest again."


@dataclass(frozen=True)
class StoreEntry:
    """A token store of a shard.

    Args:
        prefix: Where it is, without `.tokens` and `.index`; relative to the manifest, a path or a
            URL.
        num_entries: Its entries.
        num_tokens: Its ids.
        vocab_size: Its symbols.
        fingerprint: Of its content.
    """

    prefix: str
    num_entries: int
    num_tokens: int
    vocab_size: int
    fingerprint: str


Shard = tuple[StoreEntry, ...]
MakeDataset = Callable[[Sequence[TokenStore]], Dataset]


def write_manifest(path: Path, shards: Sequence[Sequence[Path]]) -> None:
    """Lists token stores that are here.

    Args:
        path: The manifest, a JSON file.
        shards: The prefixes of the stores of each shard, such as its source and its target.

    Raises:
        DataError: A store cannot be opened, or shards differ in vocabulary or number of stores.
        MachineError: The file cannot be written.
    """
    entries = describe_shards(shards, path.parent)
    _check_alike(entries, str(path))
    content = {
        "kind": KIND,
        "version": VERSION,
        "shards": [[asdict(entry) for entry in shard] for shard in entries],
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written: {error}.") from error


def describe_shards(shards: Sequence[Sequence[Path]], folder: Path) -> list[Shard]:
    """Returns what a manifest in a folder says of token stores that are here.

    Raises:
        DataError: A store cannot be opened.
    """
    return [tuple(_describe(prefix, folder) for prefix in shard) for shard in shards]


def read_manifest(location: Location) -> list[Shard]:
    """Reads a manifest, here or behind a URL; the prefixes are made absolute.

    Raises:
        DataError: It cannot be read or is not of this kind.
    """
    with open_stream(location) as stream:
        raw = stream.read()
    try:
        content = json.loads(raw)
        if content["kind"] != KIND or content["version"] != VERSION:
            raise DataError(f"{location}: not a list of shards of version {VERSION}. {WAY_OUT}")
        shards = [
            tuple(_entry(fields, location) for fields in shard) for shard in content["shards"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{location}: not a list of shards: {error}. {WAY_OUT}") from error
    _check_alike(shards, str(location))
    return shards


def open_shards(
    location: Location,
    make: MakeDataset,
    num_examples: Callable[[Shard], int],
    max_open: int = 8,
    cache: Path | None = None,
) -> ShardedDataset:
    """Returns the dataset of all shards of a manifest; none is opened yet.

    Args:
        location: The manifest.
        make: Makes the dataset of a shard from its stores; picklable.
        num_examples: Examples of that dataset, such as `num_entries` of a shard.
        max_open: Most shards that are open at once in each process.
        cache: Folder that shards behind URLs are copied to, where they stay.

    Raises:
        DataError: The manifest cannot be used, or names URLs and there is no cache.
    """
    return join_shards(read_manifest(location), make, num_examples, max_open, cache)


def join_shards(
    shards: list[Shard],
    make: MakeDataset,
    num_examples: Callable[[Shard], int],
    max_open: int = 8,
    cache: Path | None = None,
) -> ShardedDataset:
    """Returns the dataset of all shards, which are opened when they are needed; see open_shards."""
    _check_alike(shards, "the shards")
    remote = [entry.prefix for shard in shards for entry in shard if is_url(entry.prefix)]
    if remote and cache is None:
        raise DataError(f"{remote[0]} is behind a URL: give a folder for copies of the shards.")
    fingerprints = [" ".join(entry.fingerprint for entry in shard) for shard in shards]
    sizes = [num_examples(shard) for shard in shards]
    return ShardedDataset(sizes, fingerprints, _Opener(shards, make, cache), max_open)


def num_entries(shard: Shard) -> int:
    """Returns the examples of a shard of which each entry is one."""
    return shard[0].num_entries


@dataclass(frozen=True)
class _Opener:
    """Opens the shard of a number."""

    shards: list[Shard]
    make: MakeDataset
    cache: Path | None

    def __call__(self, number: int) -> Dataset:
        return self.make([self._open(entry) for entry in self.shards[number]])

    def _open(self, entry: StoreEntry) -> TokenStore:
        prefix = as_location(entry.prefix)
        store = TokenStore(prefix if isinstance(prefix, Path) else self._copied(entry))
        if store.fingerprint != entry.fingerprint:
            raise DataError(
                f"{entry.prefix}: its fingerprint is {store.fingerprint}, the manifest says "
                f"{entry.fingerprint}. Restore the shard, or write the manifest again."
            )
        return store

    def _copied(self, entry: StoreEntry) -> Path:
        if self.cache is None:
            raise DataError(f"{entry.prefix} is behind a URL: give a folder for copies.")
        name = blake2b(f"{entry.prefix} {entry.fingerprint}".encode(), digest_size=12).hexdigest()
        for suffix in SUFFIXES:
            _copy(f"{entry.prefix}{suffix}", self.cache / f"{name}{suffix}")
        return self.cache / name


def _copy(url: str, path: Path) -> None:
    """Copies a file unless it is there; several processes may do so at once."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open_stream(url) as stream:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                shutil.copyfileobj(stream, file)
            temporary.replace(path)
        except OSError as error:
            raise MachineError(f"{path}: {url} cannot be copied there: {error}.") from error
        finally:
            temporary.unlink(missing_ok=True)


def _describe(prefix: Path, folder: Path) -> StoreEntry:
    store = TokenStore(prefix)
    resolved, base = prefix.resolve(), folder.resolve()
    name = resolved.relative_to(base) if resolved.is_relative_to(base) else resolved
    return StoreEntry(
        name.as_posix(), len(store), store.num_tokens, store.vocab_size, store.fingerprint
    )


def _entry(fields: dict[str, Any], location: Location) -> StoreEntry:
    entry = StoreEntry(**fields)
    counts = (entry.num_entries, entry.num_tokens, entry.vocab_size)
    names = (entry.prefix, entry.fingerprint)
    if not all(type(n) is int and n >= 0 for n in counts) or not all(
        type(name) is str and name for name in names
    ):
        raise ValueError(f"{fields} does not describe a store")
    if is_url(entry.prefix) or entry.prefix.startswith("/"):
        return entry
    if is_url(location):
        prefix = f"{str(location).rpartition('/')[0]}/{entry.prefix}"
    else:
        prefix = str(Path(location).parent / entry.prefix)
    return StoreEntry(prefix, *counts, entry.fingerprint)


def _check_alike(shards: Sequence[Shard], name: str) -> None:
    if not shards or not shards[0]:
        raise DataError(f"{name}: there is no shard. Name at least one.")
    first = [entry.vocab_size for entry in shards[0]]
    for number, shard in enumerate(shards):
        sizes = [entry.vocab_size for entry in shard]
        if sizes != first or len({entry.num_entries for entry in shard}) != 1:
            raise DataError(
                f"{name}: shard {number} has {[entry.num_entries for entry in shard]} entries of "
                f"{sizes} symbols; shard 0 has {first} symbols. Prepare all shards with one "
                "vocabulary, and both sides from the same lines."
            )
