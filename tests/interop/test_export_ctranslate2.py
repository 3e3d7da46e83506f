"""CTranslate2 translates as the model does."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_models import language_model, translation_model
from toy_run import toy_config, write_toy_text

from seqtrain.errors import ConfigError
from seqtrain.interop.export_ctranslate2 import write_ctranslate2
from seqtrain.pipeline import Pipeline, load, train

ctranslate2 = pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")

MODELS = {
    "pre": {"norm": "pre"},
    "post": {"norm": "post"},
    "learned": {"positions": "learned", "share_embeddings": "none", "activation": "gelu"},
}


def lines_of(count: int) -> list[str]:
    rng = random.Random(3)
    return [" ".join(rng.choices("abcdef", k=rng.randint(1, 7))) for _ in range(count)]


def translations(out: Path, lines: list[str], beam: int, length: int) -> list[list[str]]:
    translator = ctranslate2.Translator(str(out), device="cpu", intra_threads=1)
    pieces = [line.split() for line in lines]
    results = translator.translate_batch(
        pieces,
        beam_size=beam,
        max_decoding_length=length,
        min_decoding_length=1,
        suppress_sequences=[["<s>"], ["<pad>"]],
    )
    return [result.hypotheses[0] for result in results]


def own_translations(pipeline: Pipeline, lines: list[str], beam: int) -> list[list[str]]:
    config = replace(pipeline.config.generation, beam=beam)
    found = pipeline.hypotheses_of_lines(lines, config)
    return [pipeline.task.target.vocabulary.decode(h.tokens) for (h,) in found]


@pytest.mark.parametrize("is_joined", [True, False], ids=["joined", "separate"])
@pytest.mark.parametrize("name", MODELS)
def test_ctranslate2_scores_targets_as_the_model_does(
    name: str, is_joined: bool, tmp_path: Path
) -> None:
    sharing = {"joined": is_joined, "min_count": 1 if is_joined else 3}
    pipeline = translation_model(tmp_path, MODELS[name], sharing)
    write_ctranslate2(pipeline, tmp_path)
    sources, targets = lines_of(5), lines_of(5)[::-1]
    own = pipeline.score(sources, targets)
    translator = ctranslate2.Translator(str(tmp_path), device="cpu", intra_threads=1)
    found = translator.score_batch([s.split() for s in sources], [t.split() for t in targets])
    for given, result in zip(own, found, strict=True):
        expected = torch.tensor(given.token_scores)
        torch.testing.assert_close(torch.tensor(result.log_probs), expected, rtol=0, atol=1e-4)


def test_ctranslate2_writes_what_greedy_search_does(tmp_path: Path) -> None:
    pipeline = translation_model(tmp_path)
    notes = write_ctranslate2(pipeline, tmp_path)
    assert all("tokenizer=word" in note for note in notes)
    lines = lines_of(20)
    length = pipeline.config.generation.max_len_b
    assert translations(tmp_path, lines, 1, length) == own_translations(pipeline, lines, 1)


def test_int8_weights_take_about_a_quarter_of_the_space(tmp_path: Path) -> None:
    pipeline = translation_model(tmp_path, {"dim": 128, "ffn_dim": 512})
    sizes = []
    for quantization in ("", "int8"):
        out = tmp_path / f"weights{quantization}"
        out.mkdir()
        write_ctranslate2(pipeline, out, quantization)
        sizes.append((out / "model.bin").stat().st_size)
    assert 0.25 * sizes[0] < sizes[1] < 0.4 * sizes[0]


def test_sentencepiece_models_are_written_beside_it(tmp_path: Path) -> None:
    options = {"tokenizer": "sentencepiece", "vocab_size": 20}
    pipeline = translation_model(tmp_path, task=options)
    assert write_ctranslate2(pipeline, tmp_path) == []
    sentencepiece = pytest.importorskip("sentencepiece")
    cutter = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "source.spm"))
    assert cutter.encode("a b c", out_type=str) == pipeline.task.source.tokenizer.encode("a b c")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["decoder_start_token"] == config["eos_token"] == "</s>"


@pytest.mark.parametrize(
    ("pipeline", "quantization", "message"),
    [
        (language_model, "", "not model=transformer_lm of task=language_modeling"),
        (translation_model, "int4", "quantization must be one of int8, .* got 'int4'"),
    ],
)
def test_what_ctranslate2_cannot_do_is_refused(
    pipeline: Any, quantization: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_ctranslate2(pipeline(tmp_path), tmp_path, quantization)


@pytest.mark.slow
def test_a_trained_model_translates_99_percent_of_sentences_alike(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text", 2000, 40)
    sections = {
        "model": {"dim": 64, "ffn_dim": 128, "dropout": 0.0},
        "dataset": {"max_tokens": 200},
        "optimizer": {"lr": 0.003},
        "lr_scheduler": {"warmup_updates": 100},
        "optimization": {"max_epoch": 12},
        "validation": {"validate_interval_updates": 0},
    }
    train(toy_config(text, tmp_path / "run", **sections))
    pipeline = load(tmp_path / "run", "cpu")
    out = tmp_path / "out"
    out.mkdir()
    write_ctranslate2(pipeline, out)
    lines = lines_of(400)
    for beam in (1, 5):
        own = own_translations(pipeline, lines, beam)
        found = translations(out, lines, beam, pipeline.config.generation.max_len_b)
        same = sum(a == b for a, b in zip(own, found, strict=True))
        assert same >= 0.99 * len(lines)
