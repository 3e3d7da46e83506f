"""What is done to batches before, and to gradients after the backward pass."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_trainer import make_batch, make_trainer
from torch import Tensor

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError
from seqtrain.training.run_config import OptimizationConfig
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import UpdateHooks


def trainer_with(**settings: Any) -> Trainer:
    trainer = make_trainer()
    trainer.settings = replace(trainer.settings, **settings)
    return trainer


def applied_gradients(trainer: Trainer, batch: Batch) -> Tensor:
    """The gradients of an update as the optimizer gets them."""
    seen: list[Tensor] = []

    def note() -> None:
        parameters = trainer.optimizer.parameters.values()
        seen.append(torch.cat([p.grad.flatten().clone() for p in parameters if p.grad is not None]))

    trainer.hooks = UpdateHooks(gradients_ready=note)
    trainer.train_step([batch])
    return seen[0]


def test_values_are_clipped_after_the_norm_was_taken() -> None:
    batch = make_batch(5)
    plain = applied_gradients(make_trainer(), batch)
    limit = float(plain.abs().median())
    trainer = trainer_with(clip_value=limit)
    torch.testing.assert_close(applied_gradients(trainer, batch), plain.clamp(-limit, limit))
    norm = trainer_with(clip_value=limit).train_step([batch]).grad_norm
    torch.testing.assert_close(norm, float(plain.norm()), rtol=1.3e-6, atol=0)


def test_clipping_values_does_not_hide_a_gradient_that_is_not_finite() -> None:
    batch = make_batch(4)
    batch.extras["weight"][0] = float("inf")
    assert not trainer_with(clip_value=1.0).train_step([batch]).applied


def test_noise_has_the_variance_of_its_update_and_only_that() -> None:
    batch = make_batch(5)
    settings = {"grad_noise": 0.5, "grad_noise_decay": 2.0}
    deviations = []
    for update in (0, 9):
        squares = []
        for seed in range(200):
            plain, noisy = trainer_with(seed=seed), trainer_with(seed=seed, **settings)
            plain.num_updates = noisy.num_updates = update
            noise = applied_gradients(noisy, batch) - applied_gradients(plain, batch)
            squares.append(noise.square())
        deviations.append(float(torch.cat(squares).mean()))
    assert deviations == pytest.approx([0.5, 0.5 / 10**2], rel=0.2)


def test_noise_is_drawn_anew_for_each_update_and_the_same_when_done_again() -> None:
    batch = make_batch(5)
    first, again = (applied_gradients(trainer_with(grad_noise=1.0), batch) for _ in range(2))
    later = trainer_with(grad_noise=1.0)
    later.num_updates = 1
    assert torch.equal(first, again)
    assert not torch.equal(first, applied_gradients(later, batch))


def test_a_batch_transform_draws_by_update_and_micro_batch_alone() -> None:
    def recording(draws: list[float]) -> Callable[[Batch], Batch]:
        def transform(batch: Batch) -> Batch:
            draws.append(float(torch.rand(())))
            return batch

        return transform

    seen: list[list[float]] = []
    for first_indices in ([0], [0, 1]):  # one rank with two micro-batches, two with one each
        draws: list[float] = []
        trainer = make_trainer()
        trainer.batch_transform = recording(draws)
        for first in first_indices:
            share = [make_batch(2)] * (2 // len(first_indices))
            trainer.compute_gradients(share, first)
        seen.append(draws)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 2


def test_a_batch_transform_changes_training_and_not_validation() -> None:
    def doubled(batch: Batch) -> Batch:
        return replace(batch, extras={"weight": 2.0 * batch.extras["weight"]})

    batch = make_batch(3)
    plain, transformed = make_trainer(), make_trainer()
    transformed.batch_transform = doubled
    _, expected = plain.compute_gradients([batch])
    _, found = transformed.compute_gradients([batch])
    assert float(found[4]) == pytest.approx(2.0 * float(expected[4]))
    assert plain.valid_step(batch).compute() == transformed.valid_step(batch).compute()


@pytest.mark.parametrize("key", ["clip_value", "grad_noise", "grad_noise_decay"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_impossible_settings_are_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"optimization\.{key}"):
        OptimizationConfig(**{key: value})
