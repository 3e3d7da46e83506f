"""Which of a checkpoint's weights are for use: the averaged ones, where it holds any."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class UsableWeights:
    """State dicts of a model and its criterion."""

    model: dict[str, Any]
    criterion: dict[str, Any]


WEIGHT_PARTS = ("model", "criterion", "ema")
"""Parts of a checkpoint that `usable_weights` reads."""


def usable_weights(parts: Mapping[str, Any]) -> UsableWeights:
    """Returns what evaluation and search use: the average if the run keeps one, else the weights.

    Args:
        parts: Of a checkpoint, at least those of WEIGHT_PARTS that it has.
    """
    source = parts.get("ema", parts)
    return UsableWeights(source["model"], source.get("criterion", {}))
