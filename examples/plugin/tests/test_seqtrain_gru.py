"""The plug-in's promises: the rules that every model and criterion keeps."""
# ruff: noqa: D103, S101 # tests

import seqtrain_gru
import torch

from seqtrain.batch import Batch
from seqtrain.models.base import ModelContext

CONTEXT = ModelContext(source_vocab_size=11, target_vocab_size=13)


def make_model() -> seqtrain_gru.GRUModel:
    torch.manual_seed(0)
    return seqtrain_gru.GRUModel.from_config(seqtrain_gru.GRUConfig(dim=8), CONTEXT)


def test_incremental_decoding_equals_decoding_at_once() -> None:
    model = make_model()
    prefix = torch.tensor([[2, 5, 6, 7]])
    memory = model.encode(torch.tensor([[4, 5, 2]]))
    at_once, _ = model.decode(prefix, memory, None)
    state = None
    for length in range(1, 5):
        output, state = model.decode(prefix[:, :length], memory, state)
    torch.testing.assert_close(output.logits[:, -1], at_once.logits[:, -1])


def test_padding_of_the_source_changes_nothing() -> None:
    model = make_model()
    short, long = torch.tensor([[4, 5, 2]]), torch.tensor([[4, 5, 2, 1, 1]])
    torch.testing.assert_close(model.encode(long)["mean"], model.encode(short)["mean"])


def test_a_batch_without_targets_costs_nothing_and_reaches_every_parameter() -> None:
    model = make_model()
    criterion = seqtrain_gru.ClippedCrossEntropy(seqtrain_gru.ClippedCrossEntropyConfig(), CONTEXT)
    tokens = torch.tensor([[2]])
    empty = Batch(
        inputs={"source_tokens": tokens, "prev_output_tokens": tokens},
        targets=torch.tensor([[CONTEXT.padding_index]]),
        ids=torch.empty(0, dtype=torch.int64),
        num_targets=0,
    )
    loss = criterion(model, empty)
    loss.total.backward()
    assert loss.total.item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
