"""Schedules of parameter groups and of a composite's members, besides the run's."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.lr_schedulers.base import LR_SCHEDULERS, LRScheduler
from seqtrain.lr_schedulers.grouped import build_schedule
from seqtrain.optim.base import OPTIMIZERS, OptimizerWrapper
from seqtrain.optim.master_weights import MasterWeights
from seqtrain.plugins import import_built_ins

import_built_ins()

TOTAL = 20
MAIN = {"name": "fixed", "warmup_updates": 4}
COSINE = {"name": "cosine", "warmup_updates": 2}
PLATEAU = {"name": "reduce_lr_on_plateau", "factor": 0.5}
GROUPS: dict[str, Any] = {
    "name": "adamw",
    "lr": 0.4,
    "groups": [
        {"pattern": "first.*", "lr_scheduler": COSINE, "lr_factor": 0.1},
        {"pattern": "second.bias", "freeze": True},
        {"pattern": "second.*", "lr_scheduler": PLATEAU},
    ],
}
MEMBERS: dict[str, Any] = {
    "name": "composite",
    "lr": 0.4,
    "members": [
        {"pattern": "first.*", "name": "sgd", "lr": 0.2, "lr_scheduler": COSINE},
        {
            "pattern": "*",
            "name": "adamw",
            "lr": 0.1,
            "groups": [{"pattern": "second.*", "lr_scheduler": PLATEAU, "lr_factor": 3.0}],
        },
    ],
}


def make_model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(2, 2) for name in ("first", "second", "third")})


def make(section: dict[str, Any]) -> tuple[OptimizerWrapper, LRScheduler]:
    config: Any = OPTIMIZERS.parse(section)
    main: Any = LR_SCHEDULERS.parse(MAIN)
    optimizer = OPTIMIZERS.get(config.name).cls(config, make_model().named_parameters())
    return optimizer, build_schedule(main, config, TOTAL)


def alone(section: dict[str, Any], peak_lr: float) -> LRScheduler:
    config = LR_SCHEDULERS.parse(section)
    return LR_SCHEDULERS.get(config.name).cls(config, peak_lr, TOTAL)


def rates_of(optimizer: OptimizerWrapper) -> dict[str, float]:
    return {
        optimizer.name_of(parameter): group["lr"]
        for torch_optimizer in optimizer.torch_optimizers
        for group in torch_optimizer.param_groups
        for parameter in group["params"]
    }


def set_rates(optimizer: OptimizerWrapper, schedule: LRScheduler, update: int) -> dict[str, float]:
    optimizer.set_lr(schedule.lr_at(update), schedule.own_rates(update))
    return rates_of(optimizer)


@pytest.mark.parametrize("update", [1, 2, 3, 11, TOTAL])
def test_a_group_uses_its_own_schedule_times_its_factor_and_the_rest_the_runs(update: int) -> None:
    found = set_rates(*make(GROUPS), update)
    assert found["first.weight"] == pytest.approx(0.1 * alone(COSINE, 0.4).lr_at(update))
    assert found["second.weight"] == pytest.approx(alone(PLATEAU, 0.4).lr_at(update))
    assert found["third.weight"] == pytest.approx(alone(MAIN, 0.4).lr_at(update))


@pytest.mark.parametrize("update", [1, 2, 3, 11, TOTAL])
def test_a_member_has_a_schedule_with_its_own_peak_and_so_have_its_groups(update: int) -> None:
    optimizer, schedule = make(MEMBERS)
    optimizer.set_lr(schedule.lr_at(update), schedule.own_rates(update))
    found = {
        name: rate
        for member in optimizer.members
        for name, rate in rates_of(member).items()  # type: ignore[attr-defined] # a composite
    }
    assert found["first.bias"] == pytest.approx(alone(COSINE, 0.2).lr_at(update))
    assert found["second.bias"] == pytest.approx(3 * alone(PLATEAU, 0.1).lr_at(update))
    assert found["third.bias"] == pytest.approx(alone(MAIN, 0.1).lr_at(update))


def test_master_weights_hand_the_rates_on() -> None:
    config: Any = OPTIMIZERS.parse(GROUPS)
    cls = OPTIMIZERS.get("adamw").cls
    optimizer = MasterWeights(cls, config, make_model().named_parameters())
    found = set_rates(optimizer, make(GROUPS)[1], 7)
    assert found == pytest.approx(set_rates(*make(GROUPS), 7))
    assert found["first.weight"] != found["third.weight"]


def test_a_plateau_of_a_group_falls_with_validation_and_continues_after_a_restart() -> None:
    values = [3.0, 2.0, 2.5, 2.6, 1.0, 1.5, 1.6]
    _, straight = make(GROUPS)
    _, first = make(GROUPS)
    _, second = make(GROUPS)
    for value in values:
        straight.report_validation(value)
    for value in values[:3]:
        first.report_validation(value)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for value in values[3:]:
        second.report_validation(value)
    assert second.own_rates(9) == straight.own_rates(9)
    assert second.state_dict() == straight.state_dict()
    assert straight.own_rates(9)["groups[2]"] == pytest.approx(0.4 / 16)
    assert straight.own_rates(9)["groups[0]"] == alone(COSINE, 0.4).lr_at(9)
    assert straight.lr_at(9) == alone(MAIN, 0.4).lr_at(9)
    assert straight.follows_validation


def test_schedules_that_keep_nothing_save_nothing() -> None:
    section = GROUPS | {"groups": GROUPS["groups"][:1]}
    _, schedule = make(section)
    assert schedule.state_dict() == {}
    schedule.load_state_dict({})
    assert not schedule.follows_validation


def test_a_state_of_other_groups_is_refused() -> None:
    _, schedule = make(GROUPS)
    state = schedule.state_dict()
    state["own"]["groups[7]"] = {}
    with pytest.raises(CheckpointError, match=r"groups\[7\]"):
        schedule.load_state_dict(state)


def test_a_run_of_another_length_changes_every_schedule() -> None:
    _, schedule = make(GROUPS)
    longer = schedule.with_total(2 * TOTAL)
    assert longer.own_rates(TOTAL)["groups[0]"] > schedule.own_rates(TOTAL)["groups[0]"]
    assert longer.own_rates(TOTAL).keys() == schedule.own_rates(TOTAL).keys()


def test_without_own_schedules_the_schedule_is_the_runs_itself() -> None:
    _, schedule = make({"name": "sgd", "lr": 0.4})
    assert type(schedule) is type(alone(MAIN, 0.4))
    assert schedule.own_rates(1) == {}


def test_the_group_lines_name_the_schedules() -> None:
    optimizer, _ = make(GROUPS)
    assert [line.split("parameters, ")[1] for line in optimizer.group_lines()] == [
        "lr x 0.1, own schedule cosine, weight decay 0.01",
        "frozen",
        "lr x 1, own schedule reduce_lr_on_plateau, weight decay 0.01",
        "lr x 1, weight decay 0.01",
    ]
    members = make(MEMBERS)[0].group_lines()
    assert members[0].startswith("sgd, own schedule cosine, the rest: 2 tensors")
    assert "adamw, second.*: 2 tensors" in members[1]
    assert "own schedule reduce_lr_on_plateau" in members[1]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "cosin"}, r"optimizer.groups\[0\].lr_scheduler: .*Did you mean 'cosine'"),
        (
            {"name": "cosine", "warmup": 3},
            r"optimizer.groups\[0\].lr_scheduler: There is no key 'lr_scheduler.warmup'",
        ),
        ({"warmup_updates": 3}, r"optimizer.groups\[0\].lr_scheduler: .*is not chosen"),
        ({"name": "cosine", "min_lr": 9.0}, r"optimizer.groups\[0\].lr_scheduler: .*min_lr"),
    ],
)
def test_a_mistake_in_an_own_schedule_says_where(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make({"name": "sgd", "groups": [{"pattern": "*", "lr_scheduler": section}]})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"name": "sgd", "groups": [{"pattern": "*", "freeze": True, "lr_scheduler": COSINE}]},
            "frozen and needs no lr_scheduler",
        ),
        (
            {"name": "lbfgs", "groups": [{"pattern": "*", "lr_scheduler": COSINE}]},
            "can only freeze",
        ),
    ],
)
def test_an_own_schedule_where_none_can_be_is_refused(
    section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        OPTIMIZERS.parse(section)
