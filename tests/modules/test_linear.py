"""Linear layers with the bias and the ReLU in the product: the same as torch's own."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.modules.linear import Linear


@pytest.fixture
def _onednn() -> object:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def plain(layer: Linear, x: Tensor) -> Tensor:
    output = F.linear(x, layer.weight, layer.bias)
    return torch.relu(output) if layer.relu else output


@pytest.mark.usefixtures("_onednn")
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_fused_layer_and_its_gradients_are_torchs(
    relu: bool, dtype: torch.dtype | None
) -> None:
    torch.manual_seed(0)
    layer, x = Linear(24, 40, relu), torch.randn(64, 24, requires_grad=True)
    weight_of_output = torch.randn(64, 40)
    results = []
    for function in (layer, lambda x: plain(layer, x)):
        layer.zero_grad()
        x.grad = None
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            output = function(x)
        (output.float() * weight_of_output).sum().backward()
        results.append([output.detach(), x.grad, layer.weight.grad, layer.bias.grad])
        results[-1] = [tensor.clone() for tensor in results[-1]]
    assert results[0][0].dtype == (dtype or torch.float32)
    # A product in bfloat16 may add the bias before or after it is rounded.
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if dtype else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(*results, **tolerance)


@pytest.mark.usefixtures("_onednn")
def test_the_product_is_fused_for_rows_in_training_alone() -> None:
    layer, rows = Linear(8, 8), torch.randn(4, 8)
    names = [type(layer(x).grad_fn).__name__ for x in (rows, rows[None])]
    assert [name.startswith("_FusedLinear") for name in names] == [True, False]
    assert not type(layer.eval()(rows).grad_fn).__name__.startswith("_FusedLinear")


def test_products_that_must_not_go_to_onednn_do_not() -> None:
    torch.set_float32_matmul_precision("highest")
    for dtype in (torch.float32, torch.float64):
        layer, rows = Linear(8, 8, relu=True).to(dtype), torch.randn(4, 8, dtype=dtype)
        output = layer(rows)
        assert not type(output.grad_fn).__name__.startswith("_FusedLinear")
        torch.testing.assert_close(output, plain(layer, rows))
