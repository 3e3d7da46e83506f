"""How all ranks make one update together: whose gradients are summed when, and what they share."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from seqtrain.checkpoint.copies import require_same_pieces, require_same_state
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig
from seqtrain.distributed.desync import require_same_parameters
from seqtrain.distributed.parallelize import gradient_sync, wrap_data_parallel
from seqtrain.distributed.reduction_tree import ReductionTree
from seqtrain.distributed.shared_buffers import SharedBuffers
from seqtrain.metrics import Metrics
from seqtrain.training.loss_module import LossModule
from seqtrain.training.spread import SpreadModule
from seqtrain.training.update import UpdateSettings


class SharedUpdate:
    """The part of an update that several ranks have to do with; alone, it does nothing.

    Args:
        module: The model and the criterion, or those whose parameters lie on several ranks.
        spread: What is known of the latter; None where each rank has the whole module.
        collectives: Connected to the other ranks.
        distributed: The run's section.
        settings: The run's updates.
    """

    def __init__(
        self,
        module: LossModule,
        spread: SpreadModule | None,
        collectives: Collectives,
        distributed: DistributedConfig,
        settings: UpdateSettings,
    ) -> None:
        self.module: nn.Module = module
        """What is called for a loss; wrapped where the wrapper sums the gradients."""
        self.buffers = SharedBuffers(module, collectives)
        self._bare = module
        self._spread = spread
        self._collectives = collectives
        self._tree = _reduction_tree(module, collectives, distributed, settings)
        if self._tree is None and spread is None:
            self.module = wrap_data_parallel(module, collectives, distributed)

    @property
    def num_shares(self) -> int:
        """Ranks that have micro-batches of their own."""
        repeats = 1 if self._spread is None else self._spread.tensor_parallel
        return self._collectives.world_size // repeats

    @property
    def gradient_factor(self) -> int:
        """What turns the gradients after `sum` into those of the sum of all ranks' losses."""
        is_average = self._tree is None and self._spread is None
        return self._collectives.world_size if is_average else 1

    def accumulating(self, is_last: bool) -> AbstractContextManager[None]:
        """Returns a context for a micro-batch's forward and backward pass."""
        return gradient_sync(self.module, enabled=is_last)

    def take_gradients(self) -> None:
        """Is called after each micro-batch's backward pass."""
        if self._tree is not None:
            self._tree.take()

    def sum(self, metrics: Metrics, totals: Tensor) -> tuple[Metrics, Tensor]:
        """Sums what the ranks have counted, completes the gradients and shares the buffers."""
        metrics, totals = self._sum_counts(metrics, totals)
        self.buffers.share()
        if self._tree is not None:
            self._tree.finish()
        return metrics, totals

    def can_replace(self, in_backward: bool) -> bool:
        """Whether a failed pass may be made again with another batch.

        Not where other ranks have taken part in it, or have sums of some of its gradients.
        """
        took_part = in_backward or self._spread is not None
        return not took_part or self._collectives.is_alone or self._tree is not None

    def require_same(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        state: Mapping[str, Any],
        num_updates: int,
    ) -> None:
        """Compares all that updates change and that several ranks hold; they call it together.

        Args:
            parameters: Trained ones, where each rank has them whole.
            state: All else.
            num_updates: For the message.

        Raises:
            DistributedError: Something differs.
        """
        if self._spread is not None:
            parameters = self._bare.named_parameters()
        require_same_parameters(parameters, self._collectives, num_updates)
        whole = {**state, "buffers": self.buffers.named()}
        require_same_state(whole, self._collectives, num_updates)

    def require_same_copies(self, state: Mapping[str, Any], num_updates: int) -> None:
        """Compares the pieces of a state that several ranks are about to write.

        Raises:
            DistributedError: They differ.
        """
        if self._spread is not None and self._spread.writes_copies:
            require_same_pieces(state, self._collectives, num_updates)

    def _sum_counts(self, metrics: Metrics, totals: Tensor) -> tuple[Metrics, Tensor]:
        if self._collectives.is_alone:
            return metrics, totals
        packed = torch.cat([totals, metrics.pack(totals.device)])
        packed = self._collectives.all_reduce_sum(packed)
        if self._spread is not None:  # each micro-batch was on so many ranks
            packed /= self._spread.tensor_parallel
        return metrics.unpack(packed[totals.numel() :]), packed[: totals.numel()]


def _reduction_tree(
    module: LossModule,
    collectives: Collectives,
    distributed: DistributedConfig,
    settings: UpdateSettings,
) -> ReductionTree | None:
    if not distributed.deterministic_elastic:
        return None
    share = settings.update_freq
    total = settings.micro_batches or share * collectives.world_size
    bucket_bytes = distributed.bucket_cap_mb * 2**20
    return ReductionTree(module.named_parameters(), collectives, total, share, bucket_bytes)
