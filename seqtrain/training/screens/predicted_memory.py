"""What a run will hold in memory, from a model without any: on torch's meta device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from seqtrain.models.base import ModelContext
from seqtrain.optim.base import OptimizerWrapper
from seqtrain.training.build import build_criterion, build_model, build_optimizer
from seqtrain.training.run_config import RunConfig
from seqtrain.training.screens.held_parts import Place, held_shapes, updated_here

MEMORY_TABLE = Path("/proc/meminfo")
ALONE = Place()


@dataclass(frozen=True)
class PredictedMemory:
    """Bytes that stay in a process while a run goes on; what a batch needs comes on top.

    Args:
        num_parameters: Of the whole model and the criterion, shared ones counted once.
        weights: Parameters and buffers, or this process's parts of them.
        gradients: Of the parameters that are trained.
        optimizer: What the optimizer remembers of them.
        is_optimizer_known: False: it was taken for two values for each parameter.
        copies: Of the weights and the optimizer's state: an average, checkpoints on their way. The
            first process's, that is; no other one writes more of a checkpoint.
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


def predict_memory(
    config: RunConfig, context: ModelContext, place: Place = ALONE
) -> PredictedMemory | None:
    """Returns what a process of a run will hold; None if the model cannot be built without data.

    Nothing of the size of the model is allocated.

    Args:
        config: The run.
        context: What its model is told of the data.
        place: The process.

    Raises:
        ConfigError: The model's layers cannot be shared by so many processes.
    """
    try:
        with torch.device("meta"):
            model, criterion = build_model(config, context), build_criterion(config, context)
        held = {
            parameter: nn.Parameter(parameter.new_empty(shape), parameter.requires_grad)
            for parameter, shape in held_shapes(model, criterion, config.distributed, place).items()
        }
        named = [
            (f"{part}.{name}", held[parameter])
            for part, module in (("model", model), ("criterion", criterion))
            for name, parameter in module.named_parameters()
        ]
        wrapper = build_optimizer(config, named)
        own = updated_here(list(wrapper.parameters.values()), config.distributed, place)
        known = _optimizer_bytes(wrapper, own)
    except (NotImplementedError, RuntimeError, TypeError):  # it reads a value while it is built
        return None
    remembered = 2 * _bytes(own) if known is None else known
    saved = [
        held.get(tensor, tensor)
        for module in (model, criterion)
        for tensor in module.state_dict(keep_vars=True).values()
    ]
    averages = _float32_bytes(saved) if config.ema.kind != "none" else 0
    checkpoints = _bytes(saved) + averages + remembered if config.checkpoint.background else 0
    return PredictedMemory(
        num_parameters=sum(parameter.numel() for parameter in held),
        weights=_bytes([*held.values(), *model.buffers(), *criterion.buffers()]),
        gradients=_bytes(list(wrapper.parameters.values())),
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


def _optimizer_bytes(wrapper: OptimizerWrapper, own: list[nn.Parameter]) -> int | None:
    """Returns what the optimizer remembers after an update, made without any values, if it can.

    Args:
        wrapper: Of parameters without values.
        own: Parameters that are updated in this process.
    """
    before = _bytes(list(wrapper.masters().values()))
    for parameter in own:
        parameter.grad = torch.empty_like(parameter)
    state: list[Tensor] = []
    for optimizer in wrapper.torch_optimizers:
        for group in optimizer.param_groups:
            group["fused"] = False  # which needs values; the state is the same
        try:
            optimizer.step()
            values = [
                value for parameter in own for value in optimizer.state.get(parameter, {}).values()
            ]
            state += [value for value in values if isinstance(value, Tensor) and value.is_meta]
        except (NotImplementedError, RuntimeError, TypeError):  # it reads values, or wants a loss
            return None
    return before + _bytes(state)


def _float32_bytes(tensors: Sequence[Tensor]) -> int:
    """Returns the size of averages of tensors, which keep float32 at least."""
    sizes = {id(t): t.numel() * max(4, t.element_size()) for t in tensors if t.is_floating_point()}
    return sum(sizes.values())


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum({id(t): t.numel() * t.element_size() for t in tensors}.values())
