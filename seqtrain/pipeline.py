"""The Python entry: train a run, and use what it made, from scripts and notebooks."""

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from seqtrain.checkpoint.load import applying, read_checkpoint, resolve
from seqtrain.checkpoint.weights import WEIGHT_PARTS, usable_weights
from seqtrain.criteria.base import Criterion
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError, DataError
from seqtrain.generation.base import GenerationConfig, Hypothesis
from seqtrain.models.base import Model
from seqtrain.optim.precision import Precision, choose_cpu_products
from seqtrain.plugins import load_plugins, loaded_plugins
from seqtrain.tasks.base import TASKS, Task
from seqtrain.training.build import build_criterion, build_model, choose_device
from seqtrain.training.evaluator import Evaluation, Evaluator
from seqtrain.training.run_config import RunConfig
from seqtrain.training.saved_run import read_run, require_same_symbols
from seqtrain.training.session import train_run
from seqtrain.training.train_loop import TrainResult

_LINES_AT_ONCE = 1024


def train(config: RunConfig | Mapping[str, Any]) -> TrainResult:
    """Trains a run to its end, continuing from its newest checkpoint if it has one.

    Args:
        config: A RunConfig, or the same as plain nested values.

    Raises:
        SeqtrainError: Something a user can mend; see seqtrain/errors.py for the kinds.
    """
    config = _parse(config)
    return train_run(config, _about(config))


@dataclass(frozen=True)
class GeneratedText:
    """One output for one input line."""

    text: str
    score: float
    """Sum of log probabilities / length ** lenpen."""
    token_scores: list[float]


@dataclass(frozen=True)
class Shard:
    """One part of a split."""

    index: int
    """From 0 to count - 1."""
    count: int


WHOLE = Shard(0, 1)


@dataclass(frozen=True)
class Pipeline:
    """A trained model with its task, ready for use; made by `load`."""

    config: RunConfig
    task: Task
    model: Model
    criterion: Criterion
    device: torch.device
    path: Path
    """The checkpoint that it was loaded from."""

    def translate(self, lines: Iterable[str], **options: Any) -> list[str]:
        """Returns the best output for each line. Options are those of GenerationConfig."""
        if isinstance(lines, str):
            raise TypeError("translate takes a list of lines, got a single text: put it in [].")
        generation = replace(self.config.generation, **options)
        return [nbest[0].text for nbest in self.generate_lines(lines, generation)]

    def sample(self, lines: Iterable[str], count: int = 1, **options: Any) -> list[list[str]]:
        """Returns outputs drawn from the model's probabilities, `count` for each line, best first.

        Args:
            lines: Input texts.
            count: How many are drawn for each.
            options: Of GenerationConfig: seed, temperature, sampling_topk, sampling_topp ...
        """
        if isinstance(lines, str):
            raise TypeError("sample takes a list of lines, got a single text: put it in [].")
        drawn = {"sampling": True, "beam": count, "nbest": count} | options
        generation = replace(self.config.generation, **drawn)
        return [[text.text for text in nbest] for nbest in self.generate_lines(lines, generation)]

    def generate_lines(
        self, lines: Iterable[str], generation: GenerationConfig
    ) -> Iterator[list[GeneratedText]]:
        """Yields the nbest outputs of each line, in order; reads up to 1,024 lines at a time."""
        for nbest in self.hypotheses_of_lines(lines, generation):
            yield [self.text_of(hypothesis) for hypothesis in nbest]

    def hypotheses_of_lines(
        self, lines: Iterable[str], generation: GenerationConfig
    ) -> Iterator[list[Hypothesis]]:
        """Yields what `generate_lines` does, as symbol ids."""
        source = iter(lines)
        evaluator = self._evaluator(self.task, generation)
        while window := list(islice(source, _LINES_AT_ONCE)):
            found = dict(evaluator.hypotheses(self.task.inference_dataset(window)))
            yield from (found[index] for index in range(len(window)))

    def generate_split(
        self, split: str, generation: GenerationConfig
    ) -> Iterator[tuple[int, list[GeneratedText]]]:
        """Yields (example index, nbest outputs) of a split of `task.data`, in order."""
        for index, nbest in self.hypotheses_of_split(self.task_with_data(), split, generation):
            yield index, [self.text_of(hypothesis) for hypothesis in nbest]

    def hypotheses_of_split(
        self, task: Task, split: str, generation: GenerationConfig, shard: Shard = WHOLE
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields (example index, nbest hypotheses) of a split, or of one part of it, in order.

        Args:
            task: From `task_with_data`.
            split: Its name.
            generation: Options of search.
            shard: Which part.
        """
        evaluator = self._evaluator(task, generation, shard)
        yield from sorted(evaluator.hypotheses(task.dataset(split)), key=lambda item: item[0])

    def references_of_split(
        self, task: Task, split: str, generation: GenerationConfig, shard: Shard = WHOLE
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields (example index, its target with the model's scores); see `hypotheses_of_split`."""
        evaluator = self._evaluator(task, generation, shard)
        found = sorted(evaluator.reference_scores(task.dataset(split)), key=lambda item: item[0])
        yield from ((index, [hypothesis]) for index, hypothesis in found)

    def score(
        self, sources: Sequence[str], targets: Sequence[str], **options: Any
    ) -> list[GeneratedText]:
        """Returns given targets with the model's scores. Option: lenpen, as in GenerationConfig."""
        if isinstance(sources, str) or isinstance(targets, str):
            raise TypeError("score takes two lists of lines, got a single text: put it in [].")
        generation = replace(self.config.generation, **options)
        dataset = self.task.scoring_dataset(sources, targets)
        found = dict(self._evaluator(self.task, generation).reference_scores(dataset))
        return [self.text_of(found[index]) for index in range(len(sources))]

    def text_of(self, hypothesis: Hypothesis) -> GeneratedText:
        """Returns a hypothesis as text."""
        text = self.task.decode(hypothesis)
        return GeneratedText(text, hypothesis.score, hypothesis.token_scores)

    def classify(self, inputs: Iterable[Any]) -> list[str]:
        """Returns the class of each sequence: an array [time, channels], a text, or a mapping."""
        return [row["label"] for row in self.predict(inputs)]

    def label(self, inputs: Iterable[Any]) -> list[list[str]]:
        """Returns the class of each position of each sequence, in the forms that classify takes."""
        return [row["labels"] for row in self.predict(inputs)]

    def forecast(self, inputs: Iterable[Any]) -> list[Any]:
        """Returns what follows on each past, [time, channels], in its own units."""
        return [row["forecast"] for row in self.predict(inputs)]

    def predict(self, inputs: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yields all that the task predicts for each input, in order, as plain values.

        Args:
            inputs: What the task reads: arrays, texts, or mappings such as JSON lines hold.
        """
        self._require_predictions()
        source, done = iter(inputs), 0
        evaluator = self._evaluator(self.task, self.config.generation)
        while window := list(islice(source, _LINES_AT_ONCE)):
            try:
                dataset = self.task.prediction_dataset(window)
            except DataError as error:
                raise DataError(f"of the inputs from number {done} on, {error}") from error
            found = dict(evaluator.predictions(dataset))
            yield from (found[index] for index in range(len(window)))
            done += len(window)

    def predict_split(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (example index, what the task predicts) of a split of `task.data`, in order."""
        self._require_predictions()
        task = self.task_with_data()
        evaluator = self._evaluator(task, self.config.generation)
        yield from sorted(evaluator.predictions(task.dataset(split)), key=lambda item: item[0])

    def evaluate(self, split: str, generation: GenerationConfig, generate: bool) -> Evaluation:
        """Returns loss, and scores of generated outputs, over a split of `task.data`."""
        return self._evaluator(self.task_with_data(), generation).evaluate(split, generate)

    def _require_predictions(self) -> None:
        if not self.task.predicts:
            raise ConfigError(
                f"task={self.config.task.name} generates text and predicts nothing: use translate."
            )

    def task_with_data(self) -> Task:
        """Returns the task with the data that `task.data` names, after a check of its symbols."""
        cls = TASKS.get(self.config.task.name).cls
        task: Task = cls.load(self.config.task, self.config.seed)
        require_same_symbols(self.task, task, self.config.task.data or "The text of the run")
        return task

    def _evaluator(
        self, task: Task, generation: GenerationConfig, shard: Shard = WHOLE
    ) -> Evaluator:
        return Evaluator(
            task=task,
            model=self.model,
            criterion=self.criterion,
            precision=Precision(self.config.precision, self.device),
            device=self.device,
            dataset=replace(self.config.dataset, num_workers=0),
            generation=generation,
            collectives=Collectives(shard.index, shard.count),  # they say nothing to one another
        )


def load(path: str | Path, device: str = "auto", data: str = "") -> Pipeline:
    """Loads a trained model: from a run directory its best checkpoint, else the one named.

    Where the run keeps an average of its weights (section `ema`), the model has those.

    Nothing that the checkpoint says is imported or run: plug-ins that it needs must be loaded
    before, with `seqtrain.plugins.load_plugins`.

    Args:
        path: Run directory, folder of checkpoints, or one checkpoint.
        device: auto, cpu or cuda.
        data: Folder to take splits from, where it is not the one that the run was trained on.

    Raises:
        CheckpointError: It cannot be read.
        UnknownNameError: It needs a component that no loaded plug-in registers.
    """
    load_plugins([])
    where = choose_device(device)
    loaded = read_checkpoint(resolve(Path(path)), names=("config", "task", *WEIGHT_PARTS))
    config, task = read_run(loaded)
    if data:
        config = replace(config, task=replace(config.task, data=data))
    choose_cpu_products(config.precision)
    with applying(loaded.path):
        model = build_model(config, task.context)
        criterion = build_criterion(config, task.context)
        weights = usable_weights(loaded.parts)
        model.load_state_dict(weights.model)
        criterion.load_state_dict(weights.criterion)
    return Pipeline(
        config, task, model.to(where).eval(), criterion.to(where).eval(), where, loaded.path
    )


def _parse(config: RunConfig | Mapping[str, Any]) -> RunConfig:
    if isinstance(config, RunConfig):
        return config
    load_plugins(list(config.get("plugins", [])))
    return RunConfig.parse(config)


def _about(config: RunConfig) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(config.to_container(), sort_keys=True).encode())
    return {
        "config_sha256": digest.hexdigest(),
        "host": platform.node(),
        "plugins": [
            {"name": plugin.name, "version": plugin.version, "sha256": plugin.sha256}
            for plugin in loaded_plugins()
        ],
    }
