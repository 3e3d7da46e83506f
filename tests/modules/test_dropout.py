"""The cheap dropout: rate, scale, reproducibility."""

import pytest
import torch

from seqtrain.modules.dropout import Dropout


@pytest.mark.parametrize("p", [0.01, 0.1, 0.3, 0.9])
def test_share_of_zeros_is_p_rounded_to_a_256th(p: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(p)(torch.ones(400_000)).eq(0).double().mean().item()
    assert abs(dropped - round(256 * p) / 256) < 3e-3


def test_the_mean_is_kept() -> None:
    torch.manual_seed(0)
    assert abs(Dropout(0.3)(torch.ones(400_000)).mean().item() - 1.0) < 5e-3


@pytest.mark.parametrize(("p", "expected"), [(1e-6, 1 / 256), (0.9999, 255 / 256)])
def test_small_and_large_p_are_not_rounded_to_all_or_nothing(p: float, expected: float) -> None:
    torch.manual_seed(0)
    assert abs(Dropout(p)(torch.ones(200_000)).eq(0).double().mean().item() - expected) < 1e-3


def test_the_same_seed_gives_the_same_mask() -> None:
    dropout, x = Dropout(0.5), torch.randn(7, 5, 3)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_the_gradient_passes_where_the_value_passes() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 4, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.25)(x)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, out.detach() / x.detach())


def test_nothing_is_dropped_or_drawn_in_evaluation_or_with_p_zero() -> None:
    x = torch.randn(4)
    before = torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_an_impossible_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="dropout probability"):
        Dropout(p)
