r"""Sentences per second of the search, in turns with the searches of other systems.

  python benchmarks/generation.py --run RUN --rounds 3
  python benchmarks/generation.py --run RUN --beams 1 5 20 --sampling --latency \
      --fairseq-python VENV/bin/python

All search one model with the same weights: RUN is a pre-norm Transformer for translation with one
vocabulary, as examples/translation trains. Hugging Face's generate has it as M2M100 (extra
`bench`), fairseq 0.12.2 as its Transformer in a Python 3.8 of its own. Batches are the same for
all. One thread; times are CPU seconds of the process that searches. Each round gives one ratio to
each system, and the spread is that of the ratios. Outputs are compared symbol by symbol.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from generation_hf import HuggingFace
from generation_systems import CaseOptions, FairseqProcess, separate_weights
from torch import Tensor

from seqtrain.batch import Batch
from seqtrain.generation.base import GenerationConfig
from seqtrain.models.transformer import TransformerModel
from seqtrain.optim.precision import PrecisionConfig, choose_cpu_products
from seqtrain.pipeline import Pipeline, load

Outputs = list[list[int]]
LONGEST = 60
"""Most symbols of an output: no sentence of the test set needs as many."""


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    options: CaseOptions
    batches: list[Tensor]


def source_batches(pipeline: Pipeline, batch_size: int, limit: int) -> list[Tensor]:
    """Returns the sources of the test split as batches, shortest first."""
    dataset = pipeline.task_with_data().dataset("test")
    order = np.argsort(dataset.lengths[:limit, 0], kind="stable")
    parts = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
    return [dataset.batch(part, 1).inputs["source_tokens"] for part in parts]


def search(pipeline: Pipeline, batches: Sequence[Tensor], options: CaseOptions) -> Outputs:
    """Returns the best output of each sentence."""
    config = GenerationConfig(
        beam=options.beam, max_len_a=0.0, max_len_b=LONGEST, sampling=options.sampling
    )
    generator = pipeline.task.build_generator([pipeline.model], config)
    begins = np.cumsum([0, *(len(source) for source in batches)]).tolist()
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


def timed(work: Callable[[], Outputs]) -> tuple[float, Outputs]:
    """Returns the CPU seconds of work in this process, and what it gives."""
    begin = time.process_time()
    outputs = work()
    return time.process_time() - begin, outputs


Searches = Mapping[str, Callable[[Sequence[Tensor], CaseOptions], tuple[float, Outputs]]]


def compare(case: Case, searches: Searches, rounds: int) -> None:
    """Prints sentences per second of each system, and its ratio to ours, over the rounds."""
    rates: dict[str, list[float]] = {name: [] for name in searches}
    outputs: dict[str, Outputs] = {}
    for _ in range(rounds):
        for name, run in searches.items():
            seconds, outputs[name] = run(case.batches, case.options)
            rates[name].append(len(outputs[name]) / seconds)
    first, *others = searches
    total = len(outputs[first])
    length = sum(map(len, outputs[first])) / total
    print(f"{case.name}: {statistics.median(rates[first]):.1f} sentences/s, {length:.1f} symbols")
    for name in others:
        ratios = [a / b for a, b in zip(rates[first], rates[name], strict=True)]
        same = sum(a == b for a, b in zip(outputs[first], outputs[name], strict=True))
        length = sum(map(len, outputs[name])) / total
        print(
            f"  {name}: {statistics.median(rates[name]):.1f} sentences/s, {length:.1f} symbols, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"equal outputs {same} of {total}",
            flush=True,
        )


def cases(settings: argparse.Namespace, pipeline: Pipeline) -> list[Case]:
    """Returns what the command line asks for."""
    batches = source_batches(pipeline, settings.batch_size, settings.sentences)
    found = [Case(f"beam {beam}", CaseOptions(beam), batches) for beam in settings.beams]
    if settings.sampling:
        found.append(Case("sampling", CaseOptions(1, sampling=True), batches))
    if settings.latency:
        single = source_batches(pipeline, 1, settings.single_sentences)
        for beam in (1, 5):
            found.append(Case(f"beam {beam}, one at a time", CaseOptions(beam), single))
    return found


def main() -> None:
    """Runs the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="a run folder, with its data")
    parser.add_argument("--beams", type=int, nargs="*", default=[5])
    parser.add_argument("--sampling", action="store_true")
    parser.add_argument("--latency", action="store_true", help="one sentence at a time")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--single-sentences", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fairseq-python", default="", help="interpreter that has fairseq")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = load(settings.run, "cpu")
    model, config = pipeline.model, pipeline.config.model
    if not isinstance(model, TransformerModel) or config.norm != "pre":
        parser.error("--run must be of a pre-norm Transformer, as the other systems know it.")
    weights = separate_weights(model, config)
    peer = HuggingFace(config, weights, LONGEST)

    def ours(batches: Sequence[Tensor], options: CaseOptions) -> tuple[float, Outputs]:
        choose_cpu_products(PrecisionConfig())
        return timed(lambda: search(pipeline, batches, options))

    def theirs(batches: Sequence[Tensor], options: CaseOptions) -> tuple[float, Outputs]:
        torch.set_float32_matmul_precision("highest")
        return timed(lambda: peer.generate(batches, options))

    searches = {"seqtrain": ours, "Hugging Face": theirs}
    with ExitStack() as stack:
        if settings.fairseq_python:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            fairseq = FairseqProcess(settings.fairseq_python, config, weights, folder, LONGEST)
            searches["fairseq"] = stack.enter_context(fairseq).generate
        for case in cases(settings, pipeline):
            compare(case, searches, settings.rounds)


if __name__ == "__main__":
    main()
