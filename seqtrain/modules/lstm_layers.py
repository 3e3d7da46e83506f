"""LSTM layers, batch first, in one or both directions."""

import torch
from torch import Tensor, nn


class LSTMLayer(nn.Module):
    """One layer in one direction; the forget gates' biases begin at 1.

    Args:
        input_dim: Width of the inputs.
        dim: Width of the outputs.
    """

    def __init__(self, input_dim: int, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_dim, dim, batch_first=True)
        parameters = dict(self.lstm.named_parameters())
        nn.init.xavier_uniform_(parameters["weight_ih_l0"])
        nn.init.xavier_uniform_(parameters["weight_hh_l0"])
        nn.init.zeros_(parameters["bias_ih_l0"])
        nn.init.zeros_(parameters["bias_hh_l0"])
        with torch.no_grad():  # torch orders the gates: input, forget, ...
            parameters["bias_ih_l0"][dim : 2 * dim] = 1.0

    def forward(
        self, x: Tensor, begin: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Runs over time.

        Args:
            x: [batch, time, input dim].
            begin: Hidden and cell state before the first position, each [batch, dim]; zero if None.

        Returns:
            [batch, time, dim], and hidden and cell state after the last position; float32 where
            the device has no kernel for the precision of the rest.
        """
        states = None if begin is None else [part.unsqueeze(0).contiguous() for part in begin]
        if _lacks_kernel(x.device):
            x = x.float()
            states = None if states is None else [part.float() for part in states]
            with torch.autocast("cpu", enabled=False):
                outputs, (hidden, cell) = self.lstm(x, states)
        else:
            outputs, (hidden, cell) = self.lstm(x, states)
        return outputs, (hidden[0], cell[0])


class BidirectionalLayer(nn.Module):
    """Two layers of half the width, one of which reads each sequence from its own end.

    Sequences are turned around within their length instead of being packed: padding stays on the
    right for both directions, where it cannot reach a real position, and no device has to tell
    the host the lengths.

    Args:
        dim: Width of inputs and outputs, even.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.forwards = LSTMLayer(dim, dim // 2)
        self.backwards = LSTMLayer(dim, dim // 2)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Runs both directions.

        Args:
            x: [batch, time, dim], padded on the right.
            lengths: Real positions of each sequence, at least 1, int64 [batch].

        Returns:
            [batch, time, dim], meaningless at padding; and where each direction ended,
            [batch, dim].
        """
        there, _ = self.forwards(x)
        back, _ = self.backwards(_turn_around(x, lengths))
        ends = (lengths - 1)[:, None, None].expand(-1, 1, there.size(2))
        last = torch.cat([there.gather(1, ends), back.gather(1, ends)], dim=2)[:, 0]
        return torch.cat([there, _turn_around(back, lengths)], dim=2), last


def _lacks_kernel(device: torch.device) -> bool:
    """Says whether autocast would ask for the float16 LSTM that most CPUs have not.

    No CPU is asked, so that all of them compute the same.
    """
    return (
        device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.float16
    )


def _turn_around(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverses the real positions of each sequence; leaves padding where it is."""
    positions = torch.arange(x.size(1), device=x.device)
    mirrored = lengths[:, None] - 1 - positions
    sources = torch.where(mirrored >= 0, mirrored, positions)
    return x.gather(1, sources[:, :, None].expand_as(x))
