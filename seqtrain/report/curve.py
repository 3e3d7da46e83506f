"""Draws learning rates over the updates of a run."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqtrain.errors import ConfigError, MachineError
from seqtrain.files import write_atomically

FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What is drawn.

    Args:
        title: Stands above.
        updates: Numbers of updates, rising.
        rates: By what they are called: the learning rate at each of these updates.
    """

    title: str
    updates: Sequence[int]
    rates: Mapping[str, Sequence[float]]


def check_plot(path: Path) -> None:
    """Raises now what would prevent a drawing after everything was computed.

    Raises:
        ConfigError: The name does not end with a format that can be drawn.
        MachineError: matplotlib is not installed, or there is no such folder.
    """
    if path.suffix.removeprefix(".") not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise ConfigError(f"plot={path}: the file must end with one of {endings}.")
    if not path.parent.is_dir():
        raise MachineError(f"plot={path}: there is no folder {path.parent}. Create it first.")
    try:
        import matplotlib  # noqa: F401 # an optional package
    except ImportError:
        raise MachineError("plot= needs a package: pip install 'seqtrain[plot]'.") from None


def draw(curves: Curves, path: Path) -> None:
    """Writes the drawing; what the file ends with says in which format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for label, rates in curves.rates.items():
        axes.plot(curves.updates, rates, label=label, drawstyle="steps-post", linewidth=1.5)
    axes.set_title(curves.title, fontsize="medium")
    axes.set_xlabel("update (number of optimizer steps)")
    axes.set_ylabel("learning rate (step size of an update)")
    axes.set_ylim(bottom=0.0)
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
    if len(curves.rates) > 1:
        figure.legend(loc="outside lower center", ncols=min(3, len(curves.rates)))
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.removeprefix("."), dpi=120)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise MachineError(f"plot={path} cannot be written: {error.strerror}.") from error
