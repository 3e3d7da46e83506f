from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext
from seqtrain.models.conv_segmenter import ConvSegmenter, ConvSegmenterConfig

SHAPES = {1: (11,), 2: (9, 6)}


def build(rank: int, **context: Any) -> ConvSegmenter:
    torch.manual_seed(0)
    config = ConvSegmenterConfig(
        dim=4, max_dim=6, num_levels=3, auxiliary_head=True, presence_head=True
    )
    about = {"num_channels": 2, "num_classes": 3, "labels_per_position": True} | context
    return ConvSegmenter.from_config(config, ModelContext(position_rank=rank, **about)).eval()


def outputs(model: ConvSegmenter, values: Tensor, padding_mask: Tensor) -> dict[str, Tensor]:
    found = model(padding_mask=padding_mask, values=values)
    return {"logits": found.logits, **found.aux}


@torch.no_grad()
@pytest.mark.parametrize("rank", [1, 2])
def test_padding_changes_no_real_position(rank: int) -> None:
    model, shape = build(rank), SHAPES[rank]
    values, mask = torch.randn(1, *shape, 2), torch.zeros(1, *shape, dtype=torch.bool)
    expected = outputs(model, values, mask)
    for padding in ((1, 0), (0, 3), (5, 8))[: 2 * rank]:
        sides = padding[:rank][::-1]
        edges = [number for side in sides for number in (0, side)]
        wide = F.pad(values, (0, 0, *edges), value=7.0)
        found = outputs(model, wide, F.pad(mask, edges, value=True))
        real = (slice(None), *(slice(size) for size in shape))
        for name, tensor in expected.items():
            cut = found[name][real] if tensor.dim() > 2 else found[name]
            torch.testing.assert_close(cut, tensor, msg=lambda text, name=name: f"{name}: {text}")


@torch.no_grad()
def test_an_example_does_not_depend_on_the_others_of_its_batch() -> None:
    model = build(2)
    values, mask = torch.randn(3, 9, 6, 2), torch.zeros(3, 9, 6, dtype=torch.bool)
    together = outputs(model.train(False), values, mask)
    for row in range(3):
        alone = outputs(model, values[row : row + 1], mask[row : row + 1])
        for name, tensor in alone.items():
            torch.testing.assert_close(together[name][row : row + 1], tensor)


@torch.no_grad()
def test_every_head_gives_classes_in_the_last_dimension() -> None:
    for rank, shape in SHAPES.items():
        mask = torch.zeros(2, *shape, dtype=torch.bool)
        found = outputs(build(rank), torch.randn(2, *shape, 2), mask)
        assert found["logits"].shape == (2, *shape, 3)
        assert found["auxiliary_logits"].shape == (2, *shape, 3)
        assert found["presence_logits"].shape == (2, 3)


@torch.no_grad()
def test_symbols_are_read_as_well_as_numbers() -> None:
    model = build(1, num_channels=0, source_vocab_size=9)
    tokens = torch.tensor([[4, 5, 6, 7, 8]])
    mask = torch.zeros(1, 5, dtype=torch.bool)
    assert model(padding_mask=mask, tokens=tokens).logits.shape == (1, 5, 3)
    assert model.vocabulary_rows() == {"embed_tokens.weight": "source"}


def test_a_task_with_one_class_for_an_example_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a label for each position"):
        build(1, labels_per_position=False)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.kernel_size must be odd, got 4"):
        ConvSegmenterConfig(kernel_size=4)
