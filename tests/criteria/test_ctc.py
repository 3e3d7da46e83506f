import itertools
import math

import pytest
import torch
from given_output import batch_of, build, check_gradients, loss_of, random
from torch import Tensor

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext

CONTEXT = ModelContext(num_classes=4)
TARGETS = torch.tensor([[2, 3], [3, 1]])  # 1 is padding
PADDING = torch.tensor([[False, False, False, False], [False, False, False, True]])


def _collapsed(path: tuple[int, ...]) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != 0]


def _probability(log_probs: Tensor, target: list[int]) -> float:
    """The sum over all alignments, one after the other."""
    time, classes = log_probs.shape
    return sum(
        math.exp(sum(float(log_probs[t, symbol]) for t, symbol in enumerate(path)))
        for path in itertools.product(range(classes), repeat=time)
        if _collapsed(path) == target
    )


def test_the_loss_is_that_of_all_alignments_added_up() -> None:
    torch.manual_seed(0)
    logits = random(2, 4, 4)
    loss = loss_of(build("ctc", CONTEXT), batch_of(TARGETS, 3), logits, padding_mask=PADDING)
    log_probs = logits.detach().log_softmax(dim=-1)
    expected = -math.log(_probability(log_probs[0], [2, 3]))
    expected -= math.log(_probability(log_probs[1, :3], [3]))
    assert loss.total.item() == pytest.approx(expected, rel=1e-10)
    assert loss.metrics["loss"].compute() == pytest.approx(expected / 3, rel=1e-10)


def test_its_gradient_is_right() -> None:
    torch.manual_seed(0)
    criterion, batch = build("ctc", CONTEXT), batch_of(TARGETS, 3)
    check_gradients(
        lambda logits: loss_of(criterion, batch, logits, padding_mask=PADDING).total,
        random(2, 4, 4),
    )


def test_a_target_that_is_too_long_counts_nothing_and_gives_no_gradient() -> None:
    logits = random(1, 1, 4)
    loss = loss_of(build("ctc", CONTEXT), batch_of(torch.tensor([[2, 3]]), 2), logits)
    loss.total.backward()
    assert loss.total.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_target_that_is_too_long_can_be_made_to_show() -> None:
    criterion = build("ctc", CONTEXT, zero_infinity=False)
    assert torch.isinf(
        loss_of(criterion, batch_of(torch.tensor([[2, 3]]), 2), random(1, 1, 4)).total
    )


def test_an_empty_batch_costs_nothing() -> None:
    logits = random(1, 3, 4)
    loss = loss_of(build("ctc", CONTEXT), batch_of(torch.tensor([[1]]), 0), logits)
    loss.total.backward()
    assert loss.total.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_blank_that_is_no_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"criterion\.blank_index is 4.* only 4 classes"):
        loss_of(build("ctc", CONTEXT, blank_index=4), batch_of(TARGETS, 3), random(2, 4, 4))
