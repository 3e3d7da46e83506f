"""Evaluates a split: the criterion's metrics, and the scores of generated outputs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion
from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.data.fairseq_batches import padded_source_lengths
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import DataError
from seqtrain.generation.base import LIMITING_LENGTHS, GenerationConfig, Hypothesis
from seqtrain.metrics import Metrics
from seqtrain.models.base import Model, ModelOutput
from seqtrain.optim.precision import Precision
from seqtrain.tasks.base import Task
from seqtrain.training.loss_module import evaluate_batch
from seqtrain.training.reference_scores import reference_scores


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

    def losses(self, split: str) -> dict[str, float]:
        """Returns the criterion's and the task's metrics over a split."""
        return self.metrics(split).compute()

    def metrics(self, split: str) -> Metrics:
        """Returns the same before their values are computed, on every rank."""
        metrics = Metrics()
        for batch in self._batches(self.task.dataset(split)):
            metrics.merge(self._loss(batch))
        packed = self.collectives.all_reduce_sum(metrics.pack(self.device))
        return metrics.unpack(packed)

    def scores(self, split: str) -> Evaluation:
        """Generates an output for every example and compares it with the references."""
        scorers = self.task.scorers()
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
        found = [
            (index, self.task.decode(nbest[0]))
            for index, nbest in self.hypotheses(self.task.dataset(split))
        ]
        gathered = [item for rank in self.collectives.gather_json(found) for item in rank]
        return [text for _, text in sorted(gathered)]

    def hypotheses(self, dataset: Dataset) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields (example index, nbest hypotheses) of this rank's examples, in any order."""
        generator = self.task.build_generator([self.model], self.generation)
        found = generator.stream(self._inputs(dataset))
        while True:
            with self.precision.autocast():  # not while the caller works
                item = next(found, None)
            if item is None:
                return
            yield item

    def _inputs(self, dataset: Dataset) -> Iterator[Batch]:
        """Yields the batches of a search, on the device."""
        max_tokens = self.generation.fairseq_max_tokens
        lengths = padded_source_lengths(dataset.lengths, max_tokens) if max_tokens else None
        for batch in self._batches(dataset):
            if lengths is not None:
                longest = torch.from_numpy(lengths[batch.ids.numpy()])
                batch = replace(batch, extras=batch.extras | {LIMITING_LENGTHS: longest})
            yield batch.to(self.device)

    def reference_scores(self, dataset: Dataset) -> Iterator[tuple[int, Hypothesis]]:
        """Yields (example index, its target with scores) of this rank's examples."""
        self.model.eval()
        for batch in self._batches(dataset):
            batch = batch.to(self.device)
            with torch.no_grad(), self.precision.autocast():
                output: ModelOutput = self.model(**batch.inputs)
                yield from reference_scores(
                    output, batch, self.task.context, self.generation.lenpen
                )

    def predictions(self, dataset: Dataset) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (example index, plain values) of this rank's examples, batch by batch."""
        model = self.task.evaluation_model(self.model)
        model.eval()
        for batch in self._batches(dataset):
            batch = batch.to(self.device)
            with torch.no_grad(), self.precision.autocast():
                output: ModelOutput = model(**batch.inputs)
                found = self.task.predict(output, batch)
            yield from zip(batch.ids.tolist(), found, strict=True)

    def evaluate(self, split: str, generate: bool) -> Evaluation:
        """Returns metrics and, where the task has scorers and it is wished, scores."""
        metrics = self.metrics(split)
        losses, tables = metrics.compute(), self.task.tables(metrics)
        if not (generate and self.task.scorers()):
            return Evaluation(losses, {}, tables)
        scored = self.scores(split)
        return Evaluation(losses | scored.values, scored.signatures, tables)

    def names(self, split: str, generate: bool) -> set[str]:
        """Returns the names of the values that `evaluate` gives, without evaluating."""
        empty = self.task.dataset(split).empty_batch()
        names = set(self._loss(empty).compute())
        if generate:
            names |= {name for s in self.task.scorers() for name in s.score(["a"], [["a"]])}
        return names

    def _loss(self, batch: Batch) -> Metrics:
        batch = batch.to(self.device)
        model = self.task.evaluation_model(self.model)
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
