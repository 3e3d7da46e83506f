"""Pairs of texts by split: two files whose lines belong together, or a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from seqtrain.data.text.byte_streams import Location, as_location, exists, find_compressed
from seqtrain.data.text.corpus import TRAIN, Corpus
from seqtrain.data.text.encoding import Row
from seqtrain.data.text.lines import count_lines, read_lines
from seqtrain.data.text.records import is_table, read_records
from seqtrain.data.tokenizers.base import TokenizerConfig
from seqtrain.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class ParallelSettings:
    """Raw parallel text and what to make of it.

    Args:
        source: Suffix of the source files, a language code.
        target: Suffix of the target files.
        prefixes: Path of each split without the suffix: {"train": "D/train"} means D/train.en
            and D/train.de, or either with .gz, .xz or .zst after it. A file that is there under
            the very name and ends with .jsonl, .csv, .tsv or .parquet is a table of pairs. "train"
            is trained on; every other split is for evaluation.
        source_tokenizer: How the source is cut into pieces.
        target_tokenizer: The same for the target.
        joined: One tokenizer (the source's config) and one vocabulary for both sides.
        min_count: Rarer pieces are unknown.
        reference_separator: If set, a target line of an evaluation split may hold several
            references with this between them: the loss is of the first, scores are of all.
        source_field: Field of a table with the source; empty for the name of the language.
        target_field: The same of the target.
    """

    source: str
    target: str
    prefixes: dict[str, Location]
    source_tokenizer: TokenizerConfig
    target_tokenizer: TokenizerConfig
    joined: bool = False
    min_count: int = 0
    reference_separator: str = ""
    source_field: str = ""
    target_field: str = ""

    def __post_init__(self) -> None:
        for name, value in (("source", self.source), ("target", self.target)):
            if not value or "/" in value:
                raise ConfigError(
                    f"task.{name} must be the suffix of the {name} files, such as en; "
                    f"got {value!r}."
                )
        if self.source == self.target:
            raise ConfigError(
                f"task.source and task.target are both {self.source!r}: one file cannot be both. "
                "Rename one of the files."
            )
        if TRAIN not in self.prefixes:
            raise ConfigError("task.train must name the training text, such as task.train=D/train.")
        if self.joined and self.source_tokenizer.name != self.target_tokenizer.name:
            raise ConfigError(
                "task.joined=true needs one tokenizer for both sides, got "
                f"{self.source_tokenizer.name} and {self.target_tokenizer.name}."
            )

    def path(self, split: str, language: str) -> Location:
        """Returns the raw file of one side of a split; that of a table for both sides."""
        prefix = self.prefixes[split]
        if is_table(prefix) and exists(prefix):
            return prefix
        return find_compressed(as_location(f"{prefix}.{language}"))


class ParallelCorpus(Corpus):
    """Pairs of texts: two columns, the source and the target.

    Of training pairs those with an empty side are left out; evaluation has every pair.
    """

    has_no_text = "no pair has text on both sides"

    def __init__(self, settings: ParallelSettings) -> None:
        super().__init__(
            (settings.source, settings.target),
            (settings.source_tokenizer, settings.target_tokenizer),
            settings.joined,
            settings.min_count,
        )
        self.of = settings
        self._num_rows: dict[str, int] = {}

    @override
    def splits(self) -> list[str]:
        return [TRAIN, *(split for split in self.of.prefixes if split != TRAIN)]

    @override
    def files(self, split: str) -> list[Location]:
        paths = [self.of.path(split, language) for language in self.columns]
        return paths[:1] if paths[0] == paths[1] else paths

    @override
    def num_rows(self, split: str) -> int:
        if not self._num_rows:
            self._num_rows = count_pairs(self.of)
        return self._num_rows[split]

    @override
    def rows(self, split: str) -> Iterator[Row | None]:
        separator = self.of.reference_separator
        if split == TRAIN or not separator:
            return raw_pairs(self.of, split)
        return ((s, references_of(t, separator)[0]) for s, t in raw_pairs(self.of, split))

    @override
    def keeps_empty(self, split: str) -> bool:
        return split != TRAIN

    @override
    def identity(self) -> dict[str, Any]:
        names = ("source", "target", "reference_separator", "source_field", "target_field")
        return {"kind": "parallel"} | {name: getattr(self.of, name) for name in names}


def count_pairs(settings: ParallelSettings) -> dict[str, int]:
    """Returns the number of pairs of each split, those with an empty side included.

    Raises:
        DataError: A file is missing, empty or damaged, or the two files of a split differ; the
            message has both counts.
    """
    counts = {}
    for split in settings.prefixes:
        source, target = (settings.path(split, side) for side in (settings.source, settings.target))
        if source == target:
            counts[split] = sum(1 for _ in raw_pairs(settings, split))
            continue
        num_source, num_target = count_lines(source), count_lines(target)
        if num_source != num_target:
            raise DataError(
                f"{source} has {num_source} lines and {target} has {num_target}. Line n of one "
                "must translate line n of the other: restore the missing lines."
            )
        counts[split] = num_source
    return counts


def raw_pairs(settings: ParallelSettings, split: str) -> Iterator[tuple[str, str]]:
    """Yields every pair of a split as it stands in the files."""
    source, target = (settings.path(split, side) for side in (settings.source, settings.target))
    if source != target:
        yield from zip(read_lines(source), read_lines(target), strict=True)
        return
    fields = (settings.source_field or settings.source, settings.target_field or settings.target)
    for row in read_records(source, fields):
        yield row[0], row[1]


def references_of(line: str, separator: str) -> list[str]:
    """Returns the references of a target line; without a separator the line is the only one."""
    return [text.strip() for text in line.split(separator)] if separator else [line]
