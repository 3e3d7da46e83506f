"""Prints what naive classifiers reach on a prepared set, scored by the metrics of the runs.

Usage: python baselines.py DATA_FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from seqtrain.data.labelled.data import open_labelled
from seqtrain.data.labelled.store import IGNORED, LabelledStore
from seqtrain.plugins import import_built_ins
from seqtrain.tasks.class_metrics import class_metrics

LENGTH = 20
"""Positions that every sequence is brought to, by interpolation along time."""


def features(store: LabelledStore) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns one row of numbers for each example, and its class."""
    rows, labels = [], []
    for index in range(len(store)):
        example = store.example(index)
        rows.append(_resampled(example.inputs) if store.rank == 1 else example.inputs.reshape(-1))
        labels.append(int(example.labels))
    return torch.tensor(np.stack(rows), dtype=torch.float32), torch.tensor(labels)


def majority(x: torch.Tensor, y: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
    """The most frequent class, for every example."""
    return F.one_hot(torch.bincount(y).argmax(), int(y.max()) + 1).float().expand(len(test), -1)


def nearest(x: torch.Tensor, y: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
    """The class of the training example with the least Euclidean distance."""
    return F.one_hot(y[torch.cdist(test, x).argmin(dim=1)], int(y.max()) + 1).float()


def linear(x: torch.Tensor, y: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
    """Multinomial logistic regression with a little decay, to its optimum."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(x.shape[1], int(y.max()) + 1)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(x), y) + 1e-4 * layer.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return layer(test)


def main(path: Path) -> None:
    """Prints one line for each classifier."""
    import_built_ins()
    data = open_labelled(path)
    parts = [features(data.store(split)) for split in ("train", "valid")]
    x, y = (torch.cat(both) for both in zip(*parts, strict=True))
    test, truth = features(data.store("test"))
    for name, classify in (("majority", majority), ("1-NN", nearest), ("linear", linear)):
        values = class_metrics(classify(x, y, test), truth, IGNORED).compute()
        print(f"{name}: accuracy {values['accuracy']:.2f}, macro-F1 {values['macro_f1']:.2f}")


def _resampled(series: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if len(series) >= 2 * LENGTH:  # long enough to keep as it is: these are all of one length
        return series.reshape(-1)
    places, known = np.linspace(0.0, len(series) - 1.0, LENGTH), np.arange(len(series))
    return np.stack([np.interp(places, known, channel) for channel in series.T]).reshape(-1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
