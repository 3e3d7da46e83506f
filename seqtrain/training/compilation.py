"""optimization.compile: passes of the model by code that torch's compiler makes for it."""

import importlib.util
import os
import shutil

import torch
from torch import nn

from seqtrain.errors import ConfigError, MachineError
from seqtrain.training.loss_module import LossModule
from seqtrain.training.run_config import RunConfig


def compile_passes(loss_module: nn.Module, config: RunConfig, device: torch.device) -> None:
    """Has the loss call the model through compiled code; parameters stay the model's.

    The code is made at the first call, for any number of rows and any length, so that a batch of
    another shape does not need code of its own. It computes padding, too, where the model itself
    works on rows without it on a CPU. Evaluation and search call the model as it is.

    Args:
        loss_module: A LossModule, or what wraps one for several processes.
        config: Of the run.
        device: Of the model.

    Raises:
        ConfigError: Another setting does not go with it.
        MachineError: There is no compiler for the device.
    """
    if config.distributed.is_spread:
        raise ConfigError(
            "optimization.compile needs whole parameters in every process, which "
            "distributed.strategy=fsdp and distributed.tensor_parallel divide. Leave one out."
        )
    _require_compiler(device)
    for module in loss_module.modules():
        if isinstance(module, LossModule):
            module.call_through(torch.compile(module.model, dynamic=True))


def _require_compiler(device: torch.device) -> None:
    if device.type == "cpu":
        name = os.environ.get("CXX") or "g++"
        if shutil.which(name) is None:
            raise MachineError(
                f"optimization.compile needs a C++ compiler, and there is no {name!r} here. "
                "Install one, name yours in CXX, or leave optimization.compile out."
            )
    elif importlib.util.find_spec("triton") is None:
        raise MachineError(
            "optimization.compile on a GPU needs the package triton, which is not installed. "
            "Install it, or leave optimization.compile out."
        )
