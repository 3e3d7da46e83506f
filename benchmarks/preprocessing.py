"""Measures seqtrain-preprocess with a given SentencePiece model on a text of any size.

Run: python benchmarks/preprocessing.py FOLDER SOURCE_TEXT TARGET_TEXT MODEL MEGABYTES [WORKERS ...]

The texts are repeated in FOLDER until both together have that many megabytes; 0 takes them as
they are. Reported are wall times of `wc -l` (warm), of SentencePiece alone on both texts in one
thread and in large calls, and of the whole command, start of Python included.
"""

import itertools
import subprocess
import sys
import time
from pathlib import Path

from sentencepiece import SentencePieceProcessor

LINES_AT_ONCE = 4096


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


def tokenize(texts: list[Path], model: Path) -> None:
    """Cuts the texts into pieces and does nothing with them."""
    processor = SentencePieceProcessor(model_file=str(model))
    for text in texts:
        with text.open(encoding="utf-8", newline="\n") as file:
            while lines := [line.rstrip("\n") for line in itertools.islice(file, LINES_AT_ONCE)]:
                processor.encode(lines, out_type=str, num_threads=1)


def prepare(folder: Path, model: Path, num_workers: int) -> None:
    """Runs the command."""
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


def main() -> None:
    """Runs the command line."""
    folder, model = Path(sys.argv[1]), Path(sys.argv[4])
    folder.mkdir(parents=True, exist_ok=True)
    texts = make_text(folder, [Path(sys.argv[2]), Path(sys.argv[3])], int(sys.argv[5]))
    megabytes = sum(text.stat().st_size for text in texts) / 1e6
    steps = [
        ("wc -l", lambda: count_lines(texts)),
        ("SentencePiece alone, 1 thread", lambda: tokenize(texts, model)),
    ]
    for num_workers in [int(word) for word in sys.argv[6:]] or [1]:
        name = f"seqtrain-preprocess, num_workers={num_workers}"
        steps.append((name, lambda num_workers=num_workers: prepare(folder, model, num_workers)))  # type: ignore[misc] # a default argument of a lambda
    count_lines(texts)
    print(f"{megabytes:.1f} MB")
    for name, step in steps:
        began = time.perf_counter()
        step()
        seconds = time.perf_counter() - began
        print(f"{name:40} {seconds:8.2f} s {megabytes / seconds:9.1f} MB/s")


if __name__ == "__main__":
    main()
