"""Every schedule of torch.optim.lr_scheduler by its class name."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import lr_scheduler
from typing_extensions import override

from seqtrain.config_schema import unknown_key_message
from seqtrain.errors import CheckpointError, ConfigError, UnknownNameError
from seqtrain.lr_schedulers.base import LRScheduler, LRSchedulerConfig, register_lr_scheduler

_NATIVE = {
    "LambdaLR": "a Python function: use lr_scheduler=manual, or a plug-in's schedule",
    "MultiplicativeLR": "a Python function: use lr_scheduler=manual, or a plug-in's schedule",
    "SequentialLR": "schedule objects: use lr_scheduler=sequence",
    "ChainedScheduler": "schedule objects: use lr_scheduler=sequence",
}


def scheduler_classes() -> dict[str, type[lr_scheduler.LRScheduler]]:
    """Returns the schedules of torch.optim.lr_scheduler by class name."""
    return {
        name: cls
        for name, cls in vars(lr_scheduler).items()
        if inspect.isclass(cls)
        and issubclass(cls, lr_scheduler.LRScheduler)
        and name not in ("LRScheduler", "_LRScheduler")
    }


@dataclass(kw_only=True)
class TorchLRSchedulerConfig(LRSchedulerConfig):
    """Any schedule of torch that plain values describe, as `lr_scheduler.cls=StepLR`.

    torch's `step` is called after every update; for ReduceLROnPlateau after every validation.
    """

    cls: str = "ConstantLR"
    """Name of the class, without a module."""

    args: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the class, by the names that torch gives them."""

    def __post_init__(self) -> None:
        classes = scheduler_classes()
        if self.cls not in classes:
            raise UnknownNameError(unknown_key_message(self.cls, self.cls, classes))
        if self.cls in _NATIVE:
            raise ConfigError(f"lr_scheduler.cls={self.cls} needs {_NATIVE[self.cls]}.")
        refused = {"optimizer", "last_epoch", "scale_fn"}
        known = set(inspect.signature(classes[self.cls]).parameters) - refused
        for name in self.args:
            if name not in known:
                raise ConfigError(unknown_key_message(f"lr_scheduler.args.{name}", name, known))
        if self.args.get("cycle_momentum"):
            raise ConfigError(
                "lr_scheduler.args.cycle_momentum is not supported: a schedule sets the rate alone."
            )


@register_lr_scheduler("torch", config=TorchLRSchedulerConfig)
class TorchLRScheduler(LRScheduler):
    """Drives a torch schedule on an optimizer of its own and hands out its rate.

    Update n uses the rate after n - 1 calls of torch's `step`. Arguments that mean the peak or the
    end of the run (max_lr; T_max, total_steps) are `optimizer.lr` and `optimization.max_update`
    where they are not given.
    """

    def __init__(
        self, config: TorchLRSchedulerConfig, peak_lr: float, total_updates: int = 0
    ) -> None:
        super().__init__(config, peak_lr, total_updates)
        self._is_plateau = config.cls == "ReduceLROnPlateau"
        self._args = self._with_defaults(dict(config.args))
        try:
            self._start()
            self.lr_at(3)  # some divide by a length of 0 only after the first step
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise ConfigError(
                f"lr_scheduler.args do not fit lr_scheduler.cls={config.cls} "
                f"({type(error).__name__}: {error})."
            ) from error
        self._start()

    @override
    def lr_at(self, num_updates: int) -> float:
        if not self._is_plateau:
            if num_updates < self._position:
                self._start()
            while self._position < num_updates and not self._is_over():
                self._optimizer.step()  # torch warns about a schedule that runs ahead of it
                self._schedule.step()
                self._position += 1
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    @override
    def follows_validation(self) -> bool:
        return self._is_plateau

    @override
    def report_validation(self, value: float) -> None:
        if self._is_plateau:
            self._schedule.step(value)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "position": self._position,
            "lr": float(self._optimizer.param_groups[0]["lr"]),
            # A value that is not finite is one that nothing has changed yet.
            "schedule": {
                key: value for key, value in vars(self._schedule).items() if _is_plain(value)
            },
        }

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._start()
        unknown = state["schedule"].keys() - vars(self._schedule).keys()
        if unknown:
            raise CheckpointError(
                f"The saved state of lr_scheduler.cls={self.config.cls} has {min(unknown)!r}, "
                "which this version of torch has not."
            )
        vars(self._schedule).update(state["schedule"])
        self._optimizer.param_groups[0]["lr"] = state["lr"]
        self._position = state["position"]

    def _start(self) -> None:
        """Makes torch's objects anew, as they are before the first update."""
        self._optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=self.peak_lr)
        self._schedule: Any = scheduler_classes()[self.config.cls](self._optimizer, **self._args)
        self._position = 1

    def _is_over(self) -> bool:
        """Says whether torch would raise at another step: OneCycleLR does after its last."""
        end = getattr(self._schedule, "total_steps", None)
        return end is not None and self._position >= end

    def _with_defaults(self, args: dict[str, Any]) -> dict[str, Any]:
        parameters = inspect.signature(scheduler_classes()[self.config.cls]).parameters
        if "max_lr" in parameters:
            args.setdefault("max_lr", self.peak_lr)
        if "cycle_momentum" in parameters:
            args["cycle_momentum"] = False
        if "T_max" in parameters and self.total_updates:
            args.setdefault("T_max", self.total_updates)
        if "total_steps" in parameters and self.total_updates and "epochs" not in args:
            args.setdefault("total_steps", self.total_updates)
        return args


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)
