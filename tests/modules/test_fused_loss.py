"""The fused loss against the plain formula: values and gradients."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seqtrain.modules import fused_loss
from seqtrain.modules.fused_loss import LossOptions, LossSums, linear_loss, logits_loss

DIM, VOCAB, ROWS = 6, 11, 7


@pytest.fixture(autouse=True)
def _chunks_of_three_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fused_loss.BYTES_AT_ONCE, "cpu", 3 * VOCAB * 8)
    monkeypatch.setitem(fused_loss.VALUES_AT_ONCE, "cpu", 2 * VOCAB)
    torch.manual_seed(0)


def _problem(bias: bool, dtype: torch.dtype = torch.float64) -> tuple[Tensor, nn.Linear, Tensor]:
    features = torch.randn(ROWS, DIM, dtype=dtype, requires_grad=True)
    return features, nn.Linear(DIM, VOCAB, bias=bias, dtype=dtype), torch.randint(0, VOCAB, (ROWS,))


def _gradients(sums: LossSums, features: Tensor, layer: nn.Linear) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sums.total * 1.7, [features, *layer.parameters()])


def test_logits_loss_is_the_formula() -> None:
    logits, targets = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 3, 3, 1])
    probs = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    expected = 0.0
    for row, target in enumerate(targets.tolist()):
        for symbol in range(5):
            smoothed = 0.9 if symbol == target else 0.1 / 4
            expected -= smoothed * probs[row, symbol].log().item()
    sums = logits_loss(logits, targets, LossOptions(label_smoothing=0.1))
    assert sums.total.item() == pytest.approx(expected, rel=1e-12)


def test_without_smoothing_it_is_torchs_cross_entropy() -> None:
    logits, targets = torch.randn(4, 5), torch.tensor([0, 3, 3, 1])
    sums = logits_loss(logits, targets, LossOptions())
    expected = nn.functional.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(sums.total, expected)
    torch.testing.assert_close(sums.nll, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_fused_and_plain_agree_in_values_and_gradients(bias: bool, label_smoothing: float) -> None:
    features, layer, targets = _problem(bias)
    options = LossOptions(label_smoothing=label_smoothing, count_correct=True)
    fused = linear_loss(features, layer, targets, options)
    plain = logits_loss(layer(features), targets, options)
    torch.testing.assert_close(fused.total, plain.total)
    torch.testing.assert_close(fused.nll, plain.nll)
    assert fused.num_correct == plain.num_correct
    for ours, expected in zip(
        _gradients(fused, features, layer), _gradients(plain, features, layer), strict=True
    ):
        torch.testing.assert_close(ours, expected)


def test_gradients_pass_the_numerical_check() -> None:
    features, layer, targets = _problem(bias=True)

    def total(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        copy = nn.Linear(DIM, VOCAB)
        del copy.weight, copy.bias
        copy.weight, copy.bias = weight, bias  # type: ignore[assignment] # plain tensors, checked
        return linear_loss(features, copy, targets, LossOptions(label_smoothing=0.1)).total

    assert torch.autograd.gradcheck(total, (features, *layer.parameters()))


def test_extreme_logits_give_finite_losses() -> None:
    features, layer, targets = _problem(bias=False, dtype=torch.float32)
    sums = linear_loss(features * 1e4, layer, targets, LossOptions(label_smoothing=0.1))
    plain = logits_loss(layer(features * 1e4), targets, LossOptions(label_smoothing=0.1))
    torch.testing.assert_close(sums.total, plain.total)
    assert all(gradient.isfinite().all() for gradient in _gradients(sums, features, layer))


def test_no_rows_give_zero_and_zero_gradients() -> None:
    features, layer, targets = _problem(bias=True)
    sums = linear_loss(features[:0], layer, targets[:0], LossOptions(label_smoothing=0.1))
    assert sums.total == 0
    for gradient in _gradients(sums, features, layer):
        assert not gradient.any()


def test_backward_twice_gives_twice_the_gradient() -> None:
    features, layer, targets = _problem(bias=False)
    total = linear_loss(features, layer, targets, LossOptions()).total
    (once,) = torch.autograd.grad(total, features, retain_graph=True)
    (again,) = torch.autograd.grad(2 * total, features)
    torch.testing.assert_close(again, 2 * once)


def test_without_gradients_the_value_is_the_same() -> None:
    features, layer, targets = _problem(bias=False)
    with torch.no_grad():
        value = linear_loss(features, layer, targets, LossOptions()).total
    assert not value.requires_grad
    torch.testing.assert_close(
        value, linear_loss(features, layer, targets, LossOptions()).total.detach()
    )


@pytest.mark.parametrize("bias", [True, False])
def test_under_autocast_it_is_near_the_float32_result(bias: bool) -> None:
    features, layer, targets = _problem(bias, dtype=torch.float32)
    options = LossOptions(label_smoothing=0.1)
    exact = linear_loss(features, layer, targets, options)
    with torch.autocast("cpu", torch.bfloat16):
        rough = linear_loss(features, layer, targets, options)
    assert rough.total.dtype == torch.float32
    torch.testing.assert_close(rough.total, exact.total, rtol=2e-2, atol=0)
    for ours, expected in zip(
        _gradients(rough, features, layer), _gradients(exact, features, layer), strict=True
    ):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, expected, rtol=5e-2, atol=5e-2)


def test_a_number_of_rows_that_is_no_multiple_of_64_shares_the_shapes_of_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(fused_loss.BYTES_AT_ONCE, "cpu", 2**20)
    seen: set[int] = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if func is torch.ops.aten.mm.out:
                seen.update(set(args[0].shape) & set(range(ROWS, 500)) - {DIM, VOCAB})
            return func(*args, **(kwargs or {}))

    layer = nn.Linear(DIM, VOCAB, bias=False)
    with Watch():
        for rows in (65, 80, 128):
            features = torch.randn(rows, DIM, requires_grad=True)
            targets = torch.randint(0, VOCAB, (rows,))
            linear_loss(features, layer, targets, LossOptions()).total.backward()
    assert seen == {128}


def test_a_target_whose_probability_is_too_small_for_float32_has_its_loss() -> None:
    features = torch.tensor([[1.0], [300.0]])
    layer = nn.Linear(1, 3, bias=False)
    layer.weight.data = torch.tensor([[0.0], [1.0], [-1.0]])
    sums = linear_loss(features, layer, torch.tensor([2, 2]), LossOptions())
    rows = [-1.0 - math.log(1 + math.e + 1 / math.e), -600.0]
    assert sums.nll.item() == pytest.approx(-sum(rows), rel=1e-6)
    assert sums.total.item() == pytest.approx(-sum(rows), rel=1e-6)
