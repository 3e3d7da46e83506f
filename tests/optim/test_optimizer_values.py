"""Each optimizer that is written here, against its paper's update in plain lines."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqtrain.errors import ConfigError
from seqtrain.optim.adafactor import Adafactor, AdafactorConfig
from seqtrain.optim.adagrad import Adadelta, Adagrad, RMSprop
from seqtrain.optim.adam import Adam, AdamConfig, AdamW, AdamWConfig
from seqtrain.optim.adam_variants import Adamax, NAdam, RAdam
from seqtrain.optim.base import OPTIMIZERS, OptimizerWrapper
from seqtrain.optim.lamb import LAMB, LAMBConfig
from seqtrain.optim.lbfgs import LBFGS, LBFGSConfig
from seqtrain.optim.lion import Lion, LionConfig
from seqtrain.optim.muon import Muon, MuonConfig
from seqtrain.optim.schedule_free_adamw import ScheduleFreeAdamW, ScheduleFreeAdamWConfig
from seqtrain.optim.sgd import NAG, SGD, NAGConfig
from seqtrain.optim.sparse_adam import SparseAdam, SparseAdamConfig

LRS = [0.1, 0.2, 0.15, 0.05, 0.05, 0.03, 0.02]
START = [[1.0, -2.0, 0.5], [0.3, 1.5, -0.7]]


def gradient_at(point: Tensor) -> Tensor:
    """Of sum(p**2 + sin(3 p)), which is neither convex nor separable by sign."""
    return 2 * point + 3 * torch.cos(3 * point)


def follow(cls: type, config: Any) -> Tensor:
    p = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer: OptimizerWrapper = cls(config, [("p", p)])
    for lr in LRS:
        optimizer.zero_grad()
        optimizer.backward((p.square() + torch.sin(3 * p)).sum())
        optimizer.set_lr(lr)
        optimizer.step()
    return p.detach()


def plain(update: Callable[[Tensor, Tensor, float, int, dict[str, Any]], Tensor]) -> Tensor:
    p, state = torch.tensor(START, dtype=torch.float64), {"m": 0.0, "v": 0.0, "b": 0.0}
    for t, lr in enumerate(LRS, start=1):
        p = update(p, gradient_at(p), lr, t, state)
    return p


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_nag_follows_the_formula_of_fairseq_while_the_rate_changes() -> None:
    def update(p: Tensor, g: Tensor, lr: float, t: int, s: dict[str, Any]) -> Tensor:
        correction = lr / s.get("lr_old", lr)
        step = 0.9**2 * correction * s["b"] - (1 + 0.9) * lr * g
        s["b"] = 0.9 * correction * s["b"] - lr * g
        s["lr_old"] = lr
        return p * (1 - lr * 0.3) + step

    assert_same(follow(NAG, NAGConfig(momentum=0.9, weight_decay=0.3)), plain(update))


def test_lion_follows_the_update_of_the_paper() -> None:
    def update(p: Tensor, g: Tensor, lr: float, t: int, s: dict[str, Any]) -> Tensor:
        step = torch.sign(0.9 * s["m"] + 0.1 * g)
        s["m"] = 0.99 * s["m"] + 0.01 * g
        return p - lr * (step + 0.3 * p)

    assert_same(follow(Lion, LionConfig(weight_decay=0.3)), plain(update))


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lamb_follows_the_update_of_the_paper(decay: float) -> None:
    def update(p: Tensor, g: Tensor, lr: float, t: int, s: dict[str, Any]) -> Tensor:
        s["m"] = 0.9 * s["m"] + 0.1 * g
        s["v"] = 0.999 * s["v"] + 0.001 * g**2
        ratio = s["m"] / (1 - 0.9**t) / ((s["v"] / (1 - 0.999**t)).sqrt() + 1e-6)
        step = ratio + decay * p
        return p - lr * p.norm() / step.norm() * step

    assert_same(follow(LAMB, LAMBConfig(weight_decay=decay)), plain(update))


def test_lamb_moves_a_parameter_of_zeros() -> None:
    p = nn.Parameter(torch.zeros(3))
    optimizer = LAMB(LAMBConfig(lr=0.1), [("p", p)])
    optimizer.backward((p - 1).square().sum())
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.1))


def test_schedule_free_adamw_follows_the_algorithm_of_the_paper() -> None:
    config = ScheduleFreeAdamWConfig(weight_decay=0.3)
    x = z = y = torch.tensor(START, dtype=torch.float64)
    v, weights = torch.zeros_like(x), 0.0
    for t, lr in enumerate(LRS, start=1):
        y = 0.1 * z + 0.9 * x
        g = gradient_at(y)
        v = 0.999 * v + 0.001 * g**2
        z = z - lr * g / ((v / (1 - 0.999**t)).sqrt() + 1e-8) - lr * 0.3 * y
        weights += lr**2
        x = (1 - lr**2 / weights) * x + lr**2 / weights * z
    assert_same(follow(ScheduleFreeAdamW, config), 0.1 * z + 0.9 * x)

    p = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = ScheduleFreeAdamW(config, [("p", p)])
    for lr in LRS:
        optimizer.zero_grad()
        optimizer.backward((p.square() + torch.sin(3 * p)).sum())
        optimizer.set_lr(lr)
        optimizer.step()
        training_point = p.detach().clone()
        optimizer.prepare_for_evaluation()
        optimizer.prepare_for_evaluation()
        average = p.detach().clone()
        optimizer.zero_grad()
        assert torch.equal(p, training_point)
    assert_same(average, x)


def test_schedule_free_adamw_survives_a_rate_of_zero() -> None:
    p = nn.Parameter(torch.ones(2))
    optimizer = ScheduleFreeAdamW(ScheduleFreeAdamWConfig(), [("p", p)])
    optimizer.backward(p.square().sum())
    optimizer.set_lr(0.0)
    optimizer.step()
    assert p.tolist() == [1.0, 1.0]


def test_adam_decouples_the_decay_only_when_asked() -> None:
    def update(p: Tensor, g: Tensor, lr: float, t: int, s: dict[str, Any]) -> Tensor:
        g = g + 0.3 * p if is_l2 else g
        s["m"] = 0.9 * s["m"] + 0.1 * g
        s["v"] = 0.98 * s["v"] + 0.02 * g**2
        step = s["m"] / (1 - 0.9**t) / ((s["v"] / (1 - 0.98**t)).sqrt() + 1e-8)
        return p * (1 if is_l2 else 1 - lr * 0.3) - lr * step

    for is_l2 in (True, False):
        config = AdamConfig(weight_decay=0.3, decoupled=not is_l2)
        assert_same(follow(Adam, config), plain(update))
    assert_same(follow(AdamW, AdamWConfig(weight_decay=0.3)), plain(update))


def test_adafactor_follows_the_update_of_the_paper() -> None:
    def rms(x: Tensor) -> Tensor:
        return x.square().mean().sqrt()

    def update(p: Tensor, g: Tensor, lr: float, t: int, s: dict[str, Any]) -> Tensor:
        beta = 1 - t**-0.8
        tiny = torch.finfo(torch.float64).eps ** 2
        s["m"] = beta * s["m"] + (1 - beta) * g.square().mean(1, keepdim=True)
        s["v"] = beta * s["v"] + (1 - beta) * g.square().mean(0, keepdim=True)
        step = g / (s["m"] @ s["v"] / s["m"].mean()).clamp(min=tiny).sqrt()
        rate = min(lr, t**-0.5) * torch.clamp(rms(p), min=1e-3)
        return p * (1 - lr * 0.3) - rate * step / torch.clamp(rms(step), min=1.0)

    assert_same(follow(Adafactor, AdafactorConfig(weight_decay=0.3)), plain(update))


def test_muon_trains_matrices_and_adamw_the_rest() -> None:
    torch.manual_seed(0)
    shapes = {"embed.weight": (5, 4), "hidden.weight": (4, 4), "hidden.bias": (4,)}
    start = {name: torch.randn(shape) for name, shape in shapes.items()}
    mine = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    theirs = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    wrapper = Muon(MuonConfig(lr=0.02, weight_decay=0.1), mine.items())
    references = [
        torch.optim.Muon([theirs["hidden.weight"]], lr=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [theirs["embed.weight"], theirs["hidden.bias"]],
            lr=0.02,
            betas=(0.9, 0.98),
            weight_decay=0.1,
            fused=True,
        ),
    ]
    for _ in range(3):
        for parameters in (mine, theirs):
            for p in parameters.values():
                p.grad = 2 * p.detach()
        wrapper.set_lr(0.02)
        wrapper.step()
        for reference in references:
            reference.step()
    for name in shapes:
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=0)
    assert wrapper.group_lines()[-1] == "Muon trains 16 parameters, AdamW 24"


def test_muon_without_a_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match="optimizer.adamw_parameters"):
        Muon(MuonConfig(), [("bias", nn.Parameter(torch.ones(3)))])


def test_sparse_adam_leaves_rows_without_a_gradient_alone_and_clips_the_others() -> None:
    torch.manual_seed(0)
    embed = nn.Embedding(5, 3, sparse=True)
    before = embed.weight.detach().clone()
    optimizer = SparseAdam(SparseAdamConfig(lr=0.1), [("embed.weight", embed.weight)])
    optimizer.backward(embed(torch.tensor([1, 1, 3])).square().sum())
    dense = embed.weight.grad.to_dense()
    torch.testing.assert_close(optimizer.clip_grad_norm(0.5), dense.norm())
    torch.testing.assert_close(embed.weight.grad.to_dense(), dense * 0.5 / dense.norm())
    optimizer.step()
    changed = (embed.weight.detach() != before).any(dim=1)
    assert changed.tolist() == [False, True, False, True, False]


def test_sparse_adam_names_a_parameter_whose_gradient_is_dense() -> None:
    embed = nn.Embedding(5, 3)
    optimizer = SparseAdam(SparseAdamConfig(), [("embed.weight", embed.weight)])
    optimizer.backward(embed(torch.tensor([1])).sum())
    with pytest.raises(ConfigError, match="gradient of embed.weight is dense"):
        optimizer.step()


def test_lbfgs_solves_a_quadratic_in_few_updates_and_needs_its_closure() -> None:
    p = nn.Parameter(torch.tensor([5.0, -3.0], dtype=torch.float64))
    optimizer = LBFGS(LBFGSConfig(), [("p", p)])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (p - torch.tensor([1.0, 2.0])).square() @ torch.tensor([1.0, 50.0]).double()
        optimizer.backward(loss)
        return loss

    assert optimizer.needs_closure
    for _ in range(3):
        optimizer.step(closure)
    torch.testing.assert_close(p.detach(), torch.tensor([1.0, 2.0]).double(), rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="closure"):
        optimizer.step()


AGAINST_TORCH: dict[str, tuple[type, dict[str, Any], type, dict[str, Any]]] = {
    "sgd": (SGD, {"momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    "sgd nesterov": (
        SGD,
        {"momentum": 0.9, "nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
    "adagrad": (
        Adagrad,
        {"eps": 1e-6, "initial_accumulator_value": 0.1},
        torch.optim.Adagrad,
        {"eps": 1e-6, "initial_accumulator_value": 0.1},
    ),
    "adadelta": (
        Adadelta,
        {"rho": 0.8, "eps": 1e-5},
        torch.optim.Adadelta,
        {"rho": 0.8, "eps": 1e-5},
    ),
    "rmsprop": (
        RMSprop,
        {"alpha": 0.9, "momentum": 0.5, "centered": True},
        torch.optim.RMSprop,
        {"alpha": 0.9, "momentum": 0.5, "centered": True},
    ),
    "adamax": (
        Adamax,
        {"betas": [0.8, 0.99], "eps": 1e-6},
        torch.optim.Adamax,
        {"betas": (0.8, 0.99), "eps": 1e-6},
    ),
    "nadam": (
        NAdam,
        {"momentum_decay": 0.01, "decoupled": True},
        torch.optim.NAdam,
        {"momentum_decay": 0.01, "decoupled_weight_decay": True},
    ),
    "radam": (
        RAdam,
        {"betas": [0.8, 0.99], "decoupled": True},
        torch.optim.RAdam,
        {"betas": (0.8, 0.99), "decoupled_weight_decay": True},
    ),
}


@pytest.mark.parametrize("name", AGAINST_TORCH)
def test_a_class_of_torch_gets_every_setting_under_its_own_name(name: str) -> None:
    cls, fields, torch_cls, args = AGAINST_TORCH[name]
    config = OPTIMIZERS.parse({"name": name.split()[0], "weight_decay": 0.2, **fields})
    p = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    reference = torch_cls([p], lr=1.0, weight_decay=0.2, **args)
    for lr in LRS:
        reference.zero_grad()
        (p.square() + torch.sin(3 * p)).sum().backward()
        reference.param_groups[0]["lr"] = lr
        reference.step()
    assert_same(follow(cls, config), p.detach())
