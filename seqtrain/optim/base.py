"""What an optimizer wrapper is: torch optimizers whose state is keyed by parameter name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.optim.groups import (
    OwnSchedule,
    ParameterGroupConfig,
    schedule_key,
    split_parameters,
)
from seqtrain.option_checks import require_range
from seqtrain.registry import ComponentConfig, Registry

NO_RATES: Mapping[str, float] = MappingProxyType({})
"""What `set_lr` gets where nothing has a schedule of its own."""


@dataclass(kw_only=True)
class OptimizerConfig(ComponentConfig):
    """Base of every optimizer's config."""

    lr: float = 1e-3
    """The peak learning rate; the schedule shapes it over the updates."""

    weight_decay: float = 0.0
    """Strength of the pull towards zero; see the optimizer for whether it is decoupled."""

    groups: list[ParameterGroupConfig] = field(default_factory=list)
    """Parameters with settings of their own, by patterns on names; the first match wins. An entry
    has a pattern and any of lr_factor, weight_decay_factor, lr_scheduler, freeze, freeze_updates:
    [{pattern:"*embed*",lr_factor:0.1,lr_scheduler:{name:cosine}}]."""

    no_decay: bool = False
    """No weight decay for parameters of at most one dimension (biases, norms) and embeddings."""

    def __post_init__(self) -> None:
        require_range("optimizer.lr", self.lr, above=0)
        require_range("optimizer.weight_decay", self.weight_decay, least=0)

    def with_rates_times(self, factor: float) -> Self:
        """Returns the same with every learning rate multiplied."""
        return replace(self, lr=self.lr * factor)

    def own_schedules(self) -> dict[str, OwnSchedule]:
        """Returns the schedules besides the run's, by where they stand below `optimizer`."""
        return {
            schedule_key(index): OwnSchedule(group.lr_scheduler, self.lr)
            for index, group in enumerate(self.groups)
            if group.lr_scheduler
        }


class OptimizerWrapper(ABC):
    """Owns the torch optimizers of named parameters.

    Parameters that `optimizer.groups` freezes are set to need no gradient; the wrapper is therefore
    built before the model is wrapped for several processes.

    Args:
        config: The dataclass that the class was registered with.
        named_parameters: Parameters with unique names; the order is kept.
    """

    needs_closure: ClassVar[bool] = False
    """Whether `step` must be given the function that computes the gradients anew."""

    is_elementwise: ClassVar[bool] = False
    """Whether a value of a parameter is updated from its own gradients and history alone, so that
    parts of one parameter can be updated in different processes."""

    changes_in_step_only: ClassVar[bool] = True
    """Whether parameters change in `step` alone, each by itself, so that different parameters can
    be updated in different processes."""

    def __init__(self, config: Any, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        self.config = config
        trainable = {name: p for name, p in named_parameters if p.requires_grad}
        self.groups = split_parameters(config.groups, config.no_decay, trainable)
        for group in self.groups:
            for parameter in group.parameters.values() if group.is_frozen else ():
                parameter.requires_grad_(False)
        self.parameters = {name: p for name, p in trainable.items() if p.requires_grad}
        if not self.parameters:
            raise ConfigError("The model and criterion have no trainable parameters.")
        self.num_updates = 0
        self._names: dict[Tensor, str] = {
            parameter: name for name, parameter in self.parameters.items()
        }
        built = self.build(
            [
                {
                    "params": list(group.parameters.values()),
                    "weight_decay": config.weight_decay * group.weight_decay_factor,
                    "lr_factor": group.lr_factor,
                    "schedule": group.schedule,
                }
                for group in self.groups
                if not group.is_frozen
            ]
        )
        self.torch_optimizers = list(built) if isinstance(built, Sequence) else [built]

    @abstractmethod
    def build(
        self, groups: list[dict[str, Any]]
    ) -> torch.optim.Optimizer | Sequence[torch.optim.Optimizer]:
        """Returns the torch optimizer with the config's settings.

        Several optimizers may share the parameters among them.

        Args:
            groups: For torch: `params`, their `weight_decay`, and `lr_factor` and `schedule`, which
                `set_lr` reads and which must be kept.
        """

    def name_of(self, parameter: nn.Parameter) -> str:
        """Returns the name of a trained parameter."""
        return self._names[parameter]

    def masters(self) -> dict[Tensor, Tensor]:
        """Returns what is trained in the place of parameters that hold it rounded."""
        return {}

    def group_lines(self) -> list[str]:
        """Returns a line about every parameter group, for the first screen."""
        return [group.line(self.config.weight_decay) for group in self.groups]

    def zero_grad(self) -> None:
        """Drops the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a summed loss."""
        loss.backward()

    def collect_gradients(self) -> None:
        """Completes the gradients after the last backward pass: zero for unused parameters."""
        for parameter in self.parameters.values():
            if parameter.grad is None:  # unused in one process; several have made it zero already
                parameter.grad = torch.zeros_like(parameter)

    def scale_grads(self, factor: float | Tensor) -> None:
        """Multiplies every gradient: by 1 / targets of the update, times the number of ranks."""
        if gradients := self._gradients():
            torch._foreach_mul_(gradients, factor)

    def clip_grad_norm(self, max_norm: float) -> Tensor:
        """Returns the 2-norm of all gradients, and scales them down to max_norm if it is larger.

        A max_norm of 0 only measures. A non-finite norm changes nothing. Gradients of parameters
        that are still frozen (`freeze_updates`) do not count.
        """
        gradients = self._gradients()
        if not gradients:
            return torch.zeros((), device=next(iter(self.parameters.values())).device)
        norm = self._norm(gradients)
        if max_norm > 0:
            factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
            if factor.device.type == "cpu" and factor == 1.0:
                return norm  # where looking costs less than a pass over all gradients
            torch._foreach_mul_(gradients, torch.where(torch.isfinite(factor), factor, 1.0))
        return norm

    def set_lr(self, lr: float, own: Mapping[str, float] = NO_RATES) -> None:
        """Sets the rate of the next step; every group multiplies it by its factor.

        Args:
            lr: The run's rate.
            own: Rates of schedules besides the run's, by their keys in `config.own_schedules()`.
        """
        for optimizer in self.torch_optimizers:
            for group in optimizer.param_groups:
                rate = own.get(group.get("schedule", ""), lr)
                group["lr"] = rate * group.get("lr_factor", 1.0)

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        """Applies the gradients.

        Args:
            closure: Computes the gradients anew at the current parameters and returns the mean
                loss; used, and then needed, only where `needs_closure`.
        """
        for parameter in self._resting():
            parameter.grad = None
        for optimizer in self.torch_optimizers:
            optimizer.step()
        self.num_updates += 1

    def prepare_for_evaluation(self) -> None:  # noqa: B027 # most optimizers train what they evaluate
        """Makes the parameters those that are evaluated and saved; may be called repeatedly."""

    def prepare_for_training(self) -> None:  # noqa: B027 # see prepare_for_evaluation
        """Makes the parameters those that gradients are taken at; `zero_grad` needs to do it."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the optimizer's class, its updates, and {parameter name: {slot: tensor}}."""
        slots = {
            self._names[parameter]: dict(state)
            for optimizer in self.torch_optimizers
            for parameter, state in optimizer.state.items()
        }
        return {
            "optimizer": type(self).__name__,
            "num_updates": self.num_updates,
            "parameters": list(self.parameters),
            "slots": {name: slots[name] for name in self.parameters if name in slots},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned, however parameters are grouped now.

        Hyper-parameters are the config's, so that an allowed change takes effect. Tensors are
        copied. Nothing is changed if something does not fit.

        Raises:
            CheckpointError: The optimizer, or the names or shapes of the parameters, differ.
        """
        if state["optimizer"] != type(self).__name__:
            raise CheckpointError(
                f"The saved optimizer state is of {state['optimizer']}, this run has "
                f"{type(self).__name__}."
            )
        different = set(state["parameters"]) ^ set(self.parameters)
        if different or not set(state["slots"]) <= set(self.parameters):
            raise CheckpointError(
                "The saved optimizer state is of other parameters than this model's: "
                f"{', '.join(sorted(different)[:5])}."
            )
        for name, slots in state["slots"].items():
            for slot, value in slots.items():
                self._check_slot(name, slot, value)
        for optimizer in self.torch_optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    slots = state["slots"].get(self._names[parameter])
                    if slots is not None:
                        optimizer.state[parameter] = _placed(slots, parameter, group)
        self.num_updates = state["num_updates"]

    def _check_slot(self, name: str, slot: str, value: object) -> None:
        """Raises CheckpointError unless a slot is plain, a scalar, or broadcasts to its parameter.

        Factored moments keep their parameter's number of dimensions, some of them of size 1. An
        optimizer whose moments have another type of number than their parameter overrides this.
        """
        if not isinstance(value, Tensor):
            return
        shape, dtype = self.parameters[name].shape, self.parameters[name].dtype
        # A count of updates is float32 whatever the parameter is.
        if value.dtype != dtype and (value.dim() or not value.is_floating_point()):
            raise CheckpointError(
                f"The saved optimizer state {slot!r} of {name} holds {_plain(value.dtype)}, the "
                f"parameter {_plain(dtype)}."
            )
        if not value.dim():
            return
        pairs = zip(value.shape, shape, strict=False)
        if value.dim() != len(shape) or any(own not in (1, size) for own, size in pairs):
            raise CheckpointError(
                f"The saved optimizer state {slot!r} of {name} has the shape "
                f"{list(value.shape)}, the parameter {list(shape)}."
            )

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        """Returns the 2-norm of gradients, at least one; a scalar."""
        norms = torch._foreach_norm(gradients)
        return torch.linalg.vector_norm(torch.stack([n.to(norms[0].device) for n in norms]))

    def _resting(self) -> list[nn.Parameter]:
        """Returns the parameters that the next update must not change."""
        return [
            parameter
            for group in self.groups
            if self.num_updates < group.freeze_updates and not group.is_frozen
            for parameter in group.parameters.values()
        ]

    def _gradients(self) -> list[Tensor]:
        """Returns the gradients that the next update applies; of sparse ones, the values."""
        resting = set(self._resting())
        gradients = []
        for parameter in self.parameters.values():
            if parameter.grad is None or parameter in resting:
                continue
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
                gradients.append(parameter.grad.values())
            else:
                gradients.append(parameter.grad)
        return gradients


def _placed(
    slots: Mapping[str, Any], parameter: nn.Parameter, group: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns copies of a parameter's slots, each on the device where torch expects it."""
    steps_on_device = group.get("fused") or group.get("capturable")
    placed = {
        slot: _copied(value, parameter.device if slot != "step" or steps_on_device else None)
        for slot, value in slots.items()
    }
    return {slot: _laid_out_like(parameter, value) for slot, value in placed.items()}


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _laid_out_like(parameter: nn.Parameter, value: Any) -> Any:
    """Gives a moment the strides of its parameter, as the optimizer made it: sums round alike."""
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _copied(value: Any, device: torch.device | None) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device or torch.device("cpu"), copy=True)
    if isinstance(value, list | tuple):
        return [_copied(item, device) for item in value]
    return value


OPTIMIZERS: Registry[OptimizerWrapper] = Registry("optimizer", OptimizerWrapper)
register_optimizer = OPTIMIZERS.register
