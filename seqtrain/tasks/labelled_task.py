"""What tasks on labelled sequences share: their data, and rows of plain values to predict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.labelled.data import (
    LabelledData,
    encode_inputs,
    load_raw_labelled,
    open_labelled,
    prepare_labelled,
)
from seqtrain.data.labelled.dataset import ExampleTransform, LabelledDataset
from seqtrain.data.labelled.info import LabelledInfo
from seqtrain.data.labelled.settings import TRAIN, LabelledSettings
from seqtrain.data.labelled.store import IGNORED, LabelledStore
from seqtrain.data.text.byte_streams import as_location
from seqtrain.data.tokenizers.base import TOKENIZERS, TokenizerConfig
from seqtrain.errors import ConfigError, DataError
from seqtrain.models.base import ModelContext
from seqtrain.option_checks import require_range
from seqtrain.tasks.base import Task, TaskConfig


@dataclass(kw_only=True)
class LabelledTaskConfig(TaskConfig):
    """Files of labelled sequences, and what to make of them."""

    train: str = ""
    """File of training examples. .npz: arrays values [examples, time, channels] and labels; with
    an array lengths, values [sum of lengths, channels]. .npy: values, beside NAME.labels.npy.
    .jsonl: {"values": [[...], ...], "label": ...} or {"text": ..., "label": ...} or {"tokens":
    [...], ...} a line. .csv: a header; one example a row (label, then numbers, or text and label),
    or with a column id one position a row. Labels for positions are "labels", as many."""
    valid: str = ""
    """The same for validation."""
    test: str = ""
    """The same for the test."""
    extra_splits: dict[str, str] = field(default_factory=dict)
    """Further evaluation files by split name, for `validation.splits`."""
    scale: str = "standard"
    """standard: each channel gets mean 0 and standard deviation 1 of the training examples; none
    keeps numbers as they are."""
    classes: list[str] = field(default_factory=list)
    """Names of the classes in order; empty for those of the training examples."""
    tokenizer: str = "char"
    """Registered tokenizer of examples that are text."""
    vocab_size: int = 0
    """Most symbols in the vocabulary, specials included; 0 leaves it to the tokenizer."""
    tokenizer_options: dict[str, Any] = field(default_factory=dict)
    """Further options of the tokenizer; `seqtrain-info tokenizer=NAME` lists them."""
    min_count: int = 1
    """Symbols that occur less often in the training examples become unknown."""
    patch_size: int = 0
    """For images: squares of so many pixels become the positions of a sequence, row by row; 0
    leaves images as they are."""

    def __post_init__(self) -> None:
        require_range("task.patch_size", self.patch_size, least=0)


class LabelledTask(Task):
    """Labelled sequences, prepared or raw.

    Args:
        config: The task's section.
        info: Classes, symbols and scale.
        data: The splits; None for a task without data, as a checkpoint gives it.
        seed: Of the changes of training examples.
    """

    per_position: ClassVar[bool] = False
    """Each position has a label, not each example."""

    def __init__(
        self, config: Any, info: LabelledInfo, data: LabelledData | None = None, seed: int = 1
    ) -> None:
        super().__init__(config)
        self.info = info
        self.seed = seed
        self._data = data
        self._datasets: dict[str, Dataset] = {}

    @classmethod
    @override
    def load(cls, config: Any, seed: int) -> Self:
        if config.data:
            data = open_labelled(Path(config.data))
        elif config.train:
            data = load_raw_labelled(cls.settings(config))
        else:
            raise ConfigError(
                f"task={config.name} has no data: set task.data to a folder of "
                "seqtrain-preprocess, or task.train, task.valid and task.test to files."
            )
        if data.info.per_position != cls.per_position:
            has, needs = ("position", "example") if data.info.per_position else (
                "example", "position",
            )  # fmt: skip
            raise DataError(
                f"{config.data}: has a label for each {has}, task={config.name} needs one for "
                f"each {needs}. Choose the other task, or run seqtrain-preprocess for this one."
            )
        return cls(config, data.info, data, seed)

    @classmethod
    @override
    def from_state(cls, config: Any, state: Mapping[str, Any]) -> Self:
        return cls(config, LabelledInfo.from_state(state))

    @classmethod
    @override
    def prepare(cls, config: Any, out: Path, num_workers: int) -> list[str]:
        return prepare_labelled(cls.settings(config), out)

    @classmethod
    def settings(cls, config: Any) -> LabelledSettings:
        """Returns what preparing the data needs to know."""
        named = {TRAIN: config.train, "valid": config.valid, "test": config.test}
        files = {k: as_location(v) for k, v in (named | config.extra_splits).items() if v}
        return LabelledSettings(
            files=files,
            per_position=cls.per_position,
            tokenizer=_tokenizer(config),
            min_count=config.min_count,
            scale=config.scale,
            ignore_label=getattr(config, "ignore_label", "-1"),
            classes=list(config.classes),
        )

    @override
    def state_dict(self) -> dict[str, Any]:
        return self.info.state_dict()

    @property
    @override
    def context(self) -> ModelContext:
        info, size = self.info, self.config.patch_size
        if size and info.rank == 1:
            raise ConfigError(f"task.patch_size={size} is for images; the examples are sequences.")
        return ModelContext(
            source_vocab_size=len(info.side.vocabulary) if info.side else 0,
            num_channels=info.num_channels * (size**2 if size else 1),
            num_classes=len(info.classes),
            max_source_positions=self.max_positions(),
            padding_index=IGNORED,
            labels_per_position=self.per_position,
        )

    def max_positions(self) -> int:
        """Returns the positions of the longest example, as models see it."""
        size = self.config.patch_size or 1
        return math.prod(-(-side // size) for side in self.info.max_shape)

    @override
    def splits(self) -> list[str]:
        return [] if self._data is None else self._data.splits()

    @override
    def dataset(self, split: str) -> Dataset:
        if self._data is None:
            raise DataError(f"task={self.config.name} has no data here. Set task.data.")
        if split not in self._datasets:
            self._datasets[split] = self.make_dataset(
                self._data.store(split), self.train_transform() if split == TRAIN else None
            )
        return self._datasets[split]

    def make_dataset(
        self, store: LabelledStore, transform: ExampleTransform | None
    ) -> LabelledDataset:
        """Returns examples as batches; a task with other batches has its own."""
        return LabelledDataset(
            store, transform=transform, seed=self.seed, patch_size=self.config.patch_size
        )

    def train_transform(self) -> ExampleTransform | None:
        """Returns what changes training examples; None for nothing."""
        return None

    @override
    def prepared_with(self) -> dict[str, Any]:
        found: dict[str, Any] = {"classes": self.info.classes}
        if self.info.side:
            tokenizer = self.info.side.tokenizer.config
            found |= {"tokenizer": tokenizer.name, "vocab_size": tokenizer.vocab_size}
        return found

    @override
    def describe(self) -> list[str]:
        return [] if self._data is None else self._data.lines()

    @override
    def prediction_text(self, row: Mapping[str, Any]) -> str:
        found = row["labels"] if self.per_position else [row["label"]]
        return " ".join(_flat(found))

    @override
    def references(self, split: str) -> list[list[str]]:
        """Returns the class of each example, or those of its positions with spaces between.

        Raises:
            DataError: A position has no label, so that no text says what is right.
        """
        if self._data is None:
            raise self.missing_split(split)
        store = self._data.store(split)
        texts = []
        for index in range(len(store)):
            labels = store.example(index).labels.flatten().tolist()
            if IGNORED in labels:
                raise DataError(
                    f"Example {index} of split {split!r} has positions without a label: scorers "
                    "of texts cannot leave them out. The metrics of the task do."
                )
            texts.append([" ".join(self.info.classes[label] for label in labels)])
        return texts

    @override
    def shown(self, batch: Batch, row: int) -> dict[str, Any]:
        targets, found = batch.targets[row], dict[str, Any]()
        if "tokens" in batch.inputs and self.info.side:
            found["source"] = self.info.side.decode(batch.inputs["tokens"][row].tolist())
        if targets.dim() < 2:  # the classes of an image's pixels say nothing as text
            labels = targets[targets.ne(IGNORED)].flatten().tolist()
            found["reference"] = " ".join(self.info.classes[label] for label in labels)
        return found

    @override
    def prediction_dataset(self, rows: Sequence[Any]) -> Dataset:
        return self.make_dataset(encode_inputs(self.info, rows), None)


def _flat(names: Sequence[Any]) -> list[str]:
    """Returns names that may lie in lists of lists, in one list."""
    return [
        name for each in names for name in (_flat(each) if isinstance(each, list) else [str(each)])
    ]


def _tokenizer(config: Any) -> TokenizerConfig:
    section: dict[str, Any] = {"name": config.tokenizer} | dict(config.tokenizer_options)
    if config.vocab_size:
        section["vocab_size"] = config.vocab_size
    parsed = TOKENIZERS.parse(section)
    if not isinstance(parsed, TokenizerConfig):
        raise ConfigError(f"The tokenizer {config.tokenizer!r} has no TokenizerConfig.")
    return parsed
