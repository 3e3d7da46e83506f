"""The toy task is learned in every precision, and settings that do not go together are refused."""

from pathlib import Path
from typing import Any

import pytest
from toy_run import history, toy_config, write_toy_text

from seqtrain.errors import ConfigError
from seqtrain.pipeline import train

PRECISIONS: list[dict[str, Any]] = [
    {"dtype": "fp32"},
    {"dtype": "fp16"},
    {"dtype": "bf16", "parameters": "bf16"},
]
MODELS: dict[str, dict[str, Any]] = {
    "transformer": {"dim": 32, "ffn_dim": 64, "num_heads": 2, "dropout": 0.0},
    "lstm": {"dim": 32, "dropout": 0.0},
}


def toy_losses(tmp_path: Path, model: str, precision: dict[str, Any]) -> list[float]:
    """Trains 40 updates on a few lines; returns the training loss of each."""
    text = write_toy_text(tmp_path / "text", num_train=8)
    run_dir = tmp_path / "-".join([model, *precision.values()])
    config = toy_config(
        text,
        run_dir,
        criterion={"name": "cross_entropy"},
        dataset={"max_tokens": 128},
        precision=precision,
        optimization={"max_update": 40, "max_epoch": 0},
        validation={"splits": [], "test_generate": True},
        logging={"interval": 1},
    )
    config["model"] = {"name": model} | MODELS[model]
    train(config)
    return [row["train_loss"] for row in history(run_dir) if row["event"] == "train"]


@pytest.mark.parametrize("model", MODELS)
def test_forty_updates_halve_the_loss_in_every_precision(tmp_path: Path, model: str) -> None:
    found = [toy_losses(tmp_path, model, precision) for precision in PRECISIONS]
    for losses in found:
        assert len(losses) == 40
        assert sum(losses[-5:]) < sum(losses[:5]) / 2
    assert all(found.count(losses) == 1 for losses in found)  # the arithmetic does differ


def test_float16_is_refused_with_an_optimizer_that_needs_a_closure(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    config = toy_config(text, tmp_path / "run", precision={"dtype": "fp16"})
    config["optimizer"] = {"name": "lbfgs"}
    with pytest.raises(ConfigError, match="precision.dtype=fp16"):
        train(config)
