"""Paired bootstrap: whether two systems' scores differ by more than the choice of examples."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from seqtrain.option_checks import require_range
from seqtrain.scorers.base import Scorer
from seqtrain.scorers.references import check_references

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """A score of two systems on the same examples."""

    first: float
    second: float
    difference: float
    """second - first."""
    low: float
    """2.5 % of the resampled differences are below it."""
    high: float
    """2.5 % of the resampled differences are above it."""
    p_value: float
    """Two-sided, from 1 / (resamples + 1): how often a difference so large comes from chance."""

    def to_container(self) -> dict[str, float]:
        """Returns plain values."""
        return asdict(self)


def paired_bootstrap(
    scorer: Scorer,
    first: Sequence[str],
    second: Sequence[str],
    references: Sequence[Sequence[str]],
    num_resamples: int = 1000,
    seed: int = 1,
) -> dict[str, Difference]:
    """Returns, for each score of a scorer, how sure the difference of two systems is.

    Examples are drawn with replacement, the same for both systems (Koehn 2004). The p-value
    compares the observed difference with the draws around their own mean (Riezler and Maxwell
    2005). sacrebleu takes the absolute difference of each draw first; the two agree where hardly
    any draw changes the sign.

    Args:
        scorer: Scores a whole corpus.
        first: One system's texts.
        second: The other's, of the same examples in the same order.
        references: Acceptable texts of each example.
        num_resamples: Corpora that are drawn.
        seed: Of the draws.

    Raises:
        ConfigError: Too few resamples.
        DataError: The texts do not fit together.
    """
    require_range("resamples", num_resamples, least=1)
    check_references(first, references)
    check_references(second, references)
    observed = [scorer.score(texts, references) for texts in (first, second)]
    score_one = _resampled(scorer, first, references)
    score_two = _resampled(scorer, second, references)
    generator = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in observed[0]}
    for _ in range(num_resamples):
        rows = generator.integers(len(first), size=len(first))
        one, two = score_one(rows), score_two(rows)
        for name, values in draws.items():
            values.append(two[name] - one[name])
    return {
        name: _difference(observed[0][name], observed[1][name], np.array(values))
        for name, values in draws.items()
    }


def _resampled(
    scorer: Scorer, texts: Sequence[str], references: Sequence[Sequence[str]]
) -> Callable[[IntArray], dict[str, float]]:
    """Returns a function that scores a choice of examples."""
    statistics = scorer.statistics(texts, references)
    if statistics is not None:
        return lambda rows: scorer.score_of(statistics[rows].sum(axis=0))
    return lambda rows: scorer.score([texts[k] for k in rows], [references[k] for k in rows])


def _difference(first: float, second: float, draws: npt.NDArray[np.float64]) -> Difference:
    observed = second - first
    deviations = np.abs(draws - draws.mean())
    # The tolerance lets equal differences count as equal whatever their last bits.
    is_as_large = deviations >= abs(observed) - 1e-9
    low, high = np.quantile(draws, [0.025, 0.975])
    return Difference(
        first=first,
        second=second,
        difference=observed,
        low=float(low),
        high=float(high),
        p_value=float((is_as_large.sum() + 1) / (len(draws) + 1)),
    )
