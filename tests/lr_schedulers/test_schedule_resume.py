"""Every schedule continues in a new process, and gives legal rates at all legal settings.

Run as a program, this file is that new process.
"""

import importlib
import json
import math
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqtrain.lr_schedulers
from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LR_SCHEDULERS, LRScheduler
from seqtrain.lr_schedulers.torch_class import scheduler_classes

for _module in pkgutil.iter_modules(seqtrain.lr_schedulers.__path__):
    importlib.import_module(f"seqtrain.lr_schedulers.{_module.name}")

TOTAL = 24
SETTINGS: dict[str, dict[str, Any]] = {
    "cosine": {"cycles": 2, "lr_shrink": 0.5},
    "inverse_sqrt": {"warmup_updates": 5},
    "manual": {"from_updates": [1, 12], "factors": [1.0, 0.3]},
    "multi_step": {"milestones": [4, 13]},
    "reduce_lr_on_plateau": {"warmup_updates": 15, "patience": 1},
    "sequence": {
        "sections": [
            {"name": "fixed", "warmup_updates": 3, "updates": 5},
            {"name": "reduce_lr_on_plateau"},
        ]
    },
    "step": {"step_updates": 6},
    "tri_stage": {"phase_ratio": [0.2, 0.3, 0.5]},
    "triangular": {"period_updates": 7},
    "cyclic": {"up_updates": 4},
    "warmup_stable_decay": {"warmup_updates": 4},
}
TORCH_ARGS: dict[str, dict[str, Any]] = {
    "CosineAnnealingWarmRestarts": {"T_0": 4, "T_mult": 2},
    "CyclicLR": {"base_lr": 0.1, "step_size_up": 4},
    "ExponentialLR": {"gamma": 0.9},
    "MultiStepLR": {"milestones": [4, 13]},
    "ReduceLROnPlateau": {"patience": 1, "cooldown": 1},
    "StepLR": {"step_size": 6},
}
NEEDS_PYTHON = ("LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler")


def _cases() -> dict[str, dict[str, Any]]:
    cases = {
        name: {"name": name, **SETTINGS.get(name, {})}
        for name in LR_SCHEDULERS.names()
        if name != "torch"
    }
    for cls in scheduler_classes():
        if cls not in NEEDS_PYTHON:
            args = TORCH_ARGS.get(cls, {})
            cases[f"torch.{cls}"] = {"name": "torch", "cls": cls, "args": args}
    return cases


CASES = _cases()


def _build(case: str) -> LRScheduler:
    config = LR_SCHEDULERS.parse(CASES[case])
    return LR_SCHEDULERS.get(config.name).cls(config, 2.0, TOTAL)


def _rates(schedule: LRScheduler, updates: range) -> list[float]:
    rates = []
    for n in updates:
        rates.append(schedule.lr_at(n))
        if n % 3 == 0:
            schedule.report_validation([3.0, 2.0, 2.5][min(2, n // 3 - 1)])
    return rates


def _continue_all(directory: Path) -> None:
    states = json.loads((directory / "states.json").read_text())
    rates = {}
    for case in CASES:
        schedule = _build(case)
        schedule.load_state_dict(states[case])
        rates[case] = _rates(schedule, range(11, TOTAL + 3))
    (directory / "rates.json").write_text(json.dumps(rates))


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    directory = tmp_path_factory.mktemp("schedules")
    states = {}
    for case in CASES:
        schedule = _build(case)
        _rates(schedule, range(1, 11))
        states[case] = schedule.state_dict()
    (directory / "states.json").write_text(json.dumps(states, allow_nan=False))
    subprocess.run([sys.executable, __file__, str(directory)], check=True, timeout=120)
    rates: dict[str, list[float]] = json.loads((directory / "rates.json").read_text())
    return rates


@pytest.mark.parametrize("case", CASES)
def test_a_schedule_continues_in_a_new_process_where_it_was(
    case: str, continued: dict[str, list[float]]
) -> None:
    straight = _rates(_build(case), range(1, TOTAL + 3))
    assert straight[10:] == continued[case]
    assert straight[0] > 0.0
    assert all(math.isfinite(rate) and rate >= 0.0 for rate in straight)


def test_a_plateau_is_remembered_with_all_that_was_counted(
    continued: dict[str, list[float]],
) -> None:
    for case in ("reduce_lr_on_plateau", "sequence", "torch.ReduceLROnPlateau"):
        assert continued[case][-1] < max(continued[case])


warmups = st.fixed_dictionaries({"warmup_updates": st.integers(0, 20)})
counts, shares = st.integers(1, 40), st.floats(1e-3, 1.0)
LEGAL = {
    "constant": st.fixed_dictionaries({}),
    "fixed": warmups,
    "inverse_sqrt": st.fixed_dictionaries({"warmup_updates": counts}),
    "cosine": st.fixed_dictionaries(
        {"cycles": st.integers(1, 5), "t_mult": st.floats(1, 4), "lr_shrink": shares,
         "warmup_updates": st.integers(0, 20)}
    ),
    "cosine_warmup": st.fixed_dictionaries(
        {"cycles": st.floats(0.1, 4), "warmup_updates": st.integers(0, 20)}
    ),
    "cosine_warmup_restarts": st.fixed_dictionaries(
        {"cycles": counts, "warmup_updates": st.integers(0, 20)}
    ),
    "polynomial_decay": st.fixed_dictionaries(
        {"power": st.floats(0, 5), "warmup_updates": st.integers(0, 20)}
    ),
    "poly": warmups,
    "step": st.fixed_dictionaries({"step_updates": counts, "gamma": shares}),
    "multi_step": st.fixed_dictionaries(
        {"milestones": st.lists(st.integers(0, 50), min_size=1).map(sorted), "gamma": shares}
    ),
    "exponential": st.fixed_dictionaries({"gamma": st.floats(0.9, 1.0)}),
    "tri_stage": st.fixed_dictionaries(
        {"warmup_updates": st.integers(0, 9), "hold_updates": st.integers(0, 9),
         "decay_updates": counts, "init_lr_scale": shares, "final_lr_scale": shares}
    ),
    "triangular": st.fixed_dictionaries(
        {"period_updates": st.integers(2, 40), "lr_shrink": shares, "min_lr_scale": shares}
    ),
    "cyclic": st.fixed_dictionaries(
        {"up_updates": counts, "down_updates": st.integers(0, 40), "min_lr_scale": shares,
         "mode": st.sampled_from(["triangular", "triangular2", "exp_range"])}
    ),
    "one_cycle": st.fixed_dictionaries(
        {"pct_start": st.floats(0, 1), "total_updates": st.integers(0, 60),
         "anneal_strategy": st.sampled_from(["cos", "linear"])}
    ),
    "warmup_stable_decay": st.fixed_dictionaries(
        {"warmup_updates": st.integers(0, 10), "decay_updates": st.integers(0, 10),
         "decay_shape": st.sampled_from(["linear", "cosine", "sqrt"])}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
@given(data=st.data(), total=st.integers(21, 60))
@settings(max_examples=40, deadline=None)
def test_every_legal_setting_gives_finite_rates_up_to_the_peak_and_a_first_update_that_learns(
    name: str, data: st.DataObject, total: int
) -> None:
    config = LR_SCHEDULERS.parse({"name": name, **data.draw(LEGAL[name])})
    schedule = LR_SCHEDULERS.get(name).cls(config, 2.0, total)
    rates = [schedule.lr_at(n) for n in range(1, 2 * total)]
    assert all(0.0 <= rate <= 2.0 * (1 + 1e-12) for rate in rates)
    assert rates[0] > 0.0
    assert schedule.lr_at(10**7) >= 0.0


def test_every_schedule_that_is_a_formula_is_tried_at_legal_settings() -> None:
    built_in = {  # other tests may have registered some of their own
        name
        for name in LR_SCHEDULERS.names()
        if LR_SCHEDULERS.get(name).cls.__module__.startswith("seqtrain.")
    }
    assert built_in == LEGAL.keys() | {"manual", "reduce_lr_on_plateau", "sequence", "torch"}


def test_schedules_that_need_python_objects_are_refused() -> None:
    for cls in NEEDS_PYTHON:
        with pytest.raises(ConfigError, match=f"lr_scheduler.cls={cls} needs"):
            LR_SCHEDULERS.parse({"name": "torch", "cls": cls})


if __name__ == "__main__":
    _continue_all(Path(sys.argv[1]))
