"""The learning rate in proportion to the examples of an update (Goyal et al. 2017)."""

import dataclasses

from seqtrain.errors import ConfigError
from seqtrain.training.run_config import RunConfig
from seqtrain.training.update_share import share_of_update


def with_scaled_lr(config: RunConfig, world_size: int) -> RunConfig:
    """Returns the config with optimizer.lr as this number of processes needs it.

    Raises:
        ConfigError: `optimization.lr_reference_batch` is set and dataset.batch_size is not.
    """
    factor = lr_factor(config, world_size)
    if factor == 1.0:
        return config
    return dataclasses.replace(config, optimizer=config.optimizer.with_rates_times(factor))


def lr_factor(config: RunConfig, world_size: int) -> float:
    """Returns examples of an update / optimization.lr_reference_batch; 1 where that is 0."""
    reference = config.optimization.lr_reference_batch
    if not reference:
        return 1.0
    if not config.dataset.batch_size:
        raise ConfigError(
            f"optimization.lr_reference_batch={reference} scales the rate with dataset.batch_size, "
            "which is not set: set it, or optimization.lr_reference_batch=0."
        )
    return examples_of_update(config, world_size) / reference


def lr_scaling_note(config: RunConfig, world_size: int) -> list[str]:
    """Returns a line that tells the rate that is used, where it is scaled."""
    factor = lr_factor(config, world_size)
    if not config.optimization.lr_reference_batch:
        return []
    return [
        f"learning rate {config.optimizer.lr * factor:g}: {config.optimizer.lr:g} x "
        f"{examples_of_update(config, world_size)} examples of an update / "
        f"{config.optimization.lr_reference_batch}"
    ]


def examples_of_update(config: RunConfig, world_size: int) -> int:
    """Returns the most examples that an update has over all processes."""
    return config.dataset.batch_size * share_of_update(config, world_size).total
