"""profile=true: where the time of an update goes, as a table and as a trace."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.files import write_atomically
from seqtrain.training.callbacks.base import Callback, CallbackConfig, Requests
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import StepResult

PARTS = ("data", "forward", "loss", "backward", "gradients", "optimizer", "rest")
"""Parts of an update. data: waiting for a batch; gradients: sums over ranks, scale, norm, clipping;
rest: everything else, the train loop and its logging included."""

_BEATS = {"forward": "forward", "backward": "backward", "sums": "gradients", "data": "rest"}


@dataclass(kw_only=True)
class ProfileConfig(CallbackConfig):
    """When and what is measured."""

    warmup_updates: int = 5
    """Updates of this process before the first that counts."""
    timed_updates: int = 20
    """Updates that the table is about; nothing but clocks runs in them."""
    traced_updates: int = 3
    """Updates after those that the trace is about; recording makes them slower."""


class PartClock:
    """Adds up the seconds that pass in each part.

    Args:
        device: Its queue is waited for at each change of parts, so that it counts where it belongs.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._device = device
        self._part: str | None = None
        self._since = 0.0
        self.marks_trace = False
        self._mark: record_function | None = None

    def enter(self, part: str | None) -> None:
        """Begins a part, which ends the one before; None counts as no part."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        if self._part is not None:
            self.seconds[self._part] += now - self._since
        self._part, self._since = part, now
        if self._mark is not None:
            self._mark.__exit__(None, None, None)
            self._mark = None
        if self.marks_trace and part is not None:
            self._mark = record_function(f"part: {part}")
            self._mark.__enter__()


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """What was measured, over all timed updates.

    Args:
        num_updates: Timed updates.
        num_targets: Their targets.
        seconds: By part.
        threads: Threads of torch.
    """

    num_updates: int
    num_targets: float
    seconds: Mapping[str, float]
    threads: int = field(default_factory=torch.get_num_threads)

    @property
    def total(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())

    def table(self) -> str:
        """Returns the parts as a Markdown table, and the rates above it."""
        each = 1e3 / self.num_updates
        lines = [
            f"{self.num_updates} updates, {self.threads} threads: {each * self.total:.2f} ms an "
            f"update, {self.num_targets / self.total:.0f} targets a second",
            "",
            "| part | ms an update | % |",
            "| --- | --: | --: |",
        ]
        for part in PARTS:
            seconds = self.seconds[part]
            lines.append(f"| {part} | {each * seconds:.2f} | {100 * seconds / self.total:.1f} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values: seconds of all timed updates together."""
        values = {"num_updates": self.num_updates, "num_targets": self.num_targets}
        return values | {"threads": self.threads, "seconds": dict(self.seconds)}


class Profile(Callback):
    """Measures updates after a warm-up, then records some; writes both into a folder.

    The folder gets `breakdown.txt` and `breakdown.json` (the table) and `trace.json`, which
    chrome://tracing and ui.perfetto.dev open. Nothing about the training changes.

    Args:
        config: A ProfileConfig.
        folder: Where to write.
        iterator: Knows the time that was waited for data.
    """

    def __init__(self, config: ProfileConfig, folder: Path, iterator: EpochIterator) -> None:
        super().__init__(config)
        self.breakdown: Breakdown | None = None
        self._folder = folder
        self._iterator = iterator
        self._first = config.warmup_updates
        self._end = self._first + config.timed_updates
        self._seen = 0
        self._is_done = False
        self._targets = 0.0
        self._waited = 0.0
        self._clock: PartClock | None = None
        self._recorder: profile | None = None
        self._handles: list[RemovableHandle] = []

    @override
    def on_update_start(self, trainer: Trainer, num_updates: int) -> Requests:
        if self._is_done:
            return None
        if self._seen >= self._first and self._clock is None:
            self._begin_timing(trainer)
        if self._seen == self._end and self._clock is not None and self._recorder is None:
            self._finish_timing(self._clock)
            self._begin_tracing(self._clock, trainer.device)
        if self._clock is not None:
            self._clock.enter("rest")
        return None

    @override
    def on_update_end(self, trainer: Trainer, result: StepResult) -> Requests:
        self._seen += 1
        if self._clock is None or self._is_done:
            return None
        self._targets += result.counts.num_targets
        if self._seen == self._end + self.config.traced_updates:
            self._stop(trainer)
        return None

    @override
    def on_train_end(self, trainer: Trainer) -> Requests:
        self._stop(trainer)
        return None

    def _begin_timing(self, trainer: Trainer) -> None:
        self._clock = clock = PartClock(trainer.device)
        self._waited = self._iterator.wait_seconds
        trainer.on_phase = lambda phase: clock.enter(_BEATS.get(phase))
        self._handles = [
            trainer.model.register_forward_pre_hook(_entering(clock, "forward")),
            trainer.model.register_forward_hook(_entering(clock, "loss")),
        ]
        for optimizer in trainer.optimizer.torch_optimizers:
            self._handles += [
                optimizer.register_step_pre_hook(_entering(clock, "optimizer")),
                optimizer.register_step_post_hook(_entering(clock, "rest")),
            ]

    def _finish_timing(self, clock: PartClock) -> None:
        clock.enter(None)
        waited = self._iterator.wait_seconds - self._waited
        seconds = clock.seconds | {"data": waited, "rest": clock.seconds["rest"] - waited}
        self.breakdown = Breakdown(
            num_updates=self._seen - self._first,
            num_targets=self._targets,
            seconds=seconds,
        )
        self._write(self.breakdown)

    def _begin_tracing(self, clock: PartClock, device: torch.device) -> None:
        activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._recorder = profile(activities=activities)
        self._recorder.__enter__()
        clock.marks_trace = True

    def _stop(self, trainer: Trainer) -> None:
        """Writes what there is, and leaves nothing in the Trainer."""
        if self._clock is None or self._is_done:
            return
        self._is_done = True
        trainer.on_phase = None
        for handle in self._handles:
            handle.remove()
        self._clock.marks_trace = False
        self._clock.enter(None)
        if self._recorder is not None:
            self._finish_tracing(self._recorder)
        elif self._seen > self._first:
            self._finish_timing(self._clock)

    def _finish_tracing(self, recorder: profile) -> None:
        recorder.__exit__(None, None, None)
        recorder.export_chrome_trace(str(self._folder / "trace.json"))
        kernels = recorder.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=40, max_name_column_width=50
        )
        if self.breakdown is not None:
            self._write(self.breakdown, f"\n\nOf the traced updates, by kernel:\n{kernels}")

    def _write(self, breakdown: Breakdown, more: str = "") -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / "breakdown.txt", f"{breakdown.table()}{more}\n".encode())
        text = json.dumps(breakdown.to_json(), indent=2)
        write_atomically(self._folder / "breakdown.json", text.encode())


def _entering(clock: PartClock, part: str) -> Callable[..., None]:
    def enter(*_: object) -> None:
        clock.enter(part)

    return enter
