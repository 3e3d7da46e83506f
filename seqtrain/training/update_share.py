"""How the micro-batches of an update are shared out among processes."""

from dataclasses import dataclass

from seqtrain.errors import ConfigError
from seqtrain.training.run_config import RunConfig


@dataclass(frozen=True)
class UpdateShare:
    """The micro-batches of an update."""

    own: int
    """Of each process; of the last ones, some may be empty."""
    total: int
    """Over all processes, without those that are empty for the division to work out."""


def share_of_update(config: RunConfig, world_size: int) -> UpdateShare:
    """Returns how many micro-batches each of the processes takes in an update.

    Raises:
        ConfigError: Shares of this size have no place in the tree that gradients are added in.
    """
    settings, is_tree = config.optimization, config.distributed.deterministic_elastic
    total = settings.micro_batches_per_update
    if not total:
        own = settings.update_freq
        if is_tree and world_size > 1 and own & (own - 1):
            raise ConfigError(
                f"optimization.update_freq must be a power of two with several processes and "
                f"distributed.deterministic_elastic=true, got {own}: otherwise another number of "
                "processes would add gradients in another order."
            )
        return UpdateShare(own, own * world_size)
    own = -(-total // world_size)
    if is_tree and world_size > 1:
        own = 1 << (own - 1).bit_length()
    return UpdateShare(own, total)
