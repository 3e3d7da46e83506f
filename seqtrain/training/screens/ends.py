"""What is said of the end of a run: that there is none, or that it has come already."""

from seqtrain.training.run_config import RunConfig


def endless_note(config: RunConfig) -> list[str]:
    """Returns a line if nothing in the settings ends the run."""
    limits = config.optimization
    if any(
        (limits.max_update, limits.max_epoch, limits.stop_time_hours, config.checkpoint.patience)
    ):
        return []
    return [
        "note: it trains until it is interrupted. optimization.max_update=N ends it after N "
        "updates; max_epoch, stop_time_hours and checkpoint.patience are other ends"
    ]


def passed_limits(
    config: RunConfig, num_updates: int, epochs_done: int, num_stale: int, train_seconds: float
) -> list[str]:
    """Returns for each limit that a run has reached what to write to go on.

    Args:
        config: The run.
        num_updates: Updates done.
        epochs_done: Whole passes over the data.
        num_stale: Validations since the best one.
        train_seconds: Time of training.
    """
    limits, patience = config.optimization, config.checkpoint.patience
    found = []
    if 0 < limits.max_update <= num_updates:
        found.append(f"optimization.max_update=M with M > {num_updates}")
    if 0 < limits.max_epoch <= epochs_done:
        found.append(f"optimization.max_epoch=E with E > {epochs_done}")
    if 0 < limits.stop_time_hours * 3600 < train_seconds:
        hours = train_seconds / 3600
        found.append(f"optimization.stop_time_hours=H with H > {hours:.3g}")
    if 0 < patience <= num_stale:
        found.append(f"checkpoint.patience=P with P > {num_stale}")
    return found


def ended_line(num_updates: int, passed: list[str]) -> str:
    """Returns what is said where nothing was left to train."""
    return (
        f"This run has ended at update {num_updates}: write {' and '.join(passed)} to go on, or "
        "take another run_dir."
    )
