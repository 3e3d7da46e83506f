"""What tasks on plain text have in common: one side, and splits of lines in documents."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from typing_extensions import override

from seqtrain.data.dataset import Dataset
from seqtrain.data.prepare_options import PrepareOptions
from seqtrain.data.side import Side
from seqtrain.data.text.byte_streams import as_location
from seqtrain.data.text.monolingual_data import TextData, load_raw_text
from seqtrain.data.text.monolingual_open import open_text
from seqtrain.data.text.monolingual_preprocess import prepare_text
from seqtrain.data.text.monolingual_text import BLANK, FILE, LINE, TextSettings
from seqtrain.data.text.parallel_preprocess import open_prepared
from seqtrain.data.token_blocks import BREAK_MODES, TokenBlocks
from seqtrain.data.tokenizers.base import TOKENIZERS, TokenizerConfig
from seqtrain.errors import ConfigError, DataError
from seqtrain.option_checks import require_choice, require_range
from seqtrain.tasks.base import Task, TaskConfig

DOCUMENT_ENDS = (BLANK, LINE, FILE)


@dataclass(kw_only=True)
class TextTaskConfig(TaskConfig):
    """Base of the configs of tasks on plain text."""

    train: list[str] = field(default_factory=list)
    """Files of training text; a path may be a pattern (text/**/*.txt), a table that ends with
    .jsonl, .csv, .tsv or .parquet, compressed (.gz, .xz, .zst), or a URL."""
    valid: list[str] = field(default_factory=list)
    """The same for validation."""
    test: list[str] = field(default_factory=list)
    """The same for the test."""
    extra_splits: dict[str, list[str]] = field(default_factory=dict)
    """Further evaluation texts by split name, for `validation.splits`."""
    text_field: str = "text"
    """Field of a table that holds the text; each record is a document."""
    documents: str = "blank"
    """Where a document ends: blank (at an empty line, which is left out), line (each line is
    one), file (at the end of a file; empty lines are kept)."""
    tokenizer: str = "sentencepiece"
    """Registered tokenizer: sentencepiece, word, char, byte or pieces. A folder of
    fairseq-preprocess has pieces already: there it only says how they are joined."""
    tokenizer_options: dict[str, Any] = field(default_factory=dict)
    """Further options of the tokenizer; `seqtrain-info tokenizer=NAME` lists them."""
    vocab_size: int = 0
    """Most symbols in the vocabulary, specials included; 0 leaves it to the tokenizer."""
    min_count: int = 0
    """Symbols that occur less often in the training text become unknown."""
    vocabulary_from: str = ""
    """Prepared folder whose tokenizer and vocabulary `seqtrain-preprocess` uses; of a folder of
    pairs those of the target, as a language model beside a translation model needs them."""
    tokens_per_sample: int = 512
    """Longest example, in symbols."""

    def __post_init__(self) -> None:
        require_choice("task.documents", self.documents, DOCUMENT_ENDS)
        require_range("task.tokens_per_sample", self.tokens_per_sample, least=2)


class TextTask(Task):
    """Plain text, prepared or raw.

    Args:
        config: The task's section.
        side: Tokenizer and vocabulary.
        data: The splits; None for a task without data, as a checkpoint gives it.
        seed: Of the run: keys what is drawn in examples.
    """

    def __init__(
        self, config: TextTaskConfig, side: Side, data: TextData | None, seed: int
    ) -> None:
        super().__init__(config)
        self.side = side
        self.seed = seed
        self._data = data
        self._datasets: dict[str, Dataset] = {}

    @classmethod
    @override
    def load(cls, config: TextTaskConfig, seed: int) -> Self:
        if config.data:
            data = open_text(config.data, _tokenizer_of_pieces(config))
        elif config.train:
            data = load_raw_text(text_settings(config))
        else:
            raise ConfigError(
                f"task={config.name} has no data: set task.data to a folder of "
                "seqtrain-preprocess, or task.train=[FILE] and task.valid=[FILE] to text."
            )
        return cls(config, data.side, data, seed)

    @classmethod
    @override
    def from_state(cls, config: TextTaskConfig, state: Mapping[str, Any]) -> Self:
        return cls(config, Side.from_state(state["text"]), None, 0)

    @classmethod
    @override
    def prepare(cls, config: TextTaskConfig, out: Path, num_workers: int) -> list[str]:
        return cls.prepare_with(config, out, PrepareOptions(num_workers=num_workers))

    @classmethod
    def prepare_with(cls, config: TextTaskConfig, out: Path, options: PrepareOptions) -> list[str]:
        """Turns raw text into a folder for `task.data`; returns lines that say what it holds."""
        given = side_of_folder(config.vocabulary_from) if config.vocabulary_from else None
        return prepare_text(text_settings(config), out, options, given)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"text": self.side.state_dict()}

    @override
    def splits(self) -> list[str]:
        return [] if self._data is None else self._data.splits()

    @override
    def dataset(self, split: str) -> Dataset:
        if self._data is None or split not in self._data.splits():
            raise self.missing_split(split)
        if split not in self._datasets:
            self._datasets[split] = self.build_dataset(split, self._data)
        return self._datasets[split]

    @abstractmethod
    def build_dataset(self, split: str, data: TextData) -> Dataset:
        """Returns the examples of a split that there is."""

    @override
    def prepared_with(self) -> dict[str, Any]:
        tokenizer = self.side.tokenizer.config
        return {"tokenizer": tokenizer.name, "vocab_size": tokenizer.vocab_size}

    @override
    def describe(self) -> list[str]:
        return [] if self._data is None else self._data.lines()


def side_of_folder(path: str) -> Side:
    """Returns tokenizer and vocabulary of a folder of plain text, or of the target of pairs."""
    try:
        return open_text(path).side
    except DataError as error:
        try:
            return open_prepared(Path(path)).target
        except DataError:
            raise error from None


def blocks_of(data: TextData, split: str, length: int, mode: str) -> TokenBlocks:
    """Returns a split's text in blocks; eos stands for each line end."""
    return TokenBlocks(data.store(split), length, mode, document_starts=data.documents(split))


def check_break_mode(mode: str) -> None:
    """Raises ConfigError if there is no such way to cut text into blocks."""
    require_choice("task.break_mode", mode, BREAK_MODES)


def text_settings(config: TextTaskConfig) -> TextSettings:
    """Returns what preparing text needs to know.

    Raises:
        ConfigError: There is no training text, or the tokenizer's options are wrong.
    """
    if not config.train:
        raise ConfigError("task.train is empty: name the training text, as in task.train=[a.txt].")
    paths = {"train": config.train, "valid": config.valid, "test": config.test}
    return TextSettings(
        paths={
            split: [as_location(path) for path in found]
            for split, found in (paths | config.extra_splits).items()
            if found
        },
        tokenizer=_tokenizer(config),
        documents=config.documents,
        min_count=config.min_count,
        field=config.text_field,
    )


def _tokenizer(config: TextTaskConfig) -> TokenizerConfig:
    section: dict[str, Any] = {"name": config.tokenizer} | dict(config.tokenizer_options)
    if config.vocab_size:
        section["vocab_size"] = config.vocab_size
    parsed = TOKENIZERS.parse(section)
    if not isinstance(parsed, TokenizerConfig):
        raise ConfigError(
            f"The tokenizer {config.tokenizer!r} has a config that is not a TokenizerConfig."
        )
    return parsed


def _tokenizer_of_pieces(config: TextTaskConfig) -> TokenizerConfig | None:
    """Returns how raw lines become the pieces of a folder of fairseq-preprocess, if told."""
    is_given = config.tokenizer != "sentencepiece" or "model" in config.tokenizer_options
    return _tokenizer(config) if is_given else None
