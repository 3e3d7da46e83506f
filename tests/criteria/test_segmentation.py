import math

import pytest
import torch
from given_output import PAD, batch_of, build, check_gradients, loss_of, random
from torch import Tensor

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext

CONTEXT = ModelContext(num_classes=3, padding_index=PAD)
TARGETS = torch.tensor([[[0, 2], [PAD, 2]], [[1, 1], [PAD, PAD]]])
WEIGHTS = [1.0, 2.0, 0.5]
FIELDS = {"auxiliary_weight": 0.2, "presence_weight": 0.3, "class_weights": WEIGHTS}


def _heads() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return random(2, 2, 2, 3), random(2, 2, 2, 3), random(2, 3)


def _pixels() -> list[tuple[int, int, int]]:
    return [
        (image, i, j)
        for image in range(2) for i in range(2) for j in range(2)
        if TARGETS[image, i, j] != PAD
    ]  # fmt: skip


def _weighted_nll(logits: Tensor) -> float:
    total = 0.0
    for image, i, j in _pixels():
        target = int(TARGETS[image, i, j])
        total -= WEIGHTS[target] * logits[image, i, j].log_softmax(dim=0)[target].item()
    return total


def test_the_loss_is_the_sum_of_three_weighted_parts() -> None:
    main, auxiliary, presence = _heads()
    loss = loss_of(
        build("segmentation", CONTEXT, **FIELDS),
        batch_of(TARGETS, 5), main, auxiliary_logits=auxiliary, presence_logits=presence,
    )  # fmt: skip
    occurs, num_pixels = [[1, 0, 1], [0, 1, 0]], [3, 2]
    presence_loss = 0.0
    for image in range(2):
        for k in range(3):
            p = 1 / (1 + math.exp(-presence[image, k].item()))
            right = p if occurs[image][k] else 1 - p
            presence_loss -= num_pixels[image] * math.log(right) / 3
    expected = _weighted_nll(main) + 0.2 * _weighted_nll(auxiliary) + 0.3 * presence_loss
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)
    assert loss.metrics["main_loss"].compute() == pytest.approx(_weighted_nll(main) / 5)


def test_its_gradients_are_right() -> None:
    criterion, batch = build("segmentation", CONTEXT, **FIELDS), batch_of(TARGETS, 5)

    def total(main: Tensor, auxiliary: Tensor, presence: Tensor) -> Tensor:
        aux = {"auxiliary_logits": auxiliary, "presence_logits": presence}
        return loss_of(criterion, batch, main, **aux).total

    check_gradients(total, *_heads())


def test_accuracy_is_that_of_the_positions_with_a_class() -> None:
    guesses = torch.tensor([[[0, 2], [1, 0]], [[1, 2], [0, 0]]])
    logits = torch.nn.functional.one_hot(guesses, 3).double()
    metrics = loss_of(build("segmentation", CONTEXT), batch_of(TARGETS, 5), logits).metrics
    # Target, guess: 0 0, 2 2, 2 0, 1 1, 1 2.
    assert metrics["accuracy"].compute() == pytest.approx(60.0)


def test_metrics_over_two_batches_are_those_of_their_union() -> None:
    torch.manual_seed(0)
    logits, criterion = random(2, 2, 2, 3), build("segmentation", CONTEXT)
    whole = loss_of(criterion, batch_of(TARGETS, 5), logits).metrics
    merged = loss_of(criterion, batch_of(TARGETS[:1], 3), logits[:1]).metrics
    merged.merge(loss_of(criterion, batch_of(TARGETS[1:], 2), logits[1:]).metrics)
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-12)


def test_a_sequence_is_segmented_like_an_image() -> None:
    torch.manual_seed(0)
    logits = random(2, 2, 2, 3)
    criterion = build("segmentation", CONTEXT)
    flat = loss_of(criterion, batch_of(TARGETS.flatten(1), 5), logits.flatten(1, 2))
    assert flat.total == loss_of(criterion, batch_of(TARGETS, 5), logits).total


def test_an_empty_batch_costs_nothing_on_any_head() -> None:
    main, auxiliary, presence = _heads()
    loss = loss_of(
        build("segmentation", CONTEXT, **FIELDS), batch_of(torch.full((2, 2, 2), PAD), 0),
        main, auxiliary_logits=auxiliary, presence_logits=presence,
    )  # fmt: skip
    loss.total.backward()
    assert loss.total.item() == 0
    for head in (main, auxiliary, presence):
        assert head.grad is not None
        assert not head.grad.any()
    assert math.isnan(loss.metrics["accuracy"].compute())


def test_a_head_that_the_model_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match=r"criterion\.presence_weight is 0\.2.*presence_logits"):
        loss_of(
            build("segmentation", CONTEXT, presence_weight=0.2), batch_of(TARGETS, 5), _heads()[0]
        )


def test_a_wrong_number_of_class_weights_is_refused() -> None:
    criterion = build("segmentation", CONTEXT, class_weights=[1.0, 2.0])
    with pytest.raises(ConfigError, match=r"criterion\.class_weights holds 2.* 3 classes"):
        loss_of(criterion, batch_of(TARGETS, 5), _heads()[0])
