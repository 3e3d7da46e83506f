"""Modules that follow updates, within a Trainer."""

import copy
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from seqtrain.batch import Batch
from seqtrain.criteria.composite import Composite, CompositeConfig
from seqtrain.criteria.regression import RegressionConfig
from seqtrain.distributed.collectives import Collectives
from seqtrain.lr_schedulers.fixed import Fixed, FixedConfig
from seqtrain.models.base import Model, ModelContext, ModelOutput
from seqtrain.modules.update_number import FollowsUpdates
from seqtrain.optim.adam import Adam, AdamConfig
from seqtrain.optim.precision import Precision, PrecisionConfig
from seqtrain.training.resume import first_difference
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import UpdateSettings

CPU = torch.device("cpu")


class Noted(FollowsUpdates):
    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.numbers.append(self.update_number)
        return x


class Forecaster(Model):
    """Four steps of two channels from three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 8)
        self.noted = Noted()

    @classmethod
    def from_config(cls, config: Any, context: ModelContext) -> "Forecaster":
        raise NotImplementedError

    def forward(self, x: Tensor) -> ModelOutput:  # type: ignore[override] # names the input
        return ModelOutput(self.noted(x), lambda features: self.line(features).view(-1, 4, 2))


def make_trainer() -> Trainer:
    torch.manual_seed(0)
    model = Forecaster()
    # Within a composite, so that it is not the criterion itself that follows.
    regression = RegressionConfig(name="regression", horizon_curriculum_updates=8)
    criterion = Composite(CompositeConfig(members=[asdict(regression)]), ModelContext())
    return Trainer(
        model=model,
        criterion=criterion,
        optimizer=Adam(AdamConfig(), model.named_parameters()),
        lr_scheduler=Fixed(FixedConfig(), peak_lr=0.1),
        precision=Precision(PrecisionConfig(), CPU),
        settings=UpdateSettings(seed=1),
        device=CPU,
        collectives=Collectives(),
    )


def make_batch(update: int, rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(update)
    x = torch.randn(4, 3, generator=generator)[rows]
    targets = torch.randn(4, 4, 2, generator=generator)[rows]
    targets[0, 1, 0] = torch.nan
    num_targets = int(targets.isnan().logical_not().sum())
    return Batch(
        inputs={"x": x}, targets=targets, ids=torch.arange(len(x)), num_targets=num_targets
    )


def run_updates(trainer: Trainer, updates: range) -> list[float]:
    """Returns the targets that counted in each update."""
    trainer.loss_module.train()
    counted = []
    for update in updates:
        batches = [make_batch(update, slice(0, 2)), make_batch(update, slice(2, 4))]
        counted.append(float(trainer.train_step(batches).counts.num_targets))
    return counted


def test_the_curriculum_continues_bitwise_where_a_checkpoint_stood() -> None:
    straight, first, second = (make_trainer() for _ in range(3))
    expected = run_updates(straight, range(10))
    # Four rows of two channels for each step of the horizon, less the two that are missing.
    assert expected == [8.0, 8.0, 14.0, 14.0, 22.0, 22.0, 30.0, 30.0, 30.0, 30.0]
    found = run_updates(first, range(3))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    found += run_updates(second, range(3, 10))
    assert found == expected
    assert first_difference(straight.state_dict(), second.state_dict(), "state") == ""


def test_every_module_that_follows_updates_is_told_the_number_of_each() -> None:
    trainer = make_trainer()
    run_updates(trainer, range(3))
    assert trainer.model.get_submodule("noted").numbers == [1, 1, 2, 2, 3, 3]
