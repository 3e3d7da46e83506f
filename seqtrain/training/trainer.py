"""The Trainer: performs one update at a time, and saves and restores all that an update changes."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqtrain import rng
from seqtrain.batch import Batch
from seqtrain.checkpoint.background_writer import CheckpointWriter
from seqtrain.checkpoint.load import LoadedCheckpoint, applying, read_newest
from seqtrain.checkpoint.pieces import divide
from seqtrain.checkpoint.spread_state import load_state, state_of
from seqtrain.checkpoint.whole_state import require_whole_state
from seqtrain.criteria.base import Criterion
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig
from seqtrain.distributed.heartbeat import Watchdog
from seqtrain.lr_schedulers.base import LRScheduler
from seqtrain.metrics import Metrics
from seqtrain.models.base import Model
from seqtrain.modules.update_number import FollowsUpdates
from seqtrain.optim.averaging import WeightAverage
from seqtrain.optim.base import OptimizerWrapper
from seqtrain.optim.gradient_changes import add_grad_noise, clip_grad_values
from seqtrain.optim.precision import Precision
from seqtrain.optim.zero_optimizer import ZeroOptimizer
from seqtrain.training.loss_module import LossModule, check_module_state, evaluate_batch
from seqtrain.training.micro_batch import MicroBatchPasses
from seqtrain.training.shared_update import SharedUpdate
from seqtrain.training.spread import SpreadModule
from seqtrain.training.update import StepResult, UpdateCounts, UpdateHooks, UpdateSettings
from seqtrain.training.update_faults import find_non_finite


@dataclass(kw_only=True)
class Trainer:
    """Owns the model, the criterion, the optimizer wrapper and the LR scheduler.

    It knows how an update is made, not when anything happens: that is the train loop's. Its parts
    arrive built and on the device.
    """

    model: Model
    criterion: Criterion
    optimizer: OptimizerWrapper
    lr_scheduler: LRScheduler
    precision: Precision
    settings: UpdateSettings
    device: torch.device
    collectives: Collectives
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    hooks: UpdateHooks = field(default_factory=UpdateHooks)
    batch_transform: Callable[[Batch], Batch] | None = None
    """The task's, for training alone; its randomness is the micro-batch's."""
    spread: SpreadModule | None = None
    """The model and the criterion above, where their parameters lie on several ranks."""
    averaging: WeightAverage | None = None
    """Average of the weights of the model and the criterion above."""
    empty_batch: Batch | None = None
    """Takes the place of a batch that was too large; without it, such a batch ends the run."""
    writer: CheckpointWriter | None = None
    """Writes checkpoints; unset, at once."""
    watchdog: Watchdog | None = None
    """Is told of each step that is taken."""
    on_phase: Callable[[str], object] | None = None
    """Is told the same, while somebody measures."""
    num_updates: int = 0
    """Updates applied since the run began."""

    def __post_init__(self) -> None:
        if self.spread is None:
            module = LossModule(self.model, self.criterion, not self.collectives.is_alone)
        else:
            module = self.spread.module
        self._shared = SharedUpdate(
            module, self.spread, self.collectives, self.distributed, self.settings
        )
        self.loss_module = self._shared.module
        self._stop_requested = False
        self._followers = [m for m in self.loss_module.modules() if isinstance(m, FollowsUpdates)]
        self._passes = MicroBatchPasses(
            self.loss_module, self.optimizer, self.precision, self.beat, self._shared.can_replace
        )
        self._unproven: Path | None = None
        """The checkpoint whose state was loaded, until an update has been made with it."""

    def train_epoch(self, iterator: EpochIterator) -> Iterator[StepResult]:
        """Trains from the iterator's position to the end of its epoch, one update at a time.

        When a result is yielded, the iterator stands after that update's micro-batches, so that
        a checkpoint saved now continues with the next one.
        """
        self._enter_training_mode()
        self.beat("data")
        for group in iterator.groups(self.settings.update_freq, self.settings.micro_batches):
            result = self.train_step(group.batches, group.first_index, group.is_last)
            iterator.advance(group)
            yield result
            self._enter_training_mode()  # whoever received the result may have validated
            self.beat("data")

    def train_step(
        self, micro_batches: Sequence[Batch], first_index: int = 0, ends_epoch: bool = False
    ) -> StepResult:
        """Performs one update.

        Args:
            micro_batches: This rank's share; every rank has as many, empty ones where need be.
            first_index: Position of the first of them in the whole update, over all ranks; it
                keys the randomness, so that the split over ranks does not matter.
            ends_epoch: Handed on to the result.
        """
        self._shared.buffers.remember()
        metrics, totals = self.compute_gradients(micro_batches, first_index)

        def mean_loss_again() -> Tensor:
            """What LBFGS asks for: the same loss and gradients at other parameters."""
            _, again = self.compute_gradients(micro_batches, first_index)
            self._change_gradients()
            return again[4] / again[0]

        closure = mean_loss_again if self.optimizer.needs_closure else None
        result = self.apply_update(metrics, totals, ends_epoch, closure)
        if result.applied:
            return result
        if not (result.ran_out_of_memory or result.loss_scale is not None):
            key = (self.settings.seed, self.num_updates, first_index)
            on_device = [batch.to(self.device) for batch in micro_batches]
            with self.whole_weights() as module:
                module.train()
                faults = find_non_finite(module, self.precision, on_device, key)
            result = replace(result, faults=faults)
        self._shared.buffers.restore()
        return result

    def compute_gradients(
        self, micro_batches: Sequence[Batch], first_index: int = 0
    ) -> tuple[Metrics, Tensor]:
        """Sets every gradient to that of the mean loss over all targets of the update.

        Returns:
            The criterion's metrics and the sums [targets, examples, tokens, positions, loss,
            stop requests, finished saves, batches without memory], float64, both over micro-batches
            and ranks.
        """
        self.optimizer.zero_grad()
        for module in self._followers:
            module.update_number = self.num_updates + 1
        self._passes.faults = []
        metrics = Metrics()
        counts, loss_sum = [0, 0, 0, 0], torch.zeros((), dtype=torch.float64, device=self.device)
        for index, batch in enumerate(micro_batches):
            rng.seed(self.settings.seed, "update", self.num_updates, first_index + index)
            is_last = index == len(micro_batches) - 1
            batch = batch.to(self.device)
            if self.batch_transform is not None:
                batch = self.batch_transform(batch)
            with self._shared.accumulating(is_last):
                loss = self._passes.run(batch, self.empty_batch, self.hooks.loss_computed)
            self._shared.take_gradients()
            metrics.merge(loss.metrics)
            own = (loss.num_targets, batch.num_examples, batch.num_tokens, batch.num_positions)
            counts = [total + count for total, count in zip(counts, own, strict=True)]
            loss_sum = loss_sum + loss.total.detach()
        self.beat("sums")
        metrics, totals = self._shared.sum(metrics, self._totals(counts, loss_sum))
        self.optimizer.collect_gradients()
        # The mean is over targets; DDP has averaged over ranks.
        mean = self._shared.gradient_factor / totals[0].clamp(min=1.0)
        self.optimizer.scale_grads(self.precision.unscaling(mean))
        return metrics, totals

    def apply_update(
        self,
        metrics: Metrics,
        totals: Tensor,
        ends_epoch: bool,
        closure: Callable[[], Tensor] | None = None,
    ) -> StepResult:
        """Applies the gradients, unless they are not finite: then nothing is touched."""
        grad_norm = self._change_gradients()
        lr = self.lr_scheduler.lr_at(self.num_updates + 1)
        self.optimizer.set_lr(lr, self.lr_scheduler.own_rates(self.num_updates + 1))
        if self.hooks.gradients_ready:
            self.hooks.gradients_ready()
        # The only host read of an update. All ranks hold the same sums, hence agree.
        *sums, norm = torch.cat([totals, grad_norm.to(totals).view(1)]).tolist()
        targets, examples, tokens, positions, loss_sum, num_stops, num_saved, num_failed = sums
        ran_out = num_failed > 0
        applied = math.isfinite(norm) and math.isfinite(loss_sum) and not ran_out
        loss_scale = self.precision.loss_scale
        if not ran_out:  # the loss scale is not to blame
            self.precision.report(applied, norm, lr)
        if applied:
            # A state that is odd shows at the first step with it at the latest.
            with applying(self._unproven) if self._unproven else nullcontext():
                self.optimizer.step(closure)
            self._unproven = None
            self.num_updates += 1
            if self.averaging is not None:
                self.averaging.update(self.num_updates)
        return StepResult(
            applied=applied,
            metrics=metrics if applied else Metrics(),
            counts=UpdateCounts(
                num_targets=targets,
                num_examples=examples,
                num_tokens=tokens,
                num_positions=positions,
            ),
            grad_norm=norm,
            lr=lr,
            loss_scale=loss_scale,
            stop_agreed=num_stops > 0,
            save_finished=num_saved >= self._shared.num_shares,
            ran_out_of_memory=ran_out,
            faults=self._passes.faults,
            ends_epoch=ends_epoch,
        )

    def valid_step(self, batch: Batch) -> Metrics:
        """Returns the criterion's metrics of a batch, of this rank alone."""
        # The bare modules: a forward through DDP would expect a backward.
        module = self.evaluated
        loss = evaluate_batch(module.model, module.criterion, self.precision, batch.to(self.device))
        return loss.metrics

    @property
    def evaluated(self) -> LossModule:
        """The model and the criterion to evaluate: those that are trained, or whole copies."""
        if self.spread is None:
            return LossModule(self.model, self.criterion)
        return self.spread.whole.module

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Gives a context in which `evaluated` holds the weights to evaluate."""
        self.optimizer.prepare_for_evaluation()
        with ExitStack() as stack:
            if self.averaging is not None and self.averaging.exists:
                stack.enter_context(self.averaging.shown())
            stack.enter_context(self.whole_weights())
            yield

    @contextmanager
    def whole_weights(self) -> Iterator[LossModule]:
        """Gives `evaluated`, with the weights that are trained; all ranks call this together."""
        if self.spread is None:
            yield self.evaluated
            return
        with self.spread.whole.filled():
            yield self.evaluated

    def request_stop(self) -> None:
        """Asks all ranks to stop; they learn it together from the next update's result."""
        self._stop_requested = True

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that updates change, as parts of a checkpoint."""
        self.optimizer.prepare_for_evaluation()  # a checkpoint holds the weights that are used
        parts = {"model": state_of(self.model), **self._state_besides_weights()}
        if criterion_state := state_of(self.criterion):
            parts["criterion"] = criterion_state
        return parts

    def _state_besides_weights(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "trainer": {
                "num_updates": self.num_updates,
                "lr_scheduler": self.lr_scheduler.state_dict(),
                "precision": self.precision.state_dict(),
            },
        }
        if self.averaging is not None and self.averaging.exists:
            parts["ema"] = self.averaging.state_dict()
        return parts

    def load_state_dict(self, parts: Mapping[str, Any]) -> list[str]:
        """Restores what `state_dict` returned. Nothing is changed if any name or shape differs.

        Returns:
            Lines for people, on what the checkpoint does not hold.

        Raises:
            CheckpointError: The checkpoint is of another model, criterion or optimizer.
        """
        check_module_state(self.model, parts["model"], "model")
        check_module_state(self.criterion, parts.get("criterion", {}), "criterion")
        self.optimizer.load_state_dict(parts["optimizer"])
        load_state(self.model, parts["model"])
        load_state(self.criterion, parts.get("criterion", {}))
        self.lr_scheduler.load_state_dict(parts["trainer"]["lr_scheduler"])
        self.precision.load_state_dict(parts["trainer"].get("precision", {}))
        self.num_updates = parts["trainer"]["num_updates"]
        if self.averaging is None:
            return []
        line = self.averaging.restore(parts.get("ema"), self.num_updates)
        return [line] if line else []

    def load_weights(self, parts: Mapping[str, Any]) -> None:
        """Takes the weights of another checkpoint of this run, to evaluate them."""
        self.optimizer.prepare_for_evaluation()  # now, so that it does not undo this later
        load_state(self.model, parts["model"])
        load_state(self.criterion, parts.get("criterion", {}))
        if self.averaging is not None:  # where that one has no average, its weights are evaluated
            self.averaging.restore(parts.get("ema"), num_updates=0)

    def check_agreement(self) -> None:
        """Compares all that updates change and that several ranks hold; they call it together.

        Raises:
            DistributedError: Something differs.
        """
        groups = [group for one in self.optimizer.torch_optimizers for group in one.param_groups]
        state = self._state_besides_weights() | {"learning rates": [g["lr"] for g in groups]}
        self._shared.require_same(self.optimizer.parameters.items(), state, self.num_updates)

    def save_checkpoint(
        self, directory: Path, extra_parts: Mapping[str, Any], about: Mapping[str, Any]
    ) -> None:
        """Begins to save this state and the caller's; all ranks call it together.

        The state may change once this returns. The checkpoint is there when `finish_save`, which
        must be called before the next save, has returned its path.

        Args:
            directory: Folder of checkpoints.
            extra_parts: What the caller wants to find again: loop state, configuration.
            about: Plain values for the manifest.
        """
        tensors, plain = rng.capture()
        parts = {f"rank-{self.collectives.rank:05d}": {"rng": {"tensors": tensors, "plain": plain}}}
        if self.spread is not None or isinstance(self.optimizer, ZeroOptimizer):
            state = self.state_dict()
            self._shared.require_same_copies(state, self.num_updates)
            divided = divide(state, self.collectives.rank)
            parts |= divided if self.spread is None or self.spread.writes_pieces else {}
        elif self.collectives.rank == 0:
            parts |= self.state_dict()
        if self.collectives.rank == 0:
            parts |= dict(extra_parts)
        if self.writer is None:
            self.writer = CheckpointWriter(self.collectives, in_background=False)
        self.beat("saving")
        self.writer.save(directory, self.num_updates, parts, about)

    def finish_save(self) -> Path | None:
        """Waits for the save under way, if any, and returns its checkpoint.

        Raises:
            CheckpointError: It failed, on every rank the same; nothing was left behind.
            MachineError: The same way, where the disk is full or refuses.
        """
        return self.writer.finish() if self.writer is not None else None

    def load_checkpoint(
        self,
        directory: Path,
        report: Callable[[str], None],
        check: Callable[[LoadedCheckpoint], None],
    ) -> LoadedCheckpoint | None:
        """Restores the newest valid checkpoint; None if there are none at all.

        Args:
            directory: Folder of checkpoints.
            report: Receives a line for each checkpoint that had to be passed over.
            check: Sees what was read before anything is changed, and raises if it must not be used.

        Raises:
            CheckpointError: It cannot be read, or it is not one to continue from.
        """
        loaded = read_newest(directory, report)
        found = None if loaded is None else loaded.manifest.sha256
        self.collectives.require_equal(found, "the checkpoint to continue from")
        if loaded is None:
            return None
        require_whole_state(loaded)
        with applying(loaded.path):
            check(loaded)
            for line in self.load_state_dict(loaded.parts):
                report(line)
            state = loaded.parts.get(f"rank-{self.collectives.rank:05d}")
            if state is not None:  # a rank that did not exist before has no streams to restore
                rng.restore(state["rng"]["tensors"], state["rng"]["plain"])
        self._unproven = loaded.path
        return loaded

    def _enter_training_mode(self) -> None:
        # A walk over all modules, so only where it is needed.
        if not all(m.training for m in (self.loss_module, self.model, self.criterion)):
            self.loss_module.train()

    def _change_gradients(self) -> Tensor:
        """Clips the gradients, then adds noise; returns their norm as it was."""
        settings, parameters = self.settings, self.optimizer.parameters.values()
        # The norm first: it tells what is not finite, which clipping values would hide.
        grad_norm = self.optimizer.clip_grad_norm(settings.clip_norm)
        if settings.clip_value:
            clip_grad_values(parameters, settings.clip_value)
        if settings.grad_noise:
            variance = settings.grad_noise / (1 + self.num_updates) ** settings.grad_noise_decay
            key = (settings.seed, "gradient noise", self.num_updates)
            add_grad_noise(parameters, variance**0.5, *key)
        return grad_norm

    def _totals(self, counts: Sequence[int], loss_sum: Tensor) -> Tensor:
        """Returns what this rank has to say to the others: its sums, then its flags."""
        is_saved = self.writer is not None and self.writer.can_finish
        flags = (self._stop_requested, is_saved, bool(self._passes.faults))
        totals = torch.tensor([*counts, 0.0, *flags], dtype=torch.float64, device=self.device)
        totals[4] = loss_sum
        return totals

    def beat(self, phase: str) -> None:
        """Tells the watchdog what this rank does now; see heartbeat.PHASES."""
        if self.watchdog is not None:
            self.watchdog.beat(self.num_updates, phase)
        if self.on_phase is not None:
            self.on_phase(phase)
