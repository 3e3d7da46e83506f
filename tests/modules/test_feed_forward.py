"""Feed-forward blocks against their formulas."""

import pytest
import torch
from torch.nn import functional as F

from seqtrain.modules.feed_forward import FEED_FORWARD_ACTIVATIONS, build_feed_forward

FORMULAS = {
    "relu": torch.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


@pytest.mark.parametrize("activation", FORMULAS)
def test_a_plain_block_is_two_layers_around_its_activation(activation: str) -> None:
    torch.manual_seed(0)
    block = build_feed_forward(4, 6, activation, 0.0, has_bias=True)
    x = torch.randn(2, 3, 4)
    expected = block.fc2(FORMULAS[activation](block.fc1(x)))  # type: ignore[operator] # modules
    torch.testing.assert_close(block(x), expected)


def test_swiglu_multiplies_values_by_the_gate() -> None:
    torch.manual_seed(0)
    block = build_feed_forward(4, 6, "swiglu", 0.0, has_bias=False)
    x = torch.randn(2, 3, 4)
    weight = block.get_parameter("fc1.weight")
    gate, values = x @ weight[:6].T, x @ weight[6:].T
    expected = (gate * torch.sigmoid(gate) * values) @ block.get_parameter("fc2.weight").T
    torch.testing.assert_close(block(x), expected)
    assert len(list(block.parameters())) == 2


def test_every_activation_is_covered_here() -> None:
    assert set(FEED_FORWARD_ACTIVATIONS) == {*FORMULAS, "swiglu"}
