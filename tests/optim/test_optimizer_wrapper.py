import copy

import pytest
import torch
from torch import nn

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.optim.adam import Adam, AdamConfig, AdamW, AdamWConfig
from seqtrain.optim.base import OptimizerWrapper
from seqtrain.optim.sgd import SGD, SGDConfig


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def make_wrapper(model: nn.Module, cls: type = Adam, config: object = None) -> OptimizerWrapper:
    return cls(config or AdamConfig(lr=0.1), model.named_parameters())


def train(model: nn.Module, optimizer: OptimizerWrapper, updates: int) -> None:
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)
    for _ in range(updates):
        optimizer.zero_grad()
        optimizer.backward(model(x).square().sum())
        optimizer.step()


CONFIGS = [
    (Adam, AdamConfig(lr=0.1)),
    (AdamW, AdamWConfig(lr=0.1)),
    (SGD, SGDConfig(lr=0.01, momentum=0.9)),
]


@pytest.mark.parametrize(("cls", "config"), CONFIGS)
def test_saving_and_loading_continues_bitwise(cls: type, config: object) -> None:
    straight = make_model()
    train(straight, make_wrapper(straight, cls, config), 10)
    model = make_model()
    first = make_wrapper(model, cls, config)
    train(model, first, 5)
    state = copy.deepcopy(first.state_dict())
    second = make_wrapper(model, cls, config)
    second.load_state_dict(state)
    train(model, second, 5)
    for a, b in zip(straight.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_moments_that_are_loaded_have_the_strides_of_their_parameter() -> None:
    convolution = nn.Conv2d(3, 5, 2).to(memory_format=torch.channels_last)
    optimizer = make_wrapper(convolution)
    convolution(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    state["slots"]["weight"]["exp_avg"] = state["slots"]["weight"]["exp_avg"].contiguous()
    expected = state["slots"]["weight"]["exp_avg"].clone()
    optimizer.load_state_dict(state)
    [loaded] = [
        slots["exp_avg"]
        for torch_optimizer in optimizer.torch_optimizers
        for parameter, slots in torch_optimizer.state.items()
        if parameter.dim() == 4
    ]
    assert loaded.stride() == convolution.weight.stride() != expected.stride()
    assert loaded.equal(expected)


def test_adam_follows_the_update_of_the_paper() -> None:
    p = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = Adam(AdamConfig(lr=0.1, betas=[0.9, 0.98], eps=1e-8), [("p", p)])
    theta, m, v = p.detach().clone(), torch.zeros(2).double(), torch.zeros(2).double()
    for t in range(1, 8):
        g = 2 * theta
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g**2
        theta = theta - 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.98**t)).sqrt() + 1e-8)
        optimizer.zero_grad()
        optimizer.backward(p.square().sum())
        optimizer.step()
    torch.testing.assert_close(p.detach(), theta, rtol=1e-10, atol=1e-10)


def test_state_is_keyed_by_name_so_a_reordered_model_loads_its_own_moments() -> None:
    model = make_model()
    optimizer = make_wrapper(model)
    train(model, optimizer, 3)
    state = copy.deepcopy(optimizer.state_dict())
    reordered = Adam(AdamConfig(lr=0.1), reversed(list(model.named_parameters())))
    reordered.load_state_dict(state)
    assert reordered.state_dict()["slots"].keys() == state["slots"].keys()
    for name, slots in state["slots"].items():
        torch.testing.assert_close(reordered.state_dict()["slots"][name], slots, rtol=0, atol=0)


def test_state_of_other_parameters_is_refused_by_name() -> None:
    model = make_model()
    optimizer = make_wrapper(model)
    state = make_wrapper(nn.Linear(3, 4).double()).state_dict()
    with pytest.raises(CheckpointError, match="0.bias"):
        optimizer.load_state_dict(state)


def test_clipping_scales_to_the_limit_and_zero_only_measures() -> None:
    p = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = Adam(AdamConfig(), [("p", p)])
    p.grad = torch.tensor([3.0, 4.0])
    assert optimizer.clip_grad_norm(0.0) == 5.0
    assert p.grad.tolist() == [3.0, 4.0]
    assert optimizer.clip_grad_norm(1.0) == 5.0
    torch.testing.assert_close(p.grad.norm(), torch.tensor(1.0))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_clipping_a_non_finite_gradient_leaves_it_visible(bad: float) -> None:
    p = nn.Parameter(torch.zeros(2))
    optimizer = Adam(AdamConfig(), [("p", p)])
    p.grad = torch.tensor([bad, 1.0])
    assert not torch.isfinite(optimizer.clip_grad_norm(1.0))


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (lambda: AdamConfig(lr=0.0), "optimizer.lr"),
        (lambda: AdamConfig(weight_decay=-1.0), "optimizer.weight_decay"),
        (lambda: AdamConfig(betas=[0.9]), "optimizer.betas"),
        (lambda: SGDConfig(momentum=1.0), "optimizer.momentum"),
        (lambda: SGDConfig(nesterov=True), "optimizer.nesterov"),
    ],
)
def test_a_wrong_setting_names_its_key(config: object, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        config()


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="no trainable parameters"):
        Adam(AdamConfig(), [])
