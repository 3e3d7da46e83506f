"""Opens and iterates a synthetic corpus of any size, and reports time and memory.

Run: python benchmarks/large_corpus.py FOLDER NUM_EXAMPLES [NUM_WORKERS]

The corpus is made in FOLDER (16 bytes a pair for its indices; its tokens are a hole in the file,
which takes no room) unless it is there already. Times are wall times; planning has processor time
too, which holds on a machine that others use. Memory is that of this process above what the
imports take: "resident" counts the pages of mapped files too, which the system takes back when it
needs room, and "peak" is the most of it so far; "private" is what nobody else can use (USS).
"""

import gc
import multiprocessing
import resource
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from seqtrain.data.batching import DatasetConfig
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.data.epoch_plan import EpochPlan
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.token_store import HEADER, HEADER_BYTES, MAGIC, VERSION, TokenStore

VOCAB_SIZE = 32_000
CHUNK = 1 << 22
NUM_GROUPS = 30


def make_store(prefix: Path, num_examples: int, seed: int) -> None:
    """Writes a store of sequences of 2 to about 150 ids, all of them 0."""
    generator = np.random.default_rng(seed)
    index, total, crc = Path(f"{prefix}.index"), 0, 0
    with index.open("wb") as file:
        file.write(bytes(HEADER_BYTES))
        file.write(first := np.zeros(1, dtype="<i8").tobytes())
        crc = zlib.crc32(first)
        for begin in range(0, num_examples, CHUNK):
            size = min(CHUNK, num_examples - begin)
            lengths = 2 + generator.gamma(2.0, 12.0, size).astype(np.int64)
            offsets = (total + np.cumsum(lengths)).astype("<i8")
            file.write(offsets.data)
            crc = zlib.crc32(offsets.data, crc)
            total = int(offsets[-1])
        header = HEADER.pack(MAGIC, VERSION, 2, num_examples, total, VOCAB_SIZE, 0, crc)
        file.seek(0)
        file.write(header + struct.pack("<II", zlib.crc32(header), 0))
    with Path(f"{prefix}.tokens").open("wb") as file:
        file.truncate(2 * total)


def memory(pid: str = "self") -> tuple[float, float]:
    """Returns resident and private megabytes of a process."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name] = int(value) / 1024
    return fields["Rss:"], fields["Private_Clean:"] + fields["Private_Dirty:"]


def report(what: str, seconds: float, start: tuple[float, float]) -> None:
    """Prints a line with time and memory above the start."""
    resident, private = (now - then for now, then in zip(memory(), start, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - start[0]
    print(
        f"{what:44} {seconds:7.3f} s   resident +{resident:4.0f} MB   private +{private:4.0f} MB   "
        f"peak +{peak:4.0f} MB"
    )


def open_and_seek(prefixes: list[Path]) -> None:
    """Opens the corpus, takes the first batch, and one in the middle of the epoch."""
    gc.collect()
    start = memory()
    began = time.perf_counter()
    dataset = PairDataset(*(TokenStore(prefix) for prefix in prefixes))
    iterator = EpochIterator(dataset, DatasetConfig(), seed=1)
    next(iterator.groups(1))
    report("opening and first batch", time.perf_counter() - began, start)
    windows = EpochPlan(dataset, DatasetConfig(), 1, shuffle=True).num_windows
    state = iterator.state_dict() | {"window": windows // 2, "consumed": 7}
    began = time.perf_counter()
    middle = EpochIterator(dataset, DatasetConfig(), seed=1)
    middle.load_state_dict(state)
    next(middle.groups(1))
    report("a new iterator, to the middle of the epoch", time.perf_counter() - began, start)


def plan_windows(prefixes: list[Path]) -> None:
    """Plans ten windows with one core."""
    dataset = PairDataset(*(TokenStore(prefix) for prefix in prefixes))
    plan = EpochPlan(dataset, DatasetConfig(), 1, shuffle=True)
    count, began, used = 0, time.perf_counter(), time.process_time()
    for index in range(min(10, plan.num_windows)):
        count += sum(len(batch) for batch in plan.window(1, index))
    seconds, used = time.perf_counter() - began, time.process_time() - used
    print(
        f"{'planning':48} {count / seconds / 1e6:7.2f} million examples/s, "
        f"{count / used / 1e6:.2f} a second of processor time"
    )


def worker_memory(prefixes: list[Path], num_workers: int) -> None:
    """Reports the private memory of each worker after some batches."""
    dataset = PairDataset(*(TokenStore(prefix) for prefix in prefixes))
    config = DatasetConfig(num_workers=num_workers)
    groups = EpochIterator(dataset, config, seed=1).groups(1)
    for _ in range(NUM_GROUPS):
        next(groups)
    workers = [str(child.pid) for child in multiprocessing.active_children()]
    sizes = ", ".join(f"{memory(pid)[1]:.1f}" for pid in workers)
    print(f"{'private memory of each worker':48} {sizes} MB")


def main() -> None:
    """Runs the command line."""
    folder, num_examples = Path(sys.argv[1]), int(sys.argv[2])
    num_workers = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    folder.mkdir(parents=True, exist_ok=True)
    prefixes = [folder / f"synthetic-{num_examples}.{side}" for side in ("source", "target")]
    for seed, prefix in enumerate(prefixes):
        if not Path(f"{prefix}.tokens").exists():
            make_store(prefix, num_examples, seed)
    print(f"{num_examples} pairs")
    open_and_seek(prefixes)
    plan_windows(prefixes)
    worker_memory(prefixes, num_workers)


if __name__ == "__main__":
    main()
