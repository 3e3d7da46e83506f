"""Plain text by split: lines, and where documents begin."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.data.text.byte_streams import Location, exists, is_url
from seqtrain.data.text.corpus import TRAIN, Corpus
from seqtrain.data.text.encoding import Row
from seqtrain.data.text.lines import count_lines, read_lines
from seqtrain.data.text.records import is_table, read_records
from seqtrain.data.tokenizers.base import TokenizerConfig
from seqtrain.errors import ConfigError, DataError

COLUMN = "text"
BLANK, LINE, FILE = "blank", "line", "file"


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Raw text and what to make of it.

    A line is an entry. Its end is no symbol: the end of sentence after an entry stands for it.

    Args:
        paths: Files of each split. A path may be a pattern such as D/**/*.txt; its files are
            taken in order of their names, empty ones left out. Files that end with .jsonl, .csv,
            .tsv or .parquet are tables; any may be compressed. "train" is trained on.
        tokenizer: How text is cut into pieces.
        documents: What ends a document: "blank" lines, which are left out; every "line", empty
            ones left out; or the end of a "file", whose empty lines are kept as empty entries.
            A record of a table is a document, which may have several lines; with "line" each of
            them is one.
        min_count: Rarer pieces are unknown.
        field: Field of a table that holds the text.
    """

    paths: dict[str, list[Location]]
    tokenizer: TokenizerConfig
    documents: str = BLANK
    min_count: int = 0
    field: str = "text"

    def __post_init__(self) -> None:
        if self.documents not in (BLANK, LINE, FILE):
            raise ConfigError(
                f"task.documents must be {BLANK}, {LINE} or {FILE}, got {self.documents!r}."
            )
        if not self.paths.get(TRAIN):
            raise ConfigError("task.train must name the training text, such as task.train=D/a.txt.")
        bad = next((split for split in self.paths if not split or "/" in split), None)
        if bad is not None:
            raise ConfigError(f"{bad!r} cannot be the name of a split: it is part of file names.")


class TextCorpus(Corpus):
    """Plain text: one column."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__((COLUMN,), (settings.tokenizer,), False, settings.min_count)
        self.of = settings
        self._files = {split: _expand(paths) for split, paths in settings.paths.items() if paths}
        self._num_rows: dict[str, int] = {}

    @override
    def splits(self) -> list[str]:
        return [TRAIN, *(split for split in self._files if split != TRAIN)]

    @override
    def files(self, split: str) -> list[Location]:
        return self._files[split]

    @override
    def num_rows(self, split: str) -> int:
        if split not in self._num_rows:
            self._num_rows[split] = sum(map(self._count, self._files[split]))
        return self._num_rows[split]

    @override
    def rows(self, split: str) -> Iterator[Row | None]:
        for path in self._files[split]:
            if self.of.documents != LINE:
                yield None
            if is_table(path):
                yield from self._records(path)
            elif self.of.documents == BLANK:
                for line in read_lines(path):
                    yield None if not line or line.isspace() else (line,)
            else:
                for line in read_lines(path):
                    yield (line,)

    @override
    def keeps_empty(self, split: str) -> bool:
        return self.of.documents == FILE

    @override
    def identity(self) -> dict[str, Any]:
        return {"kind": "text", "documents": self.of.documents, "field": self.of.field}

    def _records(self, path: Location) -> Iterator[Row | None]:
        for (text,) in read_records(path, [self.of.field], may_hold_line_ends=True):
            if self.of.documents != LINE:
                yield None
            for line in text.split("\n"):
                yield (line,)

    def _count(self, path: Location) -> int:
        if is_table(path):
            return sum(row is not None for row in self._records(path))
        if self.of.documents == BLANK:
            return sum(bool(line) and not line.isspace() for line in read_lines(path))
        return count_lines(path)


def _expand(paths: list[Location]) -> list[Location]:
    files: list[Location] = []
    for path in paths:
        pattern = str(path)
        if is_url(path) or exists(path) or not set("*?[") & set(pattern):
            files.append(path)
            continue
        anchor = Path(Path(pattern).anchor)
        found = anchor.glob(pattern.removeprefix(anchor.anchor))
        matched = sorted(each for each in found if each.is_file() and each.stat().st_size)
        if not matched:
            raise DataError(f"{pattern}: no file that holds anything matches. Correct the pattern.")
        files += matched
    return files
