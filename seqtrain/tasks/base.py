"""What a task is: the data of a problem, and everything that depends on what the data means."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.prepare_options import PrepareOptions
from seqtrain.errors import ConfigError, DataError
from seqtrain.generation.base import GenerationConfig, Generator, Hypothesis
from seqtrain.metrics import Metrics
from seqtrain.models.base import Model, ModelContext, ModelOutput
from seqtrain.registry import ComponentConfig, Registry
from seqtrain.scorers.base import Scorer


@dataclass(kw_only=True)
class TaskConfig(ComponentConfig):
    """Base of every task's config."""

    data: str = ""
    """Folder that `seqtrain-preprocess` made."""


class Task(ABC):
    """Base of every task. It never touches the optimizer."""

    raw_settings: ClassVar[Sequence[str]] = ("train", "valid", "test", "extra_splits")
    """Fields of the config that name raw data, which is not read where `data` is set."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    @abstractmethod
    def load(cls, config: Any, seed: int) -> Self:
        """Opens the data that the config names."""

    @classmethod
    @abstractmethod
    def from_state(cls, config: Any, state: Mapping[str, Any]) -> Self:
        """Returns a task without data, from what `state_dict` saved in a checkpoint."""

    @classmethod
    @abstractmethod
    def prepare(cls, config: Any, out: Path, num_workers: int) -> list[str]:
        """Turns raw data into a folder for `task.data`; returns lines that say what it holds."""

    @classmethod
    def prepare_with(cls, config: Any, out: Path, options: PrepareOptions) -> list[str]:
        """Does what `prepare` does, with more options; tasks on text override it.

        Raises:
            ConfigError: The task cannot prepare its data in parts.
        """
        if options.shard:
            raise ConfigError(
                f"shard={options.shard}: task={config.name} prepares its data at once. Leave shard "
                "out."
            )
        return cls.prepare(config, out, options.num_workers)

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns what is needed to use the model without the data: vocabularies, tokenizers."""

    @property
    @abstractmethod
    def context(self) -> ModelContext:
        """What models need to know."""

    @abstractmethod
    def splits(self) -> list[str]:
        """Returns the names of the splits that there are: train, valid, test, ..."""

    @abstractmethod
    def dataset(self, split: str) -> Dataset:
        """Returns one split; the same object at each call."""

    def missing_split(self, split: str) -> DataError:
        """Returns the error for a split that there is not."""
        return DataError(
            f"There is no split {split!r} in {self.config.data or 'the data'}. "
            f"There are: {', '.join(self.splits()) or 'none'}."
        )

    def prepared_with(self) -> dict[str, Any]:
        """Returns the values of fields of the config that prepared data has settled."""
        return {}

    def vocabularies(self) -> dict[str, list[str]]:
        """Returns the symbols by side ("source", "target"), in the order of their ids."""
        return {}

    def describe(self) -> list[str]:
        """Returns lines for the first screen: sizes, vocabulary, unknown share."""
        return []

    def batch_transform(self) -> Callable[[Batch], Batch] | None:
        """Returns what to do with each micro-batch of training on its device; None for nothing.

        It draws from torch's generators, which were seeded from (seed, update, micro-batch).
        """
        return None

    def evaluation_model(self, model: nn.Module) -> nn.Module:
        """Returns what evaluation calls in the model's place, such as one that averages views."""
        return model

    def measure(self, output: ModelOutput, batch: Batch) -> Metrics:
        """Returns metrics of evaluation besides the criterion's, of one batch on its device.

        The same names for every batch, an empty one included.
        """
        return Metrics()

    def derive(self, metrics: Metrics, batch: Batch) -> Metrics:
        """Returns metrics of evaluation made of the criterion's own sums of one batch.

        The same names for every batch, an empty one included.
        """
        return Metrics()

    def predict(self, output: ModelOutput, batch: Batch) -> list[dict[str, Any]]:
        """Returns what the model says of each real example, as plain values for JSON."""
        raise NotImplementedError(f"task={self.config.name} does not predict.")

    @property
    def predicts(self) -> bool:
        """Says whether `predict` is what the model is used for, instead of generating text."""
        return type(self).predict is not Task.predict

    @property
    def gives_soft_targets(self) -> bool:
        """Says whether `batch_transform` gives soft targets, which the criterion must read."""
        return False

    def prediction_dataset(self, rows: Sequence[Any]) -> Dataset:
        """Returns rows of plain values, as JSON lines hold them, as a dataset without targets."""
        raise NotImplementedError(f"task={self.config.name} does not read rows of values.")

    def tables(self, metrics: Metrics) -> dict[str, Any]:
        """Returns what of `measure`'s metrics is no single number, as plain values for reports."""
        return {}

    def scorers(self) -> list[Scorer]:
        """Returns what compares generated outputs with references; none if nothing is generated."""
        return []

    def build_generator(
        self,
        models: Sequence[Model],
        config: GenerationConfig,
        language_model: Model | None = None,
    ) -> Generator:
        """Returns the search for this task.

        Args:
            models: One, or several as an ensemble.
            config: Options of the search.
            language_model: Of the target's symbols, for generation.lm_weight.
        """
        raise NotImplementedError(f"task={self.config.name} does not generate.")

    @property
    def generates(self) -> bool:
        """Says whether the task writes texts by search."""
        return type(self).build_generator is not Task.build_generator

    def shown(self, batch: Batch, row: int) -> dict[str, Any]:
        """Returns what people read of an example: `source` and `reference`, as far as there are.

        Args:
            batch: As `dataset(...).batch` gives it.
            row: Of the example in it.
        """
        return {}

    def encode_output(self, text: str) -> Sequence[int]:
        """Returns the symbols of a text as outputs have them: what `decode` turns around."""
        raise NotImplementedError(f"task={self.config.name} does not generate.")

    def decode(self, hypothesis: Hypothesis) -> str:
        """Returns the text of a hypothesis."""
        raise NotImplementedError(f"task={self.config.name} does not generate.")

    def prediction_text(self, row: Mapping[str, Any]) -> str:
        """Returns what `predict` says of an example as one text, for scorers."""
        raise NotImplementedError(f"task={self.config.name} predicts no texts.")

    @property
    def has_references(self) -> bool:
        """Says whether there are texts that scorers can compare with."""
        return type(self).references is not Task.references

    def references(self, split: str) -> list[list[str]]:
        """Returns the acceptable texts of each example of a split, by example index."""
        raise NotImplementedError(f"task={self.config.name} has no reference texts.")

    def scoring_dataset(self, sources: Sequence[str], targets: Sequence[str]) -> Dataset:
        """Returns raw lines with their targets as a dataset."""
        raise NotImplementedError(f"task={self.config.name} does not score given lines.")

    def inference_dataset(self, lines: Sequence[str]) -> Dataset:
        """Returns raw input lines as a dataset without targets."""
        raise NotImplementedError(f"task={self.config.name} does not read raw lines.")


TASKS: Registry[Task] = Registry("task", Task)
register_task = TASKS.register
