"""Precision: the arithmetic of the forward pass."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from seqtrain.errors import ConfigError

_AUTOCAST_DTYPES = {"bf16": torch.bfloat16}


@dataclass(kw_only=True)
class PrecisionConfig:
    """Arithmetic of matrix products; parameters and optimizer state are always float32."""

    dtype: str = "fp32"
    """fp32, or bf16: matrix products of the forward and backward pass in bfloat16."""

    cpu_products: str = "auto"
    """Library of float32 matrix products on a CPU: onednn, mkl, or auto, which takes oneDNN where
    a probe finds it as exact as float32 should be. The two round differently."""

    def __post_init__(self) -> None:
        if self.dtype not in ("fp32", *_AUTOCAST_DTYPES):
            raise ConfigError(f"precision.dtype must be fp32 or bf16, got {self.dtype!r}.")
        if self.cpu_products not in ("auto", "onednn", "mkl"):
            raise ConfigError(
                f"precision.cpu_products must be auto, onednn or mkl, got {self.cpu_products!r}."
            )


class Precision:
    """Runs forward passes in the configured arithmetic."""

    def __init__(self, config: PrecisionConfig, device: torch.device) -> None:
        self.config = config
        self._device_type = device.type
        self._dtype = _AUTOCAST_DTYPES.get(config.dtype)

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context in which a forward pass runs."""
        if self._dtype is None:
            return nullcontext()
        # Weights change at every update, so a cache over updates would be stale; torch clears it.
        return torch.autocast(self._device_type, self._dtype)


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


_LARGEST_ERROR = 1e-5
"""Of a product of 256 terms, relative to its largest value: float32 gives 5e-7, bfloat16 2e-3."""


def _product_error() -> float:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).abs().max() / exact.abs().max())
