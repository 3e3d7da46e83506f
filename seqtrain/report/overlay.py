"""Pictures of segmentation: the input, the truth and the prediction side by side."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqtrain.data.labelled.store import IGNORED
from seqtrain.errors import ConfigError, MachineError

Array = npt.NDArray[Any]
WIDTH = 88
"""Characters in a line of a picture of text."""
MOST_LINES = 40


def save_overlay(
    path: Path,
    inputs: Array | Sequence[str],
    panels: dict[str, npt.NDArray[np.int64]],
    classes: Sequence[str],
) -> None:
    """Draws an example and its classes; the colours are those of the legend.

    Images become panels side by side with colour laid over them, series become curves with
    coloured ground, texts become lines of coloured characters (the first 40).

    Args:
        path: Picture to write; its ending says which kind: .png, .svg, .pdf.
        inputs: [height, width, channels], [time, channels], or characters.
        panels: Classes of the positions by title ("truth", "prediction"), each [*positions], -1
            where none counts.
        classes: Names.

    Raises:
        ConfigError: Classes and inputs differ in shape, or there is nothing to draw.
        MachineError: The package matplotlib is missing.
    """
    text = None if isinstance(inputs, np.ndarray) else list(inputs)
    values = np.zeros((len(text), 1)) if text is not None else np.asarray(inputs)
    for title, labels in panels.items():
        if labels.shape != values.shape[:-1]:
            raise ConfigError(
                f"The classes of {title!r} have the shape {list(labels.shape)}, the example has "
                f"{list(values.shape[:-1])}."
            )
    if not panels or values.size == 0:
        raise ConfigError("There is nothing to draw: give an example and its classes.")
    colours = _colours(len(classes))
    if text is not None:
        figure = _of_text(text, panels, colours)
    elif values.ndim == 3:
        figure = _of_image(values, panels, colours)
    else:
        figure = _of_series(values, panels, colours)
    _add_legend(figure, classes, colours)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _of_image(values: Array, panels: dict[str, Array], colours: Array) -> Any:
    height, width = values.shape[:2]
    scale = 5.0 / max(height, width)
    size = ((1 + len(panels)) * (width * scale + 0.2), height * scale + 0.4)
    figure = _figure(size)
    axes = figure.subplots(1, 1 + len(panels), squeeze=False)[0]
    grey = _grey(values)
    axes[0].imshow(grey, cmap="gray", vmin=0.0, vmax=1.0)
    axes[0].set_title("input")
    for place, (title, labels) in zip(axes[1:], panels.items(), strict=True):
        painted = np.repeat(grey[..., None], 3, axis=2)
        is_class = labels != IGNORED
        painted[is_class] = 0.45 * painted[is_class] + 0.55 * colours[labels[is_class]]
        place.imshow(painted)
        place.set_title(title)
    for place in axes:
        place.set_axis_off()
    return figure


def _of_series(values: Array, panels: dict[str, Array], colours: Array) -> Any:
    figure = _figure((10.0, 1.2 + 1.8 * len(panels)))
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for place, (title, labels) in zip(axes, panels.items(), strict=True):
        edges = np.flatnonzero(np.diff(labels)) + 1
        for begin, end in zip([0, *edges], [*edges, len(labels)], strict=True):
            if labels[begin] != IGNORED:
                shade = colours[labels[begin]]
                place.axvspan(begin - 0.5, end - 0.5, color=shade, alpha=0.4, linewidth=0)
        place.plot(values, color="0.15", linewidth=0.9)
        place.set_title(title)
        place.margins(x=0)
    return figure


def _of_text(characters: list[str], panels: dict[str, Array], colours: Array) -> Any:
    rows = _lines(characters)[:MOST_LINES]
    width = max(len(row) for row in rows)
    figure = _figure((max(0.085 * width, 2.0) + 0.4, len(panels) * (0.17 * len(rows) + 0.5) + 0.5))
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for place, (title, labels) in zip(axes, panels.items(), strict=True):
        painted = np.ones((len(rows), width, 3))
        for line, indices in enumerate(rows):
            for column, index in enumerate(indices):
                if labels[index] != IGNORED:
                    painted[line, column] = 0.5 + 0.5 * colours[labels[index]]
                place.text(
                    column, line, _shown(characters[index]), family="monospace", fontsize=8,
                    ha="center", va="center",
                )  # fmt: skip
        place.imshow(painted, aspect="auto", interpolation="nearest")
        place.set_axis_off()
        place.set_title(title)
    return figure


def _lines(characters: list[str]) -> list[list[int]]:
    """Returns the indices of the characters of each line."""
    rows: list[list[int]] = [[]]
    for index, character in enumerate(characters):
        if len(rows[-1]) == WIDTH:
            rows.append([])
        rows[-1].append(index)
        if character == "\n":
            rows.append([])
    return [row for row in rows if row]


def _shown(character: str) -> str:
    shown = {"\n": "\u21b5", "\t": "\u2192", "$": r"\$"}.get(character, character)
    return shown if len(shown) == 1 or shown == r"\$" else textwrap.shorten(shown, 3)


def _grey(values: Array) -> npt.NDArray[np.float64]:
    """Returns the mean of the channels from 0 to 1, without the 1% of extremes at each end."""
    mean = values.astype(np.float64).mean(axis=2)
    low, high = np.quantile(mean, [0.01, 0.99])
    return np.clip((mean - low) / max(high - low, 1e-12), 0.0, 1.0)


def _colours(count: int) -> npt.NDArray[np.float64]:
    """Returns different colours, [count, 3]: Okabe and Ito's, then hues evenly apart."""
    known = ["0072B2", "E69F00", "009E73", "D55E00", "CC79A7", "56B4E9", "F0E442", "999999"]
    found = [[int(name[i : i + 2], 16) / 255 for i in (0, 2, 4)] for name in known]
    for index in range(count - len(known)):
        angle = 2 * np.pi * index / max(count - len(known), 1)
        found.append([0.5 + 0.4 * float(np.cos(angle + shift)) for shift in (0.0, 2.1, 4.2)])
    return np.array(found[:count])


def _add_legend(figure: Any, classes: Sequence[str], colours: Array) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=c, label=name) for c, name in zip(colours, classes, strict=True)]
    columns = max(int(figure.get_figwidth() / 1.4), 1)
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False)


def _figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MachineError(
            "Pictures need the package matplotlib: pip install 'seqtrain[plot]'."
        ) from error
    return Figure(figsize=size, dpi=110, layout="constrained")
