"""What a model says of the examples of a split: in order, and a part at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.data.dataset_part import DatasetPart
from seqtrain.generation.base import Hypothesis
from seqtrain.training.answers.limited_dataset import with_limits
from seqtrain.training.evaluator import Evaluator

T = TypeVar("T")
USUAL_LENGTH = 16
"""Of an example, to guess how many fill a batch."""
LEAST_AT_ONCE = 256


@dataclass(frozen=True)
class Shard:
    """One part of a split."""

    index: int
    """From 0 to count - 1."""
    count: int

    def of(self, num_examples: int) -> range:
        """Returns the examples of this part: neighbours, so that parts follow one another."""
        begin, end = (num_examples * place // self.count for place in (self.index, self.index + 1))
        return range(begin, end)


WHOLE = Shard(0, 1)


def examples_at_once(config: DatasetConfig) -> int:
    """Returns how many examples make a few batches.

    So many neighbours are worked on together, and nothing else with them: what is said of them
    is the same, to the bit, for any number of processes, and the rest need not be in memory.
    """
    return max(LEAST_AT_ONCE, config.max_tokens // USUAL_LENGTH, config.batch_size)


def parts_of(examples: range, size: int) -> Iterator[range]:
    """Yields neighbouring examples, `size` at a time."""
    for begin in range(examples.start, examples.stop, size):
        yield range(begin, min(begin + size, examples.stop))


class SplitOutputs:
    """What a model says of parts of a split.

    Args:
        evaluator: Has the task with its data.
        split: Name of the split.
    """

    def __init__(self, evaluator: Evaluator, split: str) -> None:
        self._evaluator = evaluator
        self._dataset = evaluator.task.dataset(split)
        self._limited: Dataset | None = None

    def __len__(self) -> int:
        return len(self._dataset)

    def hypotheses(self, examples: range) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields (example index, nbest hypotheses) in order."""
        if self._limited is None:
            self._limited = with_limits(self._dataset, self._evaluator.generation)
        yield from _sorted(self._evaluator.hypotheses(DatasetPart(self._limited, examples)))

    def references(self, examples: range) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields (example index, its target with the model's scores) in order."""
        found = self._evaluator.reference_scores(DatasetPart(self._dataset, examples))
        for index, hypothesis in _sorted(found):
            yield index, [hypothesis]

    def predictions(self, examples: range) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (example index, what the task predicts) in order."""
        yield from _sorted(self._evaluator.predictions(DatasetPart(self._dataset, examples)))


def _sorted(found: Iterable[tuple[int, T]]) -> list[tuple[int, T]]:
    return sorted(found, key=lambda item: item[0])
