"""Learning curves in fp32 and bf16 with several seeds: does bf16 train as well?

Run: python benchmarks/learning_curves.py --data FOLDER [--updates 2000] [--seeds 3] [--every 200]

FOLDER is one of seqtrain-preprocess. Every run is the same but for its seed and its precision:
fp32; bf16, with products in bfloat16 and weights in float32; and "masters", with weights in
bfloat16 besides the float32 ones that the optimizer trains. What is compared is the validation
loss, in nats a target. Runs lie in --out, and one that is complete is not made again, so that
several of these commands with --only may share the work.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from seqtrain.pipeline import train

PRECISIONS: dict[str, dict[str, str]] = {
    "fp32": {"dtype": "fp32"},
    "bf16": {"dtype": "bf16"},
    "masters": {"dtype": "bf16", "parameters": "bf16"},
}


def config(options: argparse.Namespace, precision: str, seed: int) -> dict[str, Any]:
    """Returns the config of a run."""
    return {
        "run_dir": str(run_dir(options, precision, seed)),
        "device": "cpu",
        "seed": seed,
        "task": {"name": "translation", "data": str(options.data)},
        "model": {
            "name": "transformer",
            "dropout": 0.1,
            "dim": options.dim,
            "ffn_dim": 4 * options.dim,
            "encoder_layers": options.layers,
            "decoder_layers": options.layers,
        },
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
        "precision": PRECISIONS[precision],
        "log_writer": {"jsonl": {}},
    }


def run_dir(options: argparse.Namespace, precision: str, seed: int) -> Path:
    """Returns the folder of a run."""
    return Path(options.out) / f"{precision}-{options.updates}-seed{seed}"


def curve(folder: Path) -> dict[int, float]:
    """Returns {update: validation loss} of a run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["num_updates"]: row["valid_loss"] for row in rows if "valid_loss" in row}


def print_table(curves: dict[str, list[dict[int, float]]]) -> None:
    """Prints the mean and the range over seeds at each validation, and how the means differ."""
    others = [name for name in curves if name != "fp32"]
    differences = [f"{name} - fp32" for name in others]
    names = ["update", *curves, *differences, "range of fp32"]
    print(f"| {' | '.join(names)} |")
    print("| --: " * len(names) + "|")
    for update in sorted(curves["fp32"][0]):
        values = {name: [curve[update] for curve in found] for name, found in curves.items()}
        means = {name: statistics.mean(found) for name, found in values.items()}
        cells = [
            f"{means[name]:.4f} [{min(found):.4f}..{max(found):.4f}]"
            for name, found in values.items()
        ]
        cells += [f"{means[name] - means['fp32']:+.4f}" for name in others]
        spread = max(values["fp32"]) - min(values["fp32"])
        print(f"| {update} | {' | '.join(cells)} | {spread:.4f} |")


def parse_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/learning_curves"))
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=256, help="width")
    parser.add_argument("--layers", type=int, default=3, help="of the encoder, and of the decoder")
    parser.add_argument("--only", nargs="*", choices=list(PRECISIONS), help="no table, these runs")
    return parser.parse_args()


def main() -> None:
    """Makes the runs that are missing and prints the table."""
    options = parse_options()
    wanted = options.only or list(PRECISIONS)
    curves: dict[str, list[dict[int, float]]] = {name: [] for name in wanted}
    for seed in range(1, options.seeds + 1):
        for name in wanted:
            if train(config(options, name, seed)).signal:
                return  # the same command continues
            curves[name].append(curve(run_dir(options, name, seed)))
    if not options.only:
        print_table(curves)


if __name__ == "__main__":
    main()
