"""Training text in many prepared folders, or in a manifest: only a few are open at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seqtrain.data.shard_manifest import (
    MakeDataset,
    Shard,
    describe_shards,
    join_shards,
    read_manifest,
    write_manifest,
)
from seqtrain.data.sharded_dataset import ShardedDataset
from seqtrain.data.text.byte_streams import as_location
from seqtrain.errors import ConfigError, DataError
from seqtrain.option_checks import require_range

MANIFEST_ENDING = ".json"


@dataclass(kw_only=True)
class ShardOptions:
    """Training text that is too much to have open at once."""

    parts: list[str] = field(default_factory=list)
    """Folders of seqtrain-preprocess, all with the vocabulary of task.data (prepare them with
    task.vocabulary_from), or one manifest: a .json file or URL, which
    `seqtrain-preprocess task.shards.parts=[A,B] out=SHARDS.json` writes. They take the place of the
    training text of task.data."""
    max_open: int = 8
    """Most parts that are open at once in each process; examples of half as many are mixed."""
    cache: str = ""
    """Folder for copies of parts behind URLs; they stay there."""

    def __post_init__(self) -> None:
        require_range("task.shards.max_open", self.max_open, least=1)


def open_training_shards(
    options: ShardOptions,
    prefixes: Callable[[Path], Sequence[Path]],
    make: MakeDataset,
    num_examples: Callable[[Shard], int],
    vocab_sizes: Sequence[int],
) -> ShardedDataset:
    """Returns the examples of all parts.

    Args:
        options: The task's.
        prefixes: Returns the token stores of the training text of a prepared folder, checked to
            have the task's vocabulary.
        make: Makes the dataset of a part from its stores; picklable.
        num_examples: Examples of that dataset, without opening it.
        vocab_sizes: Symbols of each store's side.

    Raises:
        DataError: A part cannot be used, or has another vocabulary.
    """
    shards = _shards(options, prefixes)
    found = [entry.vocab_size for entry in shards[0]]
    if found != list(vocab_sizes):
        raise DataError(
            f"task.shards.parts have vocabularies of {found} symbols, task.data of "
            f"{list(vocab_sizes)}. Prepare them with task.vocabulary_from."
        )
    cache = Path(options.cache) if options.cache else None
    return join_shards(shards, make, num_examples, options.max_open, cache)


def list_shards(
    options: ShardOptions, prefixes: Callable[[Path], Sequence[Path]], out: Path
) -> list[str]:
    """Writes the manifest of prepared folders; returns lines that say what it holds.

    Raises:
        ConfigError: `out` does not end as a manifest does.
        DataError: A folder cannot be used.
    """
    if out.suffix != MANIFEST_ENDING:
        raise ConfigError(f"out={out}: a list of shards is a file that ends with .json.")
    out.parent.mkdir(parents=True, exist_ok=True)
    shards = [list(prefixes(Path(name))) for name in options.parts]
    write_manifest(out, shards)
    entries = sum(shard[0].num_entries for shard in read_manifest(out))
    return [f"{out}: {len(shards)} shards, {entries} entries"]


def _shards(options: ShardOptions, prefixes: Callable[[Path], Sequence[Path]]) -> list[Shard]:
    if len(options.parts) == 1 and options.parts[0].endswith(MANIFEST_ENDING):
        return read_manifest(as_location(options.parts[0]))
    return describe_shards([prefixes(Path(name)) for name in options.parts], Path.cwd())
