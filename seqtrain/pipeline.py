"""The Python entry: train a run, and use what it made, from scripts and notebooks."""

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from seqtrain.criteria.base import Criterion
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError, DataError
from seqtrain.generation.base import GenerationConfig, Hypothesis
from seqtrain.models.base import Model
from seqtrain.optim.precision import Precision, choose_cpu_products
from seqtrain.plugins import load_plugins, loaded_plugins
from seqtrain.scorers.base import build_scorers
from seqtrain.tasks.base import TASKS, Task
from seqtrain.tasks.line_demands import write_demands
from seqtrain.training.answers.line_answers import Answer, answer_lines
from seqtrain.training.answers.saved_run import require_same_symbols
from seqtrain.training.answers.split_outputs import (
    LEAST_AT_ONCE,
    WHOLE,
    Shard,
    SplitOutputs,
    examples_at_once,
    parts_of,
)
from seqtrain.training.answers.trained_model import (
    TrainedModel,
    read_trained,
    require_ensemble,
    require_language_model,
)
from seqtrain.training.build import choose_device
from seqtrain.training.evaluator import Evaluation, Evaluator
from seqtrain.training.pass_progress import PassProgress
from seqtrain.training.run_config import RunConfig
from seqtrain.training.session import train_run
from seqtrain.training.train_loop import TrainResult


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
    alignment: list[int] | None = None
    """With generation.print_alignment: place of the source symbol that each symbol comes from."""
    attention: list[list[float]] | None = None
    """With generation.print_alignment=soft: for each symbol and for the end, its attention to the
    source symbols and to their end."""


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
    others: tuple[TrainedModel, ...] = ()
    """Further models of an ensemble."""
    language_model: TrainedModel | None = None
    """For generation.lm_weight."""
    at_once: int = LEAST_AT_ONCE
    """Lines, or examples of a split, that are worked on together."""
    progress: PassProgress = field(default_factory=PassProgress)
    """Shows people how far a pass over examples is; nothing by itself."""

    def translate(
        self,
        lines: Iterable[str],
        constraints: Sequence[Sequence[str]] | None = None,
        prefixes: Sequence[str] | None = None,
        ordered: bool = False,
        **options: Any,
    ) -> list[str]:
        """Returns the best output for each line.

        Args:
            lines: Input texts.
            constraints: Phrases that the output of each line must contain.
            prefixes: What the output of each line must begin with.
            ordered: The phrases come in the order given, and not inside one another.
            options: Of GenerationConfig: beam, lenpen, max_len_b ...

        Raises:
            DataError: A line cannot be used; `answers` has a reason for it and goes on.
        """
        if isinstance(lines, str):
            raise TypeError("translate takes a list of lines, got a single text: put it in [].")
        if constraints is not None:
            options["constraints"] = "ordered" if ordered else "unordered"
        if prefixes is not None:
            options["forced_prefix"] = True
        generation = replace(self.config.generation, **options)
        if constraints is not None or prefixes is not None:
            lines = write_demands(lines, generation, constraints, prefixes)
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
        """Yields the nbest outputs of each line, in order; reads some hundred lines at a time."""
        for nbest in self.hypotheses_of_lines(lines, generation):
            yield [self.text_of(hypothesis) for hypothesis in nbest]

    def hypotheses_of_lines(
        self, lines: Iterable[str], generation: GenerationConfig
    ) -> Iterator[list[Hypothesis]]:
        """Yields what `generate_lines` does, as symbol ids."""
        for number, answer in enumerate(self.answers(lines, generation), start=1):
            if answer.error:
                raise DataError(f"line {number}: {answer.error}")
            yield answer.hypotheses

    def answers(
        self,
        lines: Iterable[str],
        generation: GenerationConfig | None = None,
        lines_at_once: int = 0,
        first_number: int = 0,
    ) -> Iterator[Answer]:
        """Yields hypotheses for each line, or the reason why there are none, in order.

        Args:
            lines: Input texts.
            generation: Options of search; those of the run if None.
            lines_at_once: Searched together; 0 for some hundred, 1 to answer each at once.
            first_number: Of the first line: what is drawn for a line depends on its number.
        """
        source = iter(lines)
        evaluator = self._evaluator(self.task, generation or self.config.generation)
        size = lines_at_once or self.at_once
        while window := list(islice(source, size)):
            yield from answer_lines(evaluator, window, first_number)
            first_number += len(window)

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
        outputs = self.outputs_of_split(task, split, generation)
        for part in parts_of(shard.of(len(outputs)), self.at_once):
            yield from outputs.hypotheses(part)

    def references_of_split(
        self, task: Task, split: str, generation: GenerationConfig, shard: Shard = WHOLE
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields (example index, its target with the model's scores); see `hypotheses_of_split`."""
        outputs = self.outputs_of_split(task, split, generation)
        for part in parts_of(shard.of(len(outputs)), self.at_once):
            yield from outputs.references(part)

    def outputs_of_split(
        self, task: Task, split: str, generation: GenerationConfig
    ) -> SplitOutputs:
        """Returns what says the same of any part of a split."""
        return SplitOutputs(self._evaluator(task, generation), split)

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
        return GeneratedText(
            text,
            hypothesis.score,
            hypothesis.token_scores,
            hypothesis.alignment,
            hypothesis.attention,
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
        while window := list(islice(source, self.at_once)):
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
        outputs = self.outputs_of_split(self.task_with_data(), split, self.config.generation)
        for part in parts_of(range(len(outputs)), self.at_once):
            yield from outputs.predictions(part)

    def evaluate(
        self,
        split: str,
        generation: GenerationConfig,
        generate: bool,
        scorers: Sequence[str] | None = None,
        collectives: Collectives | None = None,
    ) -> Evaluation:
        """Returns loss, and scores of outputs, over a split of `task.data`.

        Args:
            split: Its name.
            generation: Options of search.
            generate: Search, if a scorer reads texts.
            scorers: Registered scorers; those of the task if None.
            collectives: To share the work with other processes, all of which call this.
        """
        evaluator = self._evaluator(self.task_with_data(), generation)
        if scorers is not None:
            evaluator = replace(evaluator, chosen_scorers=build_scorers(scorers))
        if collectives is not None:
            evaluator = replace(evaluator, collectives=collectives)
        return evaluator.evaluate(split, generate)

    def _require_predictions(self) -> None:
        if not self.task.predicts:
            raise ConfigError(
                f"task={self.config.task.name} generates text and predicts nothing: use translate."
            )

    def task_with_data(self) -> Task:
        """Returns the task with the data that `task.data` names, after a check of its symbols."""
        cls = TASKS.get(self.config.task.name).cls
        try:
            task: Task = cls.load(self.config.task, self.config.seed)
        except (ConfigError, DataError) as error:
            reason = f"{error} For a trained model, name the prepared folder with data=FOLDER."
            raise type(error)(reason) from error
        require_same_symbols(self.task, task, self.config.task.data or "The text of the run")
        return task

    def _evaluator(self, task: Task, generation: GenerationConfig) -> Evaluator:
        if generation.lm_weight and self.language_model is None:
            raise ConfigError(
                f"generation.lm_weight={generation.lm_weight} needs a language model: set "
                "language_model to a run of task=language_modeling."
            )
        return Evaluator(
            task=task,
            model=self.model,
            criterion=self.criterion,
            precision=Precision(self.config.precision, self.device),
            device=self.device,
            dataset=replace(self.config.dataset, num_workers=0),
            generation=generation,
            collectives=Collectives(),
            ensemble=[other.model for other in self.others],
            language_model=self.language_model.model if self.language_model else None,
            progress=self.progress,
        )


def load(
    path: str | Path | Sequence[str | Path],
    device: str = "auto",
    data: str = "",
    language_model: str | Path = "",
) -> Pipeline:
    """Loads a trained model: from a run directory its best checkpoint, else the one named.

    Where the run keeps an average of its weights (section `ema`), the model has those. Several
    paths make an ensemble, which has the options of the first one's run.

    Nothing that the checkpoint says is imported or run: plug-ins that it needs must be loaded
    before, with `seqtrain.plugins.load_plugins`.

    Args:
        path: Run directory, folder of checkpoints, or one checkpoint; or several of these.
        device: auto, cpu or cuda.
        data: Folder to take splits from, where it is not the one that the run was trained on.
        language_model: The same of a language model, for generation.lm_weight.

    Raises:
        CheckpointError: It cannot be read.
        ConfigError: Several models do not fit together.
        UnknownNameError: It needs a component that no loaded plug-in registers.
    """
    load_plugins([])
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths:
        raise ConfigError("load needs the path of a run or a checkpoint, got an empty list.")
    read = partial(read_trained, device=choose_device(device))
    first, others = read(paths[0], data=data), [read(each) for each in paths[1:]]
    require_ensemble(first, others)
    language = read(language_model, key="language_model") if language_model else None
    if language is not None:
        require_language_model(first, language)
    choose_cpu_products(first.config.precision)
    return Pipeline(
        config=first.config,
        task=first.task,
        model=first.model,
        criterion=first.criterion,
        device=choose_device(device),
        path=first.path,
        others=tuple(others),
        language_model=language,
        at_once=examples_at_once(first.config.dataset),
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
