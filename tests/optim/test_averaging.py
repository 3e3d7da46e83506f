import copy

import pytest
import torch
from torch import Tensor, nn

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.optim.averaging import AveragingConfig, WeightAverage


class Small(nn.Module):
    """Has a tied weight, running statistics and a counter."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False, dtype=dtype)
        self.second = nn.Linear(3, 3, bias=False, dtype=dtype)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(3, dtype=dtype)


def make(dtype: torch.dtype = torch.float64, **fields: object) -> tuple[Small, WeightAverage]:
    torch.manual_seed(0)
    model = Small(dtype)
    return model, WeightAverage(AveragingConfig(**fields), {"model": model})  # type: ignore[arg-type] # chosen by the test


def move(model: Small, update: int) -> Tensor:
    """Gives the weights new values and returns those of the linear layer."""
    generator = torch.Generator().manual_seed(update)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
    return model.first.weight.detach().clone()


def shown(model: Small, average: WeightAverage) -> Tensor:
    with average.shown():
        return model.first.weight.detach().clone()


@pytest.mark.parametrize("ramp", [False, True])
def test_the_moving_average_is_the_recursion(ramp: bool) -> None:
    model, average = make(kind="ema", decay=0.8, ramp_decay=ramp)
    expected = torch.zeros(0)
    for update in range(1, 30):
        weight = move(model, update)
        average.update(update)
        number = update - 1  # averages before this one
        decay = min(0.8, (1 + number) / (10 + number)) if ramp else 0.8
        expected = weight if update == 1 else decay * expected + (1 - decay) * weight
    torch.testing.assert_close(shown(model, average), expected, rtol=1e-12, atol=1e-12)


def test_the_equal_average_is_the_mean_of_every_nth_from_the_start() -> None:
    model, average = make(kind="swa", start_update=4, interval=3)
    weights = []
    for update in range(1, 15):
        weights.append(move(model, update))
        average.update(update)
        assert average.exists == (update >= 4)
    expected = torch.stack([weights[update - 1] for update in (4, 7, 10, 13)]).mean(dim=0)
    torch.testing.assert_close(shown(model, average), expected, rtol=1e-12, atol=1e-12)


def test_the_weights_come_back_to_the_last_bit_even_after_an_error() -> None:
    model, average = make(kind="ema", decay=0.5)
    for update in (1, 2):
        move(model, update)
        average.update(update)
    before = copy.deepcopy(model.state_dict())

    def interrupted() -> None:
        with average.shown():
            assert not torch.equal(model.first.weight, before["first.weight"])
            assert model.second.weight is model.first.weight
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_half_precision_weights_are_averaged_in_single_precision() -> None:
    model, average = make(torch.bfloat16, kind="ema", decay=0.999, ramp_decay=False)
    with torch.no_grad():
        model.first.weight.fill_(1.0)
        average.update(1)
        model.first.weight.fill_(2.0)
    for update in range(2, 12):
        average.update(update)
    found = average.state_dict()["model"]["first.weight"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((3, 3), 2.0 - 0.999**10))


def test_statistics_are_averaged_and_counters_are_not() -> None:
    model, average = make(kind="swa")
    for update in (1, 2):
        move(model, update)
        model.norm.num_batches_tracked.fill_(update)
        average.update(update)
    mine = average.state_dict()["model"]
    assert mine["norm.num_batches_tracked"] == 2
    assert not torch.equal(mine["norm.running_mean"], model.norm.running_mean)
    assert mine["first.weight"] is mine["second.weight"]


def test_a_restored_average_continues_to_the_same_bits() -> None:
    straight_model, straight = make(kind="ema", decay=0.9, interval=2)
    for update in range(1, 21):
        move(straight_model, update)
        straight.update(update)
    model, average = make(kind="ema", decay=0.9, interval=2)
    for update in range(1, 12):
        move(model, update)
        average.update(update)
    state = copy.deepcopy(average.state_dict())
    model, resumed = make(kind="ema", decay=0.9, interval=2)
    assert resumed.restore(state, 11) == ""
    for update in range(12, 21):
        move(model, update)
        resumed.update(update)
    assert resumed.num_averaged == straight.num_averaged
    expected = straight.state_dict()["model"]
    torch.testing.assert_close(resumed.state_dict()["model"], expected, rtol=0, atol=0)


def test_an_average_that_the_checkpoint_lacks_begins_with_its_weights_and_says_so() -> None:
    model, average = make(kind="ema")
    weight = move(model, 1)
    line = average.restore(None, 8)
    assert "no average of the weights: ema.kind=ema begins" in line
    assert "after update 8" in line
    torch.testing.assert_close(shown(model, average), weight, rtol=0, atol=0)


def test_an_average_of_another_kind_begins_anew_and_says_so() -> None:
    _, moving = make(kind="ema")
    moving.update(1)
    other, equal = make(kind="swa")
    weight = move(other, 2)
    assert "an average of kind ema" in equal.restore(moving.state_dict(), 5)
    assert equal.num_averaged == 1
    torch.testing.assert_close(shown(other, equal), weight, rtol=0, atol=0)


def test_before_its_first_update_nothing_is_said_and_nothing_is_there() -> None:
    _, average = make(kind="swa", start_update=100)
    assert average.restore(None, 8) == ""
    assert not average.exists


def test_an_average_of_another_model_is_refused_by_name() -> None:
    _, average = make(kind="ema")
    average.add()
    state = average.state_dict()
    state["model"] = {name: v for name, v in state["model"].items() if name != "norm.bias"}
    with pytest.raises(CheckpointError, match=r"norm\.bias"):
        average.restore(state, 1)
    state["model"]["norm.bias"] = torch.zeros(4)
    with pytest.raises(CheckpointError, match=r"norm\.bias in shape \[4\]"):
        average.restore(state, 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [("kind", "mean"), ("decay", 1.0), ("decay", -0.1), ("start_update", -1), ("interval", 0)],
)
def test_impossible_settings_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"ema\.{key}"):
        AveragingConfig(**{key: value})  # type: ignore[arg-type] # wrong on purpose
