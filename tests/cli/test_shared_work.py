"""Pieces of work over processes: the same lines in the same order as one process writes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed.processes import run_in_processes

from seqtrain.distributed.collectives import Collectives
from seqtrain.pipeline import Pipeline, load
from seqtrain.training.answers.split_outputs import Shard, parts_of
from seqtrain_cli import import_
from seqtrain_cli.entry import run_command
from seqtrain_cli.evaluation_report import evaluation_report
from seqtrain_cli.output_rows import output_lines
from seqtrain_cli.schemas import EvaluateConfig, GenerateConfig

MODELS = Path(__file__).parents[1] / "interop/fairseq_models"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "run"
    words = [f"checkpoint={MODELS / 'pre.pt'}", f"data={MODELS}", f"out={out}", "trust=true"]
    assert run_command(import_.COMMAND, words) == 0
    return out


def in_small_pieces(run: Path) -> Pipeline:
    """Three examples at a time: several rounds for two processes, the last one short."""
    pipeline = load(run, "cpu")
    generation = replace(pipeline.config.generation, beam=3, max_len_b=8)
    return replace(pipeline, config=replace(pipeline.config, generation=generation), at_once=3)


def outputs(collectives: Collectives, run: Path, cases: list[dict[str, Any]]) -> list[list[str]]:
    pipeline = in_small_pieces(run)
    return [list(output_lines(GenerateConfig(**case), pipeline, collectives)) for case in cases]


def evaluated(collectives: Collectives, run: Path) -> str:
    return evaluation_report(EvaluateConfig(scorers=["wer"]), in_small_pieces(run), collectives)


def test_two_processes_write_what_one_writes_to_the_byte(run: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_bytes(b"".join(b"a%d a%d\n" % (i % 9, i % 5) for i in range(10)) + b"\xff\na1")
    cases: list[dict[str, Any]] = [
        {"split": "test"},
        {"split": "test", "format": "fairseq"},
        {"split": "test", "score_reference": True},
        {"split": "test", "shard": "2/3"},
        {"input": str(lines)},
    ]
    alone = outputs(Collectives(), run, cases)
    first, second = run_in_processes(outputs, 2, run, cases)
    assert first == alone
    assert [len(rows) for rows in alone] == [16, 5 * 16, 16, 5, 12]
    assert not any(second)


def test_two_processes_evaluate_as_one(run: Path) -> None:
    alone = evaluated(Collectives(), run)
    assert run_in_processes(evaluated, 2, run)[0] == alone


def test_shards_one_after_the_other_are_the_whole(run: Path) -> None:
    pipeline = in_small_pieces(run)
    whole = list(output_lines(GenerateConfig(), pipeline))
    parts = [list(output_lines(GenerateConfig(shard=f"{i}/3"), pipeline)) for i in (1, 2, 3)]
    ids = [row.partition(",")[0] for part in parts for row in part]
    assert ids == [row.partition(",")[0] for row in whole]


@pytest.mark.parametrize(("count", "num_examples"), [(1, 5), (3, 7), (7, 3)])
def test_shards_have_every_example_once(count: int, num_examples: int) -> None:
    parts = [Shard(index, count).of(num_examples) for index in range(count)]
    assert [i for part in parts for each in parts_of(part, 2) for i in each] == list(
        range(num_examples)
    )


@pytest.mark.slow
def test_the_command_starts_processes_and_writes_the_same_file(run: Path, tmp_path: Path) -> None:
    written = []
    for count in (1, 2):
        output = tmp_path / f"{count}.jsonl"
        words = [f"checkpoint={run}", "device=cpu", "generation.max_len_b=8", f"output={output}"]
        command = [sys.executable, "-m", "seqtrain_cli.generate", *words]
        done = subprocess.run(
            [*command, f"distributed.num_processes={count}"],
            env=os.environ | {"OMP_NUM_THREADS": "1", "SEQTRAIN_DISABLE_PLUGINS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        written.append(output.read_bytes())
    assert written[0] == written[1]
    assert written[0].count(b"\n") == 16
