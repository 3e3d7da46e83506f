"""Begins a run from the weights of another: renamed, in part, with another vocabulary."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seqtrain.errors import ConfigError


@dataclass
class InitReport:
    """What was taken from the other run's weights, left there, and stays newly drawn."""

    taken: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Returns the report for people."""
        return [
            f"init_from: {len(self.taken)} tensors taken, {len(self.resized)} of them with rows "
            f"matched by symbol, {len(self.left)} left, {len(self.new)} new",
            *(f"init_from: left {name}" for name in self.left),
            *(f"init_from: new {name}" for name in self.new),
        ]


def init_from(
    module: nn.Module,
    saved: Mapping[str, Tensor],
    prefixes: Mapping[str, str],
    row_maps: Callable[[str, int, int], Tensor | None],
) -> InitReport:
    """Copies weights into a module as far as names and shapes allow.

    Args:
        module: Receives the weights; what finds no partner keeps its values.
        saved: Weights by saved name.
        prefixes: Leading parts of saved names and what they become; the longest match counts.
            A new part that is empty leaves those weights out.
        row_maps: Given a name and the old and the new number of rows, returns for each new row
            the old row with the same symbol or -1, int64 [new rows]; None if the rows are not
            symbols.

    Raises:
        ConfigError: Nothing at all fits.
    """
    report = InitReport()
    own = module.state_dict()
    for saved_name, value in saved.items():
        name = _rename(saved_name, prefixes)
        if name is None or name not in own:
            report.left.append(saved_name)
            continue
        if own[name].shape == value.shape:
            rows = row_maps(name, len(value), len(value)) if value.dim() else None
        elif own[name].shape[1:] == value.shape[1:]:
            rows = row_maps(name, len(value), len(own[name]))
            if rows is None:
                report.left.append(f"{saved_name} {list(value.shape)} != {list(own[name].shape)}")
                continue
        else:
            report.left.append(f"{saved_name} {list(value.shape)} != {list(own[name].shape)}")
            continue
        if rows is None:
            own[name].copy_(value)
        else:
            _copy_rows(own[name], value, rows)
            report.resized.append(name)
        report.taken.append(name)
    report.new = sorted(own.keys() - set(report.taken))
    if not report.taken:
        raise ConfigError(
            "checkpoint.init_from: no weight of the other run fits this model. Its names begin "
            f"like {next(iter(saved), 'nothing')!r}, this model's like {next(iter(own))!r}: map "
            "them with checkpoint.init_prefixes."
        )
    return report


def symbol_rows(old_symbols: list[str], new_symbols: list[str]) -> Tensor:
    """Returns, for each new symbol, its old row or -1, int64 [new symbols]."""
    index = {symbol: row for row, symbol in enumerate(old_symbols)}
    return torch.tensor([index.get(symbol, -1) for symbol in new_symbols], dtype=torch.int64)


def _rename(name: str, prefixes: Mapping[str, str]) -> str | None:
    for old in sorted(prefixes, key=len, reverse=True):
        if name.startswith(old):
            return prefixes[old] + name[len(old) :] if prefixes[old] else None
    return name


def _copy_rows(target: Tensor, source: Tensor, rows: Tensor) -> None:
    known = rows >= 0
    target[known] = source[rows[known]].to(target.dtype)
