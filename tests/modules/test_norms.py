"""The fast root-mean-square norm against torch's."""

import pytest
import torch
from torch.nn import functional as F

from seqtrain.modules.norms import EPS, RMSNorm, build_norm


def test_values_and_gradients_are_those_of_the_composed_function() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    norm = RMSNorm(8).double()
    torch.nn.init.normal_(norm.weight)
    of_output = torch.randn_like(x)
    results = []
    for function in (norm, lambda v: F.rms_norm(v, (8,), norm.weight, EPS)):
        leaf = x.clone().requires_grad_()
        norm.zero_grad()
        output = function(leaf)
        output.backward(of_output)
        assert norm.weight.grad is not None
        results.append((output.detach(), leaf.grad, norm.weight.grad.clone()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


def test_the_gradient_passes_a_numerical_check() -> None:
    torch.manual_seed(0)
    norm = RMSNorm(4).double()
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))


def test_low_precision_is_computed_in_float32() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 64).to(torch.bfloat16)
    norm = RMSNorm(64)
    found = norm(x)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, norm(x.float()).to(torch.bfloat16))


def test_a_row_of_zeros_stays_finite() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    RMSNorm(4)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(("kind", "bias", "count"), [
    ("layernorm", True, 2), ("layernorm", False, 1), ("rmsnorm", True, 1),
])  # fmt: skip
def test_kinds_have_the_parameters_that_they_need(kind: str, bias: bool, count: int) -> None:
    assert len(list(build_norm(kind, 4, bias).parameters())) == count
