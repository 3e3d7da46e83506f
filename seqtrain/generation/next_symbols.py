"""Log probabilities of next symbols, by one model or several."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from seqtrain.generation.starts import Start
from seqtrain.models.base import ModelOutput
from seqtrain.modules.packed_weights import packed_weight


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
        packed = packed_weight(layer, rows) if type(layer) is nn.Linear else None
        if packed is not None and type(layer) is nn.Linear:
            rows = rows.contiguous()
            logits = torch.ops.mkldnn._linear_pointwise(rows, packed, layer.bias, "none", [], "")
        elif type(layer) is nn.Linear and _is_plain(rows, layer):
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


def given_scores(start: Start, outputs: Sequence[ModelOutput], next_symbols: NextSymbols) -> Tensor:
    """Returns log probabilities of what outputs begin with, [examples, time]; 0 of a prompt.

    Args:
        start: What they begin with.
        outputs: Of each model, for every position of it.
        next_symbols: Turns outputs into log probabilities.
    """
    known = torch.zeros(start.tokens.shape, device=start.tokens.device)
    if start.tokens.size(1) > start.given:
        behind = start.tokens[:, 1:, None]
        before = [at_positions(output, slice(None, -1)) for output in outputs]
        known[:, 1:] = next_symbols(before).gather(2, behind)[:, :, 0]
        known[:, : start.given] = 0.0
    return known


def at_positions(output: ModelOutput, positions: slice) -> ModelOutput:
    """Returns the output at some positions."""
    return replace(output, features=output.features[:, positions])
