"""The Python entry: train a run, and use what it made, from scripts and notebooks."""

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
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
from seqtrain.generation.base import GenerationConfig
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

    def generate_lines(
        self, lines: Iterable[str], generation: GenerationConfig
    ) -> Iterator[list[GeneratedText]]:
        """Yields the nbest outputs of each line, in order; reads up to 1,024 lines at a time."""
        source = iter(lines)
        evaluator = self._evaluator(self.task, generation)
        while window := list(islice(source, _LINES_AT_ONCE)):
            found = dict(evaluator.hypotheses(self.task.inference_dataset(window)))
            for index in range(len(window)):
                yield [
                    GeneratedText(self.task.decode(h), h.score, h.token_scores)
                    for h in found[index]
                ]

    def generate_split(
        self, split: str, generation: GenerationConfig
    ) -> Iterator[tuple[int, list[GeneratedText]]]:
        """Yields (example index, nbest outputs) of a split of `task.data`, in order."""
        task = self._task_with_data()
        found = dict(self._evaluator(task, generation).hypotheses(task.dataset(split)))
        for index in sorted(found):
            yield (
                index,
                [GeneratedText(task.decode(h), h.score, h.token_scores) for h in found[index]],
            )

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
        task = self._task_with_data()
        evaluator = self._evaluator(task, self.config.generation)
        yield from sorted(evaluator.predictions(task.dataset(split)), key=lambda item: item[0])

    def evaluate(self, split: str, generation: GenerationConfig, generate: bool) -> Evaluation:
        """Returns loss, and scores of generated outputs, over a split of `task.data`."""
        return self._evaluator(self._task_with_data(), generation).evaluate(split, generate)

    def _require_predictions(self) -> None:
        if not self.task.predicts:
            raise ConfigError(
                f"task={self.config.task.name} generates text and predicts nothing: use translate."
            )

    def _task_with_data(self) -> Task:
        cls = TASKS.get(self.config.task.name).cls
        task: Task = cls.load(self.config.task, self.config.seed)
        require_same_symbols(self.task, task, self.config.task.data or "The text of the run")
        return task

    def _evaluator(self, task: Task, generation: GenerationConfig) -> Evaluator:
        return Evaluator(
            task=task,
            model=self.model,
            criterion=self.criterion,
            precision=Precision(self.config.precision, self.device),
            device=self.device,
            dataset=replace(self.config.dataset, num_workers=0),
            generation=generation,
            collectives=Collectives(),
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
