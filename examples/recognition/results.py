"""Prints mean and spread of the test over runs of several seeds: python results.py RUN RUN ..."""

import json
import sys
from pathlib import Path

import numpy as np


def main(runs: list[Path]) -> None:
    """Prints a line for each value."""
    found = [json.loads((run / "test_metrics.json").read_text()) for run in runs]
    for name in found[0]:
        values = np.array([row[name] for row in found], dtype=np.float64)
        listed = ", ".join(f"{value:.2f}" for value in values)
        print(f"{name}: mean {values.mean():.2f}, std {values.std(ddof=1):.2f} ({listed})")


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
