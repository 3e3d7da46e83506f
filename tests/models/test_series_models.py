from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numerics.series_cases import CONTEXT, FIELDS, build

from seqtrain.errors import ConfigError
from seqtrain.models.base import MODELS, Model, ModelContext
from seqtrain.models.dlinear import moving_average
from seqtrain.modules.window_norm import normalize_window
from seqtrain.plugins import import_built_ins

import_built_ins()

GENERATOR = torch.Generator().manual_seed(1)
VALUES = torch.randn(4, 8, 2, generator=GENERATOR)
TIMES = torch.randn(4, 11, 1, generator=GENERATOR)


def forecast(model: Model, values: torch.Tensor = VALUES) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(values=values, time_features=TIMES[: len(values)]).logits


def make(name: str, context: ModelContext = CONTEXT, **fields: Any) -> Model:
    torch.manual_seed(0)
    model = MODELS.get(name).cls.from_config(MODELS.parse({"name": name} | fields), context)
    return model.eval()


@pytest.mark.parametrize("name", FIELDS)
def test_every_step_and_channel_has_a_value_or_one_for_each_quantile(name: str) -> None:
    assert forecast(build(name)).shape == (4, 3, 2)
    assert forecast(build(name, replace(CONTEXT, num_quantiles=5))).shape == (4, 3, 2, 5)


@pytest.mark.parametrize("name", FIELDS)
def test_a_window_does_not_depend_on_the_others_of_its_batch(name: str) -> None:
    model = build(name)
    together = forecast(model)
    torch.testing.assert_close(forecast(model, VALUES[:1]), together[:1])


@pytest.mark.parametrize("name", ["nlinear", "dlinear", "patch_tst", "repeat_last"])
def test_channels_that_are_independent_do_not_see_one_another(name: str) -> None:
    model = build(name)
    changed = VALUES.clone()
    changed[:, :, 1] += torch.randn(4, 8)
    torch.testing.assert_close(forecast(model, changed)[:, :, 0], forecast(model)[:, :, 0])


@pytest.mark.parametrize("name", ["patch_tst", "itransformer", "series_transformer"])
def test_models_that_normalise_windows_give_level_and_scale_back(name: str) -> None:
    model = build(name)
    scale, shift = torch.tensor([3.0, 0.5]), torch.tensor([100.0, -7.0])
    torch.testing.assert_close(
        forecast(model, VALUES * scale + shift),
        forecast(model) * scale + shift,
        rtol=1e-3,
        atol=1e-3,
    )


def test_nlinear_is_a_linear_map_of_what_differs_from_the_last_value() -> None:
    model = make("nlinear")
    parameters = dict(model.named_parameters())
    weight, bias = parameters["linear.weight"][0], parameters["linear.bias"][0]
    found = forecast(model)
    for row in range(4):
        for channel in range(2):
            window = VALUES[row, :, channel]
            expected = weight @ (window - window[-1]) + bias + window[-1]
            torch.testing.assert_close(found[row, :, channel], expected)


def test_the_moving_average_repeats_the_ends() -> None:
    window = VALUES.transpose(1, 2)
    found = moving_average(window, 5)
    padded = np.pad(window.numpy(), ((0, 0), (0, 0), (2, 2)), mode="edge")
    for step in range(8):
        expected = torch.from_numpy(padded[:, :, step : step + 5].mean(axis=2))
        torch.testing.assert_close(found[:, :, step], expected)


def test_dlinear_maps_trend_and_remainder_apart() -> None:
    model = make("dlinear", kernel_size=3)
    parameters = dict(model.named_parameters())
    window = VALUES.transpose(1, 2)
    trend = moving_average(window, 3)
    expected = (
        trend @ parameters["trend.weight"][0].T
        + parameters["trend.bias"][0]
        + (window - trend) @ parameters["remainder.weight"][0].T
        + parameters["remainder.bias"][0]
    )
    torch.testing.assert_close(forecast(model), expected.transpose(1, 2).detach())


def test_individual_maps_are_one_for_each_channel() -> None:
    shared, individual = make("nlinear"), make("nlinear", individual=True)
    single = dict(individual.named_parameters())["linear.weight"]
    assert single.shape == (2, 3, 8)
    with torch.no_grad():
        for name, value in shared.named_parameters():
            dict(individual.named_parameters())[name].copy_(value.expand(2, *value.shape[1:]))
    torch.testing.assert_close(forecast(individual), forecast(shared))


def test_repeat_last_repeats_the_last_value_or_season() -> None:
    last = forecast(make("repeat_last"))
    torch.testing.assert_close(last, VALUES[:, -1:].expand(4, 3, 2), rtol=0, atol=0)
    season = forecast(make("repeat_last", season=2))
    torch.testing.assert_close(season, VALUES[:, [6, 7, 6]], rtol=0, atol=0)


def test_patches_are_42_at_a_look_back_of_336() -> None:
    model = make("patch_tst", ModelContext(look_back=336, horizon=96, num_channels=7))
    assert dict(model.named_parameters())["positions"].shape == (42, 16)


def test_the_normalised_window_has_mean_0_and_deviation_1() -> None:
    window, scale = normalize_window(VALUES.transpose(1, 2) * 5 + 3, "standard")
    torch.testing.assert_close(window.mean(dim=2), torch.zeros(4, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(window.std(dim=2, correction=0), torch.ones(4, 2), atol=1e-4, rtol=0)
    assert scale is not None
    torch.testing.assert_close(scale.undo(window), VALUES.transpose(1, 2) * 5 + 3)


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("nlinear", {"window_norm": "first"}, "model.window_norm must be one of"),
        ("dlinear", {"kernel_size": 4}, "model.kernel_size must be odd"),
        ("patch_tst", {"dim": 10}, "model.dim .10. must be a positive multiple of model.num_heads"),
        ("patch_tst", {"patch_size": 9}, "longer than task.look_back"),
        ("patch_tst", {"head_dropout": 1.0}, "model.head_dropout must be at least 0 and below 1"),
        ("itransformer", {"num_layers": 0}, "model.num_layers must be at least 1"),
        ("series_transformer", {"dropout": 1.0}, "model.dropout must be at least 0 and below 1"),
        ("series_lstm", {"dim": 0}, "model.dim must be at least 1"),
        ("repeat_last", {"season": 9}, "model.season .9. is longer than task.look_back"),
    ],
)
def test_sizes_that_cannot_be_name_their_key(
    name: str, fields: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        make(name, **fields)


def test_a_task_without_a_horizon_is_refused() -> None:
    with pytest.raises(ConfigError, match="model=nlinear needs rows that are known and rows to"):
        make("nlinear", ModelContext(num_classes=3))
