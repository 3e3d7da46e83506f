"""How a row of the log is shown: short names, and the order of its values."""

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
