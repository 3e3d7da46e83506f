"""Learning curves in fp32 and bf16 with several seeds: does bf16 train as well?

Run: python benchmarks/learning_curves.py --data FOLDER [--updates 2000] [--seeds 3] [--every 200]

FOLDER is one of seqtrain-preprocess. Every run is the same but for its seed and
`precision.dtype`; what is compared is the validation loss, in nats a target. Runs lie in --out,
and one that is complete is not made again.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from seqtrain.pipeline import train

DTYPES = ("fp32", "bf16")


def config(options: argparse.Namespace, dtype: str, seed: int) -> dict[str, Any]:
    """Returns the config of a run."""
    return {
        "run_dir": str(run_dir(options, dtype, seed)),
        "device": "cpu",
        "seed": seed,
        "task": {"name": "translation", "data": str(options.data)},
        "model": {"name": "transformer", "dropout": 0.1},
        "criterion": {"name": "label_smoothed_cross_entropy"},
        "optimizer": {"name": "adam", "lr": 1e-3},
        "lr_scheduler": {"name": "inverse_sqrt", "warmup_updates": options.updates // 5},
        "dataset": {"max_tokens": options.max_tokens},
        "optimization": {"max_update": options.updates},
        "validation": {
            "validate_interval": 0,
            "validate_interval_updates": options.every,
            "test_split": "",
        },
        "checkpoint": {"save_interval": 0, "save_interval_updates": options.every, "keep_last": 2},
        "precision": {"dtype": dtype},
        "log_writer": {"jsonl": {}},
    }


def run_dir(options: argparse.Namespace, dtype: str, seed: int) -> Path:
    """Returns the folder of a run."""
    return Path(options.out) / f"{dtype}-{options.updates}-seed{seed}"


def curve(folder: Path) -> dict[int, float]:
    """Returns {update: validation loss} of a run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["num_updates"]: row["valid_loss"] for row in rows if "valid_loss" in row}


def print_table(curves: dict[str, list[dict[int, float]]]) -> None:
    """Prints mean and range over seeds at each validation, and the difference of the means."""
    print("| update | fp32 | bf16 | bf16 - fp32 | spread of fp32 seeds |")
    print("| --: | --: | --: | --: | --: |")
    for update in sorted(curves["fp32"][0]):
        values = {dtype: [c[update] for c in curves[dtype]] for dtype in DTYPES}
        means = {dtype: statistics.mean(values[dtype]) for dtype in DTYPES}
        cells = " | ".join(
            f"{means[d]:.4f} [{min(values[d]):.4f}..{max(values[d]):.4f}]" for d in DTYPES
        )
        spread = max(values["fp32"]) - min(values["fp32"])
        print(f"| {update} | {cells} | {means['bf16'] - means['fp32']:+.4f} | {spread:.4f} |")


def main() -> None:
    """Makes the runs that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/learning_curves"))
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=4096)
    options = parser.parse_args()
    curves: dict[str, list[dict[int, float]]] = {dtype: [] for dtype in DTYPES}
    for seed in range(1, options.seeds + 1):
        for dtype in DTYPES:
            train(config(options, dtype, seed))  # continues one that was stopped
            curves[dtype].append(curve(run_dir(options, dtype, seed)))
    print_table(curves)


if __name__ == "__main__":
    main()
