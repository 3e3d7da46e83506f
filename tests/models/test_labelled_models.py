from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqtrain.errors import ConfigError
from seqtrain.models.base import MODELS, Model, ModelContext
from seqtrain.models.conv_classifier import ConvClassifierConfig
from seqtrain.models.labelled_inputs import pool
from seqtrain.models.patch_transformer import PatchTransformerConfig, num_patches
from seqtrain.plugins import import_built_ins

import_built_ins()

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "patch_transformer": ("patch_transformer", {"dim": 8, "num_heads": 2, "ffn_dim": 8}),
    "patches of 3": (
        "patch_transformer",
        {"dim": 8, "num_heads": 2, "ffn_dim": 8, "patch_length": 3, "positions": "marian"},
    ),
    "max": (
        "patch_transformer",
        {"dim": 8, "num_heads": 2, "pooling": "max", "activation": "relu"},
    ),
    "conv_classifier": ("conv_classifier", {"dim": 8, "num_layers": 3, "kernel_size": 3}),
    "lstm_classifier": ("lstm_classifier", {"dim": 8}),
    "lstm mean": ("lstm_classifier", {"dim": 8, "pooling": "mean"}),
}
LENGTHS = torch.tensor([4, 7, 1])
CONTEXTS = {
    "values": {"num_channels": 2},
    "tokens": {"source_vocab_size": 9},
}


def build(case: str, kind: str, per_position: bool = False) -> Model:
    name, fields = CASES[case]
    context = ModelContext(
        num_classes=3,
        padding_index=-1,
        max_source_positions=12,
        labels_per_position=per_position,
        **CONTEXTS[kind],
    )
    torch.manual_seed(0)
    return MODELS.get(name).cls.from_config(MODELS.parse({"name": name} | fields), context).eval()


def inputs(kind: str, time: int = 7) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(time) >= LENGTHS[:, None]
    if kind == "values":
        values = torch.randn(3, 7, 2, generator=generator)
        padded = torch.full((3, time, 2), 9.0)
        padded[:, :7] = values
        return {"padding_mask": mask, "values": padded}
    tokens = torch.full((3, time), 1)
    tokens[:, :7] = torch.randint(4, 9, (3, 7), generator=generator)
    return {"padding_mask": mask, "tokens": tokens}


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("case", CASES)
def test_padding_and_neighbours_in_the_batch_change_nothing(case: str, kind: str) -> None:
    model = build(case, kind)
    expected = model(**inputs(kind)).logits
    assert expected.shape == (3, 3)
    torch.testing.assert_close(model(**inputs(kind, time=12)).logits, expected)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = {k: v[row : row + 1, :length] for k, v in inputs(kind).items()}
        torch.testing.assert_close(model(**alone).logits, expected[row : row + 1])


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("case", CASES)
def test_a_label_for_each_position_does_not_depend_on_padding(case: str, kind: str) -> None:
    model = build(case, kind, per_position=True)
    expected = model(**inputs(kind)).logits
    assert expected.shape == (3, 7, 3)
    longer = model(**inputs(kind, time=12)).logits
    assert longer.shape == (3, 12, 3)
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(longer[row, :length], expected[row, :length])
        alone = {k: v[row : row + 1, :length] for k, v in inputs(kind).items()}
        torch.testing.assert_close(model(**alone).logits[0], expected[row, :length])


@pytest.mark.parametrize("case", CASES)
def test_no_built_in_model_has_statistics_of_a_batch(case: str) -> None:
    names = [type(module).__name__ for module in build(case, "values").modules()]
    assert not [name for name in names if "BatchNorm" in name]


@pytest.mark.parametrize(("length", "stride"), [(4, 4), (5, 2), (3, 1), (1, 1)])
@pytest.mark.parametrize("time", [1, 4, 5, 6, 11])
def test_patches_cover_every_position_and_padding_counts_none(
    length: int, stride: int, time: int
) -> None:
    fields = {"dim": 8, "num_heads": 2, "patch_length": length, "patch_stride": stride}
    config = PatchTransformerConfig(**fields)
    count = num_patches(config, time)
    assert (count - 1) * stride + length >= time
    assert count == 1 or (count - 2) * stride + length < time
    context = ModelContext(num_channels=1, num_classes=2, max_source_positions=30)
    model = MODELS.get("patch_transformer").cls.from_config(config, context).eval()
    values = torch.arange(1.0, 31.0).view(1, 30, 1)
    mask = (torch.arange(30) >= time)[None]
    patches, patch_mask = model._patches(values * ~mask[:, :, None], mask)
    assert int((~patch_mask).sum()) == count
    assert set(patches[~patch_mask].flatten().tolist()) - {0.0} == set(range(1, time + 1))


def test_pooling_counts_real_positions_alone() -> None:
    x = torch.tensor([[[1.0], [3.0], [100.0]], [[-5.0], [7.0], [7.0]]])
    mask = torch.tensor([[False, False, True], [False, True, True]])
    assert pool(x, mask, "mean").tolist() == [[2.0], [-5.0]]
    assert pool(x, mask, "max").tolist() == [[3.0], [-5.0]]


def test_convolutions_reach_further_block_by_block() -> None:
    config = ConvClassifierConfig(num_layers=6, max_dilation=4)
    assert config.dilations() == [1, 2, 4, 1, 2, 4]


def test_images_without_patches_are_refused_in_one_line() -> None:
    model = build("conv_classifier", "values")
    with pytest.raises(
        ConfigError, match=r"model=conv_classifier reads sequences.*task.patch_size"
    ):
        model(padding_mask=torch.zeros(1, 2, 2, dtype=torch.bool), values=torch.zeros(1, 2, 2, 2))


def test_a_task_without_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="model=lstm_classifier needs classes, which this task"):
        MODELS.get("lstm_classifier").cls.from_config(
            MODELS.parse({"name": "lstm_classifier"}), ModelContext(source_vocab_size=5)
        )


WRONG = [
    ("patch_transformer", {"dim": 10}, "multiple of model.num_heads"),
    ("patch_transformer", {"patch_stride": 2}, "model.patch_stride must be from 0 to"),
    ("patch_transformer", {"drop_path": 1.0}, "model.drop_path"),
    ("patch_transformer", {"activation": "tanh"}, "model.activation"),
    ("conv_classifier", {"kernel_size": 4}, "model.kernel_size must be odd"),
    ("conv_classifier", {"pooling": "sum"}, "model.pooling must be one of mean, max"),
    ("lstm_classifier", {"dim": 7}, "model.dim must be even"),
    ("lstm_classifier", {"pooling": "sum"}, "model.pooling must be last, mean, max"),
    ("lstm_classifier", {"num_layers": 0}, "model.num_layers must be at least 1"),
]


@pytest.mark.parametrize(("name", "fields", "message"), WRONG)
def test_a_wrong_setting_is_named(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MODELS.parse({"name": name} | fields)


def test_overlapping_patches_cannot_label_positions() -> None:
    section = {"name": "patch_transformer", "patch_length": 4, "patch_stride": 2}
    context = ModelContext(num_channels=1, num_classes=2, labels_per_position=True)
    with pytest.raises(ConfigError, match="patches must not overlap"):
        MODELS.get("patch_transformer").cls.from_config(MODELS.parse(section), context)


def test_every_parameter_but_heads_is_used() -> None:
    for case in CASES:
        model = build(case, "values").train()
        model(**inputs("values")).logits.sum().backward()
        unused = [n for n, p in model.named_parameters() if p.grad is None]
        assert unused == [], case
        assert isinstance(model.output_layer, nn.Linear)
