"""Random changes of series in the manner of RandAugment (Cubuk et al. 2020)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.data.labelled.dataset import ExampleTransform
from seqtrain.data.labelled.store import Example
from seqtrain.errors import ConfigError
from seqtrain.option_checks import require_range

Series = npt.NDArray[np.float32]
Change = Callable[[Series, float, np.random.Generator], Series]


@dataclass(frozen=True)
class RandAugment(ExampleTransform):
    """A few changes out of a list, drawn for each example, in the order in which they are drawn.

    Lengths and labels stay. Inputs are [time, channels] of about unit variance.

    Args:
        names: The list; of CHANGES.
        count: How many are drawn, with repetition.
        strength: How strong they are at most, 0 to 1.
    """

    names: tuple[str, ...]
    count: int
    strength: float

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in CHANGES]
        if unknown:
            raise ConfigError(
                f"task.augment has no {unknown[0]!r}. Known: {', '.join(sorted(CHANGES))}."
            )
        require_range("task.augment_strength", self.strength, least=0, most=1)
        require_range("task.augment_count", self.count, least=0)

    @override
    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        series = example.inputs
        for index in generator.integers(len(self.names), size=self.count):
            series = CHANGES[self.names[index]](series, self.strength, generator)
        return Example(series.astype(np.float32), example.labels)


def jitter(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Adds noise of a standard deviation of up to half the strength."""
    spread = 0.5 * strength * generator.random()
    return series + spread * generator.standard_normal(series.shape, dtype=np.float32)


def scale(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Multiplies all by one factor, from 1 / (1 + strength) to 1 + strength."""
    return series * float((1.0 + strength) ** generator.uniform(-1.0, 1.0))


def slope(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Adds a straight line through zero in the middle, of up to the strength at the ends."""
    line = np.linspace(-1.0, 1.0, len(series), dtype=np.float32)[:, None]
    return series + float(strength * generator.uniform(-1.0, 1.0)) * line


def offset(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Adds one number to each channel, up to the strength."""
    moved = strength * generator.uniform(-1.0, 1.0, size=(1, series.shape[1]))
    return series + moved.astype(np.float32)


def shift(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Moves along time by up to half the strength of the length; the ends are repeated."""
    reach = 0.5 * strength * len(series)
    return _read_at(series, np.arange(len(series)) + round(generator.uniform(-reach, reach)))


def rotate(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Moves along time by up to half the strength of the length; what leaves comes in again."""
    reach = 0.5 * strength * len(series)
    return np.roll(series, round(generator.uniform(-reach, reach)), axis=0)


def stretch(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Makes all slower or faster about a moment, by a factor of up to 1 + strength."""
    moment = generator.uniform(0.0, len(series) - 1)
    factor = (1.0 + strength) ** generator.uniform(-1.0, 1.0)
    return _read_at(series, moment + (np.arange(len(series)) - moment) * factor)


def warp(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Makes some stretches slower and others faster; the ends stay."""
    knots = np.cumsum(np.exp(strength * generator.uniform(-1.0, 1.0, size=5)))
    path = np.concatenate([[0.0], knots / knots[-1]])
    places = np.interp(np.linspace(0.0, 1.0, len(series)), np.linspace(0.0, 1.0, 6), path)
    return _read_at(series, places * (len(series) - 1))


def mask_time(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Sets a stretch of up to half the strength of the length to zero."""
    size = int(generator.integers(0, int(0.5 * strength * len(series)) + 1))
    begin = int(generator.integers(0, len(series) - size + 1))
    masked = series.copy()
    masked[begin : begin + size] = 0.0
    return masked


def mask_channels(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Sets each channel to zero with a probability of up to half the strength, never all."""
    probability = 0.5 * strength * generator.random()
    kept = np.asarray(generator.random(series.shape[1]) >= probability)
    return series * kept.astype(np.float32) if kept.any() else series


def smooth(series: Series, strength: float, generator: np.random.Generator) -> Series:
    """Blends with the mean of three neighbours, by up to the strength."""
    padded = np.pad(series, ((1, 1), (0, 0)), mode="edge")
    mean = (padded[:-2] + padded[1:-1] + padded[2:]) / np.float32(3.0)
    share = float(strength * generator.random())
    return series + share * (mean - series)


CHANGES: dict[str, Change] = {
    "jitter": jitter,
    "scale": scale,
    "slope": slope,
    "offset": offset,
    "shift": shift,
    "rotate": rotate,
    "stretch": stretch,
    "warp": warp,
    "mask_time": mask_time,
    "mask_channels": mask_channels,
    "smooth": smooth,
}
"""The changes by name; each is called with a series, the strength and a generator."""


def _read_at(series: Series, places: npt.NDArray[np.floating] | npt.NDArray[np.int64]) -> Series:
    """Returns the series at fractional places, interpolated; outside it is as at its ends."""
    places = np.clip(places, 0, len(series) - 1)
    below = np.minimum(places.astype(np.int64), max(len(series) - 2, 0))
    share = (places - below).astype(np.float32)[:, None]
    above = np.minimum(below + 1, len(series) - 1)
    return series[below] * (np.float32(1.0) - share) + series[above] * share
