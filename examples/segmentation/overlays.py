"""Draws examples of a split with their true classes and those that a model tells.

Usage: python overlays.py RUN OUT_FOLDER [INDEX ...]
"""

import sys
from pathlib import Path

import numpy as np

from seqtrain.data.labelled.data import open_labelled
from seqtrain.pipeline import load
from seqtrain.report.overlay import save_overlay

SPLIT = "test"


def main(run: Path, out: Path, indices: list[int]) -> None:
    """Writes one picture for each index."""
    pipeline = load(run, device="cpu")
    data = open_labelled(Path(pipeline.config.task.data))
    classes, side = data.info.classes, data.info.side
    ids = {name: index for index, name in enumerate(classes)}
    for index, row in pipeline.predict_split(SPLIT):
        if index not in indices:
            continue
        example = data.store(SPLIT).example(index)
        found = np.vectorize(ids.__getitem__)(np.array(row["labels"]))
        panels = {"truth": example.labels, "prediction": found}
        inputs = example.inputs
        if side is not None:
            symbols = [side.vocabulary.symbols[symbol] for symbol in example.inputs]
            inputs = [{"\\n": "\n", "\\\\": "\\"}.get(symbol, symbol) for symbol in symbols]
        path = out / f"{SPLIT}-{index}.png"
        save_overlay(path, inputs, panels, classes)
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(word) for word in sys.argv[3:]] or [0])
