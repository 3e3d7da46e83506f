"""Saves while training goes on: a copy of the state, and one thread that commits it."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread, get_native_id
from typing import Any

import torch
from torch import Tensor

from seqtrain.checkpoint.commit import Peers, write_split_parts
from seqtrain.checkpoint.tree import SplitTree, Tree, split

_MORE_NICENESS = 10
"""Of the thread that writes, than others have: about a tenth of a core that is wanted by both."""


class CheckpointWriter:
    """Writes checkpoints one after another, in the background or at once.

    In the background, `save` copies the state into memory that is kept for the next save, and
    returns; a thread does the rest exactly as a save at once would, to the same bytes. At most one
    save is under way: `finish` must be called before the next `save`.

    Args:
        peers: How to reach the other ranks. A background writer speaks in a thread of its own, so
            no other object may use the same connection.
        in_background: Whether `save` returns before the checkpoint is on the disk.
    """

    def __init__(self, peers: Peers, in_background: bool) -> None:
        self._peers = peers
        self._in_background = in_background
        self._buffers: dict[tuple[str, str], Tensor] = {}
        self._save: _Save | None = None

    @property
    def is_busy(self) -> bool:
        """True from `save` to `finish`."""
        return self._save is not None

    @property
    def can_finish(self) -> bool:
        """True where `finish` would return without waiting for the disk."""
        return self._save is not None and not self._save.thread.is_alive()

    def save(
        self, directory: Path, num_updates: int, parts: Mapping[str, Tree], about: Mapping[str, Any]
    ) -> None:
        """Begins to write a checkpoint; all ranks call it together.

        Args:
            directory: Folder of checkpoints.
            num_updates: Updates that the state has seen.
            parts: Trees by name, as for `write_checkpoint`. They may change once this returns.
            about: Plain values for the manifest.
        """
        if self._save is not None:
            raise RuntimeError("The save before this one was not finished.")
        prepare = self._staged(parts) if self._in_background else partial(_split_all, parts)
        write = partial(
            write_split_parts, directory, num_updates, prepare, dict(about), self._peers
        )
        self._save = _Save(write)
        if self._in_background:
            self._save.thread.start()
        else:
            self._save.run()

    def wait(self) -> None:
        """Waits until `can_finish`, or returns at once if no save is under way."""
        if self._save is not None and self._save.thread.ident is not None:
            self._save.thread.join()

    def finish(self) -> Path | None:
        """Waits for the save under way; returns its checkpoint, or None if there was no save.

        Raises:
            CheckpointError: The save failed, on every rank the same; nothing was left behind.
            MachineError: The same way, where the disk is full or refuses.
        """
        self.wait()
        save, self._save = self._save, None
        if save is None:
            return None
        if save.error is not None:
            raise save.error
        return save.path

    def _staged(self, parts: Mapping[str, Tree]) -> Callable[[], Mapping[str, SplitTree]]:
        """Copies the state now; returns what gives it, or raises, where all ranks hear of it."""
        try:
            staged = {name: self._copied(name, half) for name, half in _split_all(parts).items()}
        except Exception as error:  # the other ranks will wait for this one
            return partial(_raise, error)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return lambda: staged

    def _copied(self, part: str, halves: SplitTree) -> SplitTree:
        tensors = {
            name: self._buffer(part, name, tensor).copy_(tensor.detach(), non_blocking=True)
            for name, tensor in halves.tensors.items()
        }
        return SplitTree(halves.plain, tensors, halves.aliases)

    def _buffer(self, part: str, name: str, tensor: Tensor) -> Tensor:
        found = self._buffers.get((part, name))
        if found is None or found.shape != tensor.shape or found.dtype != tensor.dtype:
            found = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers[part, name] = found
        return found


@dataclass
class _Save:
    """One save and how it ended."""

    write: Callable[[], Path]
    path: Path | None = None
    error: Exception | None = None
    thread: Thread = field(init=False)

    def __post_init__(self) -> None:
        # A daemon: a process that must end at once leaves an unfinished folder, no checkpoint.
        self.thread = Thread(target=self._run_behind, name="checkpoint writer", daemon=True)

    def _run_behind(self) -> None:
        _step_back()
        self.run()

    def run(self) -> None:
        try:
            self.path = self.write()
        except Exception as error:  # raised again by `finish`, in the thread that trains
            self.error = error


def _step_back() -> None:
    """Lets training threads go before this one where no core is free.

    They wait for one another several times in a layer: one that has to share its core holds up
    all. Linux alone has priorities of threads.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            thread = get_native_id()
            niceness = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, niceness + _MORE_NICENESS)  # 19 at most


def _split_all(parts: Mapping[str, Tree]) -> dict[str, SplitTree]:
    return {name: split(tree, name) for name, tree in parts.items()}


def _raise(error: Exception) -> Mapping[str, SplitTree]:
    raise error
