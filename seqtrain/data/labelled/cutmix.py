"""Cutmix along time: a stretch of one example in another, and their classes in proportion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.batch import Batch
from seqtrain.data.labelled.mixup import Mixup
from seqtrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CutMix:
    """A batch transform (Yun et al. 2019, in one dimension).

    One share 1 - lam, with lam from Beta(alpha, alpha), one permutation and one place are drawn
    for a batch, from torch's default generator on the CPU. Of each example that share of the
    positions that it has in common with its partner is replaced by the partner's at the same
    places; its class counts by the share of its own positions.

    Args:
        alpha: Of the Beta distribution; positive, 1 is usual.
        input_name: Which of `batch.inputs` is cut: [batch, time, ...].
        mask_name: Input that is True at padding, bool [batch, time].
        num_classes: Classes of the targets, int64 [batch].
        padding_index: Target that does not count; its distribution is all zero.
    """

    alpha: float
    input_name: str
    mask_name: str
    num_classes: int
    padding_index: int

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ConfigError(f"cutmix needs a positive alpha, got {self.alpha}.")

    def __call__(self, batch: Batch) -> Batch:
        """Returns the batch with cut inputs and the extra "soft_targets", [batch, classes]."""
        alpha = torch.tensor(self.alpha, dtype=torch.float64)
        lam = float(torch.distributions.Beta(alpha, alpha).sample())
        place = float(torch.rand((), dtype=torch.float64))
        values, mask = batch.inputs[self.input_name], batch.inputs[self.mask_name]
        order = torch.randperm(len(values)).to(values.device)
        lengths = (~mask).sum(dim=1)
        common = torch.minimum(lengths, lengths[order])
        cut = ((1.0 - lam) * common).round().long()
        begin = (place * (common - cut + 1)).long().minimum(common - cut)
        positions = torch.arange(values.size(1), device=values.device)
        is_cut = (positions >= begin[:, None]) & (positions < (begin + cut)[:, None])
        wide = is_cut.view(*is_cut.shape, *(1,) * (values.dim() - 2))
        share = (cut / lengths)[:, None]
        soft = self._one_hot(batch.targets).to(share.dtype)
        return replace(
            batch,
            inputs=batch.inputs | {self.input_name: torch.where(wide, values[order], values)},
            extras=batch.extras | {"soft_targets": (1.0 - share) * soft + share * soft[order]},
        )

    def _one_hot(self, targets: Tensor) -> Tensor:
        is_target = targets.ne(self.padding_index)
        return F.one_hot(targets.where(is_target, 0), self.num_classes) * is_target.unsqueeze(-1)


@dataclass(frozen=True)
class OneOf:
    """One of several batch transforms, drawn for each batch from torch's default generator."""

    transforms: Sequence[Mixup | CutMix]

    def __call__(self, batch: Batch) -> Batch:
        """Returns the batch as one of the transforms makes it."""
        chosen = int(torch.randint(len(self.transforms), ()))
        return self.transforms[chosen](batch)
