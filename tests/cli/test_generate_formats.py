"""What seqtrain-generate writes: JSON lines with source and reference, or plain text."""

import json
from pathlib import Path

import pytest
from labelled_toy import recognition_config, write_toy_series
from toy_run import toy_config, write_toy_text
from toy_series import series_config, write_series_csv

from seqtrain.pipeline import train
from seqtrain_cli import generate
from seqtrain_cli.entry import run_command

SHORT = {"max_update": 2, "max_epoch": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `text` and a `run` on it, hardly trained."""
    folder = tmp_path_factory.mktemp("formats")
    text = write_toy_text(folder / "text", num_train=12, num_valid=3)
    config = toy_config(text, folder / "run", optimization=SHORT)
    config["task"]["reference_separator"] = "|"
    (text / "test.y").write_text("a b|b a\nzz\nc\n")
    train(config)
    return folder


def said(capsys: pytest.CaptureFixture[str], run: Path, *words: str) -> list[str]:
    assert run_command(generate.COMMAND, [f"checkpoint={run}", "device=cpu", *words]) == 0
    return capsys.readouterr().out.split("\n")[:-1]


def test_rows_of_a_split_have_source_and_reference(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in said(capsys, folder / "run")]
    assert [row["source"] for row in rows] == (folder / "text/test.x").read_text().splitlines()
    # What scorers compare with, whether the model knows its symbols or not.
    assert [row["reference"] for row in rows] == ["a b", "zz", "c"]
    assert [row.get("references") for row in rows] == [["a b", "b a"], None, None]
    assert all(len(row["hypotheses"]) == 1 for row in rows)


def test_text_is_an_output_a_line_and_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in said(capsys, folder / "run", "generation.nbest=2")]
    lines = said(capsys, folder / "run", "generation.nbest=2", "format=text")
    assert lines == [each["text"] for row in rows for each in row["hypotheses"]]
    assert len(lines) == 6


def test_lines_of_text_stand_where_their_inputs_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_bytes(b"a b c\n\n\xff\nd\n")
    first, blank, bad, last = said(
        capsys, folder / "run", f"input={tmp_path / 'in.txt'}", "format=text"
    )
    assert (blank, bad) == ("", "")
    (tmp_path / "in.txt").write_bytes(b"a b c\nd\n")
    assert said(capsys, folder / "run", f"input={tmp_path / 'in.txt'}", "format=text") == [
        first,
        last,
    ]


def test_a_mistake_costs_no_outputs_of_before(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.txt"
    output.write_text("of before, and longer than what comes\n" * 9)
    words = [f"checkpoint={folder / 'run'}", "device=cpu", f"output={output}", "format=text"]
    assert run_command(generate.COMMAND, [*words, "split=tset"]) == 3
    assert run_command(generate.COMMAND, [*words, f"input={tmp_path / 'none'}"]) == 3
    assert output.read_text().count("of before") == 9
    assert run_command(generate.COMMAND, words) == 0
    assert output.read_text().count("\n") == 3
    (tmp_path / "empty").touch()
    assert run_command(generate.COMMAND, [*words, f"input={tmp_path / 'empty'}"]) == 0
    assert output.read_text() == ""


@pytest.mark.slow
def test_predicted_classes_are_texts_and_forecasts_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_toy_series(tmp_path / "data", num_train=12, num_valid=3)
    train(recognition_config(data, tmp_path / "classes", optimization=SHORT))
    capsys.readouterr()
    rows = [json.loads(line) for line in said(capsys, tmp_path / "classes", "split=valid")]
    lines = said(capsys, tmp_path / "classes", "split=valid", "format=text")
    assert lines == [row["label"] for row in rows]
    assert all("reference" in row for row in rows)
    write_series_csv(tmp_path / "series.csv", num_rows=200)
    train(series_config(tmp_path / "series.csv", tmp_path / "series", optimization=SHORT))
    forecast = [f"checkpoint={tmp_path / 'series'}", "device=cpu", "format=text"]
    assert run_command(generate.COMMAND, forecast) == 2
    assert "format=text: task=forecasting predicts no texts" in capsys.readouterr().err
