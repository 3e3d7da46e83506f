"""Scores what needs no training run, with the same code that scores the models.

The most frequent class everywhere; for text the most frequent class of a character between its two
neighbours; for images the threshold of Otsu (1979), whose border is the outermost pixel of what is
above it. Usage: python baselines.py DATA_FOLDER [TASK_SPANS]
"""

import json
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from seqtrain.data.labelled.data import LabelledData, open_labelled
from seqtrain.data.labelled.store import IGNORED, Example
from seqtrain.metrics import Metrics
from seqtrain.tasks.label_spans import SpanScheme, boundary_f1, span_f1
from seqtrain.tasks.segmentation_metrics import segmentation_metrics

IntArray = npt.NDArray[np.int64]


def examples(data: LabelledData, split: str) -> list[Example]:
    """Returns a whole split."""
    store = data.store(split)
    return store.gather(np.arange(len(store)))


def score(
    data: LabelledData, split: str, guesses: list[IntArray], spans: str
) -> dict[str, float | None]:
    """Returns the metrics of guesses, one array for each example; None where nothing is known."""
    metrics = Metrics()
    scheme = SpanScheme.of_classes(spans, data.info.classes) if spans else None
    for example, guess in zip(examples(data, split), guesses, strict=True):
        found, true = torch.from_numpy(guess)[None], torch.from_numpy(example.labels)[None]
        of_example = segmentation_metrics(found, true, IGNORED, data.info.classes)
        if scheme:
            is_real = true.ne(IGNORED)
            marks = scheme.marks(true, is_real), scheme.marks(found, is_real)
            of_example["span"] = span_f1(*marks)
            of_example["boundary"] = boundary_f1(*marks, is_real)
        metrics.merge(of_example)
    found = metrics.compute().items()
    return {name: None if math.isnan(value) else round(value, 2) for name, value in found}


def majority(data: LabelledData, split: str) -> list[IntArray]:
    """Returns the most frequent class of the training positions everywhere."""
    labels = np.concatenate([example.labels.reshape(-1) for example in examples(data, "train")])
    best = int(np.bincount(labels[labels != IGNORED]).argmax())
    return [np.full_like(example.labels, best) for example in examples(data, split)]


def lookup(data: LabelledData, split: str) -> list[IntArray]:
    """Returns the most frequent class of each character between its neighbours."""
    counts: Counter[tuple[int, int, int]] = Counter()  # window, character, class

    def windows(example: Example) -> list[list[int]]:
        padded = np.pad(example.inputs, 1)
        triples = (padded[:-2] * 4096 + padded[1:-1]) * 4096 + padded[2:]
        return [triples.tolist(), example.inputs.tolist()]

    for example in examples(data, "train"):
        counts.update(zip(*windows(example), example.labels.tolist(), strict=True))
    best: dict[int, tuple[int, int]] = {}
    for (window, _, label), count in counts.items():
        best[window] = max(best.get(window, (0, 0)), (count, label))
    of_character: dict[int, Counter[int]] = {}
    for (_, character, label), count in counts.items():
        of_character.setdefault(character, Counter())[label] += count
    fallback = {c: counter.most_common(1)[0][0] for c, counter in of_character.items()}
    guesses = []
    for example in examples(data, split):
        guess = [
            best[window][1] if window in best else fallback.get(character, 0)
            for window, character in zip(*windows(example), strict=True)
        ]
        guesses.append(np.array(guess, dtype=np.int64))
    return guesses


def otsu_threshold(values: npt.NDArray[np.float32]) -> float:
    """Returns the threshold with the largest variance between what lies below and above it."""
    counts, edges = np.histogram(values, bins=256)
    centers = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * centers)
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = sums / below - (sums[-1] - sums) / above
    return float(edges[1 + int(np.nanargmax(below * above * apart**2))])


def otsu(data: LabelledData, split: str, has_border: bool) -> list[IntArray]:
    """Returns background and interior by the training image's threshold, and perhaps border."""
    classes = data.info.classes
    threshold = otsu_threshold(examples(data, "train")[0].inputs)
    guesses = []
    for example in examples(data, split):
        is_nucleus = example.inputs[..., 0] > threshold
        guess = np.where(is_nucleus, classes.index("interior"), classes.index("background"))
        if has_border:
            around = np.pad(is_nucleus, 1, mode="edge")
            height, width = is_nucleus.shape
            inner = np.ones_like(is_nucleus)
            for down in range(3):
                for right in range(3):
                    inner &= around[down : down + height, right : right + width]
            guess[is_nucleus & ~inner] = classes.index("border")
        guesses.append(guess.astype(np.int64))
    return guesses


def main(folder: Path, spans: str) -> None:
    """Prints the scores on the test split, one JSON object a line."""
    data = open_labelled(folder)
    found = {"majority": majority(data, "test")}
    if data.info.side:
        found["lookup"] = lookup(data, "test")
    else:
        found["otsu"] = otsu(data, "test", has_border=False)
        found["otsu with border"] = otsu(data, "test", has_border=True)
    for name, guesses in found.items():
        print(json.dumps({"baseline": name, **score(data, "test", guesses, spans)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
