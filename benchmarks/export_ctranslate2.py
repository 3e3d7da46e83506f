"""Outputs and scores of a translation model in CTranslate2, next to its own.

Run: python benchmarks/export_ctranslate2.py CHECKPOINT [--out FOLDER] [--split test]

Exports the checkpoint in float32 and in int8, translates the split of its data with each by greedy
search and with beam 5, in float32 and on one thread, and prints how many outputs are the same and
their sacreBLEU. Limits of length are 255 symbols and eos for all.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import ctranslate2
import numpy as np
import sacrebleu
import torch

from seqtrain.interop.export import ExportRequest, export
from seqtrain.pipeline import Pipeline, load

LONGEST = 255
Translate = Callable[[int], list[list[str]]]


@dataclass(frozen=True)
class Split:
    """Sentences as pieces, and what they should become."""

    sources: list[list[str]]
    references: list[str]


def main() -> None:
    """Compares, and prints a line for each width and kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = load(arguments.checkpoint, "cpu")
    precision = replace(pipeline.config.precision, dtype="fp32")
    pipeline = replace(pipeline, config=replace(pipeline.config, precision=precision))
    split = read(pipeline, arguments.split)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        systems = {"own": own(pipeline, arguments.split)}
        for quantization in ("", "int8"):
            out = folder / (quantization or "float32")
            export(ExportRequest(arguments.checkpoint, "ctranslate2", out, True, quantization))
            systems[out.name] = exported(out, split)
        for beam in (1, 5):
            compare(pipeline, split, systems, beam)


def read(pipeline: Pipeline, split: str) -> Split:
    """Returns the sentences of a split."""
    task = pipeline.task_with_data()
    store, vocabulary = task.dataset(split).source, task.source.vocabulary
    rows = (store.gather(np.array([index]))[0].tolist() for index in range(len(store)))
    references = [texts[0] for texts in task.references(split)]
    return Split([vocabulary.decode(row) for row in rows], references)


def own(pipeline: Pipeline, split: str) -> Translate:
    """Returns what translates with this package."""
    task = pipeline.task_with_data()
    common = replace(pipeline.config.generation, max_len_a=0.0, max_len_b=LONGEST, nbest=1)

    def translate(beam: int) -> list[list[str]]:
        found = pipeline.hypotheses_of_split(task, split, replace(common, beam=beam))
        return [task.target.vocabulary.decode(nbest[0].tokens) for _, nbest in found]

    return translate


def exported(folder: Path, split: Split) -> Translate:
    """Returns what translates with CTranslate2."""
    translator = ctranslate2.Translator(str(folder), device="cpu", intra_threads=1)

    def translate(beam: int) -> list[list[str]]:
        results = translator.translate_batch(
            split.sources, beam_size=beam, max_batch_size=32, max_decoding_length=LONGEST + 1
        )
        return [result.hypotheses[0] for result in results]

    return translate


def compare(pipeline: Pipeline, split: Split, systems: dict[str, Translate], beam: int) -> None:
    """Prints how many outputs of each system are those of the first, its score and its time."""
    first: list[list[str]] = []
    for name, translate in systems.items():
        start = time.perf_counter()
        outputs = translate(beam)
        seconds = time.perf_counter() - start
        first = first or outputs
        same = sum(a == b for a, b in zip(outputs, first, strict=True))
        texts = [pipeline.task.target.tokenizer.decode(pieces) for pieces in outputs]
        bleu = sacrebleu.corpus_bleu(texts, [split.references]).score
        print(
            f"beam {beam} {name}: {same} of {len(outputs)} the same, sacreBLEU {bleu:.2f}, "
            f"{seconds:.1f} s"
        )


if __name__ == "__main__":
    main()
