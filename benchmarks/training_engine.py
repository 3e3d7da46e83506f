"""What the loop around a model costs: updates of a model with two parameters."""

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput
from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.distributed.collectives import Collectives
from seqtrain.lr_schedulers.inverse_sqrt import InverseSqrt, InverseSqrtConfig
from seqtrain.metrics import Mean, Metrics
from seqtrain.models.base import Model, ModelContext, ModelOutput
from seqtrain.optim.adam import Adam, AdamConfig
from seqtrain.optim.precision import Precision, PrecisionConfig
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import UpdateSettings
from seqtrain.training.update_tracker import UpdateTracker

CPU = torch.device("cpu")


class Line(Model):
    """y = a * x + b."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
        self.output_layer = nn.Identity()

    @classmethod
    def from_config(cls, config: Any, context: ModelContext) -> "Line":
        """Returns it; there is nothing to choose."""
        return cls()

    def forward(self, x: Tensor) -> ModelOutput:  # type: ignore[override] # names the input
        """Returns the values, [batch]."""
        return ModelOutput(self.a * x + self.b, self.output_layer)


class Squares(Criterion):
    """Sum of squared errors."""

    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Returns the sum."""
        output: ModelOutput = model(**batch.inputs)
        total = (output.features - batch.targets).square().sum()
        metrics = Metrics({"loss": Mean(total, batch.num_targets)})
        return LossOutput(total, batch.num_targets, metrics)


class Points(Dataset):
    """Many points of a line."""

    def __len__(self) -> int:
        return 1_000_000

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """One each."""
        return np.ones((len(self), 1), dtype=np.int32)

    @property
    def fingerprint(self) -> str:
        """Any."""
        return "points"

    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        """Returns some points."""
        x = torch.from_numpy(indices / len(self)).float()
        return Batch(
            inputs={"x": x},
            targets=3.0 * x + 1.0,
            ids=torch.from_numpy(indices),
            num_targets=len(indices),
            num_tokens=len(indices),
            num_positions=len(indices),
        )

    def empty_batch(self) -> Batch:
        """Returns a batch of nothing."""
        nothing = torch.zeros(1)
        return Batch(
            inputs={"x": nothing},
            targets=nothing,
            ids=torch.zeros(0, dtype=torch.int64),
            num_targets=0,
        )


def measure_engine(num_updates: int = 2000) -> dict[str, float]:
    """Returns milliseconds an update: data, forward, backward, Adam, clipping, metrics."""
    model, criterion = Line(), Squares(CriterionConfig(), ModelContext())
    trainer = Trainer(
        model=model,
        criterion=criterion,
        optimizer=Adam(AdamConfig(), model.named_parameters()),
        lr_scheduler=InverseSqrt(InverseSqrtConfig(), peak_lr=1e-3),
        precision=Precision(PrecisionConfig(), CPU),
        settings=UpdateSettings(seed=1, clip_norm=1.0),
        device=CPU,
        collectives=Collectives(),
    )
    iterator = EpochIterator(Points(), DatasetConfig(batch_size=2, max_tokens=0), seed=1)
    tracker, results = UpdateTracker(1.0), trainer.train_epoch(iterator)
    for _ in range(100):
        tracker.add(next(results))
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(num_updates):
        tracker.add(next(results))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"wall_ms": 1e3 * wall / num_updates, "cpu_ms": 1e3 * cpu / num_updates}
