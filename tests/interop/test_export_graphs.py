"""Exported programs and ONNX graphs compute what the model does, at every size."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_models import language_model, series_model, translation_model
from torch import Tensor

from seqtrain.errors import ConfigError
from seqtrain.interop.export_onnx import write_onnx
from seqtrain.interop.export_torch import write_torch_export
from seqtrain.pipeline import Pipeline

EOS = 2
Run = Callable[[str, Mapping[str, Tensor]], dict[str, Tensor]]
LLAMA = {"norm_type": "rmsnorm", "activation": "swiglu", "num_key_heads": 1}


@pytest.fixture(autouse=True)
def _without_records_of_tracing() -> Iterator[None]:
    # torch logs each step of it, and pytest would format and keep every record.
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def runtime_of(out: Path) -> Run:
    """Returns what runs a graph of a folder by its name."""
    described = json.loads((out / "graphs.json").read_text())
    graphs = {name: opened(out, name) for name in described}

    def run(name: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inputs = {key: given[key] for key in described[name]["inputs"]}
        return dict(zip(described[name]["outputs"], graphs[name](inputs), strict=True))

    return run


def opened(out: Path, name: str) -> Callable[[dict[str, Tensor]], list[Tensor]]:
    if (out / f"{name}.pt2").exists():
        program = torch.export.load(out / f"{name}.pt2").module()
        return lambda inputs: program(*inputs.values())
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = onnxruntime.InferenceSession(str(out / f"{name}.onnx"))

    def run(inputs: dict[str, Tensor]) -> list[Tensor]:
        arrays = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        return [torch.from_numpy(array) for array in arrays]

    return run


def greedy(run: Run, known: dict[str, Tensor], prompt: list[int], length: int) -> list[int]:
    """Writes symbols one by one, from a prompt and the memory of a source."""
    given = known | {"prev_output_tokens": torch.tensor([prompt])}
    made = run("decoder", given)
    written: list[int] = []
    while True:
        logits = made["logits"][0, -1]
        logits[[0, 1]] = -torch.inf
        if not written:
            logits[EOS] = -torch.inf
        symbol = int(logits.argmax())
        if symbol == EOS or len(written) == length:
            return written
        written.append(symbol)
        state = {f"past.{k.removeprefix('present.')}": v for k, v in made.items() if k != "logits"}
        given = known | state | {"prev_output_tokens": torch.tensor([[symbol]])}
        made = run("decoder_step", given)


def require_same_continuations(pipeline: Pipeline, run: Run) -> None:
    config = replace(pipeline.config.generation, beam=1)
    for line in ("ab", "fabcde"):
        ((own,),) = pipeline.hypotheses_of_lines([line], config)
        prompt = [EOS, *pipeline.task.side.encode(line).tolist()]
        assert greedy(run, {}, prompt, config.max_len_b) == own.tokens


def require_same_translations(pipeline: Pipeline, run: Run) -> None:
    config = replace(pipeline.config.generation, beam=1)
    for line in ("a", "b c d e f a"):
        ((own,),) = pipeline.hypotheses_of_lines([line], config)
        source = torch.tensor([[*pipeline.task.source.encode(line).tolist(), EOS]])
        memory = run("encoder", {"source_tokens": source})
        assert greedy(run, memory, [EOS], config.max_len_b) == own.tokens


def require_same_padded_logits(pipeline: Pipeline, run: Run) -> None:
    sources = torch.tensor([[5, 6, 7, 8, 2], [9, 2, 1, 1, 1]])
    prefixes = torch.tensor([[2, 4, 5], [2, 6, 1]])
    inputs = {"source_tokens": sources, "prev_output_tokens": prefixes}
    with torch.no_grad():
        own = pipeline.model(**inputs).logits
    found = run("model", inputs)["logits"]
    is_real = prefixes.ne(1)
    torch.testing.assert_close(found[is_real], own[is_real], rtol=0, atol=1e-5)


def test_programs_of_a_language_model_write_what_it_writes(tmp_path: Path) -> None:
    pipeline = language_model(tmp_path, LLAMA | {"layers": 1})
    notes = write_torch_export(pipeline, tmp_path)
    assert notes == ["graphs.json has the inputs and outputs of model, decoder, decoder_step."]
    run = runtime_of(tmp_path)
    require_same_continuations(pipeline, run)
    long = torch.randint(4, 9, (1, 600), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = pipeline.model(prev_output_tokens=long).logits
    found = run("model", {"prev_output_tokens": long})["logits"]
    torch.testing.assert_close(found, own, rtol=0, atol=1e-4)


def test_an_onnx_graph_of_a_forecast_has_a_free_batch_size(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnx and onnxscript are not installed")
    pipeline = series_model(tmp_path)
    write_onnx(pipeline, tmp_path)
    (description,) = json.loads((tmp_path / "graphs.json").read_text()).values()
    assert description["inputs"]["values"]["shape"] == ["batch", 8, 2]
    assert description["outputs"]["forecast"]["shape"] == ["batch", 3, 2]
    for batch in (1, 5):
        values = torch.randn(batch, 8, 2, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            own = pipeline.model(values=values).logits
        found = runtime_of(tmp_path)("model", {"values": values})["forecast"]
        torch.testing.assert_close(found, own, rtol=0, atol=1e-5)


def test_a_model_that_cannot_be_traced_for_all_lengths_is_refused(tmp_path: Path) -> None:
    pipeline = language_model(tmp_path, {"name": "lstm_lm", "dim": 4, "layers": 1})
    with pytest.raises(ConfigError, match="format=torch_export: .* Use format=safetensors"):
        write_torch_export(pipeline, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("write", [write_torch_export, write_onnx])
def test_graphs_of_a_transformer_translate_as_it_does(
    norm: str, write: Callable[[Pipeline, Path], list[str]], tmp_path: Path
) -> None:
    pipeline = translation_model(tmp_path, {"norm": norm})
    write(pipeline, tmp_path)
    run = runtime_of(tmp_path)
    require_same_translations(pipeline, run)
    require_same_padded_logits(pipeline, run)


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, {"positions": "learned"}, LLAMA], ids=str)
def test_onnx_graphs_of_a_language_model_write_what_it_writes(
    model: dict[str, Any], tmp_path: Path
) -> None:
    pipeline = language_model(tmp_path, model)
    write_onnx(pipeline, tmp_path)
    require_same_continuations(pipeline, runtime_of(tmp_path))


PROGRAM = """
import sys
sys.modules["seqtrain"] = None  # an import of it fails
import torch
program = torch.export.load(sys.argv[1]).module()
print(tuple(program(torch.tensor([[2, 4, 5, 6]]))[0].shape))
"""


@pytest.mark.slow
def test_a_program_runs_without_this_package(tmp_path: Path) -> None:
    pipeline = language_model(tmp_path)
    write_torch_export(pipeline, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "model.pt2"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    vocab_size = len(pipeline.task.side.vocabulary)
    assert done.stdout.strip() == f"(1, 4, {vocab_size})"
