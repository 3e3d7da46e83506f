"""Models that normalise by statistics of a batch: what a run does about them."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from seqtrain.errors import ConfigError


def synced_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Returns the model with batch normalisation over the batches of all processes.

    Parameters and buffers keep their names.

    Raises:
        ConfigError: The device is no GPU, for which alone torch has it.
    """
    if not _batch_norms(model):
        return model
    if device.type != "cuda":
        raise ConfigError(
            "distributed.sync_batch_norm=true works on a GPU only: torch has no such layer for "
            f"{device.type}. Leave it out, or use a model with layer or group normalisation."
        )
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return converted


def batch_norm_note(model: nn.Module) -> list[str]:
    """Returns a line if a result depends on which examples share a batch, and a process."""
    layers = _batch_norms(model)
    if not layers:
        return []
    if all(isinstance(layer, nn.SyncBatchNorm) for layer in layers):
        effect = "update_freq changes the result"
    else:
        effect = "the number of processes and update_freq change the result"
    return [
        f"note: the model has {len(layers)} layers of batch normalisation, whose statistics are "
        f"those of a micro-batch: {effect}"
    ]


def _batch_norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
