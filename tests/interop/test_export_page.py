"""docs/export.md does what it says: its blocks are run in their order, on a small run."""

import warnings
from pathlib import Path

import pytest
from page_commands import blocks_of, execute
from toy_run import toy_config, write_toy_text

from seqtrain.generation.base import GenerationConfig
from seqtrain.pipeline import load, train

PAGE = Path(__file__).resolve().parents[2] / "docs/export.md"


@pytest.mark.slow
def test_every_block_of_the_page_on_exports_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("transformers", "onnxruntime", "onnxscript", "ctranslate2"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    text = write_toy_text(tmp_path / "text")
    task = {"tokenizer": "sentencepiece", "vocab_size": 24, "joined": True}
    sections = {"task": task, "optimization": {"max_epoch": 12}, "dataset": {"max_tokens": 100}}
    train(toy_config(text, tmp_path / "runs/text", **sections))
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the packages
        for block in blocks_of(PAGE.read_text(encoding="utf-8")):
            if block.language == "python":
                exec(compile(block.content, PAGE.name, "exec"), names)
            for line in block.commands() if block.language == "bash" else []:
                assert execute(line) == 0, line
    pipeline = load("runs/text", "cpu")
    ids = pipeline.task.source.encode("a b c").tolist()
    translate = names["translate"]
    assert callable(translate)
    ((own,),) = pipeline.hypotheses_of_lines(
        ["a b c"], GenerationConfig(beam=1, max_len_b=200, min_len=0)
    )
    assert translate(ids) == own.tokens
