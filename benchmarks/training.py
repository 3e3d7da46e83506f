"""Speed and memory of training, next to peers that train the same batches in turns.

Run: python benchmarks/training.py [--data FOLDER] [--threads 2] [--rounds 5] [--short]
         [--preload LIBRARY]

FOLDER is one of seqtrain-preprocess with one vocabulary of 8,000 symbols for both sides; without
it, sentences are synthetic, of similar lengths. Every peer is a process of its own. They take
turns of some updates, so that what else the machine does meets all alike; ratios are taken within
a round. The Hugging Face Trainer takes part where `transformers` and `accelerate` are installed.
Rates count target tokens, padding left out. Peak memory is the resident set of the process.

With --preload the peers in fp32 run once more with that library loaded before all others. The one
that `echo 'int mkl_serv_intel_cpu_true(void) { return 1; }' | gcc -shared -fPIC -x c - -o mkl.so`
makes tells MKL to use the vector units of a processor of another maker than its own.
"""

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# Threads of one process must not spin while another has its turn.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

SEQTRAIN = ("seqtrain:bf16", "seqtrain:fp32")
PEERS = {
    "translation": ("hf:fp32", "hf:bf16", "bare:fp32", "bare_onednn:fp32", "bare:bf16"),
    "lstm": ("bare:fp32", "bare_onednn:fp32", "bare:bf16"),
    "language_model": ("bare:fp32", "bare_onednn:fp32", "bare:bf16"),
}
PEAKS = ("peak:fp32:mkl", "peak:fp32:onednn", "peak:bf16:onednn")
PRELOADED = ":preload"
"""Ends the names of workers that run with the library of --preload."""


class Turns:
    """The worker's side: lets so many updates pass as the parent says, and reports on them."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._left = 1  # the first update, which reports how long it took to get there
        self._targets = 0
        self._start()

    def _start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def step_done(self, num_targets: int) -> bool:
        """Counts an update; at the end of a turn waits for the next. False: no more are wanted."""
        self._targets += num_targets
        self._left -= 1
        if self._left:
            return True
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self._send({"wall": wall, "cpu": cpu, "targets": self._targets})
        command = sys.stdin.readline().split()
        if not command or command[0] != "run":
            return False
        self._left, self._targets = int(command[1]), 0
        self._start()
        return True


def work_as(name: str, file: Path) -> None:
    """Runs a worker: talks with its parent in lines of JSON."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever peers print goes elsewhere

    def send(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=channel, flush=True)

    import torch  # counted as the worker's own time
    from training_peers import PEERS as UPDATES
    from training_work import Work, measure_peak

    peer, dtype, *more = name.split(":")
    extras: dict[str, Any] = {}
    if peer == "peak":
        turns = Turns(send)
        while turns.step_done(1):
            send({"peak": measure_peak(dtype, more[0])})
        return
    work = Work(**torch.load(file))
    turns = Turns(send)
    if peer == "hf":
        from training_hf import train

        train(work, dtype, turns.step_done)
    else:
        for num_targets in UPDATES[peer](work, dtype, extras):
            if not turns.step_done(num_targets):
                break
    breakdown = extras.pop("breakdown", dict)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    send(extras | {"rss_mb": rss, "breakdown": breakdown()})


@dataclass
class Worker:
    """The parent's side of a worker."""

    name: str
    process: "subprocess.Popen[str]"
    errors: IO[str]
    begun: float
    first_update: float = 0.0

    @classmethod
    def start(cls, name: str, file: Path, options: argparse.Namespace) -> "Worker":
        """Starts it; `receive` then waits for its first update."""
        command = [sys.executable, __file__, "--worker", name, "--work-file", str(file)]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        if name.endswith(PRELOADED):
            environment["LD_PRELOAD"] = str(options.preload)
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 # as long as the worker lives
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
        return cls(name, process, errors, time.perf_counter())

    def receive(self) -> dict[str, Any]:
        """Returns the next message."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            code = self.process.wait()
            self.errors.seek(0)
            raise SystemExit(f"{self.errors.read()}\n{self.name} died with code {code}.")
        message: dict[str, Any] = json.loads(line)
        return message

    def ask(self, command: str) -> dict[str, Any]:
        """Sends a command and returns the answer."""
        if self.process.stdin:
            print(command, file=self.process.stdin, flush=True)
        return self.receive()


def take_turns(
    names: list[str], file: Path, options: argparse.Namespace
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]]]:
    """Returns what each worker reports for each round, and at its end."""
    workers = []
    for name in names:  # one after the other, as each start is timed
        worker = Worker.start(name, file, options)
        worker.receive()
        worker.first_update = time.perf_counter() - worker.begun
        workers.append(worker)
    for worker in workers:
        worker.ask(f"run {options.updates}")  # warms up
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for index in range(options.rounds):
        # Each round begins with another one.
        turn = index % len(workers)
        for worker in [*workers[turn:], *workers[:turn]]:
            rounds[worker.name].append(worker.ask(f"run {options.updates}"))
    ends = {w.name: w.ask("end") | {"first_update": w.first_update} for w in workers}
    for worker in workers:
        worker.process.wait()
    return rounds, ends


def measure_peaks(options: argparse.Namespace) -> dict[str, float]:
    """Returns the median rate of large products, GFLOP/s, of each kind; in turns, too."""
    preloaded = [f"peak:fp32:mkl{PRELOADED}"] if options.preload else []
    workers = [Worker.start(name, Path(), options) for name in (*PEAKS, *preloaded)]
    for worker in workers:
        worker.receive()
    rates: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for _ in range(options.rounds):
        for worker in workers:
            rates[worker.name].append(worker.ask("run 1")["peak"][options.clock])
            worker.receive()
    for worker in workers:
        worker.process.communicate("end\n")
    return {name: statistics.median(values) for name, values in rates.items()}


def rate(turn: dict[str, Any], clock: str) -> float:
    """Returns target tokens a second of a turn."""
    return float(turn["targets"] / turn[clock])


def ratios(own: list[dict[str, Any]], other: list[dict[str, Any]], clock: str) -> str:
    """Returns the median and the spread of the ratio of rates within a round."""
    found = [rate(a, clock) / rate(b, clock) for a, b in zip(own, other, strict=True)]
    return f"{statistics.median(found):.2f} [{min(found):.2f}..{max(found):.2f}]"


def report(
    name: str,
    results: tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]]],
    flops: float,
    peaks: dict[str, float],
    clock: str,
) -> None:
    """Prints the tables of a work."""
    rounds, ends = results
    print(f"\n## {name}\n")
    if flops:
        print(f"{flops / 1e6:.2f} MFLOP a target token\n")
    print("| peer | targets/s | bf16 / it | fp32 / it | % of peak | peak MB | first update s |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    for peer, turns in rounds.items():
        speed = statistics.median(rate(turn, clock) for turn in turns)
        peak = peaks["peak:bf16:onednn" if "bf16" in peer else "peak:fp32:onednn"]
        share = f"{100 * speed * flops / peak / 1e9:.0f}" if flops else ""
        both = " | ".join(ratios(rounds[own], turns, clock) for own in SEQTRAIN)
        end = ends[peer]
        print(
            f"| {peer} | {speed:.0f} | {both} | {share} | {end['rss_mb']:.0f} | "
            f"{end['first_update']:.1f} |"
        )
    for own in SEQTRAIN:
        parts = ends[own]["breakdown"]
        total = sum(parts["seconds"].values())
        each = ", ".join(
            f"{part} {1e3 * seconds / parts['num_updates']:.2f} ms ({100 * seconds / total:.0f}%)"
            for part, seconds in parts["seconds"].items()
        )
        print(f"\n{own} (float32 products by {ends[own]['products']}): {each}")


def measure_command(options: argparse.Namespace, folder: Path) -> None:
    """Prints the time from the command to its first update, and the wait for data."""
    if options.data is None:
        print("\nno --data: the start of the command is not measured")
        return
    run_dir = folder / "run"
    words = [
        "task=translation", f"task.data={options.data}", f"run_dir={run_dir}", "device=cpu",
        "precision.dtype=bf16", f"optimization.max_update={options.updates}",
        "logging.interval=1", "validation.splits=[]", "validation.test_split=''",
        "log_writer=[jsonl]", "dataset.max_tokens=4096",
    ]  # fmt: skip
    began, log = time.perf_counter(), run_dir / "metrics.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "seqtrain_cli.train", *words],
        env=os.environ | {"OMP_NUM_THREADS": str(options.threads)},
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and not (log.exists() and log.read_text().count("\n")):
        time.sleep(0.01)
    first = time.perf_counter() - began
    process.wait()
    waits = [json.loads(line).get("wait", 0.0) for line in log.read_text().splitlines()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words[5] = "optimization.max_update=1"
    subprocess.run(
        [sys.executable, "-m", "seqtrain_cli.train", *words, f"run_dir={folder / 'one'}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"\nseqtrain-train: first update {first:.2f} s after the command (processor time of a "
        f"command with one update, its save included: {cpu:.2f} s); waited for data "
        f"{1e3 * statistics.mean(waits[1:]):.2f} ms an update"
    )


def run_all(options: argparse.Namespace) -> None:
    """Measures everything that was asked for."""
    import torch  # not for --help
    from training_engine import measure_engine
    from training_work import make_work

    has_hf = all(importlib.util.find_spec(name) for name in ("transformers", "accelerate"))
    print(f"torch {torch.__version__}, {options.threads} threads, {options.data or 'synthetic'}")
    print(f"{options.rounds} rounds of {options.updates} updates; rates by {options.clock} time")
    if not has_hf:
        print("the Hugging Face Trainer is left out: pip install 'seqtrain[bench]'")
    peaks = measure_peaks(options)
    for name, value in peaks.items():
        print(f"{name}: {value:.0f} GFLOP/s")
    torch.set_num_threads(1)
    engine = measure_engine()
    print(f"two parameters: {engine['wall_ms']:.3f} ms an update ({engine['cpu_ms']:.3f} of CPU)")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.work:
            work = make_work(name, options.data, options.batches)
            file = Path(folder) / f"{name}.pt"
            torch.save({"name": work.name, "batches": work.batches}, file)
            asked = options.peers or PEERS[name]
            peers = [p for p in asked if p in PEERS[name] and (has_hf or not p.startswith("hf"))]
            if options.preload:
                peers += [p + PRELOADED for p in peers if p in ("hf:fp32", "bare:fp32")]
            results = take_turns([*SEQTRAIN, *peers], file, options)
            report(name, results, work.flops_per_target(), peaks, options.clock)
        measure_command(options, Path(folder))


def parse_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of seqtrain-preprocess")
    parser.add_argument("--work", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--peers", nargs="*", help="only these, such as bare:fp32")
    parser.add_argument("--preload", type=Path, help="library for one more run of the peers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=6, help="updates in a turn")
    parser.add_argument("--batches", type=int, default=30, help="different batches")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--short", action="store_true", help="a minute: translation, few rounds")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--work-file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.short:
        options.work, options.rounds, options.updates = ["translation"], 3, 2
        options.peers = options.peers or ["hf:fp32", "bare:fp32"]
    return options


def main() -> None:
    """Runs the command line."""
    options = parse_options()
    if options.worker:
        work_as(options.worker, options.work_file)
    else:
        run_all(options)


if __name__ == "__main__":
    main()
