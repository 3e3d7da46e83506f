"""Evaluates a split: the criterion's metrics, and the scores of generated outputs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion
from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError, DataError
from seqtrain.generation.base import GenerationConfig, Hypothesis
from seqtrain.metrics import Metrics
from seqtrain.models.base import Model, ModelOutput
from seqtrain.models.ensemble import Ensemble
from seqtrain.optim.precision import Precision
from seqtrain.scorers.base import Scorer
from seqtrain.tasks.base import Task
from seqtrain.training.answers.limited_dataset import with_limits
from seqtrain.training.answers.model_scores import model_scores
from seqtrain.training.answers.reference_scores import reference_scores
from seqtrain.training.loss_module import evaluate_batch
from seqtrain.training.pass_progress import PassProgress


@dataclass(frozen=True)
class Evaluation:
    """What is known of a model on a split."""

    values: dict[str, float]
    """The criterion's metrics and the scores, by name."""
    signatures: dict[str, str]
    """What makes scores comparable with others', by the name of the scorer that has such."""
    tables: dict[str, Any] = field(default_factory=dict)
    """What the task reports besides single numbers, as plain values: a confusion matrix."""


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Runs evaluations on all ranks; every example counts exactly once."""

    task: Task
    model: Model
    criterion: Criterion
    precision: Precision
    device: torch.device
    dataset: DatasetConfig
    generation: GenerationConfig
    collectives: Collectives
    beat: Callable[[], object] = lambda: None
    """Called before each batch: a sign of life."""
    progress: PassProgress = field(default_factory=PassProgress)
    """Shows people how far a pass is."""
    ensemble: Sequence[Model] = ()
    """Further models, whose probabilities are averaged with the model's."""
    language_model: Model | None = None
    """For generation.lm_weight."""
    chosen_scorers: Sequence[Scorer] | None = None
    """Scorers in the place of the task's own."""

    def losses(self, split: str) -> dict[str, float]:
        """Returns the criterion's and the task's metrics over a split."""
        return self.metrics(split).compute()

    def metrics(self, split: str) -> Metrics:
        """Returns the same before their values are computed, on every rank."""
        metrics, dataset = Metrics(), self.task.dataset(split)
        with self.progress.over(f"measuring on {split}", len(dataset)):
            for batch in self._batches(dataset):
                metrics.merge(self._loss(batch))
                self.progress.advance(batch.num_examples)
        packed = self.collectives.all_reduce_sum(metrics.pack(self.device))
        return metrics.unpack(packed)

    def scores(self, split: str) -> Evaluation:
        """Makes a text for every example and compares it with the references.

        Raises:
            ConfigError: The task has no texts, or nothing to compare them with.
        """
        scorers = [scorer for scorer in self.scorers() if scorer.reads_texts]
        if not self.task.has_references:
            raise ConfigError(
                f"task={self.task.config.name} has no texts to compare with: leave out scorers, "
                "or choose scorers=[perplexity]."
            )
        outputs = self.outputs(split)
        references = self.task.references(split)
        if len(outputs) != len(references):
            raise DataError(
                f"Split {split!r} has {len(references)} references for {len(outputs)} outputs."
            )
        values: dict[str, float] = {}
        for scorer in scorers:
            values |= scorer.score(outputs, references)
        signatures = {scorer.config.name: scorer.signature() for scorer in scorers}
        return Evaluation(values, {name: text for name, text in signatures.items() if text})

    def outputs(self, split: str) -> list[str]:
        """Returns the best output of each example of a split, on every rank."""
        dataset = self.task.dataset(split)
        with self.progress.over(f"answering {split}", len(dataset)):
            if self.task.predicts:
                rows = self.predictions(dataset)
                found = [(index, self.task.prediction_text(row)) for index, row in rows]
            else:
                nbests = self.hypotheses(with_limits(dataset, self.generation))
                found = [(index, self.task.decode(nbest[0])) for index, nbest in nbests]
        gathered = [item for rank in self.collectives.gather_json(found) for item in rank]
        return [text for _, text in sorted(gathered)]

    def hypotheses(self, dataset: Dataset) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields (example index, nbest hypotheses) of this rank's examples, in any order."""
        models = [self.model, *self.ensemble]
        # Without one as ever, so that tasks of plug-ins need not know of it.
        fusion = {"language_model": self.language_model} if self.language_model else {}
        generator = self.task.build_generator(models, self.generation, **fusion)
        found = generator.stream(self._inputs(dataset))
        while True:
            with self.precision.autocast():  # not while the caller works
                item = next(found, None)
            if item is None:
                return
            self.progress.advance()
            yield item

    def _inputs(self, dataset: Dataset) -> Iterator[Batch]:
        """Yields the batches of a search, on the device."""
        for batch in self._batches(dataset):
            yield batch.to(self.device)

    def reference_scores(self, dataset: Dataset) -> Iterator[tuple[int, Hypothesis]]:
        """Yields (example index, its target with scores) of this rank's examples."""
        whole = self._whole_model()
        whole.eval()
        for batch in self._batches(dataset):
            batch = batch.to(self.device)
            with torch.no_grad(), self.precision.autocast():
                output: ModelOutput = whole(**batch.inputs)
                yield from reference_scores(
                    output, batch, self.task.context, self.generation.lenpen
                )
            self.progress.advance(batch.num_examples)

    def predictions(self, dataset: Dataset) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (example index, plain values) of this rank's examples, batch by batch."""
        model = self.task.evaluation_model(self._whole_model())
        model.eval()
        for batch in self._batches(dataset):
            batch = batch.to(self.device)
            with torch.no_grad(), self.precision.autocast():
                output: ModelOutput = model(**batch.inputs)
                found = self.task.predict(output, batch)
            self.progress.advance(len(found))
            yield from zip(batch.ids.tolist(), found, strict=True)

    def evaluate(self, split: str, generate: bool) -> Evaluation:
        """Returns metrics and, where the task has scorers and it is wished, scores."""
        metrics = self.metrics(split)
        tables, scorers = self.task.tables(metrics), self.scorers()
        losses = metrics.compute() | model_scores(scorers, metrics, self.task, split)
        if not (generate and any(scorer.reads_texts for scorer in scorers)):
            return Evaluation(losses, {}, tables)
        scored = self.scores(split)
        return Evaluation(losses | scored.values, scored.signatures, tables)

    def names(self, split: str, generate: bool) -> set[str]:
        """Returns the names of the values that `evaluate` gives, without evaluating."""
        empty = self.task.dataset(split).empty_batch()
        metrics, scorers = self._loss(empty), self.scorers()
        names = {*metrics.compute(), *model_scores(scorers, metrics, self.task, split)}
        if generate:
            reading = [scorer for scorer in scorers if scorer.reads_texts]
            names |= {name for s in reading for name in s.score(["a"], [["a"]])}
        return names

    def scorers(self) -> list[Scorer]:
        """Returns the scorers that are used."""
        if self.chosen_scorers is None:
            return self.task.scorers()
        return list(self.chosen_scorers)

    def _whole_model(self) -> nn.Module:
        """Returns the model, or with others their mean."""
        return Ensemble([self.model, *self.ensemble]) if self.ensemble else self.model

    def _loss(self, batch: Batch) -> Metrics:
        batch = batch.to(self.device)
        model = self.task.evaluation_model(self._whole_model())
        loss = evaluate_batch(model, self.criterion, self.precision, batch)
        loss.metrics.merge(self.task.derive(loss.metrics, batch))
        if loss.output is not None:
            measured = self.task.measure(loss.output, batch)
            for name in measured:  # in the place of the criterion's metric of that name
                loss.metrics[name] = measured[name]
        return loss.metrics

    def _batches(self, dataset: Dataset) -> Iterator[Batch]:
        iterator = EpochIterator(
            dataset,
            self.dataset,
            seed=0,
            rank=self.collectives.rank,
            world_size=self.collectives.world_size,
            shuffle=False,
        )
        for group in iterator.groups(1):
            self.beat()
            yield group.batches[0]
