from pathlib import Path

import pytest
from labelled_toy import recognition_config, write_toy_series
from toy_run import history

from seqtrain.errors import ConfigError
from seqtrain.pipeline import train
from seqtrain.plugins import load_plugins
from seqtrain.training.lr_scaling import lr_scaling_note, with_scaled_lr
from seqtrain.training.run_config import RunConfig


def config(reference: int, batch_size: int = 8) -> RunConfig:
    load_plugins([])
    return RunConfig.parse(
        recognition_config(
            Path("data"),
            Path("run"),
            optimization={"lr_reference_batch": reference, "update_freq": 3},
            dataset={"batch_size": batch_size, "max_tokens": 100},
        )
    )


def test_the_rate_is_in_proportion_to_the_examples_of_an_update() -> None:
    assert with_scaled_lr(config(12), 4).optimizer.lr == pytest.approx(0.01 * 8 * 3 * 4 / 12)
    assert lr_scaling_note(config(12), 4) == [
        "learning rate 0.08: 0.01 x 96 examples of an update / 12"
    ]


def test_every_member_of_a_composite_is_scaled() -> None:
    members = [{"pattern": "*bias", "name": "sgd", "lr": 0.5}, {"pattern": "*", "name": "adam"}]
    optimizer = {"name": "composite", "lr": 0.01, "members": members}
    composite = RunConfig.parse(config(12).to_container() | {"optimizer": optimizer})
    scaled = with_scaled_lr(composite, 1).optimizer
    assert [member["lr"] for member in scaled.members] == [0.5 * 2, pytest.approx(0.001 * 2)]
    assert scaled.lr == 0.02


def test_without_a_reference_the_rate_is_what_is_set() -> None:
    assert with_scaled_lr(config(0), 4).optimizer.lr == 0.01
    assert lr_scaling_note(config(0), 4) == []


def test_a_reference_needs_a_batch_size() -> None:
    with pytest.raises(ConfigError, match="dataset.batch_size, which is not set"):
        with_scaled_lr(config(12, batch_size=0), 1)
    with pytest.raises(ConfigError, match="optimization.lr_reference_batch must not be negative"):
        config(-1)


def test_a_run_uses_and_logs_the_scaled_rate(tmp_path: Path) -> None:
    data = write_toy_series(tmp_path / "data")
    scaled = {"lr_reference_batch": 6, "max_update": 2}
    train(recognition_config(data, tmp_path / "run", optimization=scaled))
    rates = [row["lr"] for row in history(tmp_path / "run") if row["event"] == "train"]
    assert rates == pytest.approx([0.02, 0.02])
