"""Evaluation of segmentation in pieces, and averaged over mirrored and resized views."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.models.base import ModelOutput

Region = tuple[slice, ...]


class AveragedViews(nn.Module):
    """A model whose probabilities are averaged over views of each example.

    The views are the example as it is and at further scales, each also mirrored along every
    choice of axes. Each further view is made of an example's real positions alone, so that
    padding changes nothing. Side heads see the example as it is.

    Args:
        model: Reads "values", [batch, *positions, channels], and "padding_mask".
        scales: Further sizes, as factors.
        flips: Axes of the positions to mirror along, from 0.
    """

    def __init__(self, model: nn.Module, scales: Sequence[float], flips: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        chosen = itertools.product((False, True), repeat=len(flips))
        mirrored = [tuple(itertools.compress(flips, choice)) for choice in chosen]
        self.views = list(itertools.product([1.0, *scales], mirrored))[1:]

    def forward(self, padding_mask: Tensor, values: Tensor) -> ModelOutput:
        """Returns log probabilities as features, with nothing after them."""
        plain: ModelOutput = self.model(padding_mask=padding_mask, values=values)
        total = torch.softmax(plain.logits.float(), dim=-1)
        for row in range(len(values)):
            region = real_region(padding_mask[row])
            for scale, axes in self.views:
                total[row][region] += self._view(values[row][region], scale, axes)
        mean = total / (1 + len(self.views))
        log_probs = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        return ModelOutput(log_probs, nn.Identity(), plain.aux)

    def _view(self, values: Tensor, scale: float, axes: tuple[int, ...]) -> Tensor:
        """Returns the probabilities of one example, [*positions, classes], in its own shape."""
        shape = values.shape[:-1]
        smaller = tuple(max(round(size * scale), 1) for size in shape)
        viewed = resized(values, smaller).flip(axes)
        mask = torch.zeros((1, *smaller), dtype=torch.bool, device=values.device)
        output: ModelOutput = self.model(padding_mask=mask, values=viewed[None])
        probabilities = torch.softmax(output.logits[0].float(), dim=-1)
        return resized(probabilities.flip(axes), shape)


class Tiles(nn.Module):
    """A model that reads large examples piece by piece.

    Each tile is read with a margin on every side, whose own classes are not used. The result is
    that of the whole where the margin covers all that the model sees, and size and margin are
    multiples of its coarsest step. Small examples are read whole. Side heads of whole examples
    are averaged over the tiles.

    Args:
        model: Reads "values" or "tokens", and "padding_mask".
        size: Positions of a tile along each side.
        margin: Further positions that are read on each side.
    """

    def __init__(self, model: nn.Module, size: int, margin: int) -> None:
        super().__init__()
        self.model, self.size, self.margin = model, size, margin

    def forward(self, padding_mask: Tensor, **inputs: Tensor) -> ModelOutput:
        """Returns logits as features, with nothing after them."""
        shape = padding_mask.shape[1:]
        if all(side <= self.size + self.margin for side in shape):
            output: ModelOutput = self.model(padding_mask=padding_mask, **inputs)
            return output
        whole: dict[str, Tensor] = {}
        tiles = list(self._tiles(shape))
        for kept, read in tiles:
            mask = padding_mask[:, *read]
            output = self.model(padding_mask=mask, **{k: v[:, *read] for k, v in inputs.items()})
            inner = tuple(
                slice(k.start - r.start, k.stop - r.start) for k, r in zip(kept, read, strict=True)
            )
            for name, found in (("logits", output.logits), *output.aux.items()):
                is_dense = found.shape[1:-1] == mask.shape[1:]
                if name not in whole:
                    sides = shape if is_dense else ()
                    whole[name] = found.new_zeros((len(found), *sides, found.size(-1)))
                if is_dense:
                    whole[name][:, *kept] = found[:, *inner]
                else:
                    whole[name] += found / len(tiles)
        return ModelOutput(whole.pop("logits"), nn.Identity(), whole)

    def _tiles(self, shape: Sequence[int]) -> Iterator[tuple[Region, Region]]:
        """Yields what is kept of each tile, and what is read for it."""
        for begins in itertools.product(*(range(0, side, self.size) for side in shape)):
            kept, read = [], []
            for begin, side in zip(begins, shape, strict=True):
                end = min(begin + self.size, side)
                kept.append(slice(begin, end))
                read.append(slice(max(begin - self.margin, 0), min(end + self.margin, side)))
            yield tuple(kept), tuple(read)


def real_region(padding_mask: Tensor) -> Region:
    """Returns the real positions of one example, whose padding lies at the ends of its sides."""
    places = (~padding_mask).nonzero()
    return tuple(slice(int(last) + 1) for last in places.amax(dim=0))


def resized(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns [*positions, dim] in another shape, interpolated linearly; itself in the same."""
    if tuple(x.shape[:-1]) == tuple(shape):
        return x
    mode = "linear" if len(shape) == 1 else "bilinear"
    wide = x.movedim(-1, 0)[None]
    return F.interpolate(wide, tuple(shape), mode=mode, align_corners=False)[0].movedim(0, -1)
