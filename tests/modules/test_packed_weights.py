"""Weights laid out for a search: the same products, and forgotten when it ends."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from seqtrain.modules.linear import Linear
from seqtrain.modules.packed_weights import packed_weight, packed_weights


@pytest.fixture(autouse=True)
def onednn_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("shape", [(1, 24), (5, 24), (3, 7, 24), (0, 24)])
@pytest.mark.parametrize("relu", [False, True])
def test_packed_weights_give_the_same_products(shape: tuple[int, ...], relu: bool) -> None:
    torch.manual_seed(0)
    layer, x = Linear(24, 40, relu), torch.randn(shape)
    with torch.no_grad():
        expected = layer(x)
        with packed_weights([layer]):
            assert layer.packed_weight is not None
            torch.testing.assert_close(layer(x), expected)


def test_packed_weights_are_forgotten_at_the_end_whatever_happens() -> None:
    layer = Linear(8, 8)
    with pytest.raises(RuntimeError, match="stop"), packed_weights([layer]):
        raise RuntimeError("stop")
    assert layer.packed_weight is None
    with torch.no_grad():
        layer.weight.zero_()
        assert not (layer(torch.ones(2, 8)) - layer.bias).any()
    assert "packed_weight" not in layer.state_dict()


def test_gradients_and_autocast_do_not_use_packed_weights() -> None:
    layer, plain = Linear(8, 8), nn.Linear(8, 8)
    x = torch.randn(2, 8)
    with packed_weights([layer, plain]):
        layer(x).sum().backward()
        assert layer.weight.grad is not None
        assert packed_weight(plain, x) is None
        with torch.no_grad():
            assert packed_weight(plain, x) is not None
            with torch.autocast("cpu", torch.bfloat16):
                assert packed_weight(plain, x) is None
                assert layer(x).dtype == torch.bfloat16


def test_weights_of_other_kinds_are_left_alone() -> None:
    half = Linear(8, 8).bfloat16()
    with packed_weights([half, nn.LayerNorm(8)]):
        assert half.packed_weight is None
    torch.set_float32_matmul_precision("highest")
    exact = Linear(8, 8)
    with packed_weights([exact]):
        assert exact.packed_weight is None
