"""Kinds of targets: what a criterion compares a model's outputs with."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TargetKind:
    """One kind.

    Args:
        words: What they are, for messages.
        has: Says whether targets, as in `Batch.targets`, are of this kind.
    """

    words: str
    has: Callable[[Tensor], bool]


def target_words(targets: Tensor) -> str:
    """Returns what targets are, for messages."""
    if targets.is_floating_point():
        return "numbers"
    return "one class for each example" if targets.dim() == 1 else "symbols or classes"


ANYTHING = TargetKind("anything", lambda targets: True)
NUMBERS = TargetKind("numbers", lambda targets: targets.is_floating_point())
CLASSES = TargetKind("symbols or classes", lambda targets: not targets.is_floating_point())
CLASSES_OF_POSITIONS = TargetKind(
    "a symbol or class for each position",
    lambda targets: CLASSES.has(targets) and targets.dim() > 1,
)
SEQUENCES = TargetKind(
    "sequences of symbols or classes", lambda targets: CLASSES.has(targets) and targets.dim() == 2
)
