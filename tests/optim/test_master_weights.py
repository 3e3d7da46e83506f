import copy

import pytest
import torch
from test_optimizer_resume import CASES, SmallModel
from torch import Tensor, nn

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.optim.averaging import AveragingConfig, WeightAverage
from seqtrain.optim.base import OPTIMIZERS, OptimizerConfig, OptimizerWrapper
from seqtrain.optim.groups import ParameterGroupConfig
from seqtrain.optim.master_weights import MasterWeights
from seqtrain.optim.sgd import SGD, SGDConfig
from seqtrain.training.resume import first_difference

SECTIONS = {name: section for name, section in CASES.items() if "lbfgs" not in name.lower()}


def make(case: str) -> tuple[SmallModel, MasterWeights]:
    is_sparse = case in ("sparse_adam", "torch.SparseAdam")
    model = SmallModel(is_sparse, has_bias=case != "torch.Muon")
    named = dict(model.named_parameters())
    if case == "torch.SparseAdam":
        named = {name: p for name, p in named.items() if name.startswith("embed")}
    config = OPTIMIZERS.parse(CASES[case])
    assert isinstance(config, OptimizerConfig)
    return model, MasterWeights(OPTIMIZERS.get(config.name).cls, config, named.items())


def make_line(config: OptimizerConfig | None = None) -> tuple[nn.Linear, MasterWeights]:
    torch.manual_seed(0)
    line = nn.Linear(4, 4)
    return line, MasterWeights(SGD, config or SGDConfig(lr=0.1), line.named_parameters())


def loss_of(model: nn.Module, *inputs: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        loss: Tensor = model(*inputs)
    return loss.float()


def train(model: SmallModel, optimizer: OptimizerWrapper, updates: range) -> None:
    for update in updates:
        optimizer.set_lr(optimizer.config.lr * 0.98**update)
        optimizer.zero_grad()
        optimizer.backward(loss_of(model))
        optimizer.collect_gradients()
        optimizer.clip_grad_norm(5.0)
        optimizer.step()


@pytest.mark.parametrize("case", SECTIONS)
def test_every_wrapper_learns_on_masters_and_continues_bitwise(case: str) -> None:
    model, optimizer = make(case)
    assert model.hidden.weight.dtype == torch.bfloat16 or case == "torch.SparseAdam"
    before = loss_of(model).item()
    train(model, optimizer, range(10))
    optimizer.prepare_for_evaluation()
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    train(model, optimizer, range(10, 20))
    resumed, continued = make(case)
    continued.load_state_dict(saved[1])
    resumed.load_state_dict(saved[0])
    train(resumed, continued, range(10, 20))
    for wrapper in (optimizer, continued):
        wrapper.prepare_for_evaluation()
    assert first_difference(dict(model.state_dict()), dict(resumed.state_dict()), "model") == ""
    assert first_difference(optimizer.state_dict(), continued.state_dict(), "optimizer") == ""
    assert loss_of(model).item() < 0.95 * before


def test_steps_too_small_for_bfloat16_add_up_in_the_masters() -> None:
    line, optimizer = make_line(SGDConfig(lr=1e-4))
    start = line.weight.detach().clone()
    nn.init.ones_(line.weight)
    for _ in range(100):  # each step is 1e-4; between 0.99 and 1 bfloat16 has steps of 4e-3
        optimizer.zero_grad()
        optimizer.backward(line.weight.float().sum())
        optimizer.collect_gradients()
        optimizer.step()
    assert not torch.equal(start, line.weight)
    expected = torch.full((4, 4), 0.99)
    torch.testing.assert_close(optimizer.parameters["weight"].detach(), expected)
    torch.testing.assert_close(line.weight.detach(), expected.bfloat16(), rtol=0, atol=0)


def test_masters_begin_with_the_unrounded_weights_and_the_model_holds_them_rounded() -> None:
    line, optimizer = make_line()
    torch.manual_seed(0)
    drawn = nn.Linear(4, 4)
    optimizer.zero_grad()
    torch.testing.assert_close(optimizer.parameters["weight"], drawn.weight, rtol=0, atol=0)
    torch.testing.assert_close(line.weight.detach(), drawn.weight.detach().bfloat16())


def test_weights_given_to_the_model_before_training_are_taken_over() -> None:
    line, optimizer = make_line()
    nn.init.constant_(line.weight, 0.25)
    optimizer.zero_grad()
    torch.testing.assert_close(optimizer.parameters["weight"].detach(), torch.full((4, 4), 0.25))


def test_biases_and_norms_stay_float32_without_a_copy() -> None:
    line, optimizer = make_line()
    assert line.bias.dtype == torch.float32
    assert optimizer.parameters["bias"] is line.bias
    assert list(optimizer.state_dict()["masters"]) == ["weight"]


def test_gradients_move_to_the_masters_and_leave_the_model() -> None:
    line, optimizer = make_line()
    optimizer.zero_grad()
    optimizer.backward(loss_of(line, torch.ones(2, 4)).sum())
    assert line.weight.grad is not None
    optimizer.collect_gradients()
    assert line.weight.grad is None
    moved = optimizer.parameters["weight"].grad
    torch.testing.assert_close(moved, torch.full((4, 4), 2.0))


def test_a_frozen_group_has_no_masters() -> None:
    config = SGDConfig(groups=[ParameterGroupConfig(pattern="weight", freeze=True)])
    line, optimizer = make_line(config)
    assert not line.weight.requires_grad
    assert line.bias.requires_grad
    assert line.weight.dtype == torch.bfloat16
    assert optimizer.state_dict()["masters"] == {}


@pytest.mark.parametrize("case", ["lbfgs", "torch.LBFGS"])
def test_an_optimizer_that_needs_a_closure_is_refused(case: str) -> None:
    with pytest.raises(ConfigError, match=r"precision\.parameters must be fp32 with optimizer="):
        make(case)


def test_a_state_without_masters_is_refused_by_name() -> None:
    _, optimizer = make_line()
    state = optimizer.state_dict()
    state["masters"] = {}
    with pytest.raises(CheckpointError, match="Only the model has weight as a bfloat16 parameter"):
        optimizer.load_state_dict(state)
    state["masters"] = {"weight": torch.zeros(2, 2)}
    with pytest.raises(CheckpointError, match=r"float32 copy of weight has the shape \[2, 2\]"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_an_average_is_of_the_masters_and_not_of_the_rounded_weights(kind: str) -> None:
    line, optimizer = make_line(SGDConfig(lr=1e-4))
    average = WeightAverage(
        AveragingConfig(kind=kind, decay=0.5, ramp_decay=False),
        {"model": line},
        optimizer.masters(),
    )
    nn.init.ones_(line.weight)
    expected = torch.zeros(0)
    for update in range(1, 11):  # each step is 1e-4; between 0.99 and 1 bfloat16 has steps of 4e-3
        optimizer.zero_grad()
        optimizer.backward(line.weight.float().sum())
        optimizer.collect_gradients()
        optimizer.step()
        average.update(update)
        weight = torch.tensor(1.0, dtype=torch.float64) - 1e-4 * update
        new = 1.0 / update if kind == "swa" else 0.5
        expected = weight if update == 1 else (1 - new) * expected + new * weight
    found = average.state_dict()["model"]["weight"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float().expand(4, 4), rtol=0, atol=2e-6)
    with average.shown():
        torch.testing.assert_close(line.weight.detach(), found.bfloat16(), rtol=0, atol=0)
