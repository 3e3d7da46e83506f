"""What a run will hold in memory, from a model without any: on torch's meta device."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from seqtrain.models.base import ModelContext
from seqtrain.optim.base import OptimizerWrapper
from seqtrain.training.build import build_criterion, build_model, build_optimizer
from seqtrain.training.run_config import RunConfig

MEMORY_TABLE = Path("/proc/meminfo")


@dataclass(frozen=True)
class PredictedMemory:
    """Bytes that stay while a run goes on; what a batch needs comes on top.

    Args:
        num_parameters: Of the model and the criterion, shared ones counted once.
        weights: Parameters and buffers.
        gradients: Of the parameters that are trained.
        optimizer: What the optimizer remembers of them.
        is_optimizer_known: False: it was taken for two values for each parameter.
        copies: Of the weights and the optimizer's state: an average, checkpoints on their way.
    """

    num_parameters: int
    weights: int
    gradients: int
    optimizer: int
    is_optimizer_known: bool
    copies: int

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.gradients + self.optimizer + self.copies

    def line(self) -> str:
        """Returns the figures for people."""
        parts = [
            f"weights {size(self.weights)}",
            f"gradients {size(self.gradients)}",
            f"optimizer {'' if self.is_optimizer_known else 'perhaps '}{size(self.optimizer)}",
            f"copies for averages and checkpoints {size(self.copies)}" if self.copies else "",
        ]
        return f"{size(self.total)} predicted ({', '.join(part for part in parts if part)})"


def predict_memory(config: RunConfig, context: ModelContext) -> PredictedMemory | None:
    """Returns what a run of one process will hold; None if the model cannot be built without data.

    Nothing of the size of the model is allocated.
    """
    try:
        with torch.device("meta"):
            parts = [build_model(config, context), build_criterion(config, context)]
        named = [
            (f"{index}.{name}", parameter)
            for index, part in enumerate(parts)
            for name, parameter in part.named_parameters()
        ]
        wrapper = build_optimizer(config, named)
        known = _optimizer_bytes(wrapper)
    except (NotImplementedError, RuntimeError, TypeError):  # it reads a value while it is built
        return None
    tensors = [tensor for part in parts for tensor in _tensors(part)]
    weights = _bytes(tensors)
    gradients = _bytes(list(wrapper.parameters.values()))
    remembered = 2 * gradients if known is None else known
    averages = weights if config.ema.kind != "none" else 0
    checkpoints = weights + averages + remembered if config.checkpoint.background else 0
    return PredictedMemory(
        num_parameters=sum(p.numel() for part in parts for p in part.parameters()),
        weights=weights,
        gradients=gradients,
        optimizer=remembered,
        is_optimizer_known=known is not None,
        copies=averages + checkpoints,
    )


def free_memory(device: torch.device) -> int:
    """Returns the bytes that are free on a device; 0 if that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        for line in MEMORY_TABLE.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def size(num_bytes: float) -> str:
    """Returns a number of bytes in the unit that suits it."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes:.0f} bytes"


def _optimizer_bytes(wrapper: OptimizerWrapper) -> int | None:
    """Returns what the optimizer remembers after an update, made without any values, if it can."""
    trained = list({id(p): p for p in _trained(wrapper)}.values())
    before = _bytes(list(wrapper.masters().values()))
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    state: list[Tensor] = []
    for optimizer in wrapper.torch_optimizers:
        for group in optimizer.param_groups:
            group["fused"] = False  # which needs values; the state is the same
        try:
            optimizer.step()
            values = [value for entry in optimizer.state.values() for value in entry.values()]
            state += [value for value in values if isinstance(value, Tensor) and value.is_meta]
        except (NotImplementedError, RuntimeError, TypeError):  # it reads values, or wants a loss
            return None
    return before + _bytes(state)


def _trained(wrapper: OptimizerWrapper) -> Iterator[Tensor]:
    for optimizer in wrapper.torch_optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _bytes(tensors: list[Tensor]) -> int:
    return sum({id(t): t.numel() * t.element_size() for t in tensors}.values())
