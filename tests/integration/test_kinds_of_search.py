"""Demands on outputs, minimum risk, contrastive search and alignment: from Python and commands."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from toy_run import toy_config, write_toy_text

from seqtrain.errors import DataError
from seqtrain.pipeline import Pipeline, load, train
from seqtrain_cli import generate

LINES = ["a b c", "f", "e d c b a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `text` and a `run` on it."""
    folder = tmp_path_factory.mktemp("search")
    text = write_toy_text(folder / "text")
    train(toy_config(text, folder / "run", optimization={"max_update": 2}))
    return folder


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return load(folder / "run", device="cpu")


@pytest.fixture
def lines_of(run: Any, folder: Path, tmp_path: Path) -> Any:
    """Runs the command on lines and returns what it prints, line by line."""

    def read(text: str, *words: str) -> list[str]:
        path = tmp_path / "lines.txt"
        path.write_text(text)
        where = [f"checkpoint={folder / 'run'}", f"input={path}", "device=cpu"]
        outcome = run(generate.COMMAND, *where, "generation.max_len_b=9", *words)
        assert outcome.exit_code == 0, outcome.error
        return outcome.out.splitlines()

    return read


def test_outputs_contain_the_phrases_of_their_lines(pipeline: Pipeline) -> None:
    wanted = [["d e", "a"], [], ["b", "f f"]]
    ordered = pipeline.translate(LINES, constraints=wanted, ordered=True, max_len_b=9)
    assert re.search("d e.* a", ordered[0])
    assert re.search("b.* f f", ordered[2])
    found = pipeline.translate(LINES, constraints=wanted, max_len_b=9)
    for text, phrases in zip(found, wanted, strict=True):
        assert all(phrase in text for phrase in phrases)
    assert found[1] == ordered[1] == pipeline.translate(LINES, max_len_b=9)[1]


def test_outputs_begin_as_their_lines_demand(pipeline: Pipeline) -> None:
    found = pipeline.translate(LINES, prefixes=["c b", "", "f"], max_len_b=6)
    assert found[0].startswith("c b")
    assert found[1] == pipeline.translate(LINES, max_len_b=6)[1]
    assert found[2].startswith("f")


def test_a_phrase_without_symbols_in_the_vocabulary_is_refused_by_line(
    pipeline: Pipeline,
) -> None:
    with pytest.raises(DataError, match="line 2: the model cannot write 'zebra'"):
        pipeline.translate(LINES, constraints=[[], ["zebra"], ["a"]])


def test_the_command_reads_demands_behind_tabs(lines_of: Any, pipeline: Pipeline) -> None:
    words = ["generation.constraints=ordered", "generation.forced_prefix=true"]
    rows = [json.loads(line) for line in lines_of("a b\tc\td e\tf\nf\nb\t\tzebra\n", *words)]
    assert rows[0]["source"] == "a b"
    assert (rows[0]["prefix"], rows[0]["constraints"]) == ("c", ["d e", "f"])
    assert re.match("c.* d e.* f", rows[0]["hypotheses"][0]["text"])
    assert rows[1].keys() == {"id", "source", "hypotheses"}
    assert rows[1]["hypotheses"][0]["text"] == pipeline.translate(["f"], max_len_b=9)[0]
    assert "zebra" in rows[2]["error"]


def test_the_form_of_fairseq_shows_phrases_and_alignments(lines_of: Any) -> None:
    words = [
        "format=fairseq",
        "generation.constraints=unordered",
        "generation.print_alignment=hard",
    ]
    lines = lines_of("a b\tc\td e\n", *words)
    assert [line.split("\t")[0] for line in lines] == [
        "S-0", "C-0", "C-0", "H-0", "D-0", "P-0", "A-0",
    ]  # fmt: skip
    assert [line.split("\t")[1] for line in lines[:3]] == ["a b", "c", "d e"]
    symbols = lines[3].split("\t")[2].split(" ")
    pairs = [tuple(map(int, pair.split("-"))) for pair in lines[6].split("\t")[1].split(" ")]
    assert [target for _, target in pairs] == list(range(len(symbols)))
    assert all(0 <= source < 2 for source, _ in pairs)


def test_rows_hold_alignments_where_they_are_asked_for(lines_of: Any) -> None:
    (plain,), (hard,), (soft,) = (
        [json.loads(line)["hypotheses"][0] for line in lines_of("a b c\n", *words)]
        for words in (
            [],
            ["generation.print_alignment=hard"],
            ["generation.print_alignment=soft", "generation.alignment_layer=0"],
        )
    )
    assert plain.keys() == {"text", "score", "token_scores"}
    assert hard.keys() - plain.keys() == {"alignment"}
    assert len(hard["alignment"]) == len(plain["token_scores"]) - 1
    assert len(soft["attention"]) == len(plain["token_scores"])
    assert all(sum(row) == pytest.approx(1.0, abs=1e-5) for row in soft["attention"])


@pytest.mark.parametrize(
    "options",
    [
        {"mbr_samples": 8},
        {"mbr_samples": 8, "mbr_scorer": "bleu", "sampling_topk": 3},
        {"contrastive_alpha": 0.4, "sampling_topk": 4},
    ],
)
def test_other_kinds_of_search_give_the_same_by_command_and_from_python(
    lines_of: Any, pipeline: Pipeline, options: dict[str, Any]
) -> None:
    words = [f"generation.{name}={value}" for name, value in options.items()]
    printed = lines_of("".join(f"{line}\n" for line in LINES), *words)
    texts = [json.loads(line)["hypotheses"][0]["text"] for line in printed]
    assert texts == pipeline.translate(LINES, max_len_b=9, **options)
