"""Mixup: examples and their classes, blended in pairs."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """A batch transform (Zhang et al. 2018): lam * batch + (1 - lam) * the same batch permuted.

    One lam, from Beta(alpha, alpha), and one permutation are drawn for a batch, from torch's
    default generator on the CPU: seeding it determines both, on every device.

    Args:
        alpha: Of the Beta distribution; positive, 0.2 is usual.
        input_name: Which of `batch.inputs` is blended: floating point, [batch, ...]. Without
            `mask_name` its examples have one shape, so that nothing is padding.
        num_classes: Classes of the targets, int64 [batch, ...].
        padding_index: Target that does not count; its distribution is all zero.
        mask_name: Input that is True at padding, [batch, time]; a blended example is as long as
            the longer of the two, whose padding is zero. Empty where nothing is padding.
    """

    alpha: float
    input_name: str
    num_classes: int
    padding_index: int
    mask_name: str = ""

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ConfigError(f"mixup needs a positive alpha, got {self.alpha}.")

    def __call__(self, batch: Batch) -> Batch:
        """Returns the batch with blended inputs and the extra "soft_targets".

        These are [batch, ..., classes]. The targets stay those of the unblended examples.
        """
        alpha = torch.tensor(self.alpha, dtype=torch.float64)
        lam = float(torch.distributions.Beta(alpha, alpha).sample())
        values = batch.inputs[self.input_name]
        order = torch.randperm(len(values)).to(values.device)
        soft = self._one_hot(batch.targets).to(values.dtype)
        inputs = batch.inputs | {self.input_name: _blend(values, order, lam)}
        if self.mask_name:
            mask = batch.inputs[self.mask_name]
            inputs[self.mask_name] = mask & mask[order]
        extras = batch.extras | {"soft_targets": _blend(soft, order, lam)}
        return replace(batch, inputs=inputs, extras=extras)

    def _one_hot(self, targets: Tensor) -> Tensor:
        is_target = targets.ne(self.padding_index)
        return F.one_hot(targets.where(is_target, 0), self.num_classes) * is_target.unsqueeze(-1)


def _blend(values: Tensor, order: Tensor, lam: float) -> Tensor:
    return lam * values + (1.0 - lam) * values[order]
