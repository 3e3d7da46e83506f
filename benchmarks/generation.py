"""Sentences per second of the search, interleaved with Hugging Face generate of the same weights.

  python benchmarks/generation.py --text DATA/test_2016_flickr.en --rounds 3
  python benchmarks/generation.py --text FILE --beams 1 5 20 --sampling --latency

All outputs have 16 symbols, so that every system does the same work; the model has random weights
(Transformer 3 + 3, width 256, 8,000 symbols, post-norm). One thread. Times are CPU seconds of this
process, and each round gives one ratio: the spread is that of the ratios. Outputs are compared.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from generation_hf import build, generate
from torch import Tensor

from seqtrain.batch import Batch
from seqtrain.generation.base import GenerationConfig
from seqtrain.generation.build import build_search
from seqtrain.models.base import ModelContext
from seqtrain.models.transformer import TransformerConfig, TransformerModel
from seqtrain.optim.precision import PrecisionConfig, choose_cpu_products

VOCAB_SIZE, LENGTH, PADDING, EOS = 8000, 16, 1, 2
CONFIG = TransformerConfig(norm="post", positions="marian", share_embeddings="all", dropout=0.1)
CONTEXT = ModelContext(
    source_vocab_size=VOCAB_SIZE, target_vocab_size=VOCAB_SIZE, shared_vocab=True
)
Outputs = list[list[int]]


def source_batches(text: Path, batch_size: int, limit: int) -> list[Tensor]:
    """Returns lines as batches of symbol ids in the order of length; words are hashed to ids."""
    lines = text.read_text(encoding="utf-8").splitlines()[:limit]
    rows = [
        [4 + sum(map(ord, word)) * 7919 % (VOCAB_SIZE - 4) for word in line.split()] + [EOS]
        for line in lines
    ]
    rows.sort(key=len)
    batches = []
    for begin in range(0, len(rows), batch_size):
        part = rows[begin : begin + batch_size]
        longest = len(part[-1])
        batches.append(torch.tensor([row + [PADDING] * (longest - len(row)) for row in part]))
    return batches


def search(
    model: TransformerModel, batches: Sequence[Tensor], beam: int, sampling: bool
) -> Outputs:
    """Returns the best output of each sentence."""
    config = GenerationConfig(beam=beam, min_len=LENGTH, max_len_b=LENGTH, sampling=sampling)
    generator = build_search([model], config, CONTEXT)
    begins = [0]
    for source in batches:
        begins.append(begins[-1] + len(source))
    examples = (
        Batch(
            inputs={"source_tokens": source},
            targets=source,
            ids=torch.arange(begin, begin + len(source)),
            num_targets=0,
        )
        for begin, source in zip(begins, batches, strict=False)
    )
    found = dict(generator.stream(examples))
    return [found[index][0].tokens for index in range(len(found))]


def seconds(work: Callable[[], Outputs]) -> tuple[float, Outputs]:
    """Returns the CPU seconds of work, and what it gives."""
    begin = time.process_time()
    outputs = work()
    return time.process_time() - begin, outputs


def compare(
    name: str, ours: Callable[[], Outputs], theirs: Callable[[], Outputs], rounds: int
) -> None:
    """Prints sentences per second of both and their ratio, over interleaved rounds."""
    rates: tuple[list[float], list[float]] = ([], [])
    same = total = 0
    for _ in range(rounds):
        torch.set_float32_matmul_precision("highest")
        their_seconds, their_outputs = seconds(theirs)
        choose_cpu_products(PrecisionConfig())
        our_seconds, our_outputs = seconds(ours)
        total = len(our_outputs)
        same = sum(a == b for a, b in zip(our_outputs, their_outputs, strict=True))
        rates[0].append(total / our_seconds)
        rates[1].append(total / their_seconds)
    ratios = [a / b for a, b in zip(*rates, strict=True)]
    print(
        f"{name}: {statistics.median(rates[0]):.1f} against {statistics.median(rates[1]):.1f} "
        f"sentences/s, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), equal outputs {same} of {total}",
        flush=True,
    )


def main() -> None:
    """Runs the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--beams", type=int, nargs="*", default=[5])
    parser.add_argument("--sampling", action="store_true")
    parser.add_argument("--latency", action="store_true", help="one sentence at a time")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = TransformerModel.from_config(CONFIG, CONTEXT).eval()
    marian = build(CONFIG, model)
    batches = source_batches(settings.text, settings.batch_size, settings.sentences)
    cases = [(f"beam {beam}", beam, False, batches) for beam in settings.beams]
    if settings.sampling:
        cases.append(("sampling", 1, True, batches))
    if settings.latency:
        single = source_batches(settings.text, 1, 40)
        cases.append(("beam 5, one sentence at a time", 5, False, single))
    for name, beam, sampling, sources in cases:
        compare(
            name,
            lambda b=beam, s=sampling, x=sources: search(model, x, b, s),
            lambda b=beam, s=sampling, x=sources: generate(marian, x, b, LENGTH, s),
            settings.rounds,
        )


if __name__ == "__main__":
    main()
