"""Every schedule against the closed form of its paper or of the system that it is known from."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRScheduler
from seqtrain.lr_schedulers.constant import Constant, ConstantConfig
from seqtrain.lr_schedulers.cosine import Cosine, CosineConfig
from seqtrain.lr_schedulers.cosine_warmup import (
    CosineWarmup,
    CosineWarmupConfig,
    CosineWarmupRestarts,
    CosineWarmupRestartsConfig,
)
from seqtrain.lr_schedulers.cyclic import Cyclic, CyclicConfig, Triangular, TriangularConfig
from seqtrain.lr_schedulers.manual import Manual, ManualConfig
from seqtrain.lr_schedulers.one_cycle import OneCycle, OneCycleConfig
from seqtrain.lr_schedulers.polynomial_decay import (
    PolyConfig,
    PolynomialDecay,
    PolynomialDecayConfig,
)
from seqtrain.lr_schedulers.reduce_lr_on_plateau import (
    ReduceLROnPlateau,
    ReduceLROnPlateauConfig,
)
from seqtrain.lr_schedulers.sequence import Sequence, SequenceConfig
from seqtrain.lr_schedulers.step import (
    Exponential,
    ExponentialConfig,
    MultiStep,
    MultiStepConfig,
    Step,
    StepConfig,
)
from seqtrain.lr_schedulers.torch_class import TorchLRScheduler, TorchLRSchedulerConfig
from seqtrain.lr_schedulers.tri_stage import TriStage, TriStageConfig
from seqtrain.lr_schedulers.warmup_stable_decay import (
    WarmupStableDecay,
    WarmupStableDecayConfig,
)


def torch_rates(make: Callable[[Any], Any], count: int, lr: float = 2.0) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = make(optimizer)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def rates(schedule: LRScheduler, count: int) -> list[float]:
    return [schedule.lr_at(n) for n in range(1, count + 1)]


AGAINST_TORCH: dict[str, tuple[LRScheduler, Callable[[Any], Any]]] = {
    "cosine": (
        Cosine(CosineConfig(decay_updates=60, min_lr=0.1), 2.0),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 60, 0.1),
    ),
    "cosine in cycles": (
        Cosine(CosineConfig(period_updates=8, cycles=0, t_mult=2.0, min_lr=0.1), 2.0),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 8, 2, 0.1),
    ),
    "polynomial_decay": (
        PolynomialDecay(PolynomialDecayConfig(decay_updates=60, power=2.5), 2.0),
        lambda o: lr_scheduler.PolynomialLR(o, 60, 2.5),
    ),
    "step": (
        Step(StepConfig(step_updates=7, gamma=0.6), 2.0),
        lambda o: lr_scheduler.StepLR(o, 7, 0.6),
    ),
    "multi_step": (
        MultiStep(MultiStepConfig(milestones=[5, 20, 20, 43]), 2.0),
        lambda o: lr_scheduler.MultiStepLR(o, [5, 20, 20, 43]),
    ),
    "exponential": (
        Exponential(ExponentialConfig(gamma=0.9), 2.0),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    ),
    **{
        f"cyclic {mode}": (
            Cyclic(CyclicConfig(up_updates=6, down_updates=9, mode=mode, gamma=0.97), 2.0),
            lambda o, mode=mode: lr_scheduler.CyclicLR(
                o, 0.2, 2.0, 6, 9, mode=mode, gamma=0.97, cycle_momentum=False
            ),
        )
        for mode in ("triangular", "triangular2", "exp_range")
    },
    **{
        f"one_cycle {shape}": (
            OneCycle(OneCycleConfig(anneal_strategy=shape), 2.0, 60),
            lambda o, shape=shape: lr_scheduler.OneCycleLR(
                o, 2.0, 60, anneal_strategy=shape, cycle_momentum=False
            ),
        )
        for shape in ("cos", "linear")
    },
}


@pytest.mark.parametrize("name", AGAINST_TORCH)
def test_update_n_uses_the_rate_of_torch_after_n_minus_1_steps(name: str) -> None:
    schedule, make = AGAINST_TORCH[name]
    count = 59 if name.startswith("one_cycle") else 60
    expected = torch_rates(make, count)
    assert rates(schedule, count) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_one_cycle_ends_at_its_last_update_and_stays_there() -> None:
    schedule = OneCycle(OneCycleConfig(), 2.0, 60)
    assert schedule.lr_at(1) == pytest.approx(2.0 / 25)
    assert schedule.lr_at(18) == 2.0
    assert schedule.lr_at(60) == schedule.lr_at(99) == pytest.approx(2.0 / 25 / 1e4)


@given(st.integers(0, 300), st.integers(1, 3000), st.floats(0.1, 3.0), st.integers(1, 5000))
def test_polynomial_decay_is_that_of_fairseq_shifted_by_one(
    warmup: int, decay: int, power: float, n: int
) -> None:
    config = PolynomialDecayConfig(
        warmup_updates=warmup, decay_updates=decay, power=power, min_lr=0.2
    )
    lr = PolynomialDecay(config, 2.0).lr_at(n)
    done = n - 1
    if n <= warmup:
        assert lr == pytest.approx(2.0 * n / warmup)
    elif done >= warmup + decay:
        assert lr == 0.2
    else:
        assert lr == pytest.approx(1.8 * (1 - (done - warmup) / decay) ** power + 0.2)


def test_poly_has_the_power_of_segmentation() -> None:
    schedule = PolynomialDecay(PolyConfig(), 2.0, 100)
    expected = [2.0 * (1 - s / 100) ** 0.9 for s in range(100)]
    assert rates(schedule, 100) == pytest.approx(expected)


@given(
    st.integers(0, 100), st.integers(10, 100), st.floats(1.0, 3.0), st.floats(0.1, 1.0),
    st.integers(0, 2000),
)  # fmt: skip
def test_cosine_cycles_are_those_of_fairseq(
    warmup: int, period: int, t_mult: float, shrink: float, done: int
) -> None:
    config = CosineConfig(
        warmup_updates=warmup,
        period_updates=period,
        cycles=0,
        t_mult=t_mult,
        lr_shrink=shrink,
        min_lr=0.2,
    )
    start, length, cycle = 0.0, float(period), 0
    while done >= start + length:
        start, length, cycle = start + length, length * t_mult, cycle + 1
    wave = (1 + math.cos(math.pi * (done - start) / length)) / 2
    expected = shrink**cycle * (0.2 + 1.8 * wave)
    # At the border of two descents, rounding may put an update on either side.
    if min(done - start, start + length - done) > 1e-6 or done == 0:
        assert Cosine(config, 2.0).lr_at(warmup + done + 1) == pytest.approx(expected, rel=1e-6)


def test_cosine_divides_its_descent_among_the_cycles() -> None:
    schedule = Cosine(CosineConfig(cycles=3, t_mult=2.0, lr_shrink=0.5), 1.0, 70)
    assert [schedule.lr_at(n) for n in (1, 11, 31)] == [1.0, 0.5, 0.25]
    assert schedule.lr_at(10) < 0.1
    assert schedule.lr_at(71) == 0.0


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 500), st.sampled_from([0.5, 1.0, 1.5, 3.0]))
def test_cosine_warmup_is_that_of_basicts_at_n_minus_1(
    warmup: int, length: int, cycles: float
) -> None:
    total = warmup + length
    config = CosineWarmupConfig(warmup_updates=warmup, cycles=cycles)
    restarts = CosineWarmupRestartsConfig(warmup_updates=warmup, cycles=math.ceil(cycles))
    for s in range(warmup, total):
        p = (s - warmup) / max(1, total - warmup)
        expected = 2.0 * max(0.0, 0.5 * (1 + math.cos(2 * math.pi * cycles * p)))
        assert CosineWarmup(config, 2.0, total).lr_at(s + 1) == pytest.approx(expected, abs=1e-12)
        part = (math.ceil(cycles) * p) % 1.0
        expected = 2.0 * max(0.0, 0.5 * (1 + math.cos(math.pi * part)))
        lr = CosineWarmupRestarts(restarts, 2.0, total).lr_at(s + 1)
        assert lr == pytest.approx(expected, abs=1e-12)
    assert CosineWarmupRestarts(restarts, 2.0, total).lr_at(total + 1) == 0.0


def test_tri_stage_is_that_of_fairseq() -> None:
    config = TriStageConfig(
        warmup_updates=10, hold_updates=20, decay_updates=40, final_lr_scale=0.05
    )
    schedule = TriStage(config, 2.0)
    ramp = [0.02 + 1.98 * n / 10 for n in range(1, 11)]
    decay = [2.0 * math.exp(math.log(0.05) / 40 * s) for s in range(40)]
    assert rates(schedule, 80) == pytest.approx(ramp + [2.0] * 20 + decay + [0.1] * 10)
    shares = TriStage(TriStageConfig(phase_ratio=[0.1, 0.2, 0.7], final_lr_scale=0.05), 2.0, 100)
    assert shares.lr_at(10) == shares.lr_at(30) == 2.0
    assert shares.lr_at(101) == pytest.approx(0.1)


def test_shares_of_tri_stage_that_add_up_to_1_but_for_rounding_are_accepted() -> None:
    TriStageConfig(phase_ratio=[0.1, 0.2, 0.7000000000000001])
    with pytest.raises(ConfigError, match="lr_scheduler.phase_ratio"):
        TriStageConfig(phase_ratio=[0.1, 0.2, 0.6])


@pytest.mark.parametrize("shrink_min", [False, True])
def test_triangular_is_that_of_fairseq_at_n_minus_1(shrink_min: bool) -> None:
    config = TriangularConfig(period_updates=20, lr_shrink=0.8, shrink_min=shrink_min)
    schedule = Triangular(config, 2.0)
    for s in range(100):
        cycle = s // 20
        highest, lowest = 2.0 * 0.8**cycle, 0.2 * (0.8**cycle if shrink_min else 1.0)
        x = abs(s / 10 - 2 * (cycle + 1) + 1)
        expected = lowest + (highest - lowest) * max(0, 1 - x)
        assert schedule.lr_at(s + 1) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shape", "middle"), [("linear", 0.5), ("cosine", 0.5), ("sqrt", 1 - math.sqrt(0.5))]
)
def test_warmup_stable_decay_stays_at_the_peak_and_ends_with_the_run(
    shape: str, middle: float
) -> None:
    config = WarmupStableDecayConfig(warmup_updates=10, decay_shape=shape)
    schedule = WarmupStableDecay(config, 2.0, 100)
    assert schedule.lr_at(5) == 1.0
    assert [schedule.lr_at(n) for n in (10, 50, 91)] == [2.0, 2.0, 2.0]
    assert schedule.lr_at(96) == pytest.approx(2.0 * middle)
    assert schedule.lr_at(100) > 0.0 == schedule.lr_at(101)


def test_manual_and_constant_are_what_is_written() -> None:
    schedule = Manual(ManualConfig(from_updates=[1, 4, 6], factors=[1.0, 0.5, 0.1]), 2.0)
    assert rates(schedule, 7) == pytest.approx([2.0, 2.0, 2.0, 1.0, 1.0, 0.2, 0.2])
    assert rates(Constant(ConstantConfig(), 2.0), 3) == [2.0] * 3


def test_a_sequence_counts_each_section_from_1_and_gives_it_its_length() -> None:
    config = SequenceConfig(
        sections=[
            {"name": "fixed", "warmup_updates": 4, "updates": 6},
            {"name": "step", "step_updates": 2, "updates": 4},
            {"name": "cosine"},
        ]
    )
    schedule = Sequence(config, 2.0, 20)
    cosine = Cosine(CosineConfig(), 2.0, 10)
    expected = [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, *rates(cosine, 12)]
    assert rates(schedule, 22) == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 2.0), max_size=60), st.integers(0, 3), st.integers(0, 2))
def test_reduce_lr_on_plateau_reduces_when_torch_does(
    values: list[float], patience: int, cooldown: int
) -> None:
    config = ReduceLROnPlateauConfig(patience=patience, cooldown=cooldown, factor=0.5)
    schedule = ReduceLROnPlateau(config, 2.0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = lr_scheduler.ReduceLROnPlateau(
        optimizer, patience=patience, cooldown=cooldown, factor=0.5, eps=0.0
    )
    for n, value in enumerate(values, start=1):
        schedule.report_validation(value)
        reference.step(value)
        assert schedule.lr_at(n) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_reduce_lr_on_plateau_takes_nan_for_no_progress_and_can_maximize() -> None:
    schedule = ReduceLROnPlateau(ReduceLROnPlateauConfig(maximize=True, min_lr=0.3), 2.0)
    for value in (-3.0, -2.0, -1.0):
        schedule.report_validation(value)
    assert schedule.lr_at(1) == 2.0
    schedule.report_validation(float("nan"))
    assert schedule.lr_at(1) == pytest.approx(0.3)


def test_the_torch_adapter_can_go_back_and_stays_after_the_end_of_one_cycle() -> None:
    config = TorchLRSchedulerConfig(cls="OneCycleLR")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = TorchLRScheduler(config, 2.0, 20)
        forward = rates(schedule, 25)
        assert rates(schedule, 25) == forward
    assert forward[:20] == pytest.approx(rates(OneCycle(OneCycleConfig(), 2.0, 20), 20))
    assert forward[19:] == [forward[19]] * 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TorchLRSchedulerConfig(cls="LambdaLR"), "lr_scheduler=manual"),
        (lambda: TorchLRSchedulerConfig(cls="MultiplicativeLR"), "lr_scheduler=manual"),
        (lambda: TorchLRSchedulerConfig(cls="SequentialLR"), "lr_scheduler=sequence"),
        (lambda: TorchLRSchedulerConfig(cls="ChainedScheduler"), "lr_scheduler=sequence"),
        (lambda: TorchLRSchedulerConfig(cls="StepLr"), "Did you mean 'StepLR'"),
        (
            lambda: TorchLRSchedulerConfig(cls="StepLR", args={"step": 1}),
            "Did you mean 'step_size'",
        ),
        (
            lambda: TorchLRScheduler(TorchLRSchedulerConfig(cls="StepLR"), 1.0),
            "lr_scheduler.args .*step_size",
        ),
        (
            lambda: TorchLRScheduler(
                TorchLRSchedulerConfig(cls="StepLR", args={"step_size": 0}), 1.0
            ),
            "lr_scheduler.args .*ZeroDivisionError",
        ),
        (lambda: CosineConfig(cycles=0), "lr_scheduler.period_updates"),
        (lambda: CosineConfig(t_mult=0.5), "lr_scheduler.t_mult"),
        (lambda: Cosine(CosineConfig(min_lr=3.0), 1.0, 10), "lr_scheduler.min_lr"),
        (lambda: PolynomialDecay(PolynomialDecayConfig(), 1.0), "lr_scheduler.decay_updates"),
        (lambda: TriStage(TriStageConfig(), 1.0), "lr_scheduler.phase_ratio"),
        (lambda: OneCycle(OneCycleConfig(), 1.0), "lr_scheduler.total_updates"),
        (lambda: WarmupStableDecay(WarmupStableDecayConfig(), 1.0), "optimization.max_update"),
        (lambda: ManualConfig(from_updates=[2], factors=[1.0]), "lr_scheduler.from_updates"),
        (lambda: MultiStepConfig(milestones=[5, 3]), "lr_scheduler.milestones"),
        (lambda: CyclicConfig(mode="square"), "lr_scheduler.mode"),
        (lambda: StepConfig(gamma=0.0), "lr_scheduler.gamma"),
        (
            lambda: SequenceConfig(sections=[{"name": "fixed"}, {"name": "constant"}]),
            r"sections\[0\].updates",
        ),
        (lambda: Sequence(SequenceConfig(sections=[{"name": "fixd"}]), 1.0), "Did you mean"),
    ],
)
def test_a_wrong_setting_says_which_key_or_way_out(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
