from pathlib import Path

import numpy as np
import pytest
import torch
from distributed.processes import run_in_processes
from toy_series import write_series_csv

from seqtrain.criteria.regression import Regression, RegressionConfig
from seqtrain.data.batching import DatasetConfig
from seqtrain.distributed.collectives import Collectives
from seqtrain.generation.base import GenerationConfig
from seqtrain.models.nlinear import NLinear, NLinearConfig
from seqtrain.optim.precision import Precision, PrecisionConfig
from seqtrain.tasks.forecasting import ForecastingConfig, ForecastingTask
from seqtrain.training.evaluator import Evaluator

CPU = torch.device("cpu")


def measured(collectives: Collectives, file: str) -> dict[str, float]:
    options = {"look_back": 24, "horizon": 6, "report_horizons": [3], "quantiles": [0.1, 0.5, 0.9]}
    task = ForecastingTask.load(ForecastingConfig(file=file, original_units=True, **options), 1)
    torch.manual_seed(0)
    evaluator = Evaluator(
        task=task,
        model=NLinear.from_config(NLinearConfig(), task.context),
        criterion=Regression(RegressionConfig(loss="quantile"), task.context),
        precision=Precision(PrecisionConfig(), CPU),
        device=CPU,
        dataset=DatasetConfig(batch_size=7, max_tokens=0),
        generation=GenerationConfig(),
        collectives=collectives,
    )
    return evaluator.losses("test")


def test_two_ranks_with_uneven_shares_measure_forecasts_as_one_does(tmp_path: Path) -> None:
    file = str(write_series_csv(tmp_path / "series.csv", missing=0.1))
    alone = measured(Collectives(), file)
    # 75 windows: 11 batches, so that the last of the second rank is empty.
    together = run_in_processes(measured, 2, file)
    assert together[0] == together[1]
    assert together[0] == pytest.approx(alone, rel=1e-6)
    assert {"mae", "rmse", "mase", "r2", "correlation_h3", "crps", "original_wape"} <= alone.keys()
    assert all(np.isfinite(value) for value in alone.values())
