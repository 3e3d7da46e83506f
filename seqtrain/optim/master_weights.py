"""Master weights: the optimizer's float32 copies of parameters that are bfloat16 in the model."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.optim.base import NO_RATES, OptimizerConfig, OptimizerWrapper


class MasterWeights(OptimizerWrapper):
    """Another wrapper over float32 copies of the parameters, which the model gets in bfloat16.

    Matrices, embeddings and kernels become bfloat16. Parameters of at most one dimension (biases,
    norms) stay float32 and have no copy: they hardly take memory, and norms need the digits.
    Gradients move from the model to the copies, so that all that measures, changes or applies them
    works in float32; after a step the copies are rounded into the model.

    Args:
        cls: Class of the wrapper.
        config: Its config.
        named_parameters: As a wrapper takes them, in float32; this makes them bfloat16.
    """

    def __init__(
        self,
        cls: type[OptimizerWrapper],
        config: OptimizerConfig,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
    ) -> None:
        own = dict(named_parameters)
        masters = {
            name: nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            if _is_lowered(parameter)
            else parameter
            for name, parameter in own.items()
        }
        self.inner = cls(config, masters.items())
        if self.inner.needs_closure:
            raise ConfigError(
                f"precision.parameters must be fp32 with optimizer={config.name}, which computes "
                "gradients at several points in an update: rounded to bfloat16 the points of its "
                "line search would not differ as it expects."
            )
        self.config = config
        self.groups = self.inner.groups
        self.parameters = self.inner.parameters
        self.torch_optimizers = self.inner.torch_optimizers
        self.num_updates = 0
        self._names = self.inner._names
        for name, parameter in own.items():
            parameter.requires_grad_(name in self.parameters)
            if masters[name] is not parameter:
                parameter.data = parameter.data.bfloat16()
        self._lowered = {
            name: own[name] for name, master in self.parameters.items() if master is not own[name]
        }
        self._is_new = True
        self._shows_evaluated = False

    @override
    def build(self, groups: list[dict[str, Any]]) -> list[torch.optim.Optimizer]:
        return self.inner.torch_optimizers

    @override
    def masters(self) -> dict[Tensor, Tensor]:
        return {parameter: self.parameters[name] for name, parameter in self._lowered.items()}

    @override
    def group_lines(self) -> list[str]:
        return self.inner.group_lines()

    @override
    def zero_grad(self) -> None:
        if self._is_new:
            self._take_given_weights()
        self.prepare_for_training()
        self.inner.zero_grad()
        for parameter in self._lowered.values():
            parameter.grad = None

    @override
    def collect_gradients(self) -> None:
        for name, parameter in self._lowered.items():
            if parameter.grad is not None:
                self.parameters[name].grad = parameter.grad.float()
                parameter.grad = None
        self.inner.collect_gradients()

    @override
    def set_lr(self, lr: float, own: Mapping[str, float] = NO_RATES) -> None:
        self.inner.set_lr(lr, own)

    @override
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        self.inner.step(closure)
        self.num_updates = self.inner.num_updates
        self._write_back()

    @override
    def prepare_for_evaluation(self) -> None:
        if not self._shows_evaluated:
            self.inner.prepare_for_evaluation()
            self._write_back()
        self._shows_evaluated = True

    @override
    def prepare_for_training(self) -> None:
        if self._shows_evaluated:
            self.inner.prepare_for_training()
            self._write_back()
        self._shows_evaluated = False

    @override
    def state_dict(self) -> dict[str, Any]:
        masters = {name: self.parameters[name].detach() for name in self._lowered}
        return self.inner.state_dict() | {"masters": masters}

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        saved: Mapping[str, Tensor] = state.get("masters", {})
        for name in sorted(saved.keys() | self._lowered.keys()):
            if name not in saved or name not in self._lowered:
                holder = "checkpoint" if name in saved else "model"
                raise CheckpointError(
                    f"Only the {holder} has {name} as a bfloat16 parameter with a float32 copy."
                )
            if saved[name].shape != self.parameters[name].shape:
                raise CheckpointError(
                    f"The saved float32 copy of {name} has the shape {list(saved[name].shape)}, "
                    f"the parameter {list(self.parameters[name].shape)}."
                )
        self.inner.load_state_dict(state)
        with torch.no_grad():
            for name, value in saved.items():
                self.parameters[name].copy_(value)
        self.num_updates = self.inner.num_updates
        self._write_back()
        # Saved weights are those that are evaluated; see `Trainer.state_dict`.
        self._is_new, self._shows_evaluated = False, True

    @override
    def _resting(self) -> list[nn.Parameter]:
        return self.inner._resting()

    @torch.no_grad()
    def _write_back(self) -> None:
        for name, parameter in self._lowered.items():
            parameter.copy_(self.parameters[name])

    @torch.no_grad()
    def _take_given_weights(self) -> None:
        """Takes over what the model was given since it was built, from another run for instance."""
        for name, parameter in self._lowered.items():
            master = self.parameters[name]
            if not torch.equal(parameter, master.to(parameter.dtype)):
                master.copy_(parameter)
        self._is_new = False


def _is_lowered(parameter: nn.Parameter) -> bool:
    return parameter.dtype == torch.float32 and parameter.dim() > 1
