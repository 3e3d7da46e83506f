from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled_toy import recognition_config, write_toy_series
from torch import Tensor, nn

from seqtrain.errors import ConfigError
from seqtrain.models.base import Model, ModelConfig, ModelContext, ModelOutput, register_model
from seqtrain.pipeline import train
from seqtrain.training.batch_statistics import batch_norm_note, synced_batch_norm

CPU = torch.device("cpu")


def test_batch_normalisation_is_said_in_one_line() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.BatchNorm2d(3))
    (line,) = batch_norm_note(model)
    assert "2 layers of batch normalisation" in line
    assert "number of processes" in line
    assert "\n" not in line
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    (line,) = batch_norm_note(synced)
    assert "number of processes" not in line


def test_other_normalisation_is_no_news() -> None:
    assert batch_norm_note(nn.Sequential(nn.LayerNorm(2), nn.GroupNorm(1, 2))) == []


def test_syncing_needs_a_gpu_only_where_there_is_something_to_sync() -> None:
    plain = nn.Linear(2, 2)
    assert synced_batch_norm(plain, CPU) is plain
    with pytest.raises(ConfigError, match="distributed.sync_batch_norm=true works on a GPU only"):
        synced_batch_norm(nn.Sequential(nn.BatchNorm1d(2)), CPU)


def test_names_of_parameters_and_buffers_stay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    names = list(model.state_dict())
    assert list(synced_batch_norm(model, torch.device("cuda")).state_dict()) == names


@dataclass(kw_only=True)
class BatchNormConfig(ModelConfig):
    """A plug-in's model."""


@register_model("test_batch_norm", config=BatchNormConfig)
class BatchNormModel(Model):
    """Normalises over a batch."""

    def __init__(self, context: ModelContext) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(context.num_channels)
        self.output_layer = nn.Linear(context.num_channels, context.num_classes)

    @classmethod
    def from_config(cls, config: Any, context: ModelContext) -> "BatchNormModel":
        return cls(context)

    def forward(self, padding_mask: Tensor, values: Tensor) -> ModelOutput:  # type: ignore[override] # names the inputs
        return ModelOutput(self.norm(values[:, 0]), self.output_layer)


def test_a_run_says_on_its_first_screen_what_batch_statistics_change(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = recognition_config(
        write_toy_series(tmp_path / "data"),
        tmp_path / "run",
        optimization={"max_update": 1, "lr_reference_batch": 6},
        log_writer={"console": {}},
    )
    config["model"] = {"name": "test_batch_norm"}
    train(config)
    shown = "".join(capfd.readouterr())
    assert "note: the model has 1 layers of batch normalisation" in shown
    assert "learning rate 0.02: 0.01 x 12 examples of an update / 6" in shown
    config["distributed"] = {"sync_batch_norm": True}
    with pytest.raises(ConfigError, match="works on a GPU only"):
        train(config | {"run_dir": str(tmp_path / "other")})
