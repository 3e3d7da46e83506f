"""Whole runs learn: forty updates on generated data halve the loss."""

import random
from pathlib import Path
from typing import Any

import pytest
from toy_run import history, toy_config

from seqtrain.pipeline import train

LETTERS = "abcdefgh"
MODELS: dict[str, dict[str, Any]] = {
    "transformer": {"dim": 32, "ffn_dim": 64, "num_heads": 2, "dropout": 0.1},
    "lstm": {"dim": 32, "dropout": 0.1},
}


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text whose target goes through the alphabet from the source's letter, as far as it says."""
    folder = tmp_path_factory.mktemp("chains")
    rng = random.Random(3)
    for split, count in (("train", 400), ("valid", 40), ("test", 8)):
        pairs = [(rng.randrange(8), rng.randint(3, 7)) for _ in range(count)]
        lines = {
            "x": [f"{LETTERS[first]} {length}" for first, length in pairs],
            "y": [" ".join(LETTERS[(f + i) % 8] for i in range(n)) for f, n in pairs],
        }
        for side, texts in lines.items():
            (folder / f"{split}.{side}").write_text("\n".join(texts) + "\n")
    return folder


def losses(chains: Path, run_dir: Path, name: str, dtype: str) -> tuple[list[float], float]:
    """Trains 40 updates; returns the training loss of each and the last validation's."""
    config = toy_config(
        chains,
        run_dir,
        criterion={"name": "cross_entropy"},
        dataset={"max_tokens": 512},
        precision={"dtype": dtype},
        optimization={"max_update": 40, "max_epoch": 0},
        logging={"interval": 1},
    )
    config["model"] = {"name": name} | MODELS[name]
    train(config)
    rows = history(run_dir)
    trained = [row["train_loss"] for row in rows if row["event"] == "train"]
    valid = [row["valid_loss"] for row in rows if row["event"] == "valid"]
    return trained, valid[-1]


@pytest.mark.parametrize("name", MODELS)
def test_forty_updates_halve_the_loss_in_fp32_and_in_bf16(
    chains: Path, tmp_path: Path, name: str
) -> None:
    found = {dtype: losses(chains, tmp_path / dtype, name, dtype) for dtype in ("fp32", "bf16")}
    for trained, valid in found.values():
        assert len(trained) == 40
        assert valid < trained[0] / 2
        assert sum(trained[-5:]) < sum(trained[:5]) / 2
    # The arithmetic differs, and only a little.
    assert found["fp32"][0] != found["bf16"][0]
    assert found["bf16"][1] == pytest.approx(found["fp32"][1], rel=0.2)
