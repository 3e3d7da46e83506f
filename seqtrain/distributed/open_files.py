"""How many files, and so connections, a process may have open."""

import resource

from seqtrain.errors import DistributedError

_CONNECTIONS_A_RANK = 4
"""With each other rank: gloo's for training and for saving, and on the first rank those of its
store. nccl opens some of its own."""
_OTHER_FILES = 512
"""Data, logs, checkpoints, loading workers."""


def allow_connections(world_size: int) -> None:
    """Raises this process's limit on open files, if it is below what so many ranks need.

    Raises:
        DistributedError: The machine does not allow it.
    """
    needed = _CONNECTIONS_A_RANK * world_size + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise DistributedError(
            f"{world_size} processes need about {needed} open files each, and this machine allows "
            f"{hard}: raise its limit (ulimit -Hn)."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
