from pathlib import Path
from typing import Any

import pytest
from ranks import run_ranks, said
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.plugins import load_plugins
from seqtrain.training.resume import first_difference

PLUGIN = Path(__file__).with_name("rank_plugin.py")


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    load_plugins([str(PLUGIN)])


def train(text: Path, run_dir: Path, world_size: int, **sections: Any) -> tuple[list[int], str]:
    """Returns the exit codes and what the ranks said."""
    config = toy_config(text, run_dir, **sections)
    folder = run_dir.with_name(f"{run_dir.name}-output")
    return run_ranks(config, world_size, folder), said(folder)


def test_a_rank_without_any_data_changes_no_bit(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text", num_train=3, num_valid=1)
    sections: dict[str, Any] = {
        "model": {"dim": 32, "ffn_dim": 64},  # parts of multiples of 16 values
        "dataset": {"max_tokens": 100},  # all examples are one micro-batch
        "optimization": {"max_update": 6, "max_epoch": 0},
    }
    for name, strategy in (("alone", "ddp"), ("ddp", "ddp"), ("fsdp", "fsdp")):
        world_size = 1 if name == "alone" else 2
        distributed = {"strategy": strategy}
        codes, errors = train(
            text, tmp_path / name, world_size, distributed=distributed, **sections
        )
        assert codes == [0] * world_size, errors
    for name in ("ddp", "fsdp"):
        states = [final_state(tmp_path / "alone"), final_state(tmp_path / name)]
        assert first_difference(*states, "state") == ""
        rows = [row for row in history(tmp_path / name) if row["event"] == "train"]
        assert {row["bsz"] for row in rows} == {3.0}


def test_a_rank_with_another_gradient_is_found_with_the_name_of_the_parameter(
    tmp_path: Path,
) -> None:
    text = write_toy_text(tmp_path / "text")
    codes, errors = train(
        text,
        tmp_path / "run",
        2,
        distributed={"check_interval_updates": 2},
        callback={"test_other_gradient": {}},
    )
    assert codes == [6, 6], errors
    assert "After update 4 the parameter model.decoder.layers.0.fc1.weight" in errors
    assert "is not the same on all ranks" in errors


def test_a_rank_with_another_learning_rate_is_found_though_no_other_one_has_its_part(
    tmp_path: Path,
) -> None:
    text = write_toy_text(tmp_path / "text")
    codes, errors = train(
        text,
        tmp_path / "run",
        2,
        distributed={"strategy": "fsdp", "check_interval_updates": 2},
        callback={"test_other_rate": {}},
    )
    assert codes == [6, 6], errors
    assert "After update 2 learning rates/0 is not the same on all ranks" in errors
    assert "Traceback" not in errors
