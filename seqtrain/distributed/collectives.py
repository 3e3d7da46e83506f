"""What the processes of a run say to one another: sums of tensors, and JSON.

Nothing is pickled: a peer can send numbers and text, never code.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from seqtrain.errors import DistributedError


class Collectives:
    """Collective operations of one process. For a process that is alone, they are the identity.

    All ranks call the same methods in the same order.

    Args:
        rank: This process's number, 0 to world_size - 1.
        world_size: Number of processes.
        device: Where the backend takes tensors from: the GPU for nccl, the CPU for gloo. Tensors
            that lie elsewhere are carried there and back. Unset, the CPU.
        group: Connection of its own; unset, the one of the process.
        is_connected: Whether there is a connection though this is the only process, which then
            does all that one of several does.
    """

    def __init__(
        self,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | None = None,
        group: "dist.ProcessGroup | None" = None,
        is_connected: bool = False,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.is_alone = world_size == 1 and not is_connected
        self.device = device or torch.device("cpu")
        self._group = group

    @property
    def is_first(self) -> bool:
        """True in the process that writes logs and the common files."""
        return self.rank == 0

    def separate(self, timeout_seconds: float) -> "Collectives":
        """Returns the same ranks over a connection of its own, for use by another thread.

        All ranks call it together. It carries tensors on the CPU.

        Args:
            timeout_seconds: After which a rank gives up waiting for the others.
        """
        if self.is_alone:
            return Collectives()
        group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_seconds))
        return Collectives(self.rank, self.world_size, torch.device("cpu"), group, True)

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Returns the sum over all ranks, on the tensor's device; the argument may be overwritten.

        Args:
            tensor: Of the same shape and dtype on every rank.

        Raises:
            DistributedError: Another process ended, or did not answer in time.
        """
        if self.is_alone:
            return tensor
        carried = tensor.detach().to(self.device).contiguous()
        with self._failures_explained("a sum"):
            dist.all_reduce(carried, group=self._group)
        return carried.to(tensor.device)

    def exchange_rows(self, rows: Tensor) -> Tensor:
        """Returns the rows that all ranks have for this one, by rank: [world_size, n].

        Args:
            rows: Row r is for rank r, [world_size, n]; of the same n and dtype on every rank.

        Raises:
            DistributedError: Another process ended, or did not answer in time.
        """
        if self.is_alone:
            return rows
        carried = rows.detach().to(self.device).contiguous()
        received = torch.empty_like(carried)
        with self._failures_explained("exchanging parts"):
            dist.all_to_all_single(received, carried, group=self._group)
        return received.to(rows.device)

    def gather_rows(self, row: Tensor) -> Tensor:
        """Returns the rows of all ranks, by rank, on every rank: [world_size, n].

        Args:
            row: Of the same n and dtype on every rank, [n].

        Raises:
            DistributedError: Another process ended, or did not answer in time.
        """
        if self.is_alone:
            return row[None]
        carried = row.detach().to(self.device).contiguous()
        rows = carried.new_empty(self.world_size, *carried.shape)
        with self._failures_explained("gathering parts"):
            dist.all_gather(list(rows.unbind()), carried, group=self._group)
        return rows.to(row.device)

    def broadcast(self, tensor: Tensor, source: int) -> Tensor:
        """Returns the tensor of the rank `source` on every rank; the argument may be overwritten.

        Args:
            tensor: Of the same shape and dtype on every rank.
            source: Whose values count.

        Raises:
            DistributedError: Another process ended, or did not answer in time.
        """
        if self.is_alone:
            return tensor
        carried = tensor.detach().to(self.device).contiguous()
        with self._failures_explained("passing a tensor on"):
            dist.broadcast(carried, source, group=self._group)
        return carried.to(tensor.device)

    def gather_json(self, value: Any) -> list[Any]:
        """Returns the values of all ranks, by rank, on every rank.

        Args:
            value: Plain values for JSON. What comes back has been through JSON whatever the world
                size: tuples are lists, and keys are strings.
        """
        data = _to_bytes(value)
        if self.is_alone:
            return [json.loads(data)]
        with self._failures_explained("gathering values"):
            lengths = [int(row) for row in self._gather(torch.tensor([len(data)]))]
            padded = torch.zeros(max(lengths), dtype=torch.uint8)
            padded[: len(data)] = _to_tensor(data)
            rows = self._gather(padded)
        return [_from_tensor(row[:length]) for row, length in zip(rows, lengths, strict=True)]

    def broadcast_json(self, value: Any, source: int = 0) -> Any:
        """Returns the value of the rank `source` on every rank; the others' values are ignored."""
        if self.is_alone:
            return json.loads(_to_bytes(value))
        data = _to_bytes(value if self.rank == source else None)
        with self._failures_explained("passing a value on"):
            length = torch.tensor([len(data)], device=self.device)
            dist.broadcast(length, source, group=self._group)
            carried = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
            if self.rank == source:
                carried.copy_(_to_tensor(data))
            dist.broadcast(carried, source, group=self._group)
        return _from_tensor(carried)

    def require_equal(self, value: Any, what: str) -> None:
        """Checks that all ranks hold the same JSON value.

        Args:
            value: Plain values for JSON.
            what: Subject of the message: "the config", "the number of updates".

        Raises:
            DistributedError: On every rank; names the first place that differs, and who has what.
        """
        values = self.gather_json(value)
        for rank in range(1, self.world_size):
            path = _first_difference(values[0], values[rank])
            if path is not None:
                raise DistributedError(_disagreement(values, path, what))

    def barrier(self) -> None:
        """Returns once every rank has called it."""
        self.any(False)

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is set on any rank."""
        if self.is_alone:
            return flag
        return bool(self.all_reduce_sum(torch.tensor(int(flag), device=self.device)).item())

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        mine = tensor.to(self.device)
        rows = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(rows, mine, group=self._group)
        return [row.cpu() for row in rows]

    @contextmanager
    def lost_ranks_told(self) -> Iterator[None]:
        """Says clearly that a rank was lost, where torch itself speaks with the others.

        The wrappers of models do so within their passes; other errors go through as they are.

        Raises:
            DistributedError: Another process ended, or did not answer in time.
        """
        try:
            yield
        except RuntimeError as error:
            if self.world_size == 1 or not _is_of_backend(error):
                raise
            raise self._failure("gradients or weights", error) from error

    @contextmanager
    def _failures_explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise self._failure(what, error) from error

    def _failure(self, what: str, error: RuntimeError) -> DistributedError:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        return DistributedError(
            f"Rank {self.rank} of {self.world_size} failed at {what} over all ranks: another "
            f"process has ended or hangs; look at its output first. ({reason})"
        )


def _is_of_backend(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, dist.DistError) or "gloo/transport" in text or "[gloo]" in text


def _to_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _to_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _from_tensor(tensor: Tensor) -> Any:
    return json.loads(tensor.cpu().numpy().tobytes())


def _first_difference(left: Any, right: Any) -> tuple[str | int, ...] | None:
    """Returns the path to the first value that differs, or None where all are equal."""
    # Compared as text, nan equals nan and 1 differs from 1.0 and True.
    if json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True):
        return None
    keys: list[str] | range = range(0)
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        keys = sorted(left)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        keys = range(len(left))
    for key in keys:
        path = _first_difference(left[key], right[key])
        if path is not None:
            return (key, *path)
    return ()


def _disagreement(values: list[Any], path: tuple[str | int, ...], what: str) -> str:
    holders: dict[str, list[str]] = {}
    for rank, value in enumerate(values):
        for part in path:
            value = _child(value, part)
        holders.setdefault(_shortened(value), []).append(str(rank))
    sides = [
        f"rank{'s' * (len(ranks) > 1)} {', '.join(ranks)}: {value}"
        for value, ranks in holders.items()
    ]
    place = f" at {'.'.join(map(str, path))}" if path else ""
    return f"The processes disagree on {what}{place}. {'; '.join(sides)}."


def _child(value: Any, part: str | int) -> Any:
    """Returns an element, or the value itself where a third rank's has another structure."""
    children = dict(enumerate(value)) if isinstance(value, list) else value
    return children.get(part, value) if isinstance(children, dict) else value


def _shortened(value: Any, length: int = 200) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"
