"""Translation: one sequence of symbols into another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.mixed_dataset import mix_pairs
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.prepare_options import PrepareOptions
from seqtrain.data.shard_manifest import num_entries
from seqtrain.data.side import Side
from seqtrain.data.text.byte_streams import as_location
from seqtrain.data.text.corpus import TRAIN
from seqtrain.data.text.fairseq_data import is_fairseq_folder, open_fairseq
from seqtrain.data.text.parallel_data import ParallelData, load_raw_parallel
from seqtrain.data.text.parallel_preprocess import (
    open_prepared,
    prepare_parallel,
    training_prefixes,
)
from seqtrain.data.text.parallel_text import ParallelSettings
from seqtrain.data.token_store import TokenStore
from seqtrain.data.tokenizers.base import TOKENIZERS, TokenizerConfig
from seqtrain.data.training_shards import ShardOptions, list_shards, open_training_shards
from seqtrain.data.vocabulary import EOS, PADDING
from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig, Generator, Hypothesis
from seqtrain.models.base import EncoderDecoderModel, Model, ModelContext
from seqtrain.scorers.base import Scorer, build_scorers
from seqtrain.tasks.base import Task, TaskConfig, register_task
from seqtrain.tasks.text_search import all_of, build_text_search


@dataclass(kw_only=True)
class TranslationConfig(TaskConfig):
    """Pairs of lines: a source and its target."""

    source: str = ""
    """Ending of the source files, as in train.en: en."""
    target: str = ""
    """Ending of the target files: de."""
    train: str = ""
    """Path of the training text without its ending: text/train reads text/train.en. Or the path
    of a table of pairs that ends with .jsonl, .csv, .tsv or .parquet. Files may be compressed
    (.gz, .xz, .zst) and behind a URL."""
    valid: str = ""
    """The same for validation."""
    test: str = ""
    """The same for the test."""
    extra_splits: dict[str, str] = field(default_factory=dict)
    """Further evaluation texts by split name, for `validation.splits`."""
    source_field: str = ""
    """Field of a table that holds the source; empty for the name in `source`. In JSON lines
    translation.en is the field en of translation; a number is a column of CSV without names."""
    target_field: str = ""
    """The same of the target."""
    tokenizer: str = "sentencepiece"
    """Registered tokenizer: sentencepiece, huggingface, word, char, byte or pieces. A folder of
    fairseq-preprocess has pieces already: there sentencepiece counts only with the option model,
    and without it outputs are joined as the marks of the vocabulary tell."""
    target_tokenizer: str = ""
    """Tokenizer of the target, where it is another one."""
    vocab_size: int = 0
    """Most symbols in a vocabulary, specials included; 0 leaves it to the tokenizer."""
    tokenizer_options: dict[str, Any] = field(default_factory=dict)
    """Further options of the tokenizer; `seqtrain-info tokenizer=NAME` lists them."""
    target_tokenizer_options: dict[str, Any] = field(default_factory=dict)
    """The same for target_tokenizer."""
    joined: bool = False
    """One tokenizer and one vocabulary for both sides."""
    min_count: int = 1
    """Symbols that occur less often in the training text become unknown."""
    vocabulary_from: str = ""
    """Prepared folder whose tokenizers and vocabularies `seqtrain-preprocess` uses, so that both
    corpora can be trained on together."""
    mixed_data: list[str] = field(default_factory=list)
    """Further prepared folders whose training text is mixed with that of `data`."""
    mixed_weights: list[float] = field(default_factory=list)
    """Proportions of `data` and of each of mixed_data in an epoch, which has as many pairs as all
    together; none for mixed_temperature."""
    mixed_temperature: float = 1.0
    """Without weights, proportions are size ** (1 / this): 1 takes every pair once an epoch, more
    takes small corpora more often."""
    shards: ShardOptions = field(default_factory=ShardOptions)
    """Training text in many prepared folders of which only a few are open at once."""
    reference_separator: str = ""
    """If set, a target line of an evaluation text may hold several right answers, separated by
    it: the loss is measured on the first, and scorers accept any."""
    scorers: list[str] = field(default_factory=lambda: ["bleu"])
    """Registered scorers that compare outputs with references."""

    def __post_init__(self) -> None:
        if self.joined and self.target_tokenizer not in ("", self.tokenizer):
            raise ConfigError(
                "task.joined=true needs one tokenizer for both sides, got "
                f"task.target_tokenizer={self.target_tokenizer}."
            )


@register_task("translation", config=TranslationConfig)
class TranslationTask(Task):
    """Parallel text, prepared or raw.

    Args:
        config: The task's section.
        source: Tokenizer and vocabulary of the source.
        target: The same of the target.
        data: The splits; None for a task without data, as a checkpoint gives it.
    """

    def __init__(
        self, config: TranslationConfig, source: Side, target: Side, data: ParallelData | None
    ) -> None:
        super().__init__(config)
        self.source = source
        self.target = target
        self._data = data
        self._datasets: dict[str, Dataset] = {}

    @classmethod
    @override
    def load(cls, config: TranslationConfig, seed: int) -> Self:
        if config.data:
            data = _open_folder(config)
        elif config.train or config.valid or config.test:
            data = load_raw_parallel(parallel_settings(config))
        else:
            raise ConfigError(
                "task=translation has no data: set task.data to a folder of seqtrain-preprocess, "
                "or task.train, task.valid, task.source and task.target to text."
            )
        task = cls(config, data.source, data.target, data)
        if config.mixed_data:
            more = [_open_folder(replace(config, data=path)) for path in config.mixed_data]
            task._datasets[TRAIN] = mix_pairs(
                [data, *more], config.mixed_weights, config.mixed_temperature, seed
            )
        return task

    @classmethod
    @override
    def from_state(cls, config: TranslationConfig, state: Mapping[str, Any]) -> Self:
        return cls(config, Side.from_state(state["source"]), Side.from_state(state["target"]), None)

    @classmethod
    @override
    def prepare(cls, config: TranslationConfig, out: Path, num_workers: int) -> list[str]:
        return cls.prepare_with(config, out, PrepareOptions(num_workers=num_workers))

    @classmethod
    @override
    def prepare_with(
        cls, config: TranslationConfig, out: Path, options: PrepareOptions
    ) -> list[str]:
        if config.shards.parts:
            first = open_prepared(Path(config.vocabulary_from or config.shards.parts[0]))
            prefixes = partial(training_prefixes, source=first.source, target=first.target)
            return list_shards(config.shards, prefixes, out)
        settings = parallel_settings(config)
        if not config.vocabulary_from:
            return prepare_parallel(settings, out, options)
        given = open_prepared(Path(config.vocabulary_from))
        if given.languages != (settings.source, settings.target):
            raise ConfigError(
                f"task.vocabulary_from={config.vocabulary_from} is of {'-'.join(given.languages)}, "
                f"the text of {settings.source}-{settings.target}. Name a folder of that pair."
            )
        settings = replace(settings, joined=given.joined)
        return prepare_parallel(settings, out, options, (given.source, given.target))

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"source": self.source.state_dict(), "target": self.target.state_dict()}

    @property
    @override
    def context(self) -> ModelContext:
        return ModelContext(
            source_vocab_size=len(self.source.vocabulary),
            target_vocab_size=len(self.target.vocabulary),
            shared_vocab=self.source.vocabulary.symbols == self.target.vocabulary.symbols,
            padding_index=PADDING,
            eos_index=EOS,
        )

    @override
    def splits(self) -> list[str]:
        return [] if self._data is None else self._data.splits()

    @override
    def dataset(self, split: str) -> Dataset:
        if self._data is None or split not in self._data.splits():
            raise self.missing_split(split)
        if split not in self._datasets:
            sharded = split == TRAIN and self.config.shards.parts
            pairs = PairDataset(*self._data.stores(split)) if not sharded else self._shards()
            self._datasets[split] = pairs
        return self._datasets[split]

    def _shards(self) -> Dataset:
        sizes = [len(self.source.vocabulary), len(self.target.vocabulary)]
        prefixes = partial(training_prefixes, source=self.source, target=self.target)
        return open_training_shards(self.config.shards, prefixes, _pairs, num_entries, sizes)

    @override
    def vocabularies(self) -> dict[str, list[str]]:
        return {
            "source": self.source.vocabulary.symbols,
            "target": self.target.vocabulary.symbols,
        }

    @override
    def prepared_with(self) -> dict[str, Any]:
        if self._data is None:
            return {}
        source, target = self.source.tokenizer.config, self.target.tokenizer.config
        return {
            "source": self._data.languages[0],
            "target": self._data.languages[1],
            "tokenizer": source.name,
            "target_tokenizer": target.name,
            "vocab_size": source.vocab_size,
            "joined": self._data.joined,
        }

    @override
    def describe(self) -> list[str]:
        return [] if self._data is None else self._data.lines()

    @override
    def scorers(self) -> list[Scorer]:
        return build_scorers(self.config.scorers)

    @override
    def build_generator(
        self,
        models: Sequence[Model],
        config: GenerationConfig,
        language_model: Model | None = None,
    ) -> Generator:
        usable = all_of(
            models,
            EncoderDecoderModel,
            "task=translation searches with encoder-decoder models only.",
        )
        return build_text_search(usable, config, self.context, self.decode, language_model)

    @override
    def shown(self, batch: Batch, row: int) -> dict[str, Any]:
        source = self.source.decode(batch.inputs["source_tokens"][row].tolist())
        return {"source": source, "reference": self.target.decode(batch.targets[row].tolist())}

    @override
    def encode_output(self, text: str) -> Sequence[int]:
        return self.target.encode(text).tolist()

    @override
    def decode(self, hypothesis: Hypothesis) -> str:
        return self.target.decode(hypothesis.tokens)

    @override
    def references(self, split: str) -> list[list[str]]:
        self.dataset(split)
        return [] if self._data is None else self._data.references(split)

    @override
    def scoring_dataset(self, sources: Sequence[str], targets: Sequence[str]) -> Dataset:
        return PairDataset(_store(self.source, sources), _store(self.target, targets))

    @override
    def inference_dataset(self, lines: Sequence[str]) -> Dataset:
        return PairDataset(_store(self.source, lines))


def _store(side: Side, lines: Sequence[str]) -> TokenStore:
    return TokenStore.from_sequences([side.encode(line) for line in lines], len(side.vocabulary))


def _pairs(stores: Sequence[TokenStore]) -> Dataset:
    return PairDataset(stores[0], stores[1])


def _open_folder(config: TranslationConfig) -> ParallelData:
    """Opens a folder of seqtrain-preprocess or of fairseq-preprocess."""
    path = Path(config.data)
    if not is_fairseq_folder(path):
        return open_prepared(path)
    # The text was cut into pieces before; a sentencepiece tokenizer would have to know how.
    is_given = config.tokenizer != "sentencepiece" or "model" in config.tokenizer_options
    tokenizers = _tokenizers(config) if is_given else None
    return open_fairseq(path, (config.source, config.target), tokenizers)


def parallel_settings(config: TranslationConfig) -> ParallelSettings:
    """Returns what preparing parallel text needs to know.

    Raises:
        ConfigError: A path or an ending is missing.
    """
    for key in ("source", "target"):
        if not getattr(config, key):
            raise ConfigError(f"task.{key} is not set: it is the ending of the files, as in en.")
    prefixes = {"train": config.train, "valid": config.valid, "test": config.test}
    source, target = _tokenizers(config)
    return ParallelSettings(
        source=config.source,
        target=config.target,
        prefixes={k: as_location(v) for k, v in (prefixes | config.extra_splits).items() if v},
        source_tokenizer=source,
        target_tokenizer=target,
        joined=config.joined,
        min_count=config.min_count,
        reference_separator=config.reference_separator,
        source_field=config.source_field,
        target_field=config.target_field,
    )


def _tokenizers(config: TranslationConfig) -> tuple[TokenizerConfig, TokenizerConfig]:
    source = _tokenizer(config.tokenizer, config.vocab_size, config.tokenizer_options)
    if not config.target_tokenizer:
        return source, replace(source)
    return source, _tokenizer(
        config.target_tokenizer, config.vocab_size, config.target_tokenizer_options
    )


def _tokenizer(name: str, vocab_size: int, options: Mapping[str, Any]) -> TokenizerConfig:
    section: dict[str, Any] = {"name": name} | dict(options)
    if vocab_size:
        section["vocab_size"] = vocab_size
    config = TOKENIZERS.parse(section)
    if not isinstance(config, TokenizerConfig):
        raise ConfigError(f"The tokenizer {name!r} has a config that is not a TokenizerConfig.")
    return config
