import torch
from torch import Tensor

from seqtrain.modules.lstm_layers import BidirectionalLayer, LSTMLayer


def make_layer() -> LSTMLayer:
    torch.manual_seed(0)
    return LSTMLayer(4, 3)


def test_the_layer_is_the_textbook_recurrence() -> None:
    layer = make_layer()
    weights = dict(layer.lstm.named_parameters())
    x = torch.randn(2, 5, 4)
    hidden, cell = torch.zeros(2, 3), torch.zeros(2, 3)
    expected = []
    for t in range(5):
        gates = x[:, t] @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
        gates = gates + hidden @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
        i, f, g, o = gates.chunk(4, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        expected.append(hidden)
    outputs, (last_hidden, last_cell) = layer(x)
    torch.testing.assert_close(outputs, torch.stack(expected, dim=1))
    torch.testing.assert_close((last_hidden, last_cell), (hidden, cell))


def outputs_under_float16(layer: LSTMLayer, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.float16):
        first, state = layer(x[:, :2])
        rest, _ = layer(x[:, 2:].half(), (state[0].half(), state[1]))
    return torch.cat([first, rest], dim=1)


def test_under_float16_autocast_a_cpu_computes_it_in_float32() -> None:
    layer = make_layer()
    x = torch.randn(2, 5, 4).half().float()
    outputs = outputs_under_float16(layer, x)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, layer(x)[0], rtol=1e-3, atol=1e-3)
    outputs.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_padding_does_not_change_what_either_direction_gives() -> None:
    torch.manual_seed(0)
    layer = BidirectionalLayer(4)
    x = torch.randn(1, 3, 4)
    padded = torch.cat([x, torch.full((1, 2, 4), 9.0)], dim=1)
    alone, last = layer(x, torch.tensor([3]))
    together, padded_last = layer(padded, torch.tensor([3]))
    torch.testing.assert_close(together[:, :3], alone)
    torch.testing.assert_close(padded_last, last)
