"""Checks of one option, whose messages name its key, what is allowed and the value."""

import difflib
import math
from collections.abc import Collection

from seqtrain.errors import ConfigError


def require(is_right: bool, key: str, value: object, demand: str) -> None:
    """Raises ConfigError, "{key} must {demand}, got {value}.", unless it is right."""
    if not is_right:
        raise ConfigError(f"{key} must {demand}, got {value}.")


def require_range(
    key: str,
    value: float,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """Raises ConfigError unless a number is finite and within its bounds.

    Args:
        key: The option's full name, such as "optimizer.eps".
        value: Its value.
        least: The smallest that is allowed.
        above: All that is allowed is greater than this.
        most: The largest that is allowed.
        below: All that is allowed is less than this.
    """
    is_within = (
        (isinstance(value, int) or math.isfinite(value))
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    require(is_within, key, value, _bounds(least, above, most, below))


def require_fields(
    section: str,
    config: object,
    *names: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """Does the same for some fields of a section, such as "optimizer"."""
    for name in names:
        require_range(
            f"{section}.{name}",
            getattr(config, name),
            least=least,
            above=above,
            most=most,
            below=below,
        )


def require_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Raises ConfigError unless a value is among the choices; an empty one is told as such."""
    names = ", ".join(choice or "empty" for choice in choices)
    near = difflib.get_close_matches(value, choices, n=1)
    hint = f". Did you mean {near[0]!r}?" if near else "."
    if value not in choices:
        raise ConfigError(f"{key} must be one of {names}, got {value!r}{hint}")


def _bounds(
    least: float | None, above: float | None, most: float | None, below: float | None
) -> str:
    if most is None and below is None:
        if least == 0:
            return "not be negative"
        if above == 0:
            return "be positive"
    if least is not None and most is not None:
        return f"be from {least:g} to {most:g}"
    words = {"at least": least, "above": above, "at most": most, "below": below}
    return "be " + " and ".join(f"{word} {n:g}" for word, n in words.items() if n is not None)
