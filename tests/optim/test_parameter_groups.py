from typing import Any

import pytest
import torch
from torch import nn

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.optim.adam import AdamW, AdamWConfig
from seqtrain.optim.base import OPTIMIZERS
from seqtrain.optim.composite import Composite
from seqtrain.optim.lbfgs import LBFGSConfig
from seqtrain.optim.sgd import SGD, SGDConfig
from seqtrain.optim.sparse_adam import SparseAdamConfig
from seqtrain.optim.torch_class import TorchOptimizer, TorchOptimizerConfig


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(4, 3)
        self.norm = nn.LayerNorm(3)
        self.proj = nn.Linear(3, 2)

    def forward(self) -> torch.Tensor:
        return self.proj(self.norm(self.embed(torch.arange(4)))).square().sum()


def sgd(model: nn.Module, *groups: dict[str, Any], **settings: Any) -> SGD:
    config = OPTIMIZERS.parse({"name": "sgd", "groups": list(groups), **settings})
    return SGD(config, model.named_parameters())


def update(model: nn.Module, optimizer: SGD, lr: float = 0.1) -> dict[str, bool]:
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.zero_grad()
    optimizer.backward(model())
    optimizer.clip_grad_norm(1.0)
    optimizer.set_lr(lr)
    optimizer.step()
    return {name: not torch.equal(p, before[name]) for name, p in model.named_parameters()}


def test_the_first_pattern_wins_and_factors_multiply_rate_and_decay() -> None:
    model = Model()
    optimizer = sgd(
        model,
        {"pattern": "proj.bias", "lr_factor": 10.0},
        {"pattern": "proj.*", "weight_decay_factor": 0.5},
        weight_decay=0.2,
    )
    optimizer.set_lr(0.1)
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in optimizer.torch_optimizers[0].param_groups
        for name, p in model.named_parameters()
        if any(p is other for other in group["params"])
    }
    rest = dict.fromkeys(("embed.weight", "norm.weight", "norm.bias"), (0.1, 0.2))
    assert found == {"proj.bias": (1.0, 0.2), "proj.weight": (0.1, 0.1), **rest}


def test_no_decay_exempts_biases_norms_and_embeddings() -> None:
    optimizer = sgd(Model(), no_decay=True, weight_decay=0.2)
    decayed = [
        p.shape
        for group in optimizer.torch_optimizers[0].param_groups
        for p in group["params"]
        if group["weight_decay"]
    ]
    assert decayed == [torch.Size([2, 3])]
    assert optimizer.group_lines() == [
        "the rest: 1 tensors, 6 parameters, lr x 1, weight decay 0.2",
        "the rest (no decay): 4 tensors, 20 parameters, lr x 1, weight decay 0",
    ]


def test_a_frozen_group_needs_no_gradient_and_has_no_state() -> None:
    model = Model()
    optimizer = sgd(model, {"pattern": "embed.*", "freeze": True}, momentum=0.9)
    assert not model.embed.weight.requires_grad
    changed = update(model, optimizer)
    assert [name for name, is_changed in changed.items() if not is_changed] == ["embed.weight"]
    assert "embed.weight" not in optimizer.state_dict()["slots"]
    assert optimizer.group_lines()[0] == "embed.*: 1 tensors, 12 parameters, frozen"


def test_a_group_is_frozen_for_its_first_updates_also_after_a_restart() -> None:
    model = Model()
    group = {"pattern": "proj.*", "freeze_updates": 3}
    optimizer = sgd(model, group, momentum=0.9)
    assert [update(model, optimizer)["proj.weight"] for _ in range(2)] == [False, False]
    assert "proj.weight" not in optimizer.state_dict()["slots"]
    resumed = sgd(model, group, momentum=0.9)
    resumed.load_state_dict(optimizer.state_dict())
    assert [update(model, resumed)["proj.weight"] for _ in range(2)] == [False, True]


def test_the_norm_does_not_count_gradients_that_are_not_applied() -> None:
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    config = OPTIMIZERS.parse({"name": "sgd", "groups": [{"pattern": "a", "freeze_updates": 1}]})
    optimizer = SGD(config, [("a", a), ("b", b)])
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert optimizer.clip_grad_norm(0.0) == 4.0


def test_an_update_in_which_everything_is_still_frozen_changes_nothing() -> None:
    model = Model()
    optimizer = sgd(model, {"pattern": "*", "freeze_updates": 1})
    assert not any(update(model, optimizer).values())
    assert all(update(model, optimizer).values())


def test_state_loads_into_other_groups_by_name() -> None:
    model = Model()
    optimizer = AdamW(AdamWConfig(), model.named_parameters())
    update(model, optimizer)
    config = AdamWConfig(no_decay=True)
    regrouped = AdamW(config, model.named_parameters())
    regrouped.load_state_dict(optimizer.state_dict())
    for name, slots in optimizer.state_dict()["slots"].items():
        torch.testing.assert_close(regrouped.state_dict()["slots"][name], slots, rtol=0, atol=0)


def test_loading_copies_so_that_training_leaves_the_loaded_state_alone() -> None:
    model = Model()
    first = sgd(model, momentum=0.9)
    update(model, first)
    state = first.state_dict()
    before = state["slots"]["proj.weight"]["momentum_buffer"].clone()
    second = sgd(model, momentum=0.9)
    second.load_state_dict(state)
    update(model, second)
    assert torch.equal(state["slots"]["proj.weight"]["momentum_buffer"], before)


def test_a_state_of_another_optimizer_or_shape_is_refused() -> None:
    model = Model()
    optimizer = sgd(model, momentum=0.9)
    update(model, optimizer)
    state = optimizer.state_dict()
    with pytest.raises(CheckpointError, match="of SGD, this run has AdamW"):
        AdamW(AdamWConfig(), model.named_parameters()).load_state_dict(state)
    state["slots"]["proj.weight"] = {"momentum_buffer": torch.ones(3, 2)}
    with pytest.raises(CheckpointError, match=r"proj.weight has the shape \[3, 2\]"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"pattern": "decoder.*"}], r"groups\[0\].pattern 'decoder.\*' matches no parameter"),
        ([{"pattern": "*"}, {"pattern": "proj.*"}], "put it first"),
    ],
)
def test_a_pattern_that_takes_nothing_is_an_error(groups: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sgd(Model(), *groups)


def test_freezing_everything_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no trainable parameters"):
        sgd(Model(), {"pattern": "*", "freeze": True})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TorchOptimizerConfig(cls="Adm"), "Did you mean 'Adam'"),
        (lambda: TorchOptimizerConfig(cls="Adam", args={"beta": 1}), "Did you mean 'betas'"),
        (lambda: TorchOptimizerConfig(cls="Adam", args={"lr": 1.0}), "set optimizer.lr"),
        (lambda: TorchOptimizerConfig(cls="LBFGS", weight_decay=0.1), "optimizer.weight_decay"),
        (
            lambda: TorchOptimizerConfig(cls="SparseAdam", weight_decay=0.1),
            "optimizer.weight_decay",
        ),
        (lambda: SparseAdamConfig(weight_decay=0.1), "optimizer.weight_decay"),
        (lambda: LBFGSConfig(weight_decay=0.1), "optimizer.weight_decay"),
        (lambda: SGDConfig(lr=float("nan")), "optimizer.lr"),
        (
            lambda: OPTIMIZERS.parse(
                {"name": "sgd", "groups": [{"pattern": "*", "lr_factor": -1}]}
            ),
            "lr_factor",
        ),
        (
            lambda: OPTIMIZERS.parse({"name": "sgd", "groups": [{"patern": "*"}]}),
            "There is no key 'optimizer.patern'. Did you mean 'pattern'",
        ),
        (
            lambda: TorchOptimizer(
                TorchOptimizerConfig(cls="Adam", args={"betas": [2.0, 0.9]}),
                [("p", nn.Parameter(torch.ones(1)))],
            ),
            "optimizer.args",
        ),
    ],
)
def test_a_wrong_setting_says_which_key_and_what_instead(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_torch_classes_are_fused_unless_an_argument_chooses_the_kernel() -> None:
    p = [("p", nn.Parameter(torch.ones(1)))]
    fused = TorchOptimizer(TorchOptimizerConfig(cls="Adam"), p)
    foreach = TorchOptimizer(TorchOptimizerConfig(cls="Adam", args={"foreach": True}), p)
    assert fused.torch_optimizers[0].param_groups[0]["fused"] is True
    assert foreach.torch_optimizers[0].param_groups[0]["fused"] is None


def test_members_of_a_composite_have_their_own_rates_and_frozen_gradients_do_not_count() -> None:
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    members = [
        {
            "pattern": "a",
            "name": "sgd",
            "lr": 0.2,
            "groups": [{"pattern": "a", "freeze_updates": 1}],
        },
        {"pattern": "*", "name": "sgd", "lr": 0.1},
    ]
    config = OPTIMIZERS.parse({"name": "composite", "lr": 0.1, "members": members})
    optimizer = Composite(config, [("a", a), ("b", b)])
    for norm, values in ((4.0, [1.0, 0.8]), (32**0.5, [0.6, 0.6])):
        a.grad, b.grad = torch.tensor([4.0]), torch.tensor([4.0])
        assert optimizer.clip_grad_norm(0.0) == pytest.approx(norm)
        optimizer.set_lr(0.05)
        optimizer.step()
        assert [a.item(), b.item()] == pytest.approx(values)
    assert optimizer.group_lines() == [
        "sgd, a: 1 tensors, 1 parameters, lr x 1, weight decay 0, frozen for 1 updates",
        "sgd, the rest: 1 tensors, 1 parameters, lr x 1, weight decay 0",
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([{"pattern": "a", "name": "sgd"}], "No pattern of optimizer.members takes b"),
        (
            [{"pattern": "c", "name": "sgd"}, {"pattern": "*", "name": "sgd"}],
            r"members\[0\].pattern",
        ),
        ([{"pattern": "*", "name": "lbfgs"}], "closure"),
        ([{"name": "sgd"}], r"members\[0\] needs a pattern"),
    ],
)
def test_a_composite_that_cannot_work_says_why(members: list[Any], message: str) -> None:
    parameters = [("a", nn.Parameter(torch.ones(1))), ("b", nn.Parameter(torch.ones(1)))]
    with pytest.raises(ConfigError, match=message):
        Composite(OPTIMIZERS.parse({"name": "composite", "members": members}), parameters)
