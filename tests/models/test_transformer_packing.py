"""The transformer on rows without padding against itself on rectangles."""

from typing import Any

import pytest
import torch
from torch import Tensor

from seqtrain.batch import Batch
from seqtrain.criteria.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropy,
    LabelSmoothedCrossEntropyConfig,
)
from seqtrain.models import transformer
from seqtrain.models.base import ModelContext
from seqtrain.models.transformer import TransformerConfig, TransformerModel

CONTEXT = ModelContext(source_vocab_size=20, target_vocab_size=20, shared_vocab=True)
SOURCE = torch.tensor([[5, 6, 7, 8, 2], [9, 4, 2, 1, 1], [2, 1, 1, 1, 1]])
TARGET = torch.tensor([[3, 9, 2], [8, 2, 1], [11, 12, 2]])
BATCH = Batch(
    inputs={
        "source_tokens": SOURCE,
        "prev_output_tokens": torch.tensor([[2, 3, 9], [2, 8, 1], [2, 11, 12]]),
    },
    targets=TARGET,
    ids=torch.arange(3),
    num_targets=8,
)


def _run(fields: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    config = TransformerConfig(dim=8, ffn_dim=16, num_heads=2, dropout=0.0, **fields)
    model = TransformerModel.from_config(config, CONTEXT).to(dtype)
    criterion = LabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyConfig(), CONTEXT)
    loss = criterion(model, BATCH)
    loss.total.backward()
    real = BATCH.inputs["prev_output_tokens"] != CONTEXT.padding_index
    return loss.total, loss.output.logits[real], {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "pre"},
        {"norm": "post"},
        {"activation": "gelu", "share_embeddings": "none", "positions": "learned"},
        {"checkpoint_activations": True},
    ],
    ids=str,
)
def test_rows_and_rectangles_give_the_same_values_and_gradients(
    fields: dict[str, Any], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = _run(fields, dtype)
    monkeypatch.setattr(transformer, "packing_for", lambda mask: None)
    torch.testing.assert_close(packed, _run(fields, dtype))
