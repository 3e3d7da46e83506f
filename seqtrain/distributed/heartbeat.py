"""A watchdog: notices that a rank has stopped, says which one and where, and ends the process."""

import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Protocol

import torch.distributed as dist

from seqtrain.distributed.context import of_this_start
from seqtrain.errors import DistributedError

PHASES = ("start", "data", "forward", "backward", "sums", "update", "evaluation", "saving")
"""What a rank is doing, in the order in which an update passes through it."""

_LONGEST_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Beat:
    """The last sign of life of a rank's training thread."""

    update: int = 0
    """Updates applied."""
    phase: str = PHASES[0]
    count: int = 0
    """Signs of life so far."""


class Board(Protocol):
    """Where ranks leave their beats for one another: the part of torch's Store that is used."""

    def set(self, key: str, value: str) -> None:
        """Leaves a value."""
        ...

    def check(self, keys: list[str]) -> bool:
        """Says whether all keys were set."""
        ...

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Returns values that were set."""
        ...


class Watchdog:
    """Watches the training thread of this rank, and tells apart who waits and who has stopped.

    A thread of each rank writes down its last beat. Where the training thread gives no sign for
    `timeout_seconds`, the thread compares all ranks: whoever has come least far has stopped, the
    others wait for it. It prints that with the stacks of all threads, and ends the process.

    Args:
        rank: This process's number.
        world_size: Number of processes.
        timeout_seconds: Silence of the training thread that is too long.
        board: Shared by all ranks; None for a single process.
        give_up: Called after the report; ends the process with the exit code 6 if not given.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        timeout_seconds: float,
        board: Board | None = None,
        give_up: Callable[[], object] | None = None,
    ) -> None:
        self._rank = rank
        self._world_size = world_size
        self._timeout_seconds = timeout_seconds
        self._board = board
        self._give_up = give_up or _exit
        self._beat = Beat()
        self._beat_time = time.monotonic()
        self._stopping = threading.Event()

    def beat(self, update: int, phase: str) -> None:
        """Says that the training thread is alive; costs about a microsecond."""
        self._beat = Beat(update, phase, self._beat.count + 1)
        self._beat_time = time.monotonic()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches in a thread for the time of a `with` block."""
        self.beat(0, PHASES[0])
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()

    def _watch(self) -> None:
        pause = min(self._timeout_seconds / 4, 5.0)
        self._publish()
        while not self._stopping.wait(pause):
            self._publish()
            if time.monotonic() - self._beat_time > self._timeout_seconds:
                earlier = self._published()
                # Who writes nothing new for two rounds has no running thread at all. Others may be
                # here at the same time, so this one goes on writing.
                for _ in range(4):
                    if self._stopping.wait(pause / 2):
                        return
                    self._publish()
                if time.monotonic() - self._beat_time <= self._timeout_seconds:
                    continue  # the whole process had been suspended, and goes on
                self._report(earlier, self._published())
                return

    def _publish(self, reported: bool = False) -> None:
        if self._board is not None:
            written = asdict(self._beat) | {"time": time.monotonic(), "reported": reported}
            self._ignoring_lost_peers(lambda: self._write(json.dumps(written)))

    def _write(self, text: str) -> None:
        if self._board is not None:
            self._board.set(_key(self._rank), text)

    def _published(self) -> dict[int, dict[str, object]]:
        found: dict[int, dict[str, object]] = {}
        board = self._board

        def read() -> None:
            if board is None:
                return
            ranks = list(range(self._world_size))
            # All at once: of many ranks, each asks for each.
            if not board.check([_key(rank) for rank in ranks]):
                ranks = [rank for rank in ranks if board.check([_key(rank)])]
            values = board.multi_get([_key(rank) for rank in ranks])
            found.update((rank, json.loads(v)) for rank, v in zip(ranks, values, strict=True))

        self._ignoring_lost_peers(read)
        return dict(found) if self._board is not None else {}

    def _ignoring_lost_peers(self, action: Callable[[], None]) -> None:
        """Does something with the board, or drops it where the first rank, which keeps it, is gone.

        Where the way to its machine is cut, torch would wait for an answer for ever.
        """
        errors: list[Exception] = []

        def call() -> None:
            try:
                action()
            except (RuntimeError, OSError) as error:
                errors.append(error)

        caller = threading.Thread(target=call, name="watchdog's board", daemon=True)
        caller.start()
        caller.join(min(max(self._timeout_seconds / 2, 1.0), _LONGEST_ANSWER_SECONDS))
        if errors or caller.is_alive():
            self._board = None

    def _report(
        self, earlier: dict[int, dict[str, object]], now: dict[int, dict[str, object]]
    ) -> None:
        seconds = time.monotonic() - self._beat_time
        lines = [
            f"seqtrain: rank {self._rank} has made no progress for {seconds:.0f} s in update "
            f"{self._beat.update + 1} ({self._beat.phase}). {self._culprits(earlier, now)}",
            f"Stacks of rank {self._rank}:",
        ]
        print(*lines, sep="\n", file=sys.stderr, flush=True)  # noqa: T201 # no log may be usable
        self._publish(reported=True)
        faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
        self._give_up()

    def _culprits(
        self, earlier: dict[int, dict[str, object]], now: dict[int, dict[str, object]]
    ) -> str:
        if self._world_size == 1:
            return "Raise distributed.timeout_seconds if a step may take so long."
        if not now:
            return "The first rank, or its machine, is gone."
        # A rank that has reported falls silent for that reason alone.
        reported = {rank for rank in now if now[rank].get("reported")}
        silent = [r for r in now if now[r] == earlier.get(r) and r not in reported]
        silent += [rank for rank in range(self._world_size) if rank not in now]
        if silent:
            return _named(silent, now, "gives no sign of life: stopped, or its machine is gone")
        least = min(_progress(beat) for beat in now.values())
        behind = [rank for rank, beat in now.items() if _progress(beat) == least]
        if len(behind) == self._world_size:
            return "All ranks are at the same place; the stacks say where."
        return _named(behind, now, "has come least far; the others wait for it")


def open_board(timeout_seconds: float) -> Board | None:
    """Returns a connection of its own to the store that the ranks met at; None in one process.

    Raises:
        DistributedError: The store cannot be reached.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined] # torch exports it at run time only
            *address, is_master=False, timeout=timedelta(seconds=min(timeout_seconds, 60.0))
        )
    except RuntimeError as error:
        raise DistributedError(
            f"Cannot reach {address[0]}:{address[1]} a second time, for the watchdog."
        ) from error
    return dist.PrefixStore("seqtrain-heartbeat", of_this_start(store))  # type: ignore[attr-defined] # as above


def _key(rank: int) -> str:
    return f"rank-{rank}"


def _progress(beat: dict[str, object]) -> tuple[int, int]:
    update, phase = beat.get("update"), beat.get("phase")
    known = PHASES.index(phase) if isinstance(phase, str) and phase in PHASES else 0
    return (update if isinstance(update, int) else 0, known)


def _named(ranks: list[int], beats: dict[int, dict[str, object]], what: str) -> str:
    names = ", ".join(
        f"rank {rank} (last seen in update {_progress(beats[rank])[0] + 1}, "
        f"{beats[rank].get('phase')})"
        if rank in beats
        else f"rank {rank}"
        for rank in sorted(ranks)
    )
    return f"{names}: {what}."


def _exit() -> None:
    # Not sys.exit: the training thread is stuck in a call that does not return.
    os._exit(DistributedError.exit_code)
