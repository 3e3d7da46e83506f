"""JSON from files that anybody may have written: no duplicates, no non-finite numbers, limits."""

import json
import math
from typing import Any

from seqtrain.errors import CheckpointError

MAX_BYTES = 16 * 2**20
"""Largest JSON text that is written or read."""
MAX_DEPTH = 64
"""Deepest nesting of lists and objects that is written or read."""


def dump(value: Any, what: str, indent: int | None = None) -> bytes:
    """Returns the one ASCII text of plain values, keys in their order.

    Args:
        value: Values that `parse` can give back.
        what: File or part that the message of an error begins with.
        indent: Spaces per level for texts that people read.

    Raises:
        CheckpointError: Something in it is not plain JSON, or it is beyond the limits.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        text = json.dumps(value, allow_nan=False, indent=indent, separators=separators)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{what}: cannot be written as JSON: {error}.") from error
    if len(text) > MAX_BYTES:
        raise CheckpointError(
            f"{what}: {len(text)} bytes of JSON, more than the {MAX_BYTES} allowed. Keep long "
            "lists of numbers in tensors."
        )
    _require_depth(value, MAX_DEPTH, what)
    return text.encode("ascii")


def parse(data: bytes, what: str) -> Any:
    """Returns the plain values of a JSON text.

    Args:
        data: UTF-8 text.
        what: File that the message of an error begins with.

    Raises:
        CheckpointError: It is not JSON, repeats a key, holds NaN, Infinity or an overflowing
            number, or is beyond the limits.
    """
    if len(data) > MAX_BYTES:
        raise CheckpointError(f"{what}: {len(data)} bytes, more than the {MAX_BYTES} allowed.")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object_of_unique_keys,
            parse_float=_finite_float,
            parse_constant=_finite_float,
        )
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what}: not valid JSON: {error}.") from error
    _require_depth(value, MAX_DEPTH, what)
    return value


def _object_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return value


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _require_depth(value: Any, remaining: int, what: str) -> None:
    if not isinstance(value, dict | list | tuple):
        return
    if remaining == 0:
        raise CheckpointError(f"{what}: nested more than {MAX_DEPTH} levels deep.")
    for child in value.values() if isinstance(value, dict) else value:
        _require_depth(child, remaining - 1, what)
