"""A trained model of fairseq against fairseq's own outputs; skipped where they are not at hand."""

import math
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from seqtrain.interop.import_run import ImportRequest, import_fairseq
from seqtrain.pipeline import Pipeline, load
from seqtrain.plugins import import_built_ins
from seqtrain_cli.entry import run_command
from seqtrain_cli.generate import COMMAND

GOLDEN = Path(__file__).resolve().parents[3] / "shared/data/fairseq_golden"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs fairseq's golden outputs")

Lines = dict[tuple[str, int], list[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import_built_ins()
    out = tmp_path_factory.mktemp("golden") / "run"
    import_fairseq(ImportRequest(GOLDEN / "checkpoint.pt", GOLDEN / "data-bin", out, True))
    return out


def read(path: Path) -> Lines:
    """Returns what stands after each mark and number, such as ("H", 3)."""
    found: Lines = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        head, tab, rest = line.partition("\t")
        if tab and head[1:2] == "-":
            found[head[0], int(head[2:])].append(rest)
    return found


def require_equal(own: Lines, golden: Lines) -> None:
    """Requires equal pieces, and scores that differ by less than 1e-4 (2e-4 where rounded)."""
    for (mark, index), lines in golden.items():
        if mark in "ST":
            assert own[mark, index] == lines
        elif mark == "H":
            for mine, theirs in zip(own[mark, index], lines, strict=True):
                assert mine.split("\t")[1] == theirs.split("\t")[1], index
                assert float(mine.split("\t")[0]) == pytest.approx(
                    float(theirs.split("\t")[0]), abs=1e-4
                )
        elif mark == "P":
            for mine, theirs in zip(own[mark, index], lines, strict=True):
                values = [float(score) for score in theirs.split()]
                assert [float(s) for s in mine.split()] == pytest.approx(values, abs=2e-4)


def generate(run: Path, out: Path, *words: str) -> Lines:
    words = (f"checkpoint={run}", "format=fairseq", f"output={out}", "device=cpu", *words)
    assert run_command(COMMAND, list(words)) == 0
    return read(out)


def test_every_reference_has_fairseqs_scores(run: Path, tmp_path: Path) -> None:
    own = generate(run, tmp_path / "out.txt", "split=valid", "score_reference=true")
    golden = read(GOLDEN / "score_reference.valid.txt")
    assert len([key for key in golden if key[0] == "H"]) == 1008
    require_equal(own, golden)


def test_losses_are_fairseqs_to_three_decimals(run: Path) -> None:
    # Over the sentences that fairseq scored: it left out six of them.
    pipeline: Pipeline = load(run, "cpu")
    golden = read(GOLDEN / "score_reference.valid.txt")
    indices = [index for mark, index in golden if mark == "H"]
    dataset = pipeline.task_with_data().dataset("valid")
    total = torch.zeros(2, dtype=torch.float64)
    num_targets = 0
    with torch.no_grad():
        for first in range(0, len(indices), 64):
            batch = dataset.batch(torch.tensor(indices[first : first + 64]).numpy(), 1)
            loss = pipeline.criterion(pipeline.model, batch)
            for column, name in enumerate(("loss", "nll_loss")):
                total[column] += loss.metrics[name].sums[0]
            num_targets += batch.num_targets
    loss_value, nll = (total / num_targets / math.log(2.0)).tolist()
    assert (round(loss_value, 3), round(nll, 3)) == (4.494, 3.024)


def test_every_hypothesis_of_beam_5_is_fairseqs(run: Path, tmp_path: Path) -> None:
    words = ("split=test", "generation.beam=5", "generation.nbest=5", "generation.max_len_a=1.2")
    own = generate(run, tmp_path / "out.txt", *words, "generation.max_len_b=10")
    require_equal(own, read(GOLDEN / "generate.beam5.nbest5.txt"))


def test_every_hypothesis_of_beam_4_with_another_length_penalty_is_fairseqs(
    run: Path, tmp_path: Path
) -> None:
    # The imported run has generation.fairseq_ngrams, see there: 126 outputs differ without it.
    words = ("split=test", "generation.beam=4", "generation.lenpen=0.6", "generation.max_len_a=1.2")
    more = ("generation.max_len_b=10", "generation.no_repeat_ngram_size=3")
    own = generate(run, tmp_path / "out.txt", *words, *more)
    require_equal(own, read(GOLDEN / "generate.beam4.lenpen06.ngram3.txt"))


def test_shards_together_are_the_whole(run: Path, tmp_path: Path) -> None:
    words = ("split=test", "generation.beam=2", "generation.max_len_b=20")
    whole = generate(run, tmp_path / "whole.txt", *words)
    parts = [generate(run, tmp_path / f"{i}.txt", *words, f"shard={i}/3") for i in (1, 2, 3)]
    assert sum(len(part) for part in parts) == len(whole)
    require_equal({key: lines for part in parts for key, lines in part.items()}, whole)
