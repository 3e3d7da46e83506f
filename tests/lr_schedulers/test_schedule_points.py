"""Every schedule that is a formula, at the first 1,000 updates, and where it has no jumps."""

from collections.abc import Callable
from itertools import pairwise
from math import cos, pi, sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.lr_schedulers.base import LR_SCHEDULERS, LRScheduler
from seqtrain.plugins import import_built_ins

import_built_ins()

PEAK, WARMUP, TOTAL = 2.0, 100, 1000
Formula = Callable[[int], float]


def build(section: dict[str, Any], total: int = TOTAL) -> LRScheduler:
    config = LR_SCHEDULERS.parse(section)
    return LR_SCHEDULERS.get(config.name).cls(config, PEAK, total)


def after_ramp(formula: Callable[[float], float]) -> Formula:
    """The rate after a linear ramp, as a function of the share of the rest that is done."""
    rest = TOTAL - WARMUP
    return lambda n: PEAK * n / WARMUP if n <= WARMUP else formula((n - WARMUP - 1) / rest)


def tri_stage(n: int) -> float:
    if n <= 100:
        return PEAK * (0.01 + 0.99 * n / 100)
    return PEAK if n <= 400 else PEAK * 0.05 ** ((n - 401) / 600)


def triangular(n: int) -> float:
    cycle, place = divmod(n - 1, 200)
    highest = PEAK * 0.8**cycle
    return 0.2 + (highest - 0.2) * (1 - abs(place / 100 - 1))


def cyclic(n: int) -> float:
    place = (n - 1) % 150
    return 0.2 + 1.8 * (place / 60 if place < 60 else 1 - (place - 60) / 90)


def one_cycle(n: int) -> float:
    def between(begin: float, end: float, share: float) -> float:
        return end + (begin - end) / 2 * (1 + cos(pi * share))

    if n - 1 <= 299:
        return between(PEAK / 25, PEAK, (n - 1) / 299)
    return between(PEAK, PEAK / 25 / 1e4, (n - 1 - 299) / 700)


FORMULAS: dict[str, tuple[dict[str, Any], Formula]] = {
    "constant": ({}, lambda n: PEAK),
    "fixed": ({"warmup_updates": 100}, lambda n: PEAK * min(1.0, n / 100)),
    "inverse_sqrt": (
        {"warmup_updates": 100},
        lambda n: PEAK * min(n / 100, sqrt(100) / sqrt(n)),
    ),
    "cosine": (
        {"warmup_updates": 100, "min_lr": 0.1},
        after_ramp(lambda t: 0.1 + 0.5 * (PEAK - 0.1) * (1 + cos(pi * t))),
    ),
    "cosine_warmup": (
        {"warmup_updates": 100, "cycles": 1.5},
        after_ramp(lambda t: PEAK * max(0.0, 0.5 * (1 + cos(2 * pi * 1.5 * t)))),
    ),
    "cosine_warmup_restarts": (
        {"warmup_updates": 100, "cycles": 3},
        after_ramp(lambda t: PEAK * 0.5 * (1 + cos(pi * ((3 * t) % 1.0)))),
    ),
    "polynomial_decay": (
        {"warmup_updates": 100, "power": 2.0, "min_lr": 0.1},
        after_ramp(lambda t: 0.1 + (PEAK - 0.1) * (1 - t) ** 2),
    ),
    "poly": ({}, lambda n: PEAK * (1 - (n - 1) / TOTAL) ** 0.9),
    "step": ({"step_updates": 70, "gamma": 0.5}, lambda n: PEAK * 0.5 ** ((n - 1) // 70)),
    "multi_step": (
        {"milestones": [100, 400], "gamma": 0.3},
        lambda n: PEAK * 0.3 ** ((n > 100) + (n > 400)),
    ),
    "exponential": ({"gamma": 0.99}, lambda n: PEAK * 0.99 ** (n - 1)),
    "tri_stage": (
        {"warmup_updates": 100, "hold_updates": 300, "decay_updates": 600, "final_lr_scale": 0.05},
        tri_stage,
    ),
    "triangular": ({"period_updates": 200, "lr_shrink": 0.8}, triangular),
    "cyclic": ({"up_updates": 60, "down_updates": 90}, cyclic),
    "one_cycle": ({}, one_cycle),
    "warmup_stable_decay": (
        {"warmup_updates": 100, "decay_updates": 200, "decay_shape": "linear"},
        lambda n: PEAK * min(n / 100, 1.0, 1 - (n - 801) / 200),
    ),
    "manual": (
        {"from_updates": [1, 300, 301], "factors": [0.5, 1.0, 0.1]},
        lambda n: PEAK * (0.5 if n < 300 else 1.0 if n == 300 else 0.1),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_schedule_is_its_closed_form_at_1000_updates(name: str) -> None:
    settings_of, formula = FORMULAS[name]
    schedule = build({"name": name, **settings_of})
    found = [schedule.lr_at(n) for n in range(1, TOTAL + 1)]
    assert found == pytest.approx([formula(n) for n in range(1, TOTAL + 1)], rel=1e-9, abs=1e-12)


def test_every_schedule_that_is_a_formula_has_its_closed_form_here() -> None:
    built_in = {
        name
        for name in LR_SCHEDULERS.names()
        if LR_SCHEDULERS.get(name).cls.__module__.startswith("seqtrain.")
    }
    assert built_in == FORMULAS.keys() | {"reduce_lr_on_plateau", "sequence", "torch"}


long = st.integers(50, 400)
warmups = {"warmup_updates": long}
SMOOTH = {
    "fixed": st.fixed_dictionaries(warmups),
    "inverse_sqrt": st.fixed_dictionaries(warmups),
    "cosine": st.fixed_dictionaries(warmups),
    "cosine_warmup": st.fixed_dictionaries(warmups | {"cycles": st.floats(0.1, 2.0)}),
    "polynomial_decay": st.fixed_dictionaries(warmups | {"power": st.floats(1.0, 5.0)}),
    "exponential": st.fixed_dictionaries({"gamma": st.floats(0.9, 1.0)}),
    "tri_stage": st.fixed_dictionaries(
        warmups | {"hold_updates": st.integers(0, 9), "decay_updates": long}
    ),
    "triangular": st.fixed_dictionaries({"period_updates": st.integers(100, 400)}),
    "cyclic": st.fixed_dictionaries({"up_updates": long, "down_updates": long}),
    "one_cycle": st.fixed_dictionaries({"pct_start": st.floats(0.1, 0.9)}),
    "warmup_stable_decay": st.fixed_dictionaries(
        warmups
        | {"decay_updates": long, "decay_shape": st.sampled_from(["linear", "cosine", "sqrt"])}
    ),
}
"""Schedules without jumps where each of their phases has at least 50 updates; `lr_shrink` is 1."""


@pytest.mark.parametrize("name", SMOOTH)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_schedule_without_jumps_changes_by_little_from_one_update_to_the_next(
    name: str, data: st.DataObject
) -> None:
    fields = data.draw(SMOOTH[name])
    if name == "triangular":
        fields |= {"lr_shrink": 1.0}
    schedule = build({"name": name, **fields}, total=1200)
    rates = [schedule.lr_at(n) for n in range(1, 1200)]
    largest = max(abs(b - a) for a, b in pairwise(rates))
    # The steepest is the beginning of a root over 50 updates: sqrt(1 / 50) of the peak.
    assert largest <= PEAK * 0.15
