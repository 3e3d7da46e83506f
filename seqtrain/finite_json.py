"""JSON that every reader takes: what is not a finite number is null."""

import json
import math
from collections.abc import Mapping
from typing import Any


def finite_json(value: Any, indent: int | None = None) -> str:
    """Returns plain values as JSON, with null for nan and infinities, which JSON cannot say."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
