import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.metrics import Mean, Metrics, Percent, Perplexity, Sum

pairs = st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 100)), min_size=1, max_size=8)


@given(pairs, st.integers(0, 8))
def test_a_mean_does_not_depend_on_how_it_is_split(
    values: list[tuple[float, int]], cut: int
) -> None:
    parts = [Metrics(), Metrics()]
    for index, (total, weight) in enumerate(values):
        parts[index >= cut].merge(Metrics({"x": Mean(total, weight)}))
    parts[0].merge(parts[1])
    expected = sum(t for t, _ in values) / sum(w for _, w in values)
    assert parts[0].compute()["x"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_merging_leaves_the_other_set_as_it_was() -> None:
    total, part = Metrics(), Metrics({"x": Sum(2.0)})
    total.merge(part)
    total.merge(part)
    assert (total.compute()["x"], part.compute()["x"]) == (4.0, 2.0)


def test_packing_and_unpacking_keeps_every_sum() -> None:
    metrics = Metrics({"a": Mean(torch.tensor(3.0), 2), "b": Percent(1, 4), "c": Sum(7)})
    packed = metrics.pack(torch.device("cpu"))
    assert packed.tolist() == [3.0, 2.0, 1.0, 4.0, 7.0]
    assert metrics.unpack(packed * 2).compute() == {"a": 1.5, "b": 25.0, "c": 14.0}


def test_state_round_trip_keeps_kind_and_value() -> None:
    metrics = Metrics({"ppl": Perplexity(math.log(8.0), 1), "loss": Mean(0.1, 3)})
    assert Metrics.from_state_dict(metrics.state_dict()).compute() == metrics.compute()


def test_a_metric_of_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match="'x' is of the unknown kind 'Evil'"):
        Metrics.from_state_dict({"x": {"kind": "Evil", "sums": [1.0]}})


def test_nothing_counted_gives_nan_and_a_huge_perplexity_infinity() -> None:
    assert math.isnan(Mean(0.0, 0).compute())
    assert math.isnan(Perplexity(0.0, 0).compute())
    assert Perplexity(1e6, 1).compute() == math.inf
