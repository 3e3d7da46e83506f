"""Outputs of validation examples over the training of a run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled_toy import recognition_config, write_toy_series
from toy_run import toy_config, write_toy_text
from toy_series import series_config, write_series_csv

from seqtrain.pipeline import load, train
from seqtrain.training.answers.samples import MOST_INNER_ITEMS, MOST_ITEMS, MOST_NAMES, compact
from seqtrain.training.run_config import LoggingConfig

WRITERS = {"log_writer": {"jsonl": {}, "samples": {}}}
SHORT = {"max_epoch": 0, "max_update": 8}


def samples(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "samples.jsonl").read_text().splitlines()]


def text_config(tmp_path: Path, name: str, **sections: Any) -> dict[str, Any]:
    text = tmp_path / "text"
    if not text.exists():
        write_toy_text(text)
    return toy_config(text, tmp_path / name, **WRITERS, **sections)


def test_each_validation_logs_what_the_model_says(tmp_path: Path) -> None:
    train(text_config(tmp_path, "run", optimization=SHORT, logging={"samples": 2}))
    rows = samples(tmp_path / "run")
    assert [(row["num_updates"], row["id"]) for row in rows] == [(4, 2), (4, 6), (8, 2), (8, 6)]
    last = load(tmp_path / "run/checkpoints/step-0000000008", device="cpu")
    for row in rows[2:]:
        assert last.translate([row["source"]]) == [row["output"]]
        assert row["reference"] == row["source"][::-1]


def test_attention_is_logged_for_the_symbols_of_one_output(tmp_path: Path) -> None:
    train(text_config(tmp_path, "run", optimization=SHORT))
    (found,) = [row for row in samples(tmp_path / "run") if "attention" in row][-1:]
    attention = found["attention"]
    assert attention["source"] == [*found["source"].split(), "</s>"]
    assert attention["target"] == [*found["output"].split(), "</s>"]
    weights = torch.tensor(attention["weights"])
    assert weights.shape == (len(attention["target"]), len(attention["source"]))
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)), atol=0.01, rtol=0)


def test_samples_change_nothing_in_the_training(tmp_path: Path) -> None:
    train(text_config(tmp_path, "with", optimization=SHORT))
    train(text_config(tmp_path, "without", optimization=SHORT, logging={"samples": 0}))
    first, second = (load(tmp_path / name, device="cpu").model for name in ("with", "without"))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], rtol=0, atol=0)
    assert samples(tmp_path / "without") == []


def test_a_resumed_run_has_the_samples_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    train(text_config(tmp_path, "whole", optimization=SHORT))
    train(text_config(tmp_path, "parts", optimization=SHORT | {"max_update": 5}))
    with (tmp_path / "parts" / "samples.jsonl").open("a") as file:
        file.write('{"num_updates": 7, "id": "of a part that was lost"}\n{"torn')
    train(text_config(tmp_path, "parts", optimization=SHORT))
    whole = [row for row in samples(tmp_path / "whole") if row["num_updates"] != 5]
    assert [row for row in samples(tmp_path / "parts") if row["num_updates"] != 5] == whole


def test_forecasts_are_logged_as_the_task_predicts_them(tmp_path: Path) -> None:
    write_series_csv(tmp_path / "s.csv")
    train(series_config(tmp_path / "s.csv", tmp_path / "run", optimization=SHORT, **WRITERS))
    row = samples(tmp_path / "run")[-1]
    found = dict(load(tmp_path / "run", device="cpu").predict_split("valid"))
    for name, values in row["prediction"]["forecast"].items():  # other batches, other rounding
        assert values == pytest.approx(found[row["id"]]["forecast"][name], rel=1e-5)
    assert len(row["prediction"]["actual"]["a"]) == 6


def test_classes_are_logged_beside_the_right_one(tmp_path: Path) -> None:
    data = write_toy_series(tmp_path / "data")
    train(recognition_config(data, tmp_path / "run", optimization=SHORT, **WRITERS))
    row = samples(tmp_path / "run")[-1]
    assert row["reference"] in "abc"
    assert row["prediction"]["label"] in "abc"


def test_a_language_model_goes_on_from_the_beginning_of_examples(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("".join("abcde fgh\n" for _ in range(60)))
    files = {name: [str(tmp_path / "t.txt")] for name in ("train", "valid")}
    task = {"name": "language_modeling", "tokenizer": "char", "tokens_per_sample": 60, **files}
    model = {"name": "transformer_lm", "dim": 8, "num_heads": 2, "layers": 1, "ffn_dim": 8}
    config = text_config(tmp_path, "run", optimization=SHORT, dataset={"max_tokens": 240})
    criterion = {"name": "cross_entropy"}
    train(config | {"task": task, "model": model, "criterion": criterion})
    row = samples(tmp_path / "run")[-1]
    assert 20 < len(row["source"]) <= 32
    assert isinstance(row["output"], str)


def test_what_is_long_is_cut() -> None:
    long = {str(number): list(range(2 * MOST_ITEMS)) for number in range(2 * MOST_NAMES)}
    found = compact(long)
    assert len(found) == MOST_NAMES
    assert {len(values) for values in found.values()} == {MOST_ITEMS}
    image = compact([[["sky"] * 99] * 99] * 99)
    assert len(image[0]) == len(image[0][0]) == MOST_INNER_ITEMS
    assert compact({"a": None, "b": [1.5, "x"]}) == {"a": None, "b": [1.5, "x"]}


def test_a_negative_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logging.samples must not be negative, got -1"):
        LoggingConfig(samples=-1)
