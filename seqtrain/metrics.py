"""Mergeable values: every metric is a vector of sums and a rule that reads them."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override


class Metric:
    """A vector of float64 sums over examples. Merging adds the vectors; `compute` reads them.

    As merging is addition, the value does not depend on how examples are split into batches,
    updates or ranks (up to the rounding of float64), and one all-reduce serves any number of them.

    Args:
        sums: Scalars (tensors or numbers), or one 1-D tensor.
    """

    kinds: ClassVar[dict[str, type["Metric"]]] = {}

    def __init_subclass__(cls) -> None:
        Metric.kinds[cls.__name__] = cls

    def __init__(self, *sums: Tensor | float) -> None:
        self.sums = _vector(sums)

    def merge(self, other: Self) -> None:
        """Adds what another one has counted."""
        self.sums = self.sums + other.sums

    def compute(self) -> float:
        """Returns the value; nan where nothing was counted."""
        raise NotImplementedError

    def details(self) -> dict[str, float]:
        """Returns the values to log by suffix; "" is the metric's own name."""
        return {"": self.compute()}

    @classmethod
    def from_sums(cls, sums: Tensor) -> Self:
        """Returns one with given sums, as read from a checkpoint or a collective."""
        metric = cls.__new__(cls)
        metric.sums = sums
        return metric


class Sum(Metric):
    """A total."""

    @override
    def compute(self) -> float:
        return float(self.sums[0])


class Mean(Metric):
    """total / weight. Arguments: total, weight."""

    @override
    def compute(self) -> float:
        total, weight = self.sums.tolist()
        return total / weight if weight else math.nan


class Percent(Mean):
    """100 * part / whole. Arguments: part, whole."""

    @override
    def compute(self) -> float:
        return 100.0 * super().compute()


class Perplexity(Mean):
    """exp(total / weight), of a sum of negative log probabilities in nats."""

    @override
    def compute(self) -> float:
        mean = super().compute()
        return math.exp(mean) if mean < 700.0 else math.inf if mean == mean else math.nan


class Metrics:
    """Named metrics that merge, reduce over ranks in one collective, and save.

    A criterion gives the same names for every batch, an empty one included: ranks add the vectors
    up position by position.
    """

    def __init__(self, values: Mapping[str, Metric] | None = None) -> None:
        self._values: dict[str, Metric] = dict(values or {})

    def __getitem__(self, name: str) -> Metric:
        return self._values[name]

    def __setitem__(self, name: str, metric: Metric) -> None:
        self._values[name] = metric

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def merge(self, other: "Metrics") -> None:
        """Adds another set; names not seen before are taken over."""
        for name, metric in other._values.items():
            mine = self._values.get(name)
            self._values[name] = type(metric).from_sums(
                metric.sums if mine is None else mine.sums + metric.sums
            )

    def compute(self) -> dict[str, float]:
        """Returns the value of each, by name (with a suffix where a metric has several)."""
        return {
            name + suffix: value
            for name, metric in self._values.items()
            for suffix, value in metric.details().items()
        }

    def pack(self, device: torch.device) -> Tensor:
        """Returns all sums as one float64 vector on a device, for one all-reduce."""
        empty = torch.zeros(0, dtype=torch.float64)
        sums = [empty, *(metric.sums for metric in self._values.values())]
        return torch.cat([part.to(device) for part in sums])

    def unpack(self, packed: Tensor) -> "Metrics":
        """Returns the same names with the sums of a vector that `pack` laid out."""
        parts = packed.split([metric.sums.numel() for metric in self._values.values()])
        return Metrics(
            {
                name: type(metric).from_sums(part)
                for (name, metric), part in zip(self._values.items(), parts, strict=True)
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {
            name: {"kind": type(metric).__name__, "sums": metric.sums.tolist()}
            for name, metric in self._values.items()
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Returns what `state_dict` saved; metrics of kinds unknown here are refused."""
        values: dict[str, Metric] = {}
        for name, entry in state.items():
            kind = Metric.kinds.get(entry["kind"])
            if kind is None:
                raise LookupError(f"The metric {name!r} is of the unknown kind {entry['kind']!r}.")
            values[name] = kind.from_sums(torch.tensor(entry["sums"], dtype=torch.float64))
        return cls(values)


def _vector(sums: tuple[Tensor | float, ...]) -> Tensor:
    tensors = [value.detach() for value in sums if isinstance(value, Tensor)]
    if len(sums) == 1 and tensors and tensors[0].dim() == 1:
        return tensors[0].double()
    if not tensors:
        return torch.tensor(sums, dtype=torch.float64)
    if all(value.device.type == "cpu" for value in tensors):  # reading them costs nothing
        numbers = [v.detach().item() if isinstance(v, Tensor) else v for v in sums]
        return torch.tensor(numbers, dtype=torch.float64)
    device = tensors[0].device
    return torch.stack([torch.as_tensor(value, device=device).detach().double() for value in sums])
