"""Label-smoothed cross entropy, computed together with the output layer or from logits."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Logits held at once: about 16 MB in float32, so that passes over them stay near the processor.
LOGITS_AT_ONCE = 2**22


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
    """Sums over chunks of rows, with two buffers for the logits and probabilities of one chunk.

    With logits z, probabilities p, target t, the weight a of -log p(t) and the weight b of the sum
    of all -log p (a + vocab * b = 1), a row's loss is logsumexp(z) - a * z[t] - b * sum(z), and its
    gradient is p, less a at t, less b everywhere. What b contributes has rank one: it is added
    once, at the end.
    """

    def __init__(
        self,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        options: LossOptions,
        with_gradient: bool,
    ) -> None:
        self.features, self.weight = features, weight
        self.bias = None if bias is None else bias.to(features.dtype)
        self.options = options
        self.on_target, self.spread = options.weights(weight.size(0))
        self.dtype = loss_dtype(features.dtype)
        self.total = features.new_zeros((), dtype=self.dtype)
        self.nll = torch.zeros_like(self.total)
        self.num_correct = features.new_zeros((), dtype=torch.int64)
        self.with_gradient = with_gradient
        if with_gradient:
            self.of_features = torch.empty_like(features)
            self.of_weight = torch.zeros_like(weight, dtype=self.dtype)
            self.of_bias = None if bias is None else torch.zeros_like(bias, dtype=self.dtype)

    def run(self, targets: Tensor) -> None:
        """Computes the sums, and the gradients of the total."""
        num_rows, vocab_size = targets.numel(), self.weight.size(0)
        rows_at_once = min(max(LOGITS_AT_ONCE // vocab_size, 1), max(num_rows, 1))
        buffers = self.features.new_empty((2, rows_at_once, vocab_size), dtype=self.dtype)
        for start in range(0, num_rows, rows_at_once):
            rows = slice(start, min(start + rows_at_once, num_rows))
            self._add(rows, targets[rows], buffers[:, : rows.stop - rows.start])
        if self.options.label_smoothing:
            self._smooth()

    def gradients(
        self, features_dtype: torch.dtype, weight_dtype: torch.dtype
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Returns the gradients of features, weight and bias."""
        if not self.with_gradient:
            return None, None, None
        of_bias = None if self.of_bias is None else self.of_bias.to(weight_dtype)
        return self.of_features.to(features_dtype), self.of_weight.to(weight_dtype), of_bias

    def _add(self, rows: slice, targets: Tensor, buffers: Tensor) -> None:
        features, at_target = self.features[rows], targets[:, None]
        logits, probs = buffers
        self._write_logits(features, logits)
        self.num_correct += _count_correct(logits, targets, self.options)
        target_logits = logits.gather(1, at_target)
        torch.softmax(logits, dim=1, out=probs)
        # The largest probability is at least 1 / vocab, so that its logarithm is accurate.
        log_sums = logits.amax(dim=1, keepdim=True) - probs.amax(dim=1, keepdim=True).log()
        self.nll += (log_sums - target_logits).sum()
        self.total += (log_sums - self.on_target * target_logits).sum()
        if not self.with_gradient:
            return
        probs.scatter_add_(1, at_target, torch.full_like(target_logits, -self.on_target))
        of_logits = probs.to(features.dtype)
        torch.mm(of_logits, self.weight, out=self.of_features[rows])
        if self.dtype == features.dtype:
            self.of_weight.addmm_(of_logits.t(), features)
        else:
            self.of_weight += of_logits.t().mm(features)
        if self.of_bias is not None:
            self.of_bias += probs.sum(dim=0)

    def _write_logits(self, features: Tensor, logits: Tensor) -> None:
        if self.dtype != features.dtype:
            logits.copy_(nn.functional.linear(features, self.weight, self.bias))
        elif self.bias is None:
            torch.mm(features, self.weight.t(), out=logits)
        else:
            torch.addmm(self.bias, features, self.weight.t(), out=logits)

    def _smooth(self) -> None:
        """Adds what the uniform part contributes: -b * sum(z), from sums over the vocabulary."""
        of_all = self.weight.sum(dim=0, dtype=self.dtype)
        num_rows = self.features.size(0)
        features = self.features.sum(dim=0, dtype=self.dtype)
        self.total -= self.spread * features.dot(of_all)
        if self.bias is not None:
            self.total -= self.spread * num_rows * self.bias.sum(dtype=self.dtype)
        if self.with_gradient:
            self.of_features -= (self.spread * of_all).to(self.of_features.dtype)
            self.of_weight -= self.spread * features
            if self.of_bias is not None:
                self.of_bias -= self.spread * num_rows


def _count_correct(logits: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
    if not options.count_correct:
        return targets.new_zeros(())
    return (logits.argmax(dim=-1) == targets).sum()


def loss_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the type that losses of logits of a type are computed in: float32 at least."""
    return torch.float64 if dtype == torch.float64 else torch.float32
