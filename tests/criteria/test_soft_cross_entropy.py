import pytest
import torch
from given_output import PAD, batch_of, build, check_gradients, loss_of, random
from torch.nn import functional as F

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext

CONTEXT = ModelContext(num_classes=5, padding_index=PAD)
TARGETS = torch.tensor([[3, 0, PAD], [4, PAD, PAD]])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_the_loss_is_the_formula_over_positions_with_a_target() -> None:
    logits, soft = random(2, 3, 5), torch.rand(2, 3, 5, dtype=torch.float64)
    loss = loss_of(
        build("soft_cross_entropy", CONTEXT, label_smoothing=0.2),
        batch_of(TARGETS, 3, soft_targets=soft),
        logits,
    )
    expected = 0.0
    for row, position in ((0, 0), (0, 1), (1, 0)):
        log_probs = logits[row, position].log_softmax(dim=0)
        for k in range(5):
            q = 0.8 * float(soft[row, position, k]) + 0.2 / 5
            expected -= q * log_probs[k].item()
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)
    assert loss.num_targets == 3


def test_without_soft_targets_it_is_torchs_cross_entropy() -> None:
    logits = random(2, 3, 5)
    loss = loss_of(
        build("soft_cross_entropy", CONTEXT, label_smoothing=0.1), batch_of(TARGETS, 3), logits
    )
    expected = F.cross_entropy(
        logits.flatten(0, 1), TARGETS.flatten(), ignore_index=PAD, label_smoothing=0.1,
        reduction="sum",
    )  # fmt: skip
    torch.testing.assert_close(loss.total, expected, rtol=1e-12, atol=0)


def test_a_class_of_a_whole_example_needs_no_time_dimension() -> None:
    logits, targets = random(4, 5), torch.tensor([0, 1, 2, 3])
    loss = loss_of(build("soft_cross_entropy", CONTEXT), batch_of(targets, 4), logits)
    expected = F.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(loss.total, expected, rtol=1e-12, atol=0)


def test_accuracy_counts_the_unmixed_target() -> None:
    logits = F.one_hot(torch.tensor([[3, 1, 0], [4, 4, 4]]), 5).double()
    soft = torch.full((2, 3, 5), 0.2, dtype=torch.float64)
    criterion = build("soft_cross_entropy", CONTEXT)
    loss = loss_of(criterion, batch_of(TARGETS, 3, soft_targets=soft), logits)
    assert loss.metrics["accuracy"].compute() == pytest.approx(200 / 3)


def test_its_gradient_is_right() -> None:
    criterion = build("soft_cross_entropy", CONTEXT, label_smoothing=0.1)
    batch = batch_of(TARGETS, 3, soft_targets=torch.rand(2, 3, 5, dtype=torch.float64))
    check_gradients(lambda logits: loss_of(criterion, batch, logits).total, random(2, 3, 5))


def test_smoothing_away_all_of_the_target_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"criterion\.label_smoothing"):
        build("soft_cross_entropy", CONTEXT, label_smoothing=1.0)
