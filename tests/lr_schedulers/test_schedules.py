import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.cosine import Cosine, CosineConfig
from seqtrain.lr_schedulers.fixed import Fixed, FixedConfig
from seqtrain.lr_schedulers.inverse_sqrt import InverseSqrt, InverseSqrtConfig

updates = st.integers(1, 100_000)


@given(st.integers(1, 5000), updates)
def test_inverse_sqrt_equals_its_closed_form(warmup: int, update: int) -> None:
    schedule = InverseSqrt(InverseSqrtConfig(warmup_updates=warmup), peak_lr=2.0)
    expected = 2.0 * (update / warmup if update <= warmup else math.sqrt(warmup) * update**-0.5)
    assert schedule.lr_at(update) == pytest.approx(expected, rel=1e-12)
    assert 0.0 < schedule.lr_at(update) <= schedule.lr_at(warmup) == 2.0


@given(st.integers(0, 5000), updates)
def test_fixed_rises_to_the_peak_and_stays(warmup: int, update: int) -> None:
    schedule = Fixed(FixedConfig(warmup_updates=warmup), peak_lr=0.5)
    assert schedule.lr_at(update) == (0.5 * update / warmup if update < warmup else 0.5)


@given(st.integers(0, 500), st.integers(1, 5000), updates, st.floats(0, 0.5))
def test_cosine_equals_its_closed_form(warmup: int, decay: int, update: int, least: float) -> None:
    config = CosineConfig(warmup_updates=warmup, decay_updates=decay, min_lr=least)
    lr = Cosine(config, peak_lr=1.0).lr_at(update)
    if update <= warmup:
        assert lr == update / warmup
    else:
        t = min(1.0, (update - warmup - 1) / decay)
        assert lr == pytest.approx(least + (1 - least) * (1 + math.cos(math.pi * t)) / 2)
    assert 0.0 <= lr <= 1.0


def test_cosine_descends_to_max_update_and_its_last_update_still_learns() -> None:
    schedule = Cosine(CosineConfig(warmup_updates=10), peak_lr=1.0, total_updates=110)
    assert schedule.lr_at(11) == 1.0
    assert schedule.lr_at(61) == pytest.approx(0.5)
    assert schedule.lr_at(110) > 0.0
    assert schedule.lr_at(111) == 0.0


def test_cosine_without_an_end_names_the_keys() -> None:
    with pytest.raises(ConfigError, match="optimization.max_update"):
        Cosine(CosineConfig(), peak_lr=1.0)


@pytest.mark.parametrize("warmup", [0, -1])
def test_inverse_sqrt_refuses_a_warmup_that_would_divide_by_zero(warmup: int) -> None:
    with pytest.raises(ValueError, match="lr_scheduler.warmup_updates must be at least 1"):
        InverseSqrtConfig(warmup_updates=warmup)
