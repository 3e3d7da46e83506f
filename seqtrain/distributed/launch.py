"""Starts the processes of a run on this machine, and ends them together."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from seqtrain.distributed.context import DistributedConfig, DistributedContext
from seqtrain.distributed.orphans import LAUNCHER_VARIABLE
from seqtrain.errors import DistributedError

GRACE_SECONDS = 10.0
"""Time that the other processes get to end after one failed, and again after they were asked to."""

_POLL_SECONDS = 0.05
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def must_launch(config: DistributedConfig, context: DistributedContext) -> bool:
    """Returns whether this process is to call `launch`, and not to train itself.

    Raises:
        DistributedError: torchrun has started another number of processes than the config asks for,
            or submitit starts them.
    """
    if config.num_processes > 1 and "SUBMITIT_EXECUTOR" in os.environ:
        raise DistributedError(
            f"distributed.num_processes={config.num_processes}, but submitit starts the processes "
            "of a job: set hydra.launcher.tasks_per_node, and leave num_processes at 1."
        )
    if config.num_processes > 1 and context.world_size not in (1, config.num_processes):
        raise DistributedError(
            f"distributed.num_processes={config.num_processes}, but WORLD_SIZE says that "
            f"{context.world_size} processes were started. Leave num_processes at 1 under torchrun."
        )
    return config.num_processes > 1 and context.world_size == 1


def launch(argv: Sequence[str], num_processes: int) -> int:
    """Runs `python -m` in several processes of this machine and waits for all of them.

    SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 are passed on. When a process fails, the others get a few
    seconds to end by themselves, then they are terminated.

    Args:
        argv: What follows `python -m`: a module, then its arguments.
        num_processes: The world size. Each process finds its place in RANK, WORLD_SIZE and so on.

    Returns:
        0 if all went well, else the exit code of the process that failed first (128 + the signal's
        number for a killed one). As a failure makes the other ranks lose their connection, that
        code counts only where no process has a better reason.
    """
    environment = _common_environment(num_processes)
    children: list[subprocess.Popen[bytes]] = []
    with _signals_collected() as arrived:
        try:
            for rank in range(num_processes):
                children.append(_start(argv, environment, rank))
            return _wait(children, arrived)
        finally:
            _end(children)


def _common_environment(num_processes: int) -> dict[str, str]:
    # A torchrun around the launcher must not lend its store to a world that it does not know.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TORCHELASTIC_")}
    threads = max(1, _num_cores() // num_processes)
    kept.setdefault("OMP_NUM_THREADS", str(threads))
    for name in ("lo", "lo0"):
        if name in (interface for _, interface in socket.if_nameindex()):
            kept.setdefault("GLOO_SOCKET_IFNAME", name)
    return kept | {
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        LAUNCHER_VARIABLE: str(os.getpid()),
    }


def _start(
    argv: Sequence[str], environment: Mapping[str, str], rank: int
) -> subprocess.Popen[bytes]:
    # With -m, Python would import from the working folder even where this process does not.
    safe_path = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
    return subprocess.Popen(
        [sys.executable, *safe_path, "-m", *argv],
        env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        stdin=None if rank == 0 else subprocess.DEVNULL,
        # Else a terminal's Ctrl-C would reach each process twice: a second one means "at once".
        process_group=0,
    )


def _wait(children: Sequence[subprocess.Popen[bytes]], arrived: list[int]) -> int:
    """Returns once all have ended, or one has failed and the grace is over."""
    failures: list[int] = []  # exit codes in the order of the failures
    running = dict(enumerate(children))
    passed_on = 0
    deadline = math.inf
    while running and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        for number in arrived[passed_on:]:
            passed_on += 1
            for child in running.values():
                child.send_signal(number)
        for rank, child in list(running.items()):
            returncode = child.poll()
            if returncode is None:
                continue
            del running[rank]
            code = 128 - returncode if returncode < 0 else returncode
            if code:
                failures.append(code)
            # Who was told to stop may end before one that still writes a checkpoint.
            if code and code - 128 not in arrived:
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
                _report(rank, returncode)
    reasons = [code for code in failures if code != DistributedError.exit_code]
    return (reasons or failures or [0])[0]


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminates what still runs, then kills it."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def _signals_collected() -> Iterator[list[int]]:
    """Yields the growing list of the signals that arrive instead of having their usual effect."""
    arrived: list[int] = []

    def collect(number: int, frame: object) -> None:
        arrived.append(number)

    previous = {number: signal.signal(number, collect) for number in _FORWARDED}
    try:
        yield arrived
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _report(rank: int, returncode: int) -> None:
    how = f"failed with exit code {returncode}"
    if returncode < 0:
        how = f"was killed by signal {-returncode} ({signal.strsignal(-returncode)})"
    if returncode == -signal.SIGKILL:
        how += "; often the machine has run out of memory"
    sys.stderr.write(f"Rank {rank} {how}. The other ranks are ended too.\n")
    sys.stderr.flush()


def _num_cores() -> int:
    if sys.platform.startswith("linux"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
