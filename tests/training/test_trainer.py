import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput
from seqtrain.distributed.collectives import Collectives
from seqtrain.lr_schedulers.fixed import Fixed, FixedConfig
from seqtrain.metrics import Mean, Metrics
from seqtrain.models.base import Model, ModelContext, ModelOutput
from seqtrain.optim.adam import Adam, AdamConfig
from seqtrain.optim.precision import Precision, PrecisionConfig
from seqtrain.training.loss_module import check_module_state
from seqtrain.training.resume import first_difference
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import UpdateSettings


class Line(Model):
    """y = a x + b, with dropout on demand."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1).double()
        self.dropout = nn.Dropout(dropout)

    @classmethod
    def from_config(cls, config: Any, context: ModelContext) -> "Line":
        return cls(0.0)

    def forward(self, x: Tensor) -> ModelOutput:  # type: ignore[override]
        return ModelOutput(self.dropout(x), self.line)


class SquaredError(Criterion):
    """Sum of squared errors."""

    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        error = (model(**batch.inputs).logits.squeeze(-1) - batch.targets).square()
        total = (error * batch.extras["weight"]).sum()
        return LossOutput(
            total, batch.num_targets, Metrics({"loss": Mean(total, batch.num_targets)})
        )


def make_batch(rows: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        inputs={"x": torch.randn(rows, 3, generator=generator, dtype=torch.float64)},
        targets=torch.randn(rows, generator=generator, dtype=torch.float64),
        ids=torch.arange(rows),
        num_targets=rows,
        extras={"weight": torch.ones(rows, dtype=torch.float64)},
    )


def part(batch: Batch, begin: int, end: int) -> Batch:
    return Batch(
        inputs={"x": batch.inputs["x"][begin:end]},
        targets=batch.targets[begin:end],
        ids=batch.ids[begin:end],
        num_targets=end - begin,
        extras={"weight": batch.extras["weight"][begin:end]},
    )


def empty_batch() -> Batch:
    batch = make_batch(1)
    return Batch(
        inputs=batch.inputs,
        targets=batch.targets,
        ids=torch.zeros(0, dtype=torch.int64),
        num_targets=0,
        extras={"weight": torch.zeros(1, dtype=torch.float64)},
    )


def make_trainer(dropout: float = 0.0, clip_norm: float = 0.0) -> Trainer:
    torch.manual_seed(0)
    model = Line(dropout)
    criterion = SquaredError(CriterionConfig(), ModelContext())
    return Trainer(
        model=model,
        criterion=criterion,
        optimizer=Adam(AdamConfig(lr=0.1), model.named_parameters()),
        lr_scheduler=Fixed(FixedConfig(), peak_lr=0.1),
        precision=Precision(PrecisionConfig(), torch.device("cpu")),
        settings=UpdateSettings(seed=1, clip_norm=clip_norm),
        device=torch.device("cpu"),
        collectives=Collectives(),
    )


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return copy.deepcopy(dict(trainer.model.state_dict()))


@pytest.mark.parametrize("cuts", [[0, 7], [0, 3, 7], [0, 1, 2, 3, 7]])
def test_the_split_into_micro_batches_changes_nothing(cuts: list[int]) -> None:
    whole, split = make_trainer(), make_trainer()
    batch = make_batch(7)
    for _ in range(5):
        whole.train_step([batch])
        split.train_step([part(batch, a, b) for a, b in pairwise(cuts)])
    torch.testing.assert_close(weights(whole), weights(split), rtol=1e-12, atol=1e-12)


def test_the_gradient_is_the_mean_over_targets_not_over_micro_batches() -> None:
    trainer = make_trainer()
    batch = make_batch(5)
    trainer.compute_gradients([part(batch, 0, 1), part(batch, 1, 5)])
    found = trainer.model.get_parameter("line.weight").grad
    loss = (trainer.model(batch.inputs["x"]).logits.squeeze(-1) - batch.targets).square().mean()
    (expected,) = torch.autograd.grad(loss, [trainer.model.get_parameter("line.weight")])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_an_empty_micro_batch_changes_nothing() -> None:
    plain, padded = make_trainer(), make_trainer()
    batch = make_batch(4)
    plain.train_step([batch])
    result = padded.train_step([batch, empty_batch()])
    assert float(result.counts.num_targets) == 4
    torch.testing.assert_close(weights(plain), weights(padded), rtol=0, atol=0)


def test_a_non_finite_gradient_touches_neither_parameters_nor_moments() -> None:
    trainer = make_trainer(clip_norm=1.0)
    batch = make_batch(4)
    trainer.train_step([batch])
    before, moments = weights(trainer), copy.deepcopy(trainer.optimizer.state_dict())
    bad = make_batch(4)
    bad.targets[2] = float("nan")
    result = trainer.train_step([batch, bad])
    assert not result.applied
    assert len(result.metrics) == 0
    assert trainer.num_updates == 1
    torch.testing.assert_close(weights(trainer), before, rtol=0, atol=0)
    assert first_difference(moments, trainer.optimizer.state_dict(), "optimizer") == ""
    assert trainer.train_step([batch]).applied


def test_dropout_depends_on_update_and_micro_batch_alone() -> None:
    first, second = make_trainer(dropout=0.5), make_trainer(dropout=0.5)
    batch = make_batch(6)
    first.train_step([batch])
    torch.rand(17)  # whatever was drawn in between
    first.train_step([batch])
    second.train_step([batch])
    second.train_step([batch])
    torch.testing.assert_close(weights(first), weights(second), rtol=0, atol=0)


def test_two_micro_batches_get_different_masks() -> None:
    trainer = make_trainer(dropout=0.5)
    seen = []
    trainer.model.dropout.register_forward_hook(lambda _m, _i, out: seen.append(out == 0))
    trainer.compute_gradients([make_batch(8), make_batch(8)])
    assert not torch.equal(seen[0], seen[1])


def test_the_rate_of_an_update_is_that_of_its_own_number() -> None:
    trainer = make_trainer()
    trainer.lr_scheduler = Fixed(FixedConfig(warmup_updates=4), peak_lr=0.4)
    rates = [trainer.train_step([make_batch(2)]).lr for _ in range(5)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


def test_validating_leaves_weights_and_gradients_alone() -> None:
    trainer = make_trainer(dropout=0.5)
    before = weights(trainer)
    values = [trainer.valid_step(make_batch(3)).compute()["loss"] for _ in range(2)]
    assert values[0] == values[1]
    assert trainer.model.get_parameter("line.weight").grad is None
    torch.testing.assert_close(weights(trainer), before, rtol=0, atol=0)


def test_a_state_of_another_shape_is_refused_by_name() -> None:
    state = make_trainer().model.state_dict()
    with pytest.raises(Exception, match=r"line\.bias in shape \[1\], this one in \[2\]"):
        check_module_state(nn.ModuleDict({"line": nn.Linear(3, 2)}), state, "model")


def test_asking_to_stop_shows_in_the_next_result() -> None:
    trainer = make_trainer()
    assert not trainer.train_step([make_batch(2)]).stop_agreed
    trainer.request_stop()
    assert trainer.train_step([make_batch(2)]).stop_agreed
