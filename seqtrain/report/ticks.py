"""Where an axis has its marks, and what is written there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True)
class Axis:
    """A range of values, and its marks.

    Args:
        low: Value at the beginning.
        high: Value at the end, above low.
        ticks: Values with a mark.
        labels: What is written at each.
        is_log: Distances are of logarithms.
    """

    low: float
    high: float
    ticks: list[float]
    labels: list[str]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Returns where a value lies: 0 at low, 1 at high."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear_axis(values: Sequence[float], most: int = 5, from_zero: bool = False) -> Axis:
    """Returns an axis that holds all values, with marks at round numbers.

    Args:
        values: Finite numbers, at least one.
        most: About how many marks there may be.
        from_zero: Begin at 0 where no value is negative.
    """
    low, high = min(values), max(values)
    if from_zero and low >= 0.0:
        low = 0.0
    if high - low <= 1e-9 * max(abs(high), abs(low)):
        margin = abs(high) * 0.1 or 1.0
        low, high = (low if from_zero and low == 0.0 else low - margin), high + margin
    step = _round_step((high - low) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [index * step for index in range(first, last + 1)]
    return Axis(ticks[0], ticks[-1], ticks, _labels(ticks, step))


def log_axis(values: Sequence[float]) -> Axis:
    """Returns a logarithmic axis that holds all values, which are positive."""
    low, high = math.log10(min(values)), math.log10(max(values))
    first, last = math.floor(low + 1e-9), math.ceil(high - 1e-9)
    last = max(last, first + 1)
    every = max(1, round((last - first) / 6))
    ticks = [10.0**power for power in range(first, last + 1, every)]
    if last - first <= 2:
        finer = [10.0**power * factor for power in range(first, last) for factor in (1, 2, 5)]
        ticks = [*finer, 10.0**last]
    return Axis(10.0**first, 10.0**last, ticks, [number(tick) for tick in ticks], is_log=True)


def spanning_axis(values: Sequence[float], most: int = 5) -> Axis:
    """Returns an axis from 0, or the smallest value if it is negative, to the largest value."""
    low, high = min([*values, 0.0]), max([*values, 0.0])
    if low == high:
        high = 1.0
    step = _round_step((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = [index * step for index in range(first, last + 1)]
    return Axis(low, high, ticks, _labels(ticks, step))


def time_unit(seconds: float) -> tuple[float, str]:
    """Returns the length in seconds of the unit that suits a time, and its name."""
    for length, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 2 * length:
            return length, name
    return 1.0, "seconds"


def number(value: float) -> str:
    """Returns a number in few characters: 12,500 as 12.5k, 0.0005 as 5e-4."""
    size = abs(value)
    if size == 0.0:
        return "0"
    if size < 1e-3 or size >= 1e12:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= 10 * factor or (size >= factor and factor > 1e3):
            return f"{value / factor:.4g}{suffix}"
    return f"{value:.4g}"


def _round_step(step: float) -> float:
    """Returns the next larger of 1, 2 and 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= step * (1 - 1e-9))


def _labels(ticks: Sequence[float], step: float) -> list[str]:
    """Returns the numbers with as many digits as tell them apart."""
    largest = max(abs(tick) for tick in ticks)
    clean = [0.0 if abs(tick) < step / 2 else tick for tick in ticks]
    if step >= 1e-4 and largest < 1e4:
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return [f"{tick:.{decimals}f}" for tick in clean]
    return [number(tick) for tick in clean]
