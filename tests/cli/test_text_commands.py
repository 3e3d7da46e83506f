"""generate, interactive, evaluate and score on a small imported model: formats and bad input."""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqtrain.errors import ConfigError, DataError
from seqtrain.pipeline import Pipeline, load
from seqtrain_cli import evaluate, generate, import_, interactive, score
from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command
from seqtrain_cli.output_rows import output_lines
from seqtrain_cli.schemas import GenerateConfig, ScoreConfig
from seqtrain_cli.score_report import score_report

MODELS = Path(__file__).parents[1] / "interop/fairseq_models"
Feed = Callable[[bytes], None]
SEARCH = ["device=cpu", "generation.beam=3", "generation.max_len_b=12"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "run"
    words = [f"checkpoint={MODELS / 'pre.pt'}", f"data={MODELS}", f"out={out}", "trust=true"]
    assert run_command(import_.COMMAND, words) == 0
    return out


@pytest.fixture(scope="module")
def pipeline(run: Path) -> Pipeline:
    """The run, with small batches."""
    loaded = load(run, "cpu")
    generation = replace(loaded.config.generation, beam=2, max_len_b=6)
    dataset = replace(loaded.config.dataset, max_tokens=20)
    return replace(loaded, config=replace(loaded.config, generation=generation, dataset=dataset))


def outputs(command: Command, run: Path, *words: str) -> int:
    return run_command(command, [f"checkpoint={run}", *SEARCH, *words])


@pytest.fixture
def stdin() -> Iterator[Feed]:
    """Gives a function that makes standard input hold some bytes, until the test ends."""
    before = os.dup(0)

    def feed(data: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        os.dup2(reading, 0)
        os.close(reading)

    yield feed
    os.dup2(before, 0)
    os.close(before)


def test_import_without_trust_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"checkpoint={MODELS / 'pre.pt'}", f"data={MODELS}", f"out={tmp_path / 'run'}"]
    assert run_command(import_.COMMAND, words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "trust=true" in error
    assert not (tmp_path / "run").exists()


def test_fairseqs_lines_hold_pieces_texts_and_scores_to_base_2(run: Path, tmp_path: Path) -> None:
    assert outputs(generate.COMMAND, run, "format=fairseq", f"output={tmp_path / 'o.txt'}") == 0
    lines = (tmp_path / "o.txt").read_text().splitlines()
    assert [line[:2] for line in lines] == ["S-", "T-", "H-", "D-", "P-"] * 16
    best = json.loads((MODELS / "pre.json").read_text())["hypotheses"][0][0]
    number, value, pieces = lines[2].split("\t")
    assert number == "H-0"
    assert float(value) == pytest.approx(best["score"] / math.log(2.0), abs=1e-5)
    assert pieces.split() == [f"b{token - 4}" for token in best["tokens"]]
    scores = [float(each) for each in lines[4].split("\t")[1].split()]
    assert sum(scores) / len(scores) == pytest.approx(float(value), abs=1e-4)


def test_references_are_scored_instead_of_searching(run: Path, tmp_path: Path) -> None:
    words = ("score_reference=true", f"output={tmp_path / 'o.jsonl'}")
    assert outputs(generate.COMMAND, run, *words) == 0
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    expected = json.loads((MODELS / "pre.json").read_text())["references"]
    for row, scores in zip(rows, expected, strict=True):
        assert row["hypotheses"][0]["token_scores"] == pytest.approx(scores, abs=5e-6)


def test_shards_share_the_examples_out(pipeline: Pipeline) -> None:
    found = []
    for shard in ("1/3", "2/3", "3/3"):
        rows = output_lines(GenerateConfig(shard=shard), pipeline)
        found.append([json.loads(row)["id"] for row in rows])
    assert all(found)
    assert sorted(index for part in found for index in part) == list(range(16))


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (GenerateConfig(shard="4/3"), ConfigError, "shard must be i/n"),
        (GenerateConfig(shard="0/3"), ConfigError, "shard must be i/n"),
        (GenerateConfig(format="xml"), ConfigError, "format must be one of jsonl, text, fairseq"),
        (GenerateConfig(input="x", shard="1/2"), ConfigError, "leave out input"),
        (GenerateConfig(input="missing.txt"), DataError, "input=missing.txt cannot be read"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    pipeline: Pipeline, settings: GenerateConfig, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        list(output_lines(settings, pipeline))


BAD_LINES = [b"a1 a2", b"", b"a3 " * 10_000, b"x y z", bytes(range(128, 160)), b"\0\x01\x02", b"a4"]


def test_a_bad_line_has_an_error_and_the_others_are_unharmed_and_in_order(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_bytes(b"a1 a2\na4\n")
    bad.write_bytes(b"\n".join(BAD_LINES))
    rows = []
    for path in (good, bad):
        words = (f"input={path}", f"output={tmp_path / 'o.jsonl'}")
        assert outputs(generate.COMMAND, run, *words) == 0
        rows.append(
            [json.loads(row) for row in (tmp_path / "o.jsonl").read_text().split("\n")[:-1]]
        )
    alone, among = rows
    assert [row["id"] for row in among] == list(range(len(BAD_LINES)))
    for one, other in ((alone[0], among[0]), (alone[1], among[-1])):
        assert one["source"] == other["source"]
        assert [h["text"] for h in one["hypotheses"]] == [h["text"] for h in other["hypotheses"]]
    assert [index for index, row in enumerate(among) if "error" in row] == [2, 4]
    assert "max_positions" in among[2]["error"]
    assert "not UTF-8 (byte 1: 0x80)" in among[4]["error"]
    assert "line 3 has no output" in capsys.readouterr().err


def test_a_line_of_many_megabytes_is_an_error_of_its_own(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"a1\n" + b"a" * 5_000_000 + b"\na2")
    words = (f"input={tmp_path / 'in.txt'}", f"output={tmp_path / 'o.jsonl'}")
    assert outputs(generate.COMMAND, run, *words) == 0
    rows = [json.loads(row) for row in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert ["error" in row for row in rows] == [False, True, False]


def test_interactive_answers_each_piped_line(
    run: Path, stdin: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(b"a1 a2\n\xff\na4\n")
    assert outputs(interactive.COMMAND, run) == 0
    captured = capsys.readouterr()
    first, failed, last = captured.out.split("\n")[:-1]
    assert first
    assert not failed
    assert last
    assert "line 2 has no output" in captured.err


def test_interactive_writes_fairseqs_lines(
    run: Path, stdin: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(b"a1 a2\n")
    assert outputs(interactive.COMMAND, run, "format=fairseq") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines] == ["S-0", "H-0", "D-0", "P-0"]
    assert lines[0] == "S-0\ta1 a2"


def test_evaluate_reads_an_imported_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert outputs(evaluate.COMMAND, run, "split=test") == 0
    report = json.loads(capsys.readouterr().out)
    expected = json.loads((MODELS / "pre.json").read_text())["references"]
    total = sum(score for scores in expected for score in scores)
    count = sum(len(scores) for scores in expected)
    assert report["test_nll_loss"] == pytest.approx(-total / count, abs=1e-5)
    assert report["test_ppl"] == pytest.approx(math.exp(-total / count), rel=1e-5)


def test_score_compares_files_with_every_scorer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "h.txt").write_text("a b c d\nx y\n")
    (tmp_path / "r.txt").write_text("a b c d\nx z\n")
    words = [f"hypotheses={tmp_path / 'h.txt'}", f"references={tmp_path / 'r.txt'}"]
    assert run_command(score.COMMAND, words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["examples"] == 2
    assert report["scores"]["wer"]["wer"] == pytest.approx(100 / 6)
    assert report["scores"]["accuracy"]["accuracy"] == 50.0
    assert set(report["scores"]) >= {"bleu", "chrf", "ter", "wer", "cer"}
    assert report["signatures"]["bleu"].startswith("nrefs:1|")


def test_score_tells_two_systems_apart_by_bootstrap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"a b c {index}" for index in range(40)]
    (tmp_path / "r.txt").write_text("".join(f"{row}\n" for row in rows))
    (tmp_path / "a.txt").write_text("".join(f"{row[:-1]} q\n" for row in rows))
    lines = [json.dumps({"id": 0, "hypotheses": [{"text": row}]}) for row in rows]
    (tmp_path / "b.jsonl").write_text("".join(f"{line}\n" for line in lines))
    words = [f"hypotheses={tmp_path / 'a.txt'}", f"other={tmp_path / 'b.jsonl'}"]
    words += [f"references={tmp_path / 'r.txt'}", "scorers=wer", "resamples=99"]
    assert run_command(score.COMMAND, [*words, f"output={tmp_path / 'o.json'}"]) == 0
    found = json.loads((tmp_path / "o.json").read_text())["paired_bootstrap"]["wer"]
    assert found["second"] == 0.0
    assert found["difference"] < -20.0
    assert found["p_value"] == 0.01
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({}, ConfigError, "hypotheses is not set"),
        ({"references": ["no.txt"]}, DataError, "no.txt is not a file"),
        ({"references": ["long.txt"]}, DataError, "There are 1 hypotheses for 2 examples"),
        ({"references": ["h.txt", "long.txt"]}, DataError, "long.txt has 2 lines"),
        ({"references": ["h.txt"], "hypotheses": "bad.jsonl"}, DataError, "bad.jsonl:1: not a"),
        ({"references": ["h.txt"], "scorers": ["blue"]}, ConfigError, "bleu"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("h.txt").write_text("a\n")
    Path("long.txt").write_text("a\nb\n")
    Path("bad.jsonl").write_text("{}\n")
    named = {"hypotheses": "h.txt"} if settings else {}
    with pytest.raises(kind, match=message):
        score_report(ScoreConfig(**named | settings))
