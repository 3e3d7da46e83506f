"""Saves of a run: begun, ended, entered in the list of best checkpoints."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seqtrain.checkpoint.retention import apply_retention, best_checkpoint, record_score
from seqtrain.checkpoint.tree import Tree
from seqtrain.errors import MachineError, SeqtrainError
from seqtrain.training.build import Run


class RunSaver:
    """Saves checkpoints of a run and keeps the books about them; all ranks call it together.

    Args:
        run: The built parts.
        message: Takes a line for people.
        on_saved: Is told of each checkpoint that is on the disk.
    """

    def __init__(
        self, run: Run, message: Callable[[str], object], on_saved: Callable[[Path], object]
    ) -> None:
        self._run = run
        self._config = run.config.checkpoint
        self._message = message
        self._on_saved = on_saved
        self._value: float | None = None
        self._failed_in_row = 0
        self.saved_update = -1
        """The update that the newest checkpoint was saved after; -1 for none."""

    def save(
        self,
        parts: Callable[[], Mapping[str, Tree]],
        about: Mapping[str, Any],
        value: float | None,
        stopping: bool,
    ) -> None:
        """Saves; when the run is about to stop, until the checkpoint is on the disk.

        Args:
            parts: Gives what is saved besides the Trainer's state.
            about: Plain values for the manifest.
            value: Of the best metric, if exactly these weights were validated.
            stopping: Whether this is the last save.
        """
        # After a skipped update that follows a save, nothing but the position has changed.
        if self.saved_update != self._run.trainer.num_updates:
            self.finish()
            self._run.trainer.save_checkpoint(self._run.checkpoints, parts(), about)
            self.saved_update = self._run.trainer.num_updates
            self._value = value
        if stopping or not self._config.background:
            self.finish(may_fail=not stopping)

    def finish(self, may_fail: bool = True) -> None:
        """Waits for the save under way, if any, and keeps the books.

        Raises:
            MachineError: The disk refused: the last save, or too many one after another.
        """
        try:
            path = self._run.trainer.finish_save()
        except MachineError as error:
            self.saved_update = -1
            self._failed_in_row += 1
            if not may_fail or self._failed_in_row >= self._config.max_failed_saves:
                raise
            self._message(f"{error} Training goes on; the next save tries again.")
            return
        if path is not None:
            self._failed_in_row = 0
            self._enter(path.name, self._value)
            self._on_saved(path)

    @contextmanager
    def nothing_half_done(self) -> Iterator[None]:
        """Leaves no save half done when the run ends by an error: what was begun is committed."""
        try:
            yield
        except BaseException:
            with suppress(SeqtrainError):  # the first error is the one to tell
                self.finish()
            raise

    def continue_from(self, path: Path, value: float | None) -> None:
        """Takes the checkpoint that the run continues from as the newest saved one.

        Args:
            path: Of the checkpoint; the Trainer has loaded it.
            value: As for `save`. A crash between commit and bookkeeping is made good here.
        """
        self.saved_update = self._run.trainer.num_updates
        self._enter(path.name, value)

    def best(self) -> Path | None:
        """Returns what the first rank, which keeps the list, knows as the best."""
        is_first = self._run.collectives.rank == 0
        best = best_checkpoint(self._run.checkpoints) if is_first else None
        agreed = self._run.collectives.broadcast_json(str(best) if best else None)
        return Path(agreed) if agreed else None

    def _enter(self, name: str, value: float | None) -> None:
        """Brings the list of best checkpoints up to date, then deletes what need not be kept."""
        if self._run.collectives.rank != 0:
            return
        config, folder = self._config, self._run.checkpoints
        if value is not None:
            record_score(folder, name, config.best_metric, value, config.maximize_best_metric)
        apply_retention(folder, config.keep_last, config.keep_best, config.keep_every)
