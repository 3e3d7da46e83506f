"""Spans in a labelled sequence: entities, words, runs of one class, and where they meet."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.metrics import Metric

OUTSIDE = -1
SCHEMES = ("bio", "runs")


class F1(Metric):
    """100 * harmonic mean of precision and recall. Arguments: right, found, true."""

    @override
    def compute(self) -> float:
        right, found, true = self.sums.tolist()
        return 200.0 * right / (found + true) if found + true else math.nan

    @override
    def details(self) -> dict[str, float]:
        right, found, true = self.sums.tolist()
        return {
            "_f1": self.compute(),
            "_precision": 100.0 * right / found if found else math.nan,
            "_recall": 100.0 * right / true if true else math.nan,
        }


@dataclass(frozen=True)
class SpanScheme:
    """What each class says about spans.

    Args:
        kinds: Kind of the span that a position of this class lies in, OUTSIDE for none, int64
            [classes].
        begins: This class always begins a span, bool [classes].
    """

    kinds: Tensor
    begins: Tensor
    names: list[str]

    @classmethod
    def of_classes(cls, scheme: str, classes: list[str]) -> "SpanScheme":
        """Returns the scheme of named classes.

        Args:
            scheme: "bio": O is outside; B-x begins a span of kind x and I-x goes on with one
                (plain B and I are spans without a kind); where I-x follows anything but B-x or
                I-x it begins a span too, as in CoNLL's evaluation. "runs": neighbours of one
                class are a span of that kind.
            classes: Their names.

        Raises:
            ConfigError: A name does not fit "bio".
        """
        if scheme == "runs":
            return cls(torch.arange(len(classes)), torch.zeros(len(classes)).bool(), list(classes))
        names: list[str] = []
        kinds: list[int] = []
        for name in classes:
            tag, _, kind = name.partition("-")
            if tag not in ("O", "B", "I") or (tag == "O" and name != "O"):
                raise ConfigError(
                    f"task.spans=bio needs classes O, B-kind and I-kind (or B and I), and there "
                    f"is the class {name!r}. Use task.spans=runs, or leave it empty."
                )
            if tag == "O":
                kinds.append(OUTSIDE)
                continue
            if kind not in names:
                names.append(kind)
            kinds.append(names.index(kind))
        begins = torch.tensor([name.startswith("B") for name in classes])
        return cls(torch.tensor(kinds), begins, names)

    def marks(self, labels: Tensor, is_real: Tensor) -> "SpanMarks":
        """Returns the spans of sequences.

        Args:
            labels: Classes, int64 [batch, time].
            is_real: False where no label counts: spans end there, bool [batch, time].
        """
        labels = labels.where(is_real, 0)
        kinds = self.kinds.to(labels.device)[labels].where(is_real, OUTSIDE)
        before = torch.nn.functional.pad(kinds[:, :-1], (1, 0), value=OUTSIDE)
        begins = self.begins.to(labels.device)[labels] | kinds.ne(before)
        starts = kinds.ne(OUTSIDE) & begins
        last_of_time = torch.nn.functional.pad(starts[:, 1:], (0, 1))
        after = torch.nn.functional.pad(kinds[:, 1:], (0, 1), value=OUTSIDE)
        ends = kinds.ne(OUTSIDE) & (after.ne(kinds) | last_of_time)
        return SpanMarks(kinds, starts, ends)


@dataclass(frozen=True)
class SpanMarks:
    """Where spans lie in sequences.

    Args:
        kinds: Kind of the span at each position, OUTSIDE for none, int64 [batch, time].
        starts: First positions, bool [batch, time].
        ends: Last positions, bool [batch, time].
    """

    kinds: Tensor
    starts: Tensor
    ends: Tensor

    def last_positions(self) -> Tensor:
        """Returns the end of the span at each position (meaningless outside), [batch, time]."""
        time = self.ends.size(1)
        places = torch.arange(time, device=self.ends.device).where(self.ends, time)
        return places.flip(1).cummin(dim=1).values.flip(1)

    def boundaries(self) -> Tensor:
        """Says where a span ends or begins between a position and the one before.

        Returns:
            bool [batch, time - 1].
        """
        return self.starts[:, 1:] | self.ends[:, :-1]


def span_f1(true: SpanMarks, found: SpanMarks) -> F1:
    """Returns the F1 of spans: right are those with the same kind, begin and end."""
    right = true.starts & found.starts & true.kinds.eq(found.kinds)
    right &= true.last_positions().eq(found.last_positions())
    return F1(right.sum(), found.starts.sum(), true.starts.sum())


def boundary_f1(true: SpanMarks, found: SpanMarks, is_real: Tensor) -> F1:
    """Returns the F1 of boundaries within sequences; their edges, which are known, count not."""
    inner = is_real[:, 1:] & is_real[:, :-1]
    truth, guess = true.boundaries() & inner, found.boundaries() & inner
    return F1((truth & guess).sum(), guess.sum(), truth.sum())


def listed_spans(marks: SpanMarks, row: int, names: list[str]) -> list[dict[str, int | str]]:
    """Returns the spans of one sequence as plain values; "end" is the position after it."""
    starts = marks.starts[row].nonzero()[:, 0].tolist()
    ends = marks.ends[row].nonzero()[:, 0].tolist()
    kinds = marks.kinds[row].tolist()
    return [
        {"begin": begin, "end": end + 1, "kind": names[kinds[begin]]}
        for begin, end in zip(starts, ends, strict=True)
    ]
