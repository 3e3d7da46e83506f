"""Runs the ETTh1 experiments one after the other and prints the table of RESULTS.md.

python examples/forecasting/etth1.py --data data/etth1 --runs runs/etth1

A run that has a test_metrics.json is not repeated; one that was stopped goes on.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqtrain_cli.entry import run_command
from seqtrain_cli.train import COMMAND

HORIZONS = (96, 192, 336, 720)
REPEATED = [(1.295, 0.713), (1.325, 0.733), (1.323, 0.744), (1.339, 0.756)]
PUBLISHED: dict[str, list[tuple[float, float]]] = {
    "repeat_last": REPEATED,
    "repeat_last_full_batches": REPEATED,
    "nlinear": [(0.374, 0.394), (0.408, 0.415), (0.429, 0.427), (0.440, 0.453)],
    "dlinear": [(0.375, 0.399), (0.405, 0.416), (0.439, 0.443), (0.472, 0.490)],
    "patch_tst": [(0.375, 0.399), (0.414, 0.421), (0.431, 0.436), (0.449, 0.466)],
    "itransformer": [(0.386, 0.405), (0.441, 0.436), (0.487, 0.458), (0.503, 0.491)],
}
"""MSE and MAE by horizon: Zeng et al. 2023 (the linear models), Nie et al. 2023 (patch_tst and
repeat_last as quoted in later tables), Liu et al. 2024 (itransformer, look-back 96)."""
ONE_SEED = {"repeat_last", "repeat_last_full_batches"}
"""Models without randomness."""


@dataclass(frozen=True)
class Score:
    """Test errors of a run."""

    mse: float
    mae: float


def main() -> int:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/etth1")
    parser.add_argument("--runs", default="runs/etth1")
    parser.add_argument("--models", nargs="+", default=list(PUBLISHED))
    parser.add_argument("--horizons", nargs="+", type=int, default=list(HORIZONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    options = parser.parse_args()
    runs = Path(options.runs)
    if not options.table_only:
        for model in options.models:
            for horizon in options.horizons:
                for seed in options.seeds[: 1 if model in ONE_SEED else None]:
                    code = run(model, horizon, seed, options.data, runs)
                    if code:
                        return code
    for line in table(runs, options.models, options.horizons):
        print(line)
    return 0


def run(model: str, horizon: int, seed: int, data: str, runs: Path) -> int:
    """Trains and tests one run, unless that has been done; returns the exit code."""
    folder = folder_of(runs, model, horizon, seed)
    if (folder / "test_metrics.json").exists():
        return 0
    words = [
        f"experiment=etth1_{model.removesuffix('_full_batches')}",
        f"task.horizon={horizon}",
        f"task.data={data}",
        f"seed={seed}",
        f"run_dir={folder}",
        "log_writer=jsonl",
    ]
    if model.endswith("_full_batches"):
        # The published figures leave out the last windows, which do not fill a batch of 32.
        num_windows = (2881 - horizon) // 32 * 32
        rows = num_windows + horizon - 1
        words += ["task.split_preset=''", f"task.split_counts=[8640,2880,{rows}]"]
    print("seqtrain-train", *words, flush=True)
    return run_command(COMMAND, words)


def table(runs: Path, models: list[str], horizons: list[int]) -> Iterator[str]:
    """Yields a Markdown table of all finished runs."""
    yield "| model | horizon | seeds | MSE | MAE | published MSE / MAE | difference | MSE by seed |"
    yield "|---|---|---|---|---|---|---|---|"
    for model in models:
        means = []
        for horizon in horizons:
            scores = list(read(runs, model, horizon))
            if not scores:
                continue
            mse, mae = [s.mse for s in scores], [s.mae for s in scores]
            means.append(Score(statistics.mean(mse), statistics.mean(mae)))
            published = PUBLISHED[model][HORIZONS.index(horizon)]
            yield (
                f"| {model} | {horizon} | {len(scores)} | {spread(mse)} | {spread(mae)} "
                f"| {published[0]:.3f} / {published[1]:.3f} "
                f"| {100 * (means[-1].mse / published[0] - 1):+.1f} % / "
                f"{100 * (means[-1].mae / published[1] - 1):+.1f} % "
                f"| {', '.join(f'{value:.4f}' for value in mse)} |"
            )
        if len(means) == len(HORIZONS):
            average = [statistics.mean(values) for values in zip(*PUBLISHED[model], strict=True)]
            yield (
                f"| {model} | average | | {statistics.mean(m.mse for m in means):.4f} "
                f"| {statistics.mean(m.mae for m in means):.4f} "
                f"| {average[0]:.3f} / {average[1]:.3f} | | |"
            )


def read(runs: Path, model: str, horizon: int) -> Iterator[Score]:
    """Yields the scores of all seeds."""
    for path in sorted(folder_of(runs, model, horizon, 0).parent.glob("seed*/test_metrics.json")):
        values = json.loads(path.read_text())
        yield Score(values["test_mse"], values["test_mae"])


def spread(values: list[float]) -> str:
    """Returns mean and standard deviation."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def folder_of(runs: Path, model: str, horizon: int, seed: int) -> Path:
    """Returns where a run is."""
    return runs / model / f"horizon{horizon}" / f"seed{seed}"


if __name__ == "__main__":
    sys.exit(main())
