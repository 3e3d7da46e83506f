"""Precision: the arithmetic of the forward and backward pass."""

import math
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqtrain.errors import ConfigError
from seqtrain.optim.loss_scaling import LossScaler
from seqtrain.option_checks import require_choice, require_range

_AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(kw_only=True)
class PrecisionConfig:
    """Arithmetic of matrix products, and the type of parameters; optimizers work in float32."""

    dtype: str = "fp32"
    """fp32, or bf16 or fp16: matrix products of the forward and backward pass in bfloat16 or
    float16. fp16 has more digits but a narrow range, and scales the loss to stay within it."""

    parameters: str = "fp32"
    """fp32, or bf16, to save memory on the model: matrices, embeddings and kernels and their
    gradients take two bytes a value, while the optimizer keeps float32 copies that it trains. Needs
    precision.dtype=bf16. The gradients of an update are added up in bfloat16."""

    init_scale: float = 32768.0
    """With fp16: first factor on the loss; a power of two. Halved when a gradient is not finite."""

    scale_window: int = 2000
    """With fp16: updates in a row with finite gradients after which the factor is doubled."""

    min_scale: float = 1e-4
    """With fp16: stop where the factor would have to fall below this."""

    cpu_products: str = "auto"
    """Library of float32 matrix products on a CPU: onednn, mkl, or auto, which takes oneDNN where
    a probe finds it as exact as float32 should be. The two round differently."""

    def __post_init__(self) -> None:
        require_choice("precision.dtype", self.dtype, ("fp32", *_AUTOCAST_DTYPES))
        require_choice("precision.parameters", self.parameters, ("fp32", "bf16"))
        if self.parameters == "bf16" and self.dtype != "bf16":
            raise ConfigError(
                f"precision.parameters=bf16 needs precision.dtype=bf16, got {self.dtype}: products "
                "of bfloat16 matrices are taken in bfloat16."
            )
        self._check_scaling()
        require_choice("precision.cpu_products", self.cpu_products, ("auto", "onednn", "mkl"))

    def _check_scaling(self) -> None:
        if not 0.0 < self.min_scale <= self.init_scale < math.inf:
            raise ConfigError(
                f"precision.min_scale ({self.min_scale}) must be positive and at most "
                f"precision.init_scale ({self.init_scale})."
            )
        require_range("precision.scale_window", self.scale_window, least=1)


class Precision:
    """Runs forward passes in the configured arithmetic, and scales the loss where it needs that."""

    def __init__(self, config: PrecisionConfig, device: torch.device) -> None:
        self.config = config
        self._device_type = device.type
        self._dtype = _AUTOCAST_DTYPES.get(config.dtype)
        self.scaler: LossScaler | None = None
        if config.dtype == "fp16":
            self.scaler = LossScaler(config.init_scale, config.scale_window, config.min_scale)

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context in which a forward pass runs."""
        if self._dtype is None:
            return nullcontext()
        # Weights change at every update, so a cache over updates would be stale; torch clears it.
        return torch.autocast(self._device_type, self._dtype)

    @property
    def loss_scale(self) -> float | None:
        """The factor on the loss of the next update; None if there is none."""
        return None if self.scaler is None else self.scaler.scale

    def scaled(self, loss: Tensor) -> Tensor:
        """Returns the loss to take gradients of."""
        return loss if self.scaler is None else self.scaler.scaled(loss)

    def unscaling(self, factor: Tensor) -> Tensor:
        """Returns the factor on gradients that also undoes what `scaled` did."""
        return factor if self.scaler is None else factor / self.scaler.scale

    def report(self, applied: bool, grad_norm: float, lr: float) -> None:
        """Learns how an update went; see `LossScaler.report`."""
        if self.scaler is not None:
            self.scaler.report(applied, grad_norm, lr)

    def state_dict(self) -> dict[str, Any]:
        """Returns what updates change; empty without a scaled loss."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state)


def choose_cpu_products(config: PrecisionConfig) -> str:
    """Sets the library of float32 products on a CPU for the process, and returns its name.

    MKL leaves the widest vector units of some processors unused; oneDNN does not, and torch goes
    to it when products may be of "medium" precision. On a processor with tile units (AMX) that
    setting would really compute in bfloat16, so a probe measures the error first.
    """
    torch.set_float32_matmul_precision("highest")
    if config.cpu_products == "mkl" or not torch.backends.mkldnn.is_available():
        return "mkl"
    torch.set_float32_matmul_precision("medium")
    if config.cpu_products == "onednn" or _product_error() < _LARGEST_ERROR:
        return "onednn"
    torch.set_float32_matmul_precision("highest")
    return "mkl"


def keep_few_products() -> None:
    """Limits what is kept of each shape that was multiplied; before the first product of a process.

    Training meets most shapes once. Search meets them again, and keeps what the libraries keep.
    """
    for name in _CACHE_CAPACITIES:
        os.environ.setdefault(name, str(_PRODUCTS_TO_KEEP))


_CACHE_CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Of what oneDNN, and torch's own layer above it, keep of each shape that they have multiplied."""

_PRODUCTS_TO_KEEP = 128
"""By themselves they keep 1,024, of half a megabyte and more: batches of many lengths fill it."""

_LARGEST_ERROR = 1e-5
"""Of a product of 256 terms, relative to its largest value: float32 gives 5e-7, bfloat16 2e-3."""


def _product_error() -> float:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).abs().max() / exact.abs().max())
