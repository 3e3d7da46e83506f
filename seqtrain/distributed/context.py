"""Which process of how many this is, and its connection to the others."""

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist

# Its functions have the group that there is when it is imported, which torch does late, as their
# default, and so would keep the group and its threads for ever.
import torch.distributed.nn.functional
from torch.distributed.rendezvous import rendezvous

from seqtrain.distributed.cluster import cluster_variables
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.open_files import allow_connections
from seqtrain.distributed.orphans import end_with_launcher
from seqtrain.distributed.strategy_config import StrategyConfig
from seqtrain.errors import ConfigError, DistributedError
from seqtrain.option_checks import require_range

BACKENDS = ("gloo", "nccl")

_SECONDS_TO_LET_GO = 0.2


@dataclass(kw_only=True)
class DistributedConfig(StrategyConfig):
    """Training in several processes, each with its own micro-batches.

    A micro-batch may leave parameters unused (a dropped layer, a head without targets), other ones
    on every process: they have the gradient zero, as in one process. Nothing is to be set for it.
    """

    num_processes: int = 1
    """Processes that the command starts on this machine; leave it at 1 under torchrun."""

    in_one_process: bool = False
    """Use backend, strategy and wrappers also where there is one process only, which else trains
    the plain model. For strategy=fsdp with cpu_offload on one GPU, and to try things out."""

    backend: str = ""
    """What carries tensors between processes: gloo or nccl. Empty: nccl on a GPU, else gloo."""

    timeout_seconds: float = 1800.0
    """Seconds without progress after which a process says which one has stopped, prints its stacks
    and ends. A single process does so too."""

    check_interval_updates: int = 1000
    """Compare the parameters of all processes, bit by bit, after every so many updates; 0 for
    never."""

    sync_batch_norm: bool = False
    """On GPUs: batch normalisation of a model takes its statistics over the batches of all
    processes. Built-in models have none."""

    deterministic_elastic: bool = False
    """Add gradients in an order that does not depend on the number of processes: an update of the
    same micro-batches then has the same bits on 1, 2, 4 ... processes. They are exchanged after the
    backward pass, not while it goes on. See also optimization.micro_batches_per_update."""

    def __post_init__(self) -> None:
        super().__post_init__()
        divided = self.is_spread or self.compress_gradients or self.static_graph
        if self.deterministic_elastic and divided:
            raise ConfigError(
                "distributed.deterministic_elastic=true adds gradients itself and whole: it needs "
                "strategy=ddp without tensor_parallel, compress_gradients and static_graph."
            )
        require_range("distributed.num_processes", self.num_processes, least=1)
        if self.backend and self.backend not in BACKENDS:
            raise ConfigError(
                f"distributed.backend must be one of {', '.join(BACKENDS)}, or empty to choose by "
                f"the device, got {self.backend!r}."
            )
        # A timedelta holds no more than 10^9 days; a year is a mistake already.
        if not 0.0 < self.timeout_seconds <= 366 * 86_400:
            raise ConfigError(
                "distributed.timeout_seconds must be positive and at most a year, "
                f"got {self.timeout_seconds}."
            )
        require_range("distributed.check_interval_updates", self.check_interval_updates, least=0)


@dataclass(frozen=True)
class DistributedContext:
    """The place of this process among all processes of the run."""

    rank: int = 0
    """Number over all machines, from 0."""

    world_size: int = 1
    """Number of processes on all machines."""

    local_rank: int = 0
    """Number on this machine, from 0: the index of the GPU to use."""

    @property
    def is_first(self) -> bool:
        """True in the process that writes logs and the common files."""
        return self.rank == 0

    @classmethod
    def from_environment(cls) -> Self:
        """Reads what torchrun sets, or what Slurm says, which then joins the environment.

        Without any of it this is a single process.

        Raises:
            DistributedError: Names the variable that is missing or wrong.
        """
        os.environ.update(cluster_variables(os.environ))
        if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
            return cls()
        world_size = _integer("WORLD_SIZE", 1, None)
        rank = _integer("RANK", 0, world_size - 1)
        local_rank = _integer("LOCAL_RANK", 0, world_size - 1)
        if world_size > 1:
            _text("MASTER_ADDR")
            _integer("MASTER_PORT", 1, 65_535)
        return cls(rank, world_size, local_rank)

    @contextmanager
    def connected(self, config: DistributedConfig, device: torch.device) -> Iterator[Collectives]:
        """Connects to the other processes for the time of a `with` block.

        No wrapped model should be left when the block ends: it keeps the threads of the connection.

        Args:
            config: The run's section.
            device: Where this process trains, with its index: cuda:0.

        Raises:
            DistributedError: The backend cannot be used, or the processes do not find each other.
        """
        if self.world_size == 1 and not config.in_one_process:
            yield Collectives(device=device)
            return
        if self.world_size > 1:
            end_with_launcher()
            allow_connections(self.world_size)
        backend = _backend(config, device)
        carrier = device if backend == "nccl" else torch.device("cpu")
        collectives = Collectives(self.rank, self.world_size, carrier, is_connected=True)
        self._join(backend, config, device)
        try:
            collectives.barrier()
            yield collectives
        except BaseException:
            # The traceback keeps the group, see below; its threads let go of the last tensors.
            time.sleep(_SECONDS_TO_LET_GO)
            raise
        finally:
            dist.destroy_process_group()
            # The threads of a group end with it. One that lets go of a tensor when Python has
            # begun to end would abort the process, so a wrapped model must not keep the group.
            gc.collect()

    def _join(self, backend: str, config: DistributedConfig, device: torch.device) -> None:
        timeout = timedelta(seconds=patience(config))
        try:
            dist.init_process_group(
                backend,
                store=self._store(timeout),
                rank=self.rank,
                world_size=self.world_size,
                timeout=timeout,
                device_id=device if backend == "nccl" else None,
            )
        except (RuntimeError, ValueError) as error:
            names = ("MASTER_ADDR", "MASTER_PORT")
            address = ":".join(os.environ.get(name, "none") for name in names)
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise DistributedError(
                f"Rank {self.rank} of {self.world_size} cannot join the others at {address} "
                f"(MASTER_ADDR:MASTER_PORT) with {backend}; are all processes running, and is the "
                f"port free? ({reason})"
            ) from error

    def _store(self, timeout: timedelta) -> Any:
        if self.world_size == 1:  # there is nobody to meet, nor an address to meet at
            return dist.HashStore()  # type: ignore[attr-defined] # exported at run time only
        store, _, _ = next(rendezvous("env://", self.rank, self.world_size, timeout=timeout))
        return of_this_start(store)


def of_this_start(store: Any) -> Any:
    """Returns the part of a store that belongs to this start of the processes.

    torchrun keeps its store when it starts them again. An address of a process that is gone would
    let the new ones wait for it. A store of the processes' own ends with them and needs no part:
    the count, which is that of a machine's torchrun, may then differ between machines.

    Raises:
        DistributedError: Several machines share torchrun's store and are to be started again: each
            torchrun counts its own starts alone, so processes would wait for one another for ever.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return store
    has_several = os.environ.get("GROUP_WORLD_SIZE", "1") != "1"
    if has_several and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise DistributedError(
            "torchrun with --max-restarts on several machines loses their processes at a restart "
            "where it shares its store with them. Run it with "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 on every machine."
        )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"start-{attempt}", store)  # type: ignore[attr-defined] # exported at run time only


def patience(config: DistributedConfig) -> float:
    """Returns the seconds after which a collective fails: the watchdog, who knows more, is first.

    No process has made progress for less time than a collective has waited, and the watchdog
    looks a quarter of the time late, and twice.
    """
    return 2.0 * config.timeout_seconds + 5.0


def _backend(config: DistributedConfig, device: torch.device) -> str:
    if config.backend == "nccl" and device.type != "cuda":
        raise DistributedError(
            f"distributed.backend=nccl needs a GPU, and this process trains on {device}; "
            "use distributed.backend=gloo."
        )
    backend = config.backend or ("nccl" if device.type == "cuda" else "gloo")
    if not dist.is_available() or not dist.is_backend_available(backend):
        raise DistributedError(
            f"This PyTorch ({torch.__version__}) was built without {backend}; "
            f"set distributed.backend to the other of {', '.join(BACKENDS)}."
        )
    return backend


def _text(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise DistributedError(
            f"The environment variable {name} is missing or empty. Start the processes with "
            "torchrun, or with distributed.num_processes=N, or unset RANK and WORLD_SIZE."
        )
    return value


def _integer(name: str, least: int, most: int | None) -> int:
    text = _text(name)
    value = int(text) if text.isascii() and text.isdigit() else -1
    if value < least or (most is not None and value > most):
        allowed = f"at least {least}" if most is None else f"{least} to {most}"
        raise DistributedError(
            f"The environment variable {name} must be an integer, {allowed}, got {text!r}."
        )
    return value
