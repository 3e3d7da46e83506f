"""Runs a command in several forks of this process, as torchrun would."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from seqtrain_cli import train
from seqtrain_cli.command import Command
from seqtrain_cli.entry import guarded, run_command

torch.set_num_threads(1)


Run = Sequence[str] | Mapping[str, Any]
"""Words of a command line, or the config that Hydra would make of them, which takes half a second
of each process; plug-ins must be loaded then."""


def start_ranks(
    run: Run, world_size: int, folder: Path, command: Command = train.COMMAND
) -> list[int]:
    """Starts the command on all ranks; returns their process ids. Output goes to out.N, err.N."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(world_size):
        child = os.fork()
        if child == 0:
            _be_rank(rank, world_size, port, lambda: _run(command, run), folder)
        children.append(child)
    return children


def run_ranks(
    run: Run,
    world_size: int,
    folder: Path,
    seconds: float = 90.0,
    command: Command = train.COMMAND,
) -> list[int]:
    """Runs the command on all ranks to the end; returns the exit codes, negative for a signal."""
    children = start_ranks(run, world_size, folder, command)
    codes: dict[int, int] = {}
    deadline = time.monotonic() + seconds
    while len(codes) < world_size:
        for rank, child in enumerate(children):
            if rank not in codes and (found := os.waitpid(child, os.WNOHANG))[0]:
                codes[rank] = os.waitstatus_to_exitcode(found[1])
        if time.monotonic() > deadline:
            for rank in range(world_size):
                if rank not in codes:
                    os.kill(children[rank], signal.SIGKILL)
                    os.waitpid(children[rank], 0)
            raise TimeoutError(f"{world_size - len(codes)} ranks did not end: {said(folder)}")
        time.sleep(0.02)
    return [codes[rank] for rank in range(world_size)]


def said(folder: Path) -> str:
    """Returns what all ranks wrote to standard error."""
    return "\n".join(path.read_text() for path in sorted(folder.glob("err.*")))


def _run(command: Command, run: Run) -> int:
    if isinstance(run, Mapping):
        config = dict(run)
        return guarded(command.program, command.help, lambda _: command.run(config), [])
    return run_command(command, run)


def _be_rank(rank: int, world_size: int, port: int, run: Callable[[], int], folder: Path) -> None:
    status = 1
    try:
        for name, number in (("out", 1), ("err", 2)):
            flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
            os.dup2(os.open(folder / f"{name}.{rank}", flags, 0o644), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.__stderr__ = sys.stderr  # where the watchdog puts the stacks
        if world_size > 1:
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world_size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo",
            }
        status = run()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
