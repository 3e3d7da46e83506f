"""Whether a checkpoint has all that a run continues from."""

from seqtrain.checkpoint.load import LoadedCheckpoint, applying
from seqtrain.errors import CheckpointError


def require_whole_state(loaded: LoadedCheckpoint) -> None:
    """Refuses a checkpoint that has less than what a run continues from, or parts of two updates.

    Raises:
        CheckpointError: It is one.
    """
    if "optimizer" not in loaded.parts:
        raise CheckpointError(
            f"{loaded.path} holds weights only, as seqtrain-average writes them. Begin a new "
            "run from them with checkpoint.init_from."
        )
    with applying(loaded.path):
        for name in ("trainer", "optimizer"):
            if loaded.parts[name]["num_updates"] != loaded.manifest.num_updates:
                raise CheckpointError(f"its part {name} is of another update than its manifest")
