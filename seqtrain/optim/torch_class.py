"""Every optimizer of torch.optim by its class name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.config_schema import unknown_key_message
from seqtrain.errors import ConfigError, UnknownNameError
from seqtrain.optim.base import OptimizerConfig, OptimizerWrapper, register_optimizer
from seqtrain.optim.lbfgs import merge_groups, refuse_what_lbfgs_lacks

_OWN_KEYS = {"lr": "optimizer.lr", "weight_decay": "optimizer.weight_decay"}
_OF_WHOLE_TENSORS = ("Adafactor", "LBFGS", "Muon", "SparseAdam")
_KERNEL_KEYS = ("foreach", "fused", "differentiable", "capturable")


def optimizer_classes() -> dict[str, type[torch.optim.Optimizer]]:
    """Returns the optimizers of torch.optim by class name."""
    return {
        name: cls
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls)
        and issubclass(cls, torch.optim.Optimizer)
        and cls is not torch.optim.Optimizer
    }


@dataclass(kw_only=True)
class TorchOptimizerConfig(OptimizerConfig):
    """Any class of torch.optim: `optimizer=torch optimizer.cls=Rprop`.

    The rate and the weight decay are `optimizer.lr` and `optimizer.weight_decay`, as everywhere:
    the defaults of the class for these two do not count.
    """

    cls: str = "AdamW"
    """Name of the class, without a module."""

    args: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the class, by the names that torch gives them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        classes = optimizer_classes()
        if self.cls not in classes:
            raise UnknownNameError(unknown_key_message(self.cls, self.cls, classes))
        known = set(inspect.signature(classes[self.cls]).parameters) - {"params", *_OWN_KEYS}
        for name in self.args:
            if name in _OWN_KEYS:
                raise ConfigError(f"optimizer.args.{name} is not used: set {_OWN_KEYS[name]}.")
            if name not in known:
                raise ConfigError(unknown_key_message(f"optimizer.args.{name}", name, known))
        if self.cls == "LBFGS":
            refuse_what_lbfgs_lacks(self)
        elif self.weight_decay and not _has(classes[self.cls], "weight_decay"):
            raise ConfigError(
                f"optimizer.weight_decay ({self.weight_decay}) must be 0: torch.optim.{self.cls} "
                "has none."
            )


@register_optimizer("torch", config=TorchOptimizerConfig)
class TorchOptimizer(OptimizerWrapper):
    """The named class, in its fused form where it has one and no argument says otherwise."""

    @property
    def needs_closure(self) -> bool:  # type: ignore[override] # it depends on the class chosen
        """Whether the class computes gradients anew within a step."""
        return bool(self.config.cls == "LBFGS")

    @property
    def is_elementwise(self) -> bool:  # type: ignore[override] # see needs_closure
        """Whether the class updates each value by itself."""
        return self.config.cls not in _OF_WHOLE_TENSORS

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        cls = optimizer_classes()[self.config.cls]
        args: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.config.args.items()
        } | {"lr": self.config.lr}
        is_on_cpu = all(p.device.type == "cpu" for group in groups for p in group["params"])
        has_kernel = _has(cls, "fused") and (is_on_cpu or self.config.cls != "Adagrad")
        if has_kernel and not any(name in args for name in _KERNEL_KEYS):
            args["fused"] = True
        if self.needs_closure:
            groups = merge_groups(groups)
        try:
            return cls(groups, **args)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"torch.optim.{self.config.cls} refuses optimizer.args: {error}"
            ) from error

    @override
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        if not self.needs_closure:
            super().step()
        elif closure is None:
            raise ConfigError("torch.optim.LBFGS needs a closure that computes gradients anew.")
        else:
            self.torch_optimizers[0].step(closure)  # type: ignore[arg-type] # torch takes a tensor too
            self.num_updates += 1

    @override
    def _check_slot(self, name: str, slot: str, value: object) -> None:
        # The slots of L-BFGS are vectors over all parameters.
        if not self.needs_closure:
            super()._check_slot(name, slot, value)


def _has(cls: type, argument: str) -> bool:
    return argument in inspect.signature(cls).parameters
