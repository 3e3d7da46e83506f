"""Small models and sources for the tests of search."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from seqtrain.batch import Batch
from seqtrain.generation.base import GenerationConfig, Hypothesis
from seqtrain.generation.build import build_search
from seqtrain.models.base import AutoregressiveModel, ModelContext
from seqtrain.models.lstm import LSTMConfig, LSTMModel
from seqtrain.models.lstm_lm import LSTMLanguageModel, LSTMLMConfig
from seqtrain.models.transformer import TransformerConfig, TransformerModel
from seqtrain.models.transformer_lm import TransformerLM, TransformerLMConfig

CONTEXT = ModelContext(source_vocab_size=7, target_vocab_size=7, shared_vocab=True)
BOS, PADDING, EOS = 0, 1, 2
SYMBOLS = range(3, 7)
SOURCES = [[5, 6, 3, 4, 2], [4, 2], [3, 3, 3, 2], [6, 5, 2]]
PROMPTS = [[2, 5, 6], [2], [2, 3, 4, 3, 4, 6], [2, 6, 5]]


def build(kind: str, seed: int = 0) -> AutoregressiveModel:
    """Returns a small model with random weights."""
    torch.manual_seed(seed)
    if kind == "transformer":
        config = TransformerConfig(dim=8, ffn_dim=16, num_heads=2, dropout=0.5)
        return TransformerModel.from_config(config, CONTEXT)
    if kind == "lstm":
        return LSTMModel.from_config(LSTMConfig(dim=8, dropout=0.5), CONTEXT)
    if kind == "lstm_lm":
        return LSTMLanguageModel.from_config(LSTMLMConfig(dim=8, tie_embeddings=False), CONTEXT)
    positions = {"rotary_lm": "rotary", "learned_lm": "learned"}[kind]
    model = TransformerLM.from_config(
        TransformerLMConfig(
            dim=16,
            num_heads=4,
            num_key_heads=2,
            layers=2,
            max_positions=24,
            positions=positions,
            tie_embeddings=False,
        ),
        CONTEXT,
    )
    with torch.no_grad():  # GPT-2's small weights say little
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


def batch_of(rows: list[list[int]], name: str, first_id: int = 0) -> Batch:
    """Returns rows as a batch of sources or prompts."""
    longest = max(map(len, rows))
    padded = [row + [PADDING] * (longest - len(row)) for row in rows]
    return Batch(
        inputs={name: torch.tensor(padded)},
        targets=torch.full((len(rows), 1), PADDING),
        ids=torch.arange(first_id, first_id + len(rows)),
        num_targets=0,
    )


def search(
    models: AutoregressiveModel | Sequence[AutoregressiveModel], batch: Batch, **fields: Any
) -> list[list[Hypothesis]]:
    """Returns what a search with these options finds."""
    models = [models] if isinstance(models, AutoregressiveModel) else models
    return build_search(models, GenerationConfig(**fields), CONTEXT).generate(batch)


def assert_same(ours: list[Hypothesis], expected: list[Hypothesis]) -> None:
    """Requires equal symbols and nearly equal scores."""
    assert [found.tokens for found in ours] == [found.tokens for found in expected]
    for found, right in zip(ours, expected, strict=True):
        assert found.score == pytest.approx(right.score, abs=2e-5)
        assert found.token_scores == pytest.approx(right.token_scores, abs=2e-5)


@torch.no_grad()
def log_probs(model: AutoregressiveModel, row: list[int], written: list[int]) -> torch.Tensor:
    """Returns the log probabilities after what is written, read as a whole."""
    model.eval()
    if hasattr(model, "encode"):
        inputs = {
            "source_tokens": torch.tensor([row]),
            "prev_output_tokens": torch.tensor([[EOS, *written]]),
        }
    else:
        inputs = {"prev_output_tokens": torch.tensor([row + written])}
    return model(**inputs).logits[0, -1].log_softmax(dim=0)
