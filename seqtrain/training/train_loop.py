"""The train loop: decides when to log, validate, test, save and stop."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seqtrain.checkpoint.load import LoadedCheckpoint, applying, read_checkpoint
from seqtrain.checkpoint.weights import WEIGHT_PARTS
from seqtrain.config_schema import parse_section
from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.training.build import Run, build_log_writers
from seqtrain.training.callbacks.base import Callback, Request
from seqtrain.training.log_writers.fan_out import LogFanOut
from seqtrain.training.resume import check_config, check_task, schedule_change
from seqtrain.training.run_config import OptimizationConfig, RunConfig
from seqtrain.training.run_saver import RunSaver
from seqtrain.training.screens.ends import ended_line, passed_limits
from seqtrain.training.screens.planned_end import planned_updates
from seqtrain.training.skipped_updates import skip_error, skip_lines
from seqtrain.training.stop_signals import StopSignals
from seqtrain.training.update import StepResult, UpdateHooks
from seqtrain.training.update_tracker import UpdateTracker
from seqtrain.training.validation import Validation


@dataclass
class LoopState:
    """What the loop must not forget when a run is resumed."""

    skipped_in_row: int = 0
    skipped_updates: int = 0
    train_seconds: float = 0.0
    """Time of all sessions without validation, tests and saving."""
    wall_seconds: float = 0.0
    """Time of all sessions, with everything; what is between two sessions is not counted."""
    num_restarts: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    num_updates: int
    best_metric: float | None
    """Best value of checkpoint.best_metric; None if nothing was validated."""
    best_checkpoint: Path | None
    test: dict[str, float]
    """Values of the final test, unprefixed; empty if there was none."""
    signal: int = 0
    """Number of the signal that ended the run; 0 if it ended by itself."""
    ended: str = ""
    """Where the run had ended before, so that nothing was trained: that, and the way to go on."""


class TrainLoop:
    """Trains a built run to its end, from its newest checkpoint if there is one.

    Args:
        run: The built parts.
        about: Plain values for the manifests of checkpoints.
        begin: Called where there is no checkpoint, to give a new run its first weights; returns
            lines for people.
    """

    def __init__(
        self, run: Run, about: Mapping[str, Any], begin: Callable[[], list[str]] = list
    ) -> None:
        self.run = run
        self._begin = begin
        self.trainer = run.trainer
        self.iterator = run.iterator
        self.config = run.config
        self.about = dict(about)
        self.state = LoopState()
        self.validation = Validation(run, self._fire)
        self.log = LogFanOut({})
        self.signals = StopSignals(self.trainer.request_stop)
        self._interval = UpdateTracker(self.config.optimization.clip_norm)
        self._epoch = UpdateTracker(self.config.optimization.clip_norm)
        self._requests: set[Request] = set()
        self._saver = RunSaver(
            run, lambda line: self.log.message(line), partial(self._fire, "on_checkpoint_saved")
        )
        self._is_interrupted = False
        self._clock = time.monotonic()
        self._started = time.monotonic()
        self._wall_before = 0.0
        self.trainer.hooks = UpdateHooks(
            loss_computed=self._hook("on_loss_computed"),
            gradients_ready=self._hook("on_gradients_ready"),
        )

    def train(self, announce: Callable[["TrainLoop"], list[str]]) -> TrainResult:
        """Runs to the end and returns how it ended.

        Args:
            announce: Returns the lines of the first screen, once the state is known.
        """
        notes = self.validation.check()
        messages = self._restore() + notes
        # The same on all ranks here: it comes from the checkpoint.
        passed = self.passed_limits()
        ended = ended_line(self.trainer.num_updates, passed) if passed else ""
        for line in [*announce(self), *messages]:
            self.log.message(line)
        self.log.plan(self.trainer.num_updates, planned_updates(self.run))
        lost_told = self.run.collectives.lost_ranks_told
        with lost_told(), self.signals.installed(), self._saver.nothing_half_done():
            self._fire("on_train_start")
            stopping = bool(ended)
            while not stopping:
                stopping = self._train_epoch()
            test = {} if self._is_interrupted else self._final_test()
            self._fire("on_train_end")
        self.log.close()
        return TrainResult(
            num_updates=self.trainer.num_updates,
            best_metric=self.validation.state.best_value,
            best_checkpoint=self._saver.best(),
            test=test,
            signal=self.signals.received,
            ended=ended,
        )

    def passed_limits(self) -> list[str]:
        """Returns for each limit that the run has reached what to write to go on."""
        return passed_limits(
            self.config,
            self.trainer.num_updates,
            self.iterator.position.epoch - 1,
            self.validation.state.validations_since_best,
            self.state.train_seconds,
        )

    def _train_epoch(self) -> bool:
        """Trains to the end of the epoch; returns whether to stop."""
        epoch = self.iterator.position.epoch
        self._fire("on_epoch_start", epoch)
        self._fire("on_update_start", self.trainer.num_updates)
        for result in self.trainer.train_epoch(self.iterator):
            if self._after_update(result, epoch):
                return True
            if not result.ends_epoch:
                self._fire("on_update_start", self.trainer.num_updates)
        return False

    def _after_update(self, result: StepResult, epoch: int) -> bool:
        """Does what is due after an update; returns whether to stop."""
        self._tick()
        if result.save_finished:
            self._saver.finish()
        self._count(result)
        self._fire("on_update_end", result)
        if result.applied and self._every(self.config.logging.interval):
            self._log_training("train", self._interval, result, epoch)
        if result.ends_epoch:
            self._log_training("epoch", self._epoch, result, epoch)
            self._fire("on_epoch_end", epoch)
        if result.stop_agreed:  # by a signal to some rank, or by the time limit
            self._is_interrupted = self.run.collectives.any(self.signals.received != 0)
        requests = self._take_requests()
        # A signal must not add a validation that the uninterrupted run would not have.
        finished = Request.STOP in requests or self._is_finished()
        finished = finished or (result.stop_agreed and not self._is_interrupted)
        is_best = False
        if self._validation_is_due(result, epoch, finished or Request.VALIDATE in requests):
            is_best = self._validate()
            requests |= self._take_requests()
            finished = finished or Request.STOP in requests or self.validation.is_out_of_patience
        stopping = finished or self._is_interrupted
        if result.applied and self._every(self.config.validation.test_interval_updates):
            self._test()
        if result.applied and self._every(self.config.distributed.check_interval_updates):
            self.trainer.check_agreement()
        is_due = Request.SAVE in requests or self._save_is_due(result, epoch)
        if is_best or stopping or is_due:
            self._save(stopping)
        return stopping

    def _take_requests(self) -> set[Request]:
        """Returns what callbacks have asked for since the last time, on any rank."""
        requests, self._requests = self._requests, set()
        if self.config.callback and self.run.collectives.world_size > 1:
            asked = torch.tensor([request in requests for request in Request], dtype=torch.float64)
            counts = self.run.collectives.all_reduce_sum(asked).tolist()
            requests = {one for one, count in zip(Request, counts, strict=True) if count}
        return requests

    def _count(self, result: StepResult) -> None:
        if result.applied:
            self.state.skipped_in_row = 0
            self._interval.add(result)
            self._epoch.add(result)
            return
        # A scaled loss ends in an error of its own where its scale can fall no further.
        self.state.skipped_in_row += result.loss_scale is None or result.ran_out_of_memory
        self.state.skipped_updates += 1
        faults = [line for rank in self.run.collectives.gather_json(result.faults) for line in rank]
        for line in skip_lines(result, self.trainer.num_updates, faults):
            self.log.message(line)
        if self.state.skipped_in_row >= self.config.optimization.max_skipped_updates:
            raise skip_error(result, self.trainer.num_updates, self.state.skipped_in_row)

    def _is_finished(self) -> bool:
        limits: OptimizationConfig = self.config.optimization
        return (0 < limits.max_update <= self.trainer.num_updates) or (
            0 < limits.max_epoch < self.iterator.position.epoch
        )

    def _is_out_of_time(self) -> bool:
        return 0 < self.config.optimization.stop_time_hours * 3600 < self.state.train_seconds

    def _validation_is_due(self, result: StepResult, epoch: int, is_wanted: bool) -> bool:
        config = self.config.validation
        if not config.splits or self.trainer.num_updates < config.validate_after_updates:
            return False
        if self.validation.has_these_weights:
            return False  # after a skipped update nothing has changed
        return (
            is_wanted
            or (result.applied and self._every(config.validate_interval_updates))
            or (result.ends_epoch and _divides(config.validate_interval, epoch))
        )

    def _save_is_due(self, result: StepResult, epoch: int) -> bool:
        config = self.config.checkpoint
        return (result.applied and self._every(config.save_interval_updates)) or (
            result.ends_epoch and _divides(config.save_interval, epoch)
        )

    def _every(self, interval: int) -> bool:
        return _divides(interval, self.trainer.num_updates)

    def _log_training(
        self, event: str, tracker: UpdateTracker, result: StepResult, epoch: int
    ) -> None:
        if not len(tracker):
            return
        values = {
            name if name in _MECHANICS else f"train_{name}": value
            for name, value in tracker.values(self.iterator.wait_seconds).items()
        }
        times = {"train_wall": self.state.train_seconds, "wall": self._wall_seconds()}
        self._write(event, {"epoch": epoch} | values | {"lr": result.lr} | times)
        tracker.reset(self.iterator.wait_seconds)

    def _validate(self) -> bool:
        with self._paused_clocks():
            return self.validation.validate(self.log)

    def _test(self) -> dict[str, float]:
        with self._paused_clocks():
            return self.validation.test(self.log)

    def _final_test(self) -> dict[str, float]:
        """Tests the best checkpoint, or the last weights where nothing was validated."""
        best = self._saver.best()
        if best is not None:
            self.trainer.load_weights(read_checkpoint(best, names=WEIGHT_PARTS).parts)
        return self._test()

    def _save(self, stopping: bool) -> None:
        about = self.about | {"epoch": self.iterator.position.epoch}
        self.state.wall_seconds = self._wall_seconds()
        with self._paused_clocks():
            self._saver.save(self._parts, about, self.validation.value_to_rank, stopping)

    def _parts(self) -> dict[str, Any]:
        return {
            "loop": {
                "state": asdict(self.state),
                "validation": self.validation.state_dict(),
                "interval": self._interval.state_dict(),
                "epoch": self._epoch.state_dict(),
                "log_writers": self.log.state_dict(),
                "callbacks": {n: c.state_dict() for n, c in self.run.callbacks.items()},
                "iterator": self.iterator.state_dict(),
            },
            "config": self.config.to_container(),
            "task": self.run.task.state_dict(),
        }

    def _restore(self) -> list[str]:
        """Loads the newest checkpoint, if any, and opens the log where it stood."""
        messages: list[str] = []

        def check(loaded: LoadedCheckpoint) -> None:
            messages.extend(check_config(loaded.parts["config"], self.config))
            check_task(loaded.parts["task"], self.run.task)
            self.iterator.load_state_dict(loaded.parts["loop"]["iterator"])

        loaded = self.trainer.load_checkpoint(self.run.checkpoints, messages.append, check)
        log_states = None
        if loaded is None:
            messages += self._begin()
        else:
            with applying(loaded.path):
                log_states = self._load_loop_state(loaded.parts["loop"])
            self._saver.continue_from(loaded.path, self.validation.value_to_rank)
            num_updates = self.trainer.num_updates
            messages.append(f"continuing from {loaded.path} after update {num_updates}")
            saved = RunConfig.parse(loaded.parts["config"])
            if self.config.checkpoint.init_from:
                messages.append("checkpoint.init_from is not used: the run has weights of its own.")
            # What is recorded from now on tells where these weights began.
            began = {n: getattr(saved.checkpoint, n) for n in ("init_from", "init_prefixes")}
            self.config = replace(self.config, checkpoint=replace(self.config.checkpoint, **began))
            saved_max = saved.optimization.max_update
            if saved_max != self.config.optimization.max_update:
                messages += schedule_change(saved_max, self.trainer.lr_scheduler, num_updates)
        if self.run.collectives.rank == 0:
            with applying(loaded.path) if loaded else nullcontext():
                self.log = LogFanOut(build_log_writers(self.config, log_states))
        return messages

    def _load_loop_state(self, loop: Mapping[str, Any]) -> Mapping[str, Any]:
        """Takes the loop's part of a checkpoint; returns where the log stood."""
        try:
            self.state = parse_section(LoopState(), loop["state"], "loop.state")
        except ConfigError as error:
            raise CheckpointError(str(error)) from error
        self.validation.load_state_dict(loop["validation"])
        self.state.num_restarts += 1
        self._wall_before = self.state.wall_seconds
        self._interval.load_state_dict(loop["interval"])
        self._epoch.load_state_dict(loop["epoch"])
        for name, callback in self.run.callbacks.items():
            if name in loop["callbacks"]:
                callback.load_state_dict(loop["callbacks"][name])
        return dict(loop["log_writers"])

    def _write(self, event: str, values: Mapping[str, float | int | str]) -> None:
        self.log.write(event, self.trainer.num_updates, values)

    def _tick(self) -> None:
        now = time.monotonic()
        self.state.train_seconds += now - self._clock
        self._clock = now
        if self._is_out_of_time():
            self.trainer.request_stop()  # ranks have different clocks, so they agree on it

    def _wall_seconds(self) -> float:
        return self._wall_before + time.monotonic() - self._started

    @contextmanager
    def _paused_clocks(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._clock = time.monotonic()
        for tracker in (self._interval, self._epoch):
            tracker.pause(self._clock - started)

    def _fire(self, event: str, *arguments: object) -> None:
        for callback in self.run.callbacks.values():
            request = getattr(callback, event)(self.trainer, *arguments)
            if request is not None:
                self._requests.add(request)

    def _hook(self, event: str) -> Callable[..., None] | None:
        base = getattr(Callback, event)
        if all(getattr(type(c), event) is base for c in self.run.callbacks.values()):
            return None  # nobody listens: the Trainer need not call
        return lambda *arguments: self._fire(event, *arguments)


_MECHANICS = frozenset(
    {"wpb", "bsz", "gnorm", "clip", "loss_scale", "padding", "wps", "ups", "wait"}
)
"""Tracked values about the training itself; the others are the criterion's and get a prefix."""


def _divides(interval: int, count: int) -> bool:
    return interval > 0 and count > 0 and count % interval == 0
