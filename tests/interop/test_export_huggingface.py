"""transformers loads what is exported and computes, writes and cuts text as the model does."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_models import language_model, translation_model
from torch import Tensor, nn

from seqtrain.interop.export_huggingface import write_huggingface
from seqtrain.pipeline import Pipeline

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

TRANSLATION = {
    "marian": {"norm": "post"},
    "marian_two_vocabularies": {"norm": "post", "share_embeddings": "decoder"},
    "marian_untied": {"norm": "post", "share_embeddings": "none", "activation": "gelu"},
    "m2m_100": {"norm": "pre"},
    "m2m_100_untied": {"norm": "pre", "share_embeddings": "decoder"},
    "pegasus": {"norm": "pre", "positions": "marian"},
    "blenderbot": {"norm": "pre", "positions": "learned"},
}
LANGUAGE = {
    "gpt2": {"positions": "learned", "activation": "gelu_tanh"},
    "gpt2_untied": {"positions": "learned", "tie_embeddings": False, "bias": False},
    "gpt_neox": {},
    "llama": {"norm_type": "rmsnorm", "activation": "swiglu", "bias": False, "num_heads": 4,
              "num_key_heads": 2},
    "llama_biases": {"norm_type": "rmsnorm", "activation": "swiglu", "tie_embeddings": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pipeline_of(name: str, folder: Path) -> Pipeline:
    if name in LANGUAGE:
        return language_model(folder, LANGUAGE[name])
    is_joined = "two_vocabularies" not in name
    return translation_model(folder, TRANSLATION[name], {"joined": is_joined})


def exported(pipeline: Pipeline, folder: Path, name: str) -> Path:
    out = folder / name
    if not out.exists():
        out.mkdir()
        write_huggingface(pipeline, out)
    return out


def opened(out: Path) -> Any:
    is_pair = json.loads((out / "config.json").read_text()).get("is_encoder_decoder")
    auto = transformers.AutoModelForSeq2SeqLM if is_pair else transformers.AutoModelForCausalLM
    model, report = auto.from_pretrained(out, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def batch_of(pipeline: Pipeline) -> dict[str, Tensor]:
    """Returns inputs of three examples of different lengths."""
    return pipeline.task.dataset("test").batch(np.array([0, 1, 2]), 1).inputs


def logits_of(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        if "source_tokens" not in inputs:
            return model(input_ids=inputs["prev_output_tokens"]).logits
        return model(
            input_ids=inputs["source_tokens"],
            attention_mask=inputs["source_tokens"].ne(1).long(),
            decoder_input_ids=inputs["prev_output_tokens"],
        ).logits


def require_same_logits(pipeline: Pipeline, theirs: Any, tolerance: float) -> None:
    inputs = batch_of(pipeline)
    with torch.no_grad():
        own = pipeline.model(**inputs).logits
    is_real = inputs["prev_output_tokens"].ne(1)
    found = logits_of(theirs, inputs)
    torch.testing.assert_close(found[is_real], own[is_real], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", [*TRANSLATION, *LANGUAGE])
def test_transformers_gives_the_same_logits(name: str, folder: Path) -> None:
    pipeline = pipeline_of(name, folder)
    theirs = opened(exported(pipeline, folder, name))
    assert theirs.config.model_type == name.removesuffix("_untied").removesuffix(
        "_two_vocabularies"
    ).removesuffix("_biases")
    require_same_logits(pipeline, theirs, 1e-4)


DOUBLE = ["marian", "m2m_100", "pegasus", "blenderbot", "gpt2", "gpt_neox", "llama"]


@pytest.mark.parametrize("name", DOUBLE)
def test_in_float64_logits_are_equal_to_1e_9(name: str, folder: Path) -> None:
    pipeline = pipeline_of(name, folder)
    theirs = opened(exported(pipeline, folder, name)).double()
    pipeline.model.double()
    take_their_float32_steps(pipeline.model, theirs, name)
    require_same_logits(pipeline, theirs, 1e-9)


def take_their_float32_steps(ours: Any, theirs: Any, name: str) -> None:
    """Gives both models the same tables where transformers computes them in float32 always.

    Its rotary models also normalise and take the softmax in float32, whatever their type.
    """
    if name == "m2m_100":
        for side in ("encoder", "decoder"):
            table = getattr(theirs.model, side).embed_positions.weights
            own = getattr(ours, side).embed_positions
            torch.testing.assert_close(own.table, table[: len(own.table)], rtol=0, atol=2e-4)
            own.table = table[: len(own.table)]
    if name in ("gpt_neox", "llama"):
        body = theirs.gpt_neox if name == "gpt_neox" else theirs.model
        rotary = ours.decoder.rotary
        cos, sin = body.rotary_emb(rotary.table, torch.arange(len(rotary.table))[None])
        half = rotary.table.size(1)
        table = torch.stack([cos[0, :, :half], sin[0, :, :half]], dim=-1)
        torch.testing.assert_close(rotary.table, table, rtol=0, atol=2e-4)
        rotary.table = table
    if name == "llama":
        for layer in theirs.model.layers:
            layer.input_layernorm = in_double(layer.input_layernorm)
            layer.post_attention_layernorm = in_double(layer.post_attention_layernorm)
        theirs.model.norm = in_double(theirs.model.norm)


def in_double(norm: Any) -> nn.RMSNorm:
    made = nn.RMSNorm(norm.weight.shape, eps=norm.variance_epsilon, dtype=torch.float64)
    made.weight = norm.weight
    return made


@pytest.mark.parametrize("name", ["marian_two_vocabularies", "m2m_100", "pegasus", "blenderbot"])
def test_greedy_generation_of_transformers_writes_the_same_translations(
    name: str, folder: Path
) -> None:
    pipeline = pipeline_of(name, folder)
    theirs = opened(exported(pipeline, folder, name))
    lines = ["a b c", "d e f a b", "f"]
    config = replace(pipeline.config.generation, beam=1)
    own = [h.tokens for (h,) in pipeline.hypotheses_of_lines(lines, config)]
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported(pipeline, folder, name))
    found = theirs.generate(**tokenizer(lines, return_tensors="pt", padding=True), num_beams=1)
    assert [symbols_of(row) for row in found[:, 1:].tolist()] == own


def symbols_of(row: list[int]) -> list[int]:
    return row[: row.index(2)]


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama"])
def test_greedy_generation_of_transformers_writes_the_same_continuations(
    name: str, folder: Path
) -> None:
    pipeline = pipeline_of(name, folder)
    out = exported(pipeline, folder, name)
    config = replace(pipeline.config.generation, beam=1)
    for line in ("ab", "fab"):
        ((own,),) = pipeline.hypotheses_of_lines([line], config)
        prompt = transformers.AutoTokenizer.from_pretrained(out)(line, return_tensors="pt")
        found = opened(out).generate(**prompt, num_beams=1)
        assert symbols_of(found[0, prompt.input_ids.size(1) :].tolist()) == own.tokens
