"""How a row of the log is shown: short names, and the order of its values."""

import math
from collections.abc import Mapping

_TRAILING = (
    "wps",
    "ups",
    "wpb",
    "bsz",
    "lr",
    "gnorm",
    "clip",
    "loss_scale",
    "padding",
    "wait",
    "train_wall",
    "wall",
)
_PREFIXES = {"epoch": "train_"}


def shortened(event: str, values: Mapping[str, float | int | str]) -> dict[str, float | int | str]:
    """Returns the values without the prefix that the event implies, in the order to show them.

    Losses and scores come first, as they were given, then speed, learning rate, gradient, times.
    """
    prefix = _PREFIXES.get(event, f"{event}_")
    names = {
        name: name if name in _TRAILING else name.removeprefix(prefix) or name for name in values
    }
    order = sorted(names, key=lambda name: _place(names[name]))
    return {names[name]: values[name] for name in order}


def _place(name: str) -> int:
    if name == "epoch":
        return -2
    return _TRAILING.index(name) if name in _TRAILING else -1


def format_row(event: str, num_updates: int, values: Mapping[str, float | int | str]) -> str:
    """Returns a row as one line: "valid | update 1200 | loss 4.213 | ppl 67.55"."""
    parts = [event, f"update {num_updates}"]
    parts += [
        f"{name} {format_value(value)}"
        for name, value in shortened(event, values).items()
        if name != "num_updates"
    ]
    return " | ".join(parts)


def format_value(value: float | int | str) -> str:
    """Returns four significant digits, or the whole part where that has more."""
    if not isinstance(value, float):
        return str(value)
    if math.isfinite(value) and abs(value) >= 999.95:
        return f"{value:.0f}"
    return f"{value:.4g}"
