"""What a save costs: against a raw write of the same bytes, and to training that goes on.

    python benchmarks/checkpoint.py [FOLDER] [--parameters 60000000] [--rounds 7] [--tokens 1024]

A Transformer-like stack of linear layers with Adam's two moments, in fp32. In turns within one
minute: a raw write and fsync of as many bytes, a save at once, a save in the background during
which updates go on. Medians and ranges; the disk and the processors are shared with whatever else
runs.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from seqtrain.checkpoint.background_writer import CheckpointWriter
from seqtrain.distributed.collectives import Collectives

_DIM = 1024
_BLOCK = 4 * 2**20


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="where to write; a temporary folder if not given")
    parser.add_argument("--parameters", type=int, default=60_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=1024, help="rows of a batch")
    settings = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=settings.folder, prefix="benchmark-"))
    try:
        _measure(folder, settings.parameters, settings.tokens, settings.rounds)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, num_parameters: int, num_tokens: int, rounds: int) -> None:
    torch.manual_seed(0)
    layers = max(1, num_parameters // _DIM**2)
    model = nn.Sequential(*(nn.Linear(_DIM, _DIM, bias=False) for _ in range(layers)))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    batch = torch.randn(num_tokens, _DIM)

    def update() -> float:
        started = time.perf_counter()
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
        return time.perf_counter() - started

    update()
    parts = {"model": model.state_dict(), "optimizer": _moments(model, optimizer)}
    tensors = [tensor for part in parts.values() for tensor in part.values()]
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    at_once = CheckpointWriter(Collectives(), in_background=False)
    background = CheckpointWriter(Collectives(), in_background=True)
    times: dict[str, list[float]] = {name: [] for name in _ROWS}
    for number in range(rounds + 1):  # the first round touches all memory, and is not counted
        found = {"raw": _raw_write(folder / "raw", tensors)}
        found["at once"] = _timed_save(at_once, folder, 2 * number, parts)
        found["update"] = statistics.median(update() for _ in range(2))
        started = time.perf_counter()
        background.save(folder, 2 * number + 1, parts, {})
        found["stall"] = time.perf_counter() - started
        during = []
        while not background.can_finish:
            during.append(update())
        background.finish()
        found["background"] = time.perf_counter() - started
        found["update during"] = statistics.median(during) if during else found["update"]
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if number:
            for name, seconds in found.items():
                times[name].append(seconds)
    size = f"{num_bytes / 1e6:.0f} MB, {layers * _DIM**2 / 1e6:.0f} M parameters"
    print(f"{size}, {num_tokens} tokens an update, {rounds} rounds")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, title in _ROWS.items():
        print(f"{title:44s} {_spread(times[name])}")
    for title, one, other in (
        ("save at once / raw write", "at once", "raw"),
        ("stall / update", "stall", "update"),
        ("update during the write / update", "update during", "update"),
    ):
        ratios = [a / b for a, b in zip(times[one], times[other], strict=True)]
        print(f"{title:44s} {_spread(ratios, '')}")


_ROWS = {
    "raw": "raw write and fsync",
    "at once": "save at once",
    "background": "save in the background, until on the disk",
    "stall": "stall of the training thread",
    "update": "update",
    "update during": "update while a save is written",
}


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": optimizer.state[parameter][key]
        for name, parameter in model.named_parameters()
        for key in ("exp_avg", "exp_avg_sq")
    }


def _raw_write(path: Path, tensors: list[Tensor]) -> float:
    started = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for tensor in tensors:
        view = memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy())
        for begin in range(0, view.nbytes, _BLOCK):
            os.write(descriptor, view[begin : begin + _BLOCK])
    os.fsync(descriptor)
    os.close(descriptor)
    seconds = time.perf_counter() - started
    path.unlink()
    return seconds


def _timed_save(
    writer: CheckpointWriter, folder: Path, number: int, parts: dict[str, dict[str, Tensor]]
) -> float:
    started = time.perf_counter()
    writer.save(folder, number, parts, {})
    writer.finish()
    return time.perf_counter() - started


def _spread(values: list[float], unit: str = " s") -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.3f}{unit} [{low:.3f} .. {high:.3f}]"


if __name__ == "__main__":
    main()
