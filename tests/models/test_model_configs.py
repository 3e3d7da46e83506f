"""Configs of the models: what is refused, and what auto means."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from seqtrain.errors import ConfigError, DataError
from seqtrain.models.base import MODELS, ModelConfig, ModelContext
from seqtrain.models.lstm import LSTMConfig, LSTMModel
from seqtrain.models.transformer import TransformerConfig, TransformerModel

PRESETS = Path(__file__).parents[2] / "config"
OWN_VOCABULARIES = ModelContext(source_vocab_size=20, target_vocab_size=30)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", 10),
        ("num_heads", 3),
        ("num_heads", 0),
        ("encoder_layers", 0),
        ("dropout", 1.0),
        ("attention_dropout", -0.1),
        ("activation", "tanh"),
        ("norm", "both"),
        ("share_embeddings", "some"),
        ("positions", "rotary"),
        ("max_positions", 0),
    ],
)
def test_a_wrong_transformer_setting_is_refused_by_name(field: str, value: Any) -> None:
    named = "dim" if field == "num_heads" and value == 3 else field
    with pytest.raises(ConfigError, match=rf"model\.{named} must"):
        TransformerConfig(**{"dim": 16, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("dim", 7), ("decoder_layers", 0), ("dropout", 1.5), ("share_embeddings", "x")],
)
def test_a_wrong_lstm_setting_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{field} must"):
        LSTMConfig(**{field: value})


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_all_embeddings_cannot_be_shared_between_vocabularies(name: str) -> None:
    entry = MODELS.get(name)
    config = MODELS.parse({"name": name, "dim": 8, "share_embeddings": "all"})
    with pytest.raises(ConfigError, match=r"share_embeddings=all needs one vocabulary"):
        entry.cls.from_config(config, OWN_VOCABULARIES)


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_a_task_without_vocabularies_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="needs a source text and a target text"):
        MODELS.get(name).cls.from_config(MODELS.parse({"name": name}), ModelContext(num_channels=1))


def test_auto_shares_target_and_output_between_own_vocabularies() -> None:
    model = LSTMModel.from_config(LSTMConfig(dim=8), OWN_VOCABULARIES)
    assert model.decoder.output_projection.weight is model.decoder.embed_tokens.weight
    assert model.encoder.embed_tokens.weight.size(0) == 20


def test_auto_positions_follow_the_norm() -> None:
    assert TransformerConfig(norm="pre").position_kind == "fairseq"
    assert TransformerConfig(norm="post").position_kind == "marian"
    assert TransformerConfig(norm="post", positions="learned").position_kind == "learned"


def test_a_source_that_is_too_long_is_a_data_error() -> None:
    config = TransformerConfig(dim=8, ffn_dim=8, num_heads=2, max_positions=4)
    model = TransformerModel.from_config(config, OWN_VOCABULARIES)
    with pytest.raises(DataError, match=r"model\.max_positions is 4"):
        model.encode(torch.full((1, 5), 4))


@pytest.mark.parametrize(
    "preset", [path.stem for path in sorted((PRESETS / "model").glob("*.yaml"))]
)
def test_every_preset_composes_to_a_valid_config(preset: str) -> None:
    with initialize_config_dir(str(PRESETS), version_base=None):
        section = compose(overrides=[f"+model={preset}"])["model"]
    assert isinstance(MODELS.parse(section), ModelConfig)
