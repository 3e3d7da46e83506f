"""Runs a function in several real processes that are connected by gloo."""

import importlib
import multiprocessing
import os
import pkgutil
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig, DistributedContext
from seqtrain.plugins import BUILT_IN_PACKAGES

# The server imports these once; every process is a quick fork of it, free of pytest's threads.
_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(
    [
        "pytest",  # a function comes with the test module that it is defined in
        "hypothesis",
        "torch.nn.parallel",
        "torch._dynamo",
        "torch.distributed.fsdp",
        "torch.distributed.tensor.parallel",
        "seqtrain.training.session",
        *(
            module.name
            for package in BUILT_IN_PACKAGES
            for module in pkgutil.walk_packages(
                importlib.import_module(package).__path__, f"{package}."
            )
        ),
    ]
)


class ProcessFailedError(Exception):
    """A process raised; the text is its traceback."""


def run_in_processes(
    function: Callable[..., Any], world_size: int, *args: Any, timeout_seconds: float = 60.0
) -> list[Any]:
    """Returns what function(collectives, *args) returns on each rank, by rank."""
    port = _free_port()
    pipes = [_FORKSERVER.Pipe(duplex=False) for _ in range(world_size)]
    processes = [
        _FORKSERVER.Process(
            target=_run, args=(sender, rank, world_size, port, function, args), daemon=True
        )
        for rank, (_, sender) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for _, sender in pipes:
        sender.close()
    try:
        deadline = time.monotonic() + timeout_seconds
        answers = [_receive(receiver, rank, deadline) for rank, (receiver, _) in enumerate(pipes)]
    finally:
        for process in processes:
            process.join(5.0)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        for receiver, _ in pipes:
            receiver.close()
    failures = [text for succeeded, text in answers if not succeeded]
    if failures:
        raise ProcessFailedError("\n".join(failures))
    return [result for _, result in answers]


def _receive(receiver: "Connection[Any, Any]", rank: int, deadline: float) -> tuple[bool, Any]:
    if not receiver.poll(max(0.0, deadline - time.monotonic())):
        return False, f"Rank {rank} did not answer in time."
    try:
        return receiver.recv()
    except EOFError:
        return False, f"Rank {rank} died."


def _run(
    sender: "Connection[Any, Any]",
    rank: int,
    world_size: int,
    port: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    try:
        config = DistributedConfig(timeout_seconds=30.0)
        context = DistributedContext.from_environment()
        with context.connected(config, torch.device("cpu")) as collectives:
            answer = (True, _checked(function, collectives, args))
    except Exception:
        answer = (False, f"Rank {rank}: {traceback.format_exc()}")
    sender.send(answer)


def _checked(function: Callable[..., Any], collectives: Collectives, args: tuple[Any, ...]) -> Any:
    result = function(collectives, *args)
    collectives.barrier()  # nobody leaves while another still talks
    return result


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
