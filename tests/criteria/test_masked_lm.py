import pytest
import torch
from given_output import batch_of, build, check_gradients, loss_of, random

from seqtrain.models.base import ModelContext

CONTEXT = ModelContext(target_vocab_size=6)
TARGETS = torch.tensor([[1, 5, 1, 1], [4, 1, 1, 3]])  # 1 where nothing was hidden


def test_only_hidden_positions_count() -> None:
    torch.manual_seed(0)
    logits = random(2, 4, 6)
    loss = loss_of(build("masked_lm", CONTEXT), batch_of(TARGETS, 3), logits)
    expected = -sum(
        logits[row, position].log_softmax(dim=0)[target].item()
        for row, position, target in ((0, 1, 5), (1, 0, 4), (1, 3, 3))
    )
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)
    loss.total.backward()
    assert logits.grad is not None
    assert not logits.grad[TARGETS == 1].any()


def test_its_gradient_is_right() -> None:
    torch.manual_seed(0)
    criterion, batch = build("masked_lm", CONTEXT), batch_of(TARGETS, 3)
    check_gradients(lambda logits: loss_of(criterion, batch, logits).total, random(2, 4, 6))
