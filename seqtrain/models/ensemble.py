"""Several models as one, for losses and for scores of given targets."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqtrain.models.base import ModelOutput


class Ensemble(nn.Module):
    """A model whose probabilities are the mean of those of others.

    Args:
        models: Give logits over the same symbols for the same inputs.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, **inputs: Any) -> ModelOutput:
        """Returns the models' features side by side; logits made of them are log probabilities."""
        outputs: list[ModelOutput] = [model(**inputs) for model in self.models]
        features = torch.cat([output.features for output in outputs], dim=-1)
        widths = [output.features.size(-1) for output in outputs]
        layers = [output.output_layer for output in outputs]
        return ModelOutput(features, _MeanOfProbabilities(widths, layers))


class _MeanOfProbabilities:
    """Maps features side by side to the log of the mean probability.

    Args:
        widths: Of the features of each model.
        layers: The output layer of each.
    """

    def __init__(self, widths: list[int], layers: list[Callable[[Tensor], Tensor]]) -> None:
        self._widths = widths
        self._layers = layers

    def __call__(self, features: Tensor) -> Tensor:
        parts = features.split(self._widths, dim=-1)
        by_model = [
            torch.log_softmax(layer(part).float(), dim=-1)
            for layer, part in zip(self._layers, parts, strict=True)
        ]
        return torch.stack(by_model).logsumexp(dim=0) - math.log(len(by_model))
