"""How an update gets faster with more processes, and how many bytes its gradients cost.

Run: python benchmarks/scaling.py [--worlds 1 2 4] [--micro-batches 4] [--rounds 3]
     [--tree] [--apart]

The model and the sentences are those of training.py (7.6 million parameters). Every number of
processes makes the same updates, of the same micro-batches; each process has one thread. They take
turns of some updates, so that what else the machine does meets all alike. Efficiency is the time of
one process over (processes x their time): by wall time, which says something on a quiet machine
with enough cores only, and by processor time, added up over processes, which leaves out the waiting
for one another. Cores share memory and caches, so that as many processes that know nothing of each
other are slower than one too: with --apart these take turns as well, and a last line says what part
of their speed the group reaches. Bytes are counted in the processes' TCP connections (Linux) and
include the watchdog's. The least that a sum over W processes needs is 2 (W - 1) / W times the
gradients.
"""

import argparse
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
UPDATES = 3
_BYTES_SENT_AT = 200
"""Offset of tcpi_bytes_sent in Linux's struct tcp_info."""


def work_as(world_size: int, micro_batches: int, is_tree: bool) -> None:
    """Runs one rank. The first one talks with the parent in lines of JSON."""
    import torch
    from training_work import PADDING, VOCAB_SIZE, pairs
    from training_work import run_config as work_config

    from seqtrain.data.epoch_iterator import EpochIterator
    from seqtrain.distributed.context import DistributedContext
    from seqtrain.models.base import ModelContext
    from seqtrain.optim.precision import choose_cpu_products
    from seqtrain.plugins import load_plugins
    from seqtrain.training.build import build_trainer
    from seqtrain.training.run_config import RunConfig

    torch.set_num_threads(1)
    load_plugins([])
    container = dict(work_config(None, "translation", "fp32", Path("unused")))
    container["optimization"] = {"micro_batches_per_update": micro_batches}
    container["distributed"] = {"deterministic_elastic": is_tree}
    config = RunConfig.parse(container)
    choose_cpu_products(config.precision)
    context = ModelContext(
        source_vocab_size=VOCAB_SIZE,
        target_vocab_size=VOCAB_SIZE,
        shared_vocab=True,
        padding_index=PADDING,
        eos_index=3,
    )
    place = DistributedContext.from_environment()
    with place.connected(config.distributed, torch.device("cpu")) as collectives:
        trainer = build_trainer(config, context, torch.device("cpu"), collectives)
        iterator = EpochIterator(pairs(None), config.dataset, 1, place.rank, world_size)
        results = _endless(trainer, iterator)
        for _ in range(2):  # the second one arranges the buckets anew
            next(results)
        num_bytes = sum(4 * p.numel() for p in trainer.optimizer.parameters.values())
        while collectives.broadcast_json(_asked() if place.is_first else None):
            found = _measured(results, collectives, num_bytes)
            everybody = collectives.gather_json(found)
            if place.is_first:
                sys.stdout.write(json.dumps(everybody) + "\n")
                sys.stdout.flush()
        results.close()
        del results, trainer, iterator


def _endless(trainer: Any, iterator: Any) -> Generator[Any, None, None]:
    while True:
        yield from trainer.train_epoch(iterator)


def _measured(results: Iterator[Any], collectives: Any, num_bytes: int) -> dict[str, float]:
    """Makes some updates; returns seconds and bytes of one, and of sums alone."""
    import torch

    collectives.barrier()
    sent, wall, cpu = _bytes_sent(), time.perf_counter(), time.process_time()
    for _ in range(UPDATES):
        next(results)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = {"wall": wall / UPDATES, "cpu": cpu / UPDATES, "gradients": float(num_bytes)}
    found["sent"] = (_bytes_sent() - sent) / UPDATES
    for name, size in (("sum", num_bytes // 4), ("tiny_sum", 32)):
        tensor = torch.ones(size)
        collectives.barrier()
        began, began_cpu = time.perf_counter(), time.process_time()
        for _ in range(3):
            collectives.all_reduce_sum(tensor)
        found[name] = (time.perf_counter() - began) / 3
        found[f"{name}_cpu"] = (time.process_time() - began_cpu) / 3
    return found


def _asked() -> bool:
    return sys.stdin.readline().strip() == "run"


def _bytes_sent() -> int:
    """Returns the bytes that all TCP connections of this process have sent so far."""
    total = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            if not str(link.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(link.name))) as connection:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                total += struct.unpack_from("=Q", info, _BYTES_SENT_AT)[0]
        except (OSError, struct.error):
            continue  # not TCP, or closed meanwhile
    return total


@dataclass
class Group:
    """Processes that wait between their turns: ranks of one run, or each a run of its own."""

    world_size: int
    processes: list["subprocess.Popen[str]"]
    is_apart: bool

    @classmethod
    def start(
        cls, world_size: int, words: Sequence[str], errors: Any, is_apart: bool = False
    ) -> "Group":
        """Starts them; the first turn waits until they are ready."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                  "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}  # fmt: skip
        processes = []
        size = 1 if is_apart else world_size
        for rank in range(world_size):
            pipe = subprocess.PIPE if rank == 0 or is_apart else subprocess.DEVNULL
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(
                subprocess.Popen(
                    [sys.executable, __file__, "--worker", str(size), *words],
                    env=os.environ | (shared | place if size > 1 else {}),
                    stdin=pipe,
                    stdout=pipe,
                    stderr=errors,
                    text=True,
                )
            )
        return cls(world_size, processes, is_apart)

    def turn(self) -> list[dict[str, float]]:
        """Returns what each rank measured in one turn."""
        talkers = self.processes if self.is_apart else self.processes[:1]
        for process in talkers:
            print("run", file=process.stdin, flush=True)
        lines = [process.stdout.readline() if process.stdout else "" for process in talkers]
        if not all(lines):
            raise RuntimeError(f"The group of {self.world_size} has failed.")
        return [rank for line in lines for rank in json.loads(line)]

    def end(self) -> None:
        """Ends them."""
        for process in self.processes:
            if process.stdin:
                process.stdin.close()
            process.wait(60)


Turns = dict[int, list[list[dict[str, float]]]]
"""What each rank measured in each turn, by the number of processes."""


def report(turns: Turns) -> Iterator[str]:
    """Yields a table in Markdown; medians over the rounds, ratios taken within a round."""
    yield (
        "| processes | s an update | efficiency | processor s an update | efficiency by it "
        "| MB sent a process | least | ratio | ms to sum the gradients | processor ms of it "
        "| ms to sum 32 numbers |"
    )
    yield f"|{' --: |' * 11}"
    walls = {w: [max(r["wall"] for r in ranks) for ranks in found] for w, found in turns.items()}
    cpus = {w: [sum(r["cpu"] for r in ranks) for ranks in found] for w, found in turns.items()}
    base = min(turns)
    for world, found in turns.items():
        by_wall = [a * base / (b * world) for a, b in zip(walls[base], walls[world], strict=True)]
        by_cpu = [a / b for a, b in zip(cpus[base], cpus[world], strict=True)]
        ranks = [rank for one in found for rank in one]
        least = 2 * (world - 1) / world * ranks[0]["gradients"]
        sent = statistics.median(rank["sent"] for rank in ranks)
        cells = [
            f"{world}",
            f"{statistics.median(walls[world]):.3f}",
            _spread(by_wall),
            f"{statistics.median(cpus[world]):.3f}",
            _spread(by_cpu),
            f"{sent / 1e6:.2f}",
            f"{least / 1e6:.2f}",
            f"{sent / least:.3f}" if least else "",
            f"{1e3 * statistics.median(rank['sum'] for rank in ranks):.1f}",
            f"{1e3 * statistics.median(rank['sum_cpu'] for rank in ranks):.1f}",
            f"{1e3 * statistics.median(rank['tiny_sum'] for rank in ranks):.2f}",
        ]
        yield f"| {' | '.join(cells)} |"


def report_apart(turns: Turns, turns_apart: Turns) -> Iterator[str]:
    """Yields a line for each number of processes that made the same updates, each for itself."""
    alone = [found[0]["wall"] for found in turns[min(turns)]]
    for world, found in turns_apart.items():
        apart = [max(rank["wall"] for rank in ranks) for ranks in found]
        group = [max(rank["wall"] for rank in ranks) for ranks in turns[world]]
        reached = [a / (b * world) for a, b in zip(apart, group, strict=True)]
        kept = [a / b for a, b in zip(alone, apart, strict=True)]
        yield (
            f"{world} processes that know no other keep {_spread(kept)} of the speed of one; "
            f"the group of {world} reaches {_spread(reached)} of theirs."
        )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} [{min(values):.3f}..{max(values):.3f}]"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--micro-batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tree", action="store_true", help="distributed.deterministic_elastic")
    parser.add_argument("--apart", action="store_true", help="and processes that know no other")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work_as(options.worker, options.micro_batches, options.tree)
        return
    words = [f"--micro-batches={options.micro_batches}", *(["--tree"] if options.tree else [])]
    with tempfile.TemporaryFile("w+") as errors:
        groups = [Group.start(world, words, errors) for world in options.worlds]
        apart = [Group.start(n, words, errors, True) for n in options.worlds[1:] if options.apart]
        try:
            turns: Turns = {group.world_size: [] for group in groups}
            turns_apart: Turns = {group.world_size: [] for group in apart}
            for _ in range(options.rounds):
                for group in [*groups, *apart]:
                    found = turns_apart if group.is_apart else turns
                    found[group.world_size].append(group.turn())
            for group in [*groups, *apart]:
                group.end()
        except RuntimeError:
            for group in [*groups, *apart]:
                for process in group.processes:
                    process.kill()
            errors.seek(0)
            sys.exit(errors.read()[-3000:])
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{options.micro_batches} micro-batches an update, load {load}, {os.cpu_count()} cores")
    for line in [*report(turns), *report_apart(turns, turns_apart)]:
        print(line)


if __name__ == "__main__":
    main()
