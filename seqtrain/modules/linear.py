"""Linear layers whose bias and ReLU cost no pass over the result on a CPU."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override


class Linear(nn.Linear):
    """nn.Linear, optionally with a ReLU behind it.

    While training on a CPU with products by oneDNN, the bias and the ReLU are part of the product:
    torch's own linear layer first copies the bias into every row of the result, which takes up to a
    third as long as the product itself.

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        relu: Whether to apply a ReLU.
    """

    packed_weight: Tensor | None = None
    """The weight as oneDNN reads it, while nothing changes it; see modules/packed_weights.py."""

    def __init__(self, inputs: int, outputs: int, relu: bool = False) -> None:
        super().__init__(inputs, outputs)
        self.relu = relu

    @override
    def forward(self, input: Tensor) -> Tensor:
        if self._is_fused(input):
            fused: Tensor = _FusedLinear.apply(input, self.weight, self.bias, self.relu)  # type: ignore[no-untyped-call] # torch leaves it untyped
            return fused
        if self.packed_weight is not None and suits_packed_weight(input):
            kind = "relu" if self.relu else "none"
            product: Tensor = torch.ops.mkldnn._linear_pointwise(
                input.contiguous(), self.packed_weight, self.bias, kind, [], ""
            )
            return product
        output = super().forward(input)
        return relu(output) if self.relu else output

    def _is_fused(self, input: Tensor) -> bool:
        # Rows without padding, which exist in training on a CPU alone; see modules/packing.py.
        return (
            self.training
            and torch.is_grad_enabled()
            and input.dim() == 2
            and input.device.type == "cpu"
            and type(self.weight) is nn.Parameter  # not spread over devices
            and product_dtype(input) is not None
            and not torch.compiler.is_compiling()
        )


def relu(x: Tensor) -> Tensor:
    """Returns the ReLU of a product, which may be overwritten: no gradient needs its value."""
    # A product of three dimensions is a view of it, where autograd would copy all of it, twice.
    return torch.relu_(x) if x.dim() == 2 else torch.relu(x)


def suits_packed_weight(input: Tensor) -> bool:
    """Says whether an input may be multiplied with a weight of modules/packed_weights.py."""
    return (
        input.dtype == torch.float32
        and input.numel() > 0
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def product_dtype(input: Tensor) -> torch.dtype | None:
    """Returns the type that the product is to be taken in; None where oneDNN must not take it."""
    is_autocast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if is_autocast else input.dtype
    if dtype == torch.bfloat16:
        return dtype if _has_onednn(dtype) else None
    is_chosen = torch.get_float32_matmul_precision() == "medium"  # see choose_cpu_products
    return dtype if dtype == torch.float32 and is_chosen and _has_onednn(dtype) else None


@cache
def _has_onednn(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


class _FusedLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def] # the type of ctx is private to torch
        ctx, x: Tensor, weight: Tensor, bias: Tensor, relu: bool
    ) -> Tensor:
        dtype = product_dtype(x)
        ctx.dtypes = x.dtype, weight.dtype, bias.dtype
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
        with torch.autocast("cpu", enabled=False):
            kind = "relu" if relu else "none"
            output = torch.ops.mkldnn._linear_pointwise(x, weight, bias, kind, [], "")
        ctx.save_for_backward(x, weight, output if relu else None)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, of_output: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def] # see above
        x, weight, output = ctx.saved_tensors
        if output is not None:
            of_output = torch.ops.aten.threshold_backward(of_output, output, 0)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = of_output.mm(weight).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            of_weight = of_output.t().mm(x).to(ctx.dtypes[1])
        if ctx.needs_input_grad[2]:
            of_bias = of_output.sum(dim=0).to(ctx.dtypes[2])
        return of_x, of_weight, of_bias, None
