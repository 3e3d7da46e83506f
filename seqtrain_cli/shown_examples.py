"""What people read of the examples of a split beside their outputs: source and reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqtrain.data.text.corpus import TRAIN
from seqtrain.tasks.base import Task

AT_ONCE = 32
"""Examples in a batch that is only shown: images and long series take memory."""


class ShownExamples:
    """Tells source and reference of each example, as far as the task has them.

    A source is shown as the model reads it. Where scorers compare texts, the reference is the one
    that they use; where they accept several, `references` has all.

    Args:
        task: With data.
        split: Which part of it.
    """

    def __init__(self, task: Task, split: str) -> None:
        self._task = task
        self._dataset = task.dataset(split)
        # Of the training text, which may be large, they are read from batches.
        has_texts = task.has_references and not task.predicts and split != TRAIN
        self._texts = task.references(split) if has_texts else None

    def of(self, examples: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Returns what is shown of some examples, by index."""
        if type(self._task).shown is Task.shown:
            return {index: self._reference(index) for index in examples}
        found: dict[int, dict[str, Any]] = {}
        for begin in range(0, len(examples), AT_ONCE):
            chosen = examples[begin : begin + AT_ONCE]
            batch = self._dataset.batch(np.array(chosen, dtype=np.int64), 1)
            for row, index in enumerate(chosen):
                found[index] = self._task.shown(batch, row) | self._reference(index)
        return found

    def _reference(self, index: int) -> dict[str, Any]:
        if self._texts is None:
            return {}
        texts = self._texts[index]
        return {"reference": texts[0]} | ({"references": texts} if len(texts) > 1 else {})
