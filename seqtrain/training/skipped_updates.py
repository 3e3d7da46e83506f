"""What is said of updates that were not applied."""

from collections.abc import Sequence

from seqtrain.errors import MachineError, NumericError, SeqtrainError
from seqtrain.training.update import StepResult


def skip_lines(result: StepResult, num_updates: int, faults: Sequence[str]) -> list[str]:
    """Returns lines for people on an update that was skipped.

    Args:
        result: The update's.
        num_updates: Updates applied before it.
        faults: What the ranks found.
    """
    if result.ran_out_of_memory:
        why = "memory ran out"
    else:
        why = f"its gradient is not finite (norm {result.grad_norm}, lr {result.lr:.4g})"
    return [f"update {num_updates + 1} skipped: {why}", *(f"  {line}" for line in faults)]


def skip_error(result: StepResult, num_updates: int, num_in_row: int) -> SeqtrainError:
    """Returns the error that ends a run where too many updates in a row were skipped."""
    if result.ran_out_of_memory:
        return MachineError(
            f"Memory ran out in {num_in_row} updates in a row, after update {num_updates}. Lower "
            "dataset.max_tokens (and raise optimization.update_freq in turn), or use "
            "precision.dtype=bf16 or activation checkpointing."
        )
    return NumericError(
        f"{num_in_row} updates in a row had a gradient that is not finite, after update "
        f"{num_updates}. Begin anew with a lower optimizer.lr, a longer warm-up or "
        "precision.dtype=fp32; if the loss was sound at an earlier checkpoint, move the later ones "
        "away and continue from that one."
    )
