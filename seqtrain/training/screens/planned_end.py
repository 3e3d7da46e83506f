"""When a run will end, as far as it can be known before."""

from seqtrain.training.build import Run
from seqtrain.training.update_share import share_of_update


def updates_per_epoch(run: Run) -> int:
    """Returns the updates of an epoch; estimated where the data is planned in several windows."""
    share = share_of_update(run.config, run.num_shares)
    return -(-run.iterator.num_batches() // share.total)


def planned_updates(run: Run) -> int:
    """Returns after how many updates the run ends, by number or by epochs; 0 if neither says."""
    limits = run.config.optimization
    ends = [limits.max_update, limits.max_epoch * updates_per_epoch(run)]
    return min((end for end in ends if end), default=0)


def planned_end(run: Run) -> str:
    """Returns the same for people, with the limit of time."""
    limits = run.config.optimization
    ends = [
        f"{limits.max_update} updates" if limits.max_update else "",
        f"{limits.max_epoch} epochs" if limits.max_epoch else "",
        f"{limits.stop_time_hours:g} hours" if limits.stop_time_hours else "",
    ]
    limit = " or ".join(end for end in ends if end) or "interrupted (no limit is set)"
    count = updates_per_epoch(run)
    return f"{count} update{'s'[: count != 1]} an epoch, until {limit}"
