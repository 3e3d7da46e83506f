"""Each encoder-decoder model learns to copy within a few updates."""

import pytest
import torch

from seqtrain.batch import Batch
from seqtrain.criteria.base import CRITERIA
from seqtrain.criteria.label_smoothed_cross_entropy import LabelSmoothedCrossEntropy
from seqtrain.generation.base import GenerationConfig
from seqtrain.generation.build import build_search
from seqtrain.models.base import Model, ModelContext
from seqtrain.models.lstm import LSTMConfig, LSTMModel
from seqtrain.models.transformer import TransformerConfig, TransformerModel

CONTEXT = ModelContext(source_vocab_size=12, target_vocab_size=12, shared_vocab=True)


def _copying_batch() -> Batch:
    source = torch.randint(3, 12, (32, 6))
    source[:, -1] = 2
    previous = source.roll(1, dims=1)
    return Batch(
        inputs={"source_tokens": source, "prev_output_tokens": previous},
        targets=source,
        ids=torch.arange(32),
        num_targets=source.numel(),
    )


def _train(model: Model, num_updates: int) -> None:
    criterion = LabelSmoothedCrossEntropy(
        CRITERIA.parse({"name": "label_smoothed_cross_entropy"}), CONTEXT
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(num_updates):
        loss = criterion(model, _copying_batch())
        optimizer.zero_grad()
        (loss.total / loss.num_targets).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["pre", "post", "lstm"])
def test_a_model_learns_to_copy(name: str) -> None:
    torch.manual_seed(0)
    if name == "lstm":
        model = LSTMModel.from_config(LSTMConfig(dim=64, dropout=0.0), CONTEXT)
    else:
        config = TransformerConfig(
            dim=64, ffn_dim=128, encoder_layers=2, decoder_layers=2, dropout=0.1, norm=name
        )
        model = TransformerModel.from_config(config, CONTEXT)
    _train(model, 240)
    batch = _copying_batch()
    found = build_search([model], GenerationConfig(beam=3, max_len_b=10), CONTEXT).generate(batch)
    expected = [row[:-1] for row in batch.targets.tolist()]
    right = sum(best.tokens == tokens for (best,), tokens in zip(found, expected, strict=True))
    assert right >= 30
