"""Weights in the order in which oneDNN reads them, for as long as they do not change."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seqtrain.modules.linear import Linear, product_dtype, suits_packed_weight

ROWS_EXPECTED = 128
"""Rows of a product for which the order is chosen; it is good for 5 and for 1,000 too."""


@contextmanager
def packed_weights(models: Iterable[nn.Module]) -> Iterator[None]:
    """Lays the weights of linear layers out for products without gradients; forgets it at the end.

    Otherwise oneDNN does so in every product, which for few rows takes as long as the product. The
    results are the same but for rounding. Where oneDNN takes no float32 products, nothing is done.

    Args:
        models: Their weights must not change meanwhile.
    """
    modules = [module for model in models for module in model.modules()]
    layers = [m for m in modules if isinstance(m, nn.Linear) and _can_be_packed(m)]
    for layer in layers:
        weight = layer.weight.detach()
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS_EXPECTED)
        object.__setattr__(layer, "packed_weight", packed)  # not as a part of the module
    try:
        yield
    finally:
        for layer in layers:
            object.__setattr__(layer, "packed_weight", None)


def packed_weight(layer: nn.Linear, x: Tensor) -> Tensor | None:
    """Returns the weight as `packed_weights` has laid it out, if it suits an input."""
    packed: Tensor | None = getattr(layer, "packed_weight", None)
    return packed if packed is not None and suits_packed_weight(x) else None


def _can_be_packed(layer: nn.Linear) -> bool:
    # An exact type check: other classes may compute something else.
    return (
        type(layer) in (nn.Linear, Linear)
        and type(layer.weight) is nn.Parameter
        and layer.weight.device.type == "cpu"
        and product_dtype(layer.weight) == layer.weight.dtype == torch.float32
    )
