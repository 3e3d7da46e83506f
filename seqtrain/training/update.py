"""One update in plain values: its settings, who is called inside it, and what it did."""

from collections.abc import Callable
from dataclasses import dataclass, field

from seqtrain.criteria.base import LossOutput
from seqtrain.metrics import Metrics


@dataclass(frozen=True, kw_only=True)
class UpdateSettings:
    """What an update needs to know besides its parts."""

    seed: int
    update_freq: int = 1
    micro_batches: int = 0
    """Of an update over all ranks; 0 for update_freq of each."""
    clip_norm: float = 0.0
    clip_value: float = 0.0
    grad_noise: float = 0.0
    grad_noise_decay: float = 0.55


@dataclass(kw_only=True)
class UpdateHooks:
    """What is called inside an update; the train loop puts the callbacks here."""

    loss_computed: Callable[[LossOutput], object] | None = None
    gradients_ready: Callable[[], object] | None = None


@dataclass(frozen=True, kw_only=True)
class UpdateCounts:
    """What an update was made of, summed over micro-batches and ranks."""

    num_targets: float
    num_examples: float
    num_tokens: float
    num_positions: float


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one update did. The criterion's figures stay tensors until somebody logs them."""

    applied: bool
    """False: the gradient was not finite, or memory ran out on some rank; neither parameters nor
    moments were touched."""
    metrics: Metrics
    """The criterion's, over all ranks; empty if the update was skipped."""
    counts: UpdateCounts
    grad_norm: float
    lr: float
    loss_scale: float | None = None
    """Factor on the loss; None if there is none. One that was too large has been lowered."""
    stop_agreed: bool = False
    """Some rank has asked to stop (`Trainer.request_stop`); every rank sees it at this update."""
    save_finished: bool = False
    """The save in the background has ended on every rank: `Trainer.finish_save` will not wait."""
    ran_out_of_memory: bool = False
    """Why the update was not applied, if it was not."""
    faults: list[str] = field(default_factory=list)
    """What went wrong on this rank in an update that was not applied, for people."""
    ends_epoch: bool = False
