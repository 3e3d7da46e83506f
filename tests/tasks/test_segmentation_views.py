from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqtrain.models.base import ModelContext, ModelOutput
from seqtrain.models.conv_segmenter import ConvSegmenter, ConvSegmenterConfig
from seqtrain.tasks.segmentation_views import AveragedViews, Tiles, resized


def segmenter(rank: int, **fields: Any) -> ConvSegmenter:
    torch.manual_seed(0)
    config = ConvSegmenterConfig(dim=4, num_levels=1, **fields)
    context = ModelContext(
        num_channels=2, num_classes=3, padding_index=-1, labels_per_position=True,
        position_rank=rank,
    )  # fmt: skip
    return ConvSegmenter.from_config(config, context).eval()


class Pointwise(nn.Module):
    """Each position alone: mirroring and resizing its input does the same to its output."""

    def forward(self, padding_mask: Tensor, values: Tensor) -> ModelOutput:
        return ModelOutput(torch.cat([values, -values], dim=-1), nn.Identity())


def mirrored_by_hand(model: nn.Module, values: Tensor) -> Tensor:
    mask = torch.zeros(values.shape[:-1], dtype=torch.bool)
    total = torch.zeros(())
    for axes in ((), (1,), (2,), (1, 2)):
        output = model(padding_mask=mask, values=values.flip(axes))
        total = total + output.logits.softmax(-1).flip(axes)
    return total / 4


@torch.no_grad()
def test_mirrored_views_are_averaged_in_the_place_where_they_belong() -> None:
    model, values = segmenter(2), torch.randn(2, 5, 6, 2)
    mask = torch.zeros(2, 5, 6, dtype=torch.bool)
    found = AveragedViews(model, [], [0, 1])(padding_mask=mask, values=values)
    torch.testing.assert_close(found.logits.exp(), mirrored_by_hand(model, values))


@torch.no_grad()
def test_further_scales_are_averaged_at_the_size_of_the_example() -> None:
    values = torch.randn(1, 6, 4, 1)
    mask = torch.zeros(1, 6, 4, dtype=torch.bool)
    model = Pointwise()
    found = AveragedViews(model, [2.0], [])(padding_mask=mask, values=values)
    larger = resized(values[0], (12, 8))
    again = resized(torch.cat([larger, -larger], dim=-1).softmax(-1), (6, 4))
    plain = model(mask, values).logits.softmax(-1)
    torch.testing.assert_close(found.logits.exp(), (plain + again[None]) / 2)


@torch.no_grad()
@pytest.mark.parametrize("rank", [1, 2])
def test_padding_does_not_change_averaged_views(rank: int) -> None:
    model = AveragedViews(segmenter(rank), [0.5, 1.5], [0])
    shape = (7, 6)[:rank]
    values = torch.randn(1, *shape, 2)
    mask = torch.zeros(1, *shape, dtype=torch.bool)
    padding = (0, 3) * rank
    wide = nn.functional.pad(values, (0, 0, *padding), value=5.0)
    found = model(padding_mask=nn.functional.pad(mask, padding, value=True), values=wide).logits
    region = (slice(None), *(slice(size) for size in shape))
    torch.testing.assert_close(found[region], model(padding_mask=mask, values=values).logits)


@torch.no_grad()
def test_a_batch_without_examples_has_views_too() -> None:
    mask = torch.zeros(1, 1, 1, dtype=torch.bool)
    views = AveragedViews(segmenter(2), [0.5], [0, 1])
    assert views(padding_mask=mask, values=torch.zeros(1, 1, 1, 2)).logits.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("rank", [1, 2])
def test_tiles_with_enough_margin_equal_the_whole(rank: int) -> None:
    model = segmenter(rank, num_blocks=2)  # sees two positions to each side
    shape = (23, 17)[:rank]
    values = torch.randn(2, *shape, 2)
    mask = torch.zeros(2, *shape, dtype=torch.bool)
    mask[1, 20:] = True
    whole = model(padding_mask=mask, values=values).logits
    tiled = Tiles(model, 5, margin=4)(padding_mask=mask, values=values).logits
    torch.testing.assert_close(tiled, whole)


@torch.no_grad()
def test_tiles_put_side_heads_together() -> None:
    torch.manual_seed(0)
    model = segmenter(1, auxiliary_head=True, presence_head=True)
    values, mask = torch.randn(1, 9, 2), torch.zeros(1, 9, dtype=torch.bool)
    found = Tiles(model, 3, margin=1)(padding_mask=mask, values=values)
    assert found.aux["auxiliary_logits"].shape == (1, 9, 3)
    assert found.aux["presence_logits"].shape == (1, 3)
