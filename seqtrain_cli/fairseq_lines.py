"""The lines of fairseq-generate.

S- source, C- phrase that an output must contain, T- reference, H- hypothesis, D- its text, P- its
scores, A- its alignment.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor

from seqtrain.data.dataset import Dataset
from seqtrain.errors import ConfigError
from seqtrain.generation.base import Hypothesis
from seqtrain.tasks.base import Task

_TO_BASE_2 = 1.0 / math.log(2.0)


class FairseqLines:
    """Writes examples as fairseq does: scores to base 2, pieces with spaces between them.

    Args:
        task: Gives the symbols and turns hypotheses into text.
        dataset: Of the examples.
    """

    def __init__(self, task: Task, dataset: Dataset) -> None:
        vocabularies = task.vocabularies()
        if "target" not in vocabularies:
            raise ConfigError(f"format=fairseq needs a task on symbols, not {task.config.name}.")
        self.task = task
        self.dataset = dataset
        self.source_symbols = vocabularies.get("source")
        self.target_symbols = vocabularies["target"]

    def of_example(
        self,
        index: int,
        hypotheses: Sequence[Hypothesis],
        number: int | None = None,
        phrases: Sequence[str] = (),
    ) -> Iterator[str]:
        """Yields the lines of one example.

        Args:
            index: Of the example in the dataset.
            hypotheses: Best first.
            number: What stands in the lines; the index if None.
            phrases: What its outputs must contain.
        """
        number = index if number is None else number
        batch = self.dataset.batch(np.array([index]), 1)
        source = batch.inputs.get("source_tokens")
        if source is not None and self.source_symbols is not None:
            yield f"S-{number}\t{self._pieces(self._ids(source), self.source_symbols)}"
        yield from (f"C-{number}\t{phrase}" for phrase in phrases)
        targets = self._ids(batch.targets)
        if batch.num_targets:
            # fairseq writes a reference's unknown symbol so that no hypothesis matches it.
            pieces = self._pieces(targets, self.target_symbols).split(" ")
            escaped = ["<<unk>>" if piece == "<unk>" else piece for piece in pieces]
            yield f"T-{number}\t{' '.join(escaped)}"
        for hypothesis in hypotheses:
            score = hypothesis.score * _TO_BASE_2
            pieces_text = self._pieces(hypothesis.tokens, self.target_symbols)
            yield f"H-{number}\t{score}\t{pieces_text}"
            yield f"D-{number}\t{score}\t{self.task.decode(hypothesis)}"
            yield f"P-{number}\t{' '.join(_four_digits(hypothesis.token_scores))}"
            if hypothesis.alignment is not None:
                yield f"A-{number}\t{_alignment(hypothesis)}"

    def _ids(self, row: Tensor) -> list[int]:
        """Returns the symbols of a batch's only row, without padding and eos at the end."""
        context = self.task.context
        ids = [i for i in row[0].tolist() if i != context.padding_index]
        return ids[:-1] if ids and ids[-1] == context.eos_index else ids

    def _pieces(self, ids: Iterable[int], symbols: Sequence[str]) -> str:
        return " ".join(symbols[i] for i in ids)


def _alignment(hypothesis: Hypothesis) -> str:
    """Returns the attention of each symbol, or pairs of places in source and output."""
    if hypothesis.attention is not None:
        rows = ([f"{share:.6f}" for share in row] for row in hypothesis.attention)
        return " ".join(",".join(row) for row in rows)
    return " ".join(f"{place}-{index}" for index, place in enumerate(hypothesis.alignment or []))


def _four_digits(log_probs: Iterable[float]) -> Iterator[str]:
    return (f"{value * _TO_BASE_2:.4f}" for value in log_probs)
