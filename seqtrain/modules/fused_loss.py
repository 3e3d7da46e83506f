"""Label-smoothed cross entropy, computed together with the output layer or from logits."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

BYTES_AT_ONCE = {"cpu": 2**24}
"""Of the logits that are held at once, in the type of the products, by kind of device."""
VALUES_AT_ONCE = {"cpu": 2**19}
"""Logits that passes over single values take at once: in float32 2 MB, which a cache holds."""
ON_ACCELERATORS = 2**27
"""The same of both for other devices, which need more work at once to be busy."""
SMALLEST_PROBABILITY = 1e-30
"""Whose logarithm can be taken: float32 rounds smaller ones more and more, down to 0."""
ROW_MULTIPLE = 64
"""Row counts of matrix products are rounded up to a multiple of this."""


@dataclass(frozen=True)
class LossOptions:
    """What is to be computed.

    Args:
        label_smoothing: Probability spread evenly over all symbols but the target.
        count_correct: Also count the targets that have the highest probability.
    """

    label_smoothing: float = 0.0
    count_correct: bool = False

    def weights(self, vocab_size: int) -> tuple[float, float]:
        """Returns the weights of -log p(target) and of the sum of -log p over all symbols."""
        spread = self.label_smoothing / max(vocab_size - 1, 1)
        return 1.0 - self.label_smoothing - spread, spread


@dataclass(frozen=True)
class LossSums:
    """Scalars summed over rows, float32 (float64 for features of float64).

    Args:
        total: The loss, in nats; the only one with a gradient.
        nll: Negative log probabilities of the targets.
        num_correct: Targets with the highest probability; 0 if not asked for.
    """

    total: Tensor
    nll: Tensor
    num_correct: Tensor


def logits_loss(logits: Tensor, targets: Tensor, options: LossOptions) -> LossSums:
    """Returns the loss of given logits: the plain formula.

    Args:
        logits: [rows, vocab]; taken to float32 at least.
        targets: int64 [rows].
        options: What to compute.
    """
    log_probs = torch.log_softmax(logits.to(loss_dtype(logits.dtype)), dim=-1)
    nll = -log_probs.gather(1, targets[:, None]).sum()
    on_target, spread = options.weights(logits.size(1))
    total = on_target * nll - spread * log_probs.sum() if options.label_smoothing else nll
    num_correct = _count_correct(logits, targets, options)
    return LossSums(total, nll.detach(), num_correct)


def linear_loss(
    features: Tensor, layer: nn.Linear, targets: Tensor, options: LossOptions
) -> LossSums:
    """Returns the loss of the logits `layer(features)` without ever holding all of them.

    The gradient is computed in the same pass, chunk by chunk of rows. Sums are taken in float32
    at least; under autocast the products are in its type, as those of the layer would be.

    Args:
        features: [rows, dim]; no rows are fine.
        layer: Output layer with weight [vocab, dim].
        targets: int64 [rows].
        options: What to compute.
    """
    total, nll, num_correct = _LinearLoss.apply(  # type: ignore[no-untyped-call] # torch leaves it untyped
        features, layer.weight, layer.bias, targets, options, torch.is_grad_enabled()
    )
    return LossSums(total, nll, num_correct)


class _LinearLoss(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def] # the type of ctx is private to torch
        ctx,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        options: LossOptions,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        device = features.device.type
        dtype = features.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            chunks = _Chunks(features.to(dtype), weight.to(dtype), bias, options, with_gradient)
            chunks.run(targets)
        ctx.save_for_backward(*chunks.gradients(features.dtype, weight.dtype))
        ctx.mark_non_differentiable(chunks.nll, chunks.num_correct)
        return chunks.total, chunks.nll, chunks.num_correct

    @staticmethod
    @once_differentiable
    def backward(ctx, of_total: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def] # see above
        # Out of place: the saved gradients serve a second backward pass, too.
        gradients = [None if saved is None else saved * of_total for saved in ctx.saved_tensors]
        return (*gradients, None, None, None)


class _Chunks:
    """Sums over chunks of rows. One buffer holds the logits of a chunk, then their gradient.

    With logits z, probabilities p, target t, the weight a of -log p(t) and the weight b of the sum
    of all -log p (a + vocab * b = 1), a row's loss is logsumexp(z) - a * z[t] - b * sum(z), and its
    gradient is p, less a at t, less b everywhere. What b contributes has rank one: it is added
    once, at the end.

    Products take a chunk at once, in the type of the features. Passes over single values take a
    few rows at once, in float32, so that what one pass writes is still in the cache for the next.
    """

    def __init__(
        self,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        options: LossOptions,
        with_gradient: bool,
    ) -> None:
        self.num_rows, self.vocab_size = features.size(0), weight.size(0)
        self.features, self.weight = _round_up(features), weight
        self.bias = None if bias is None else bias.to(features.dtype)
        self.options = options
        self.on_target, self.spread = options.weights(self.vocab_size)
        self.dtype = loss_dtype(features.dtype)
        self.total = features.new_zeros((), dtype=self.dtype)
        self.nll = torch.zeros_like(self.total)
        self.num_correct = features.new_zeros((), dtype=torch.int64)
        self.with_gradient = with_gradient
        if with_gradient:
            self.of_features = torch.empty_like(self.features)
            self.of_weight = torch.zeros_like(weight, dtype=self.dtype)
            self.of_bias = None if bias is None else torch.zeros_like(bias, dtype=self.dtype)

    def run(self, targets: Tensor) -> None:
        """Computes the sums, and the gradients of the total."""
        num_rows = self.features.size(0)  # with those of padding
        device = self.features.device.type
        num_bytes = BYTES_AT_ONCE.get(device, ON_ACCELERATORS)
        num_logits = num_bytes // self.features.element_size()
        at_once = min(_rows_at_once(num_logits, self.vocab_size), num_rows)
        chunk = self.features.new_empty((at_once, self.vocab_size))
        num_values = VALUES_AT_ONCE.get(device, ON_ACCELERATORS)
        few = min(_rows_at_once(num_values, self.vocab_size), at_once)
        scratch = chunk.new_empty((2, few, self.vocab_size), dtype=self.dtype)
        for start in range(0, num_rows, max(at_once, 1)):
            rows = slice(start, min(start + at_once, num_rows))
            logits = chunk[: rows.stop - rows.start]
            self._write_logits(self.features[rows], logits)
            self._add_losses(logits, targets[rows], scratch)
            if self.with_gradient:
                self._add_gradients(rows, logits)
        if self.options.label_smoothing:
            self._smooth()

    def gradients(
        self, features_dtype: torch.dtype, weight_dtype: torch.dtype
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Returns the gradients of features, weight and bias."""
        if not self.with_gradient:
            return None, None, None
        of_bias = None if self.of_bias is None else self.of_bias.to(weight_dtype)
        of_features = self.of_features[: self.num_rows].to(features_dtype)
        return of_features, self.of_weight.to(weight_dtype), of_bias

    def _write_logits(self, features: Tensor, logits: Tensor) -> None:
        if self.bias is None:
            torch.mm(features, self.weight.t(), out=logits)
        else:
            torch.addmm(self.bias, features, self.weight.t(), out=logits)

    def _add_losses(self, logits: Tensor, targets: Tensor, scratch: Tensor) -> None:
        """Adds up the losses of a chunk, and overwrites its logits with their gradient.

        Rows past the last target are padding: their gradient is zero.
        """
        for start in range(0, targets.numel(), scratch.size(1)):
            some = slice(start, min(start + scratch.size(1), targets.numel()))
            self._add_rows(logits[some], targets[some, None], scratch[:, : some.stop - start])
        logits[targets.numel() :] = 0.0

    def _add_rows(self, rows: Tensor, at_target: Tensor, scratch: Tensor) -> None:
        logits, probs = scratch
        logits = rows if rows.dtype == self.dtype else logits.copy_(rows)
        self.num_correct += _count_correct(logits, at_target[:, 0], self.options)
        target_logits = logits.gather(1, at_target)
        torch.softmax(logits, dim=1, out=probs)
        nll = _target_nll(logits, probs, at_target, target_logits)
        self.nll += nll.sum()
        self.total += (nll + (1.0 - self.on_target) * target_logits).sum()
        if self.with_gradient:
            probs.scatter_add_(1, at_target, torch.full_like(target_logits, -self.on_target))
            if self.of_bias is not None:
                self.of_bias += probs.sum(dim=0)
            rows.copy_(probs)

    def _add_gradients(self, rows: slice, of_logits: Tensor) -> None:
        features = self.features[rows]
        torch.mm(of_logits, self.weight, out=self.of_features[rows])
        if self.dtype == features.dtype:
            self.of_weight.addmm_(of_logits.t(), features)
        else:
            self.of_weight += of_logits.t().mm(features)

    def _smooth(self) -> None:
        """Adds what the uniform part contributes: -b * sum(z), from sums over the vocabulary."""
        of_all = self.weight.sum(dim=0, dtype=self.dtype)
        features = self.features.sum(dim=0, dtype=self.dtype)
        self.total -= self.spread * features.dot(of_all)
        if self.bias is not None:
            self.total -= self.spread * self.num_rows * self.bias.sum(dtype=self.dtype)
        if self.with_gradient:
            self.of_features -= (self.spread * of_all).to(self.of_features.dtype)
            self.of_weight -= self.spread * features
            if self.of_bias is not None:
                self.of_bias -= self.spread * self.num_rows


def _target_nll(logits: Tensor, probs: Tensor, at_target: Tensor, target_logits: Tensor) -> Tensor:
    """Returns the negative log probability of each target, [rows, 1]."""
    on_target = probs.gather(1, at_target)
    if on_target.device.type == "cpu" and float(on_target.min()) > SMALLEST_PROBABILITY:
        return -on_target.log()
    # The largest probability is at least 1 / vocab, so that its logarithm is accurate.
    log_sums = logits.amax(dim=1, keepdim=True) - probs.amax(dim=1, keepdim=True).log()
    return log_sums - target_logits


def _rows_at_once(num_values: int, vocab_size: int) -> int:
    """Returns how many rows hold so many values: a multiple of 64, or less where rows are long."""
    rows = max(num_values // vocab_size, 1)
    return rows - rows % ROW_MULTIPLE if rows > ROW_MULTIPLE else rows


def _round_up(features: Tensor) -> Tensor:
    """Returns features with rows of zeros up to a multiple of 64.

    oneDNN keeps what it prepares for each shape it has seen, so that shapes must be few.
    """
    missing = -features.size(0) % ROW_MULTIPLE
    return nn.functional.pad(features, (0, 0, 0, missing)) if missing else features


def _count_correct(logits: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
    if not options.count_correct:
        return targets.new_zeros(())
    return (logits.argmax(dim=-1) == targets).sum()


def loss_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the type that losses of logits of a type are computed in: float32 at least."""
    return torch.float64 if dtype == torch.float64 else torch.float32
