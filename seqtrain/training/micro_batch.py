"""The passes of one micro-batch: its loss, its gradients, and what is done without memory."""

from collections.abc import Callable

import torch
from torch import nn

from seqtrain.batch import Batch
from seqtrain.criteria.base import LossOutput
from seqtrain.errors import MachineError
from seqtrain.optim.base import OptimizerWrapper
from seqtrain.optim.precision import Precision
from seqtrain.training.update_faults import describe_batch, is_out_of_memory


class MicroBatchPasses:
    """Runs the forward and the backward pass of micro-batches, which add to the gradients.

    Args:
        module: Model and criterion.
        optimizer: Of their parameters.
        precision: Of the passes.
        beat: Is told which pass begins.
        can_replace: Whether another batch may take the place of one that ran out of memory; is
            told whether that was in the backward pass.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: OptimizerWrapper,
        precision: Precision,
        beat: Callable[[str], None],
        can_replace: Callable[[bool], bool],
    ) -> None:
        self.faults: list[str] = []
        """Of the micro-batches of this update, for people."""
        self._module = module
        self._optimizer = optimizer
        self._precision = precision
        self._beat = beat
        self._can_replace = can_replace
        self._in_backward = False

    def run(
        self,
        batch: Batch,
        substitute: Batch | None,
        loss_computed: Callable[[LossOutput], object] | None,
    ) -> LossOutput:
        """Adds the gradients of a micro-batch and returns its loss.

        Args:
            batch: On the device.
            substitute: Takes its place if it was too large; None ends the run then.
            loss_computed: Called between the two passes.

        Raises:
            MachineError: Memory ran out where other ranks had taken part already.
        """
        try:
            return self._run(batch, loss_computed)
        except (MemoryError, RuntimeError) as error:
            if substitute is None or not is_out_of_memory(error):
                raise
            fault = f"out of memory on a {describe_batch(batch)}"
            if not self._can_replace(self._in_backward):
                place = "backward" if self._in_backward else "forward"
                raise MachineError(f"{fault}, in its {place} pass. Lower the budget.") from error
        # Outside of the handler, whose exception holds all that the forward pass had kept.
        self.faults.append(fault)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._run(substitute.to(batch.targets.device), loss_computed)

    def _run(
        self, batch: Batch, loss_computed: Callable[[LossOutput], object] | None
    ) -> LossOutput:
        self._in_backward = False
        self._beat("forward")
        with self._precision.autocast():
            loss: LossOutput = self._module(batch)
        if loss_computed:
            loss_computed(loss)
        self._in_backward = True
        self._beat("backward")
        self._optimizer.backward(self._precision.scaled(loss.total))
        return loss
