"""Small models with random weights and their tasks, for tests of exports."""

from pathlib import Path
from typing import Any

import torch
from toy_run import toy_config, write_toy_text
from toy_series import series_config, write_series_csv
from toy_text import toy_text_config, write_toy_documents

from seqtrain.pipeline import Pipeline
from seqtrain.plugins import import_built_ins
from seqtrain.training.build import build_criterion, build_model, build_task
from seqtrain.training.run_config import RunConfig

import_built_ins()


def translation_model(
    folder: Path, model: dict[str, Any] | None = None, task: dict[str, Any] | None = None
) -> Pipeline:
    """Returns a Transformer for translation of toy text; sections are merged into the defaults."""
    text = folder / "text"
    if not text.exists():
        write_toy_text(text)
    config = toy_config(text, folder / "run", task=task or {})
    sizes = {"name": "transformer", "dim": 16, "ffn_dim": 24, "num_heads": 2}
    section = sizes | {"encoder_layers": 2, "decoder_layers": 2} | (model or {})
    config["model"] = section if section["name"] == "transformer" else model
    return _built(config)


def language_model(
    folder: Path, model: dict[str, Any] | None = None, task: dict[str, Any] | None = None
) -> Pipeline:
    """Returns a Transformer language model of toy text."""
    text = folder / "documents"
    if not text.exists():
        write_toy_documents(text)
    section = {"name": "transformer_lm", "dim": 16, "layers": 2} | (model or {})
    if section["name"] == "transformer_lm":
        section = {"num_heads": 2} | section
    name = "language_modeling"
    config = toy_text_config(text, folder / "run", name, section, task=task or {})
    return _built(config)


def denoising_model(folder: Path, tokenizer: str = "char") -> Pipeline:
    """Returns a Transformer that mends corrupted toy text; it has symbols beside the vocabulary."""
    text = folder / "documents"
    if not text.exists():
        write_toy_documents(text)
    model = {"name": "transformer", "dim": 16, "ffn_dim": 24, "num_heads": 2}
    task = {"tokenizer": tokenizer} | ({"vocab_size": 24} if tokenizer != "char" else {})
    return _built(toy_text_config(text, folder / "run", "denoising", model, task=task))


def series_model(folder: Path) -> Pipeline:
    """Returns a forecast of 3 steps from 8, of two columns."""
    file = write_series_csv(folder / "series.csv")
    config = series_config(file, folder / "run", task={"look_back": 8, "horizon": 3})
    return _built(config)


def _built(values: dict[str, Any]) -> Pipeline:
    config = RunConfig.parse(values)
    task = build_task(config)
    model = build_model(config, task.context).eval()
    _stir(model)
    criterion = build_criterion(config, task.context).eval()
    return Pipeline(config, task, model, criterion, torch.device("cpu"), Path())


def _stir(model: torch.nn.Module) -> None:
    """Gives every parameter random values of its own: biases and norms too."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
