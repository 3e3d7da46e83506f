"""Measures seqtrain-preprocess with a given SentencePiece model on a text of any size.

Run: python benchmarks/preprocessing.py FOLDER SOURCE_TEXT TARGET_TEXT MODEL MEGABYTES [WORKERS ...]

The texts are repeated in FOLDER until both together have that many megabytes; 0 takes them as
they are. Reported are wall and processor times of `wc -l` (warm), of SentencePiece alone on both
texts in one thread and in large calls (as pieces, and as the ids that the command uses), and of
the whole command, start of Python included. Processor times hold on a machine that others use.
With FAIRSEQ_PYTHON set to a Python that has fairseq and sentencepiece, fairseq-preprocess is
measured on the same text, cut into the same pieces; the cutting is measured beside it. With
SOCKEYE_PYTHON set as well, so is `sockeye.prepare_data`.
"""

import itertools
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sentencepiece import SentencePieceProcessor

LINES_AT_ONCE = 4096
CUT = """
import itertools, sys
from sentencepiece import SentencePieceProcessor
processor = SentencePieceProcessor(model_file=sys.argv[1])
with open(sys.argv[2], encoding="utf-8", newline="\\n") as text, open(sys.argv[3], "w") as out:
    while True:
        lines = [line.rstrip("\\n") for line in itertools.islice(text, 4096)]
        if not lines:
            break
        out.writelines(" ".join(line) + "\\n" for line in processor.encode(lines, out_type=str))
"""


def make_text(folder: Path, texts: list[Path], megabytes: int) -> list[Path]:
    """Returns files x.a and x.b: the texts, as often as needed."""
    repeats = max(1, round(megabytes * 1e6 / sum(text.stat().st_size for text in texts)))
    written = [folder / "x.a", folder / "x.b"]
    for text, path in zip(texts, written, strict=True):
        content = text.read_bytes()
        with path.open("wb") as file:
            file.writelines(itertools.repeat(content, repeats))
    return written


def count_lines(texts: list[Path]) -> None:
    """Runs wc -l."""
    subprocess.run(["wc", "-l", *map(str, texts)], check=True, stdout=subprocess.DEVNULL)


def tokenize(texts: list[Path], model: Path, kind: type) -> None:
    """Cuts the texts into pieces or ids and does nothing with them."""
    processor = SentencePieceProcessor(model_file=str(model))
    for text in texts:
        with text.open(encoding="utf-8", newline="\n") as file:
            while lines := [line.rstrip("\n") for line in itertools.islice(file, LINES_AT_ONCE)]:
                processor.encode(lines, out_type=kind, num_threads=1)


def prepare(folder: Path, model: Path, num_workers: int) -> None:
    """Runs the command."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    arguments = [
        "task=translation",
        "task.source=a",
        "task.target=b",
        f"task.train={folder / 'x'}",
        "task.joined=true",
        "task.vocab_size=0",
        f"task.tokenizer_options.model={model}",
        f"num_workers={num_workers}",
        f"out={folder / 'out'}",
    ]
    command = [sys.executable, "-m", "seqtrain_cli.preprocess", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def cut_for_fairseq(folder: Path, model: Path, python: str) -> None:
    """Writes files of pieces, as fairseq needs them."""
    for name in ("a", "b"):
        files = [str(model), str(folder / f"x.{name}"), str(folder / f"cut.{name}")]
        subprocess.run([python, "-c", CUT, *files], check=True)


def fairseq(folder: Path, python: str, num_workers: int) -> None:
    """Runs fairseq-preprocess on the files of pieces."""
    shutil.rmtree(folder / "data-bin", ignore_errors=True)
    command = [python, "-m", "fairseq_cli.preprocess", "-s", "a", "-t", "b"]
    command += ["--trainpref", str(folder / "cut"), "--joined-dictionary"]
    command += ["--workers", str(num_workers), "--destdir", str(folder / "data-bin")]
    silent = subprocess.DEVNULL
    subprocess.run(command, check=True, stdout=silent, stderr=silent)


def sockeye(folder: Path, python: str, num_workers: int) -> None:
    """Runs sockeye.prepare_data on the files of pieces."""
    shutil.rmtree(folder / "sockeye", ignore_errors=True)
    command = [python, "-m", "sockeye.prepare_data", "--shared-vocab"]
    command += ["--source", str(folder / "cut.a"), "--target", str(folder / "cut.b")]
    command += ["--max-processes", str(num_workers), "--output", str(folder / "sockeye")]
    silent = subprocess.DEVNULL
    subprocess.run(command, check=True, stdout=silent, stderr=silent)


def processor_seconds() -> float:
    """Returns the processor time of this process and of those that it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(name: str, step: Callable[[], None], megabytes: float) -> None:
    """Runs a step and prints a line."""
    began, used = time.perf_counter(), processor_seconds()
    step()
    wall, used = time.perf_counter() - began, processor_seconds() - used
    print(
        f"{name:40} {wall:8.2f} s {megabytes / wall:8.1f} MB/s   processor {used:8.2f} s "
        f"{megabytes / max(used, 1e-9):8.1f} MB/s",
        flush=True,
    )


def main() -> None:
    """Runs the command line."""
    folder, model = Path(sys.argv[1]), Path(sys.argv[4])
    folder.mkdir(parents=True, exist_ok=True)
    texts = make_text(folder, [Path(sys.argv[2]), Path(sys.argv[3])], int(sys.argv[5]))
    megabytes = sum(text.stat().st_size for text in texts) / 1e6
    counts = [int(word) for word in sys.argv[6:]] or [1]
    count_lines(texts)
    print(f"{megabytes:.1f} MB, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    measure("wc -l", lambda: count_lines(texts), megabytes)
    for name, kind in (("pieces", str), ("ids", int)):
        title = f"SentencePiece alone, {name}, 1 thread"
        measure(title, lambda kind=kind: tokenize(texts, model, kind), megabytes)  # type: ignore[misc] # a default argument of a lambda
    for count in counts:
        title = f"seqtrain-preprocess, num_workers={count}"
        measure(title, lambda count=count: prepare(folder, model, count), megabytes)  # type: ignore[misc] # the same
    if python := os.environ.get("FAIRSEQ_PYTHON"):
        measure("cutting for fairseq", lambda: cut_for_fairseq(folder, model, python), megabytes)
        for count in counts:
            title = f"fairseq-preprocess, --workers {count}"
            measure(title, lambda count=count: fairseq(folder, python, count), megabytes)  # type: ignore[misc] # the same
    if python := os.environ.get("SOCKEYE_PYTHON"):
        for count in counts:
            title = f"sockeye.prepare_data, {count} processes"
            measure(title, lambda count=count: sockeye(folder, python, count), megabytes)  # type: ignore[misc] # the same
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
