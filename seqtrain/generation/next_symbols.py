"""Log probabilities of next symbols, by one model or several."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqtrain.models.base import ModelOutput


class NextSymbols:
    """Turns outputs into log probabilities.

    The tensors are written again and again: on a CPU fresh pages would cost more than the
    arithmetic. So a result is valid until the next call.

    Args:
        temperature: Logits are divided by it.
        lm_weight: Of the last model's log probabilities, which are added to those of the others;
            0 to treat it as one of them.
    """

    def __init__(self, temperature: float, lm_weight: float) -> None:
        self.temperature = temperature
        self.lm_weight = lm_weight
        self._buffers: dict[int, Tensor] = {}

    def __call__(self, outputs: Sequence[ModelOutput]) -> Tensor:
        """Returns log probabilities: the mean probability of the models, [..., vocab].

        Args:
            outputs: Of each model, [..., dim].
        """
        by_model = [self._of_model(output, index) for index, output in enumerate(outputs)]
        fused = by_model.pop() if self.lm_weight else None
        mixed = by_model[0]
        for others in by_model[1:]:
            torch.logaddexp(mixed, others, out=mixed)
        if len(by_model) > 1:
            mixed -= math.log(len(by_model))
        if fused is not None:
            mixed.add_(fused, alpha=self.lm_weight)
        return mixed

    def _of_model(self, output: ModelOutput, index: int) -> Tensor:
        features = output.features
        rows = features.flatten(0, -2)
        layer = output.output_layer
        if type(layer) is nn.Linear and _is_plain(rows, layer):
            logits = self._buffer(index, rows.size(0), layer.out_features, rows)
            torch.mm(rows, layer.weight.t(), out=logits)
            if layer.bias is not None:
                logits += layer.bias
        else:
            made = layer(rows)
            logits = self._buffer(index, rows.size(0), made.size(1), made.float())
            logits.copy_(made)
        if self.temperature != 1.0:
            logits /= self.temperature
        torch.log_softmax(logits, dim=-1, out=logits)
        return logits.view(*features.shape[:-1], -1)

    def _buffer(self, index: int, rows: int, vocab: int, like: Tensor) -> Tensor:
        buffer = self._buffers.get(index)
        if buffer is None or buffer.numel() < rows * vocab or buffer.dtype != like.dtype:
            buffer = self._buffers[index] = like.new_empty(rows * vocab)
        return buffer[: rows * vocab].view(rows, vocab)


def _is_plain(rows: Tensor, layer: nn.Linear) -> bool:
    """Says whether the product is that of two float32 matrices and nothing else."""
    is_autocast = torch.is_autocast_enabled(rows.device.type)
    return not is_autocast and rows.dtype == layer.weight.dtype == torch.float32
