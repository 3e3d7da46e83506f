"""Time and memory of every optimizer on 20 million parameters, as a Markdown table.

Run: python benchmarks/optimizers.py [device]

Both are relative to a plain copy of the parameters: the time of copying them once, and their bytes.
L-BFGS computes several gradients in an update, here of a loss that costs nothing.
"""

import importlib
import pkgutil
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import seqtrain.optim
from seqtrain.optim.base import OPTIMIZERS, OptimizerWrapper

ROUNDS = 9
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "lbfgs": {"max_iter": 4, "history_size": 4},
}
KERNELS = {
    "one tensor at a time": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
FUSED = ("SGD", "Adam", "Adagrad")
CLASSES = (*FUSED, "NAdam", "RAdam", "Adamax", "Adadelta", "RMSprop", "Rprop", "Adafactor")


def make_parameters(device: torch.device) -> dict[str, nn.Parameter]:
    """Returns the shapes of a transformer: 18 square matrices, an embedding, vectors."""
    shapes: dict[str, tuple[int, ...]] = {"embed.weight": (1024, 1024)}
    for index in range(18):
        shapes[f"layers.{index}.weight"] = (1024, 1024)
        shapes[f"layers.{index}.bias"] = (1024,)
    return {name: nn.Parameter(torch.randn(shape, device=device)) for name, shape in shapes.items()}


def set_gradients(optimizer: OptimizerWrapper) -> Tensor:
    """Sets the gradients of half the sum of squares; sparse ones where they are expected."""
    sparse = getattr(optimizer.config, "sparse_parameters", [])
    for name, parameter in optimizer.parameters.items():
        gradient = parameter.detach().clone()
        is_sparse = bool(sparse) and "embed" in name
        parameter.grad = gradient.to_sparse(1) if is_sparse else gradient
    return torch.zeros(())


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Returns the shortest time of a call, after one that does not count.

    The shortest, since all else that runs on the machine only adds to it; for the same reason, with
    one thread on a CPU it is the time of this process alone.
    """
    is_one_thread = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if is_one_thread else time.perf_counter
    times = []
    for _ in range(ROUNDS + 1):
        synchronize(device)
        start = clock()
        action()
        synchronize(device)
        times.append(clock() - start)
    return min(times[1:])


def synchronize(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bytes_of(tree: Any) -> int:
    """Returns the bytes of all tensors of a tree."""
    if isinstance(tree, Tensor):
        return tree.numel() * tree.element_size()
    if isinstance(tree, dict):
        return sum(bytes_of(value) for value in tree.values())
    return sum(bytes_of(value) for value in tree) if isinstance(tree, list | tuple) else 0


def measure(section: dict[str, Any], device: torch.device) -> tuple[float, int]:
    """Returns the seconds of a step and the bytes of state of an optimizer."""
    torch.manual_seed(0)
    config = OPTIMIZERS.parse(section)
    optimizer = OPTIMIZERS.get(config.name).cls(config, make_parameters(device).items())
    optimizer.set_lr(1e-3)
    set_gradients(optimizer)

    def closure() -> Tensor:
        return set_gradients(optimizer) + 1.0

    seconds = seconds_of(
        lambda: optimizer.step(closure if optimizer.needs_closure else None), device
    )
    return seconds, bytes_of(optimizer.state_dict()["slots"])


def print_table(rows: dict[str, dict[str, Any]], device: torch.device) -> None:
    """Prints a row for every optimizer section."""
    parameters: list[Tensor] = list(make_parameters(device).values())
    copies = [torch.empty_like(parameter) for parameter in parameters]
    copy_seconds = seconds_of(lambda: torch._foreach_copy_(copies, parameters), device)
    copy_bytes = bytes_of(copies)
    print(f"plain copy: {copy_seconds * 1e3:.1f} ms, {copy_bytes / 2**20:.0f} MiB\n")
    print("| optimizer | ms a step | / copy | state MiB | / parameters |")
    print("| --- | --: | --: | --: | --: |")
    for label, section in rows.items():
        seconds, state = measure(section, device)
        print(
            f"| {label} | {seconds * 1e3:.1f} | {seconds / copy_seconds:.1f} "
            f"| {state / 2**20:.0f} | {state / copy_bytes:.2f} |",
            flush=True,
        )


def kernel_rows() -> dict[str, dict[str, Any]]:
    """Returns sections that run torch's classes in each of their kernels."""
    rows = {}
    for cls in CLASSES:
        for label, args in KERNELS.items():
            if label != "fused" or cls in FUSED:
                settings = {"momentum": 0.9} if cls == "SGD" else {}
                rows[f"{cls}, {label}"] = {"name": "torch", "cls": cls, "args": args | settings}
    return rows


def main() -> None:
    """Prints both tables."""
    for module in pkgutil.iter_modules(seqtrain.optim.__path__):
        importlib.import_module(f"seqtrain.optim.{module.name}")
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    names = [name for name in OPTIMIZERS.names() if name not in ("torch", "composite")]
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads\n")
    print_table({name: {"name": name, **SETTINGS.get(name, {})} for name in names}, device)
    print()
    print_table(kernel_rows(), device)


if __name__ == "__main__":
    main()
