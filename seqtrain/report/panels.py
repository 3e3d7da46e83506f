"""Which charts a set of runs gives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from seqtrain.report.chart import Chart, Line
from seqtrain.report.run_log import TRAINING, RunLog
from seqtrain.report.styles import Style

LABELS = {
    "loss": ("Loss", "loss per target"),
    "nll_loss": ("Negative log likelihood", "nats per target"),
    "ppl": ("Perplexity", "perplexity"),
    "bits_per_byte": ("Bits per byte", "bits per byte"),
    "bleu": ("BLEU", "BLEU"),
    "chrf": ("chrF", "chrF"),
    "ter": ("Translation edit rate", "percent"),
    "wer": ("Word error rate", "percent"),
    "cer": ("Character error rate", "percent"),
    "accuracy": ("Accuracy", "percent"),
    "miou": ("Mean IoU", "percent"),
    "lr": ("Learning rate", "learning rate"),
    "gnorm": ("Gradient norm", "2-norm before clipping"),
    "wps": ("Throughput", "targets per second"),
    "padding": ("Padding", "percent of positions"),
    "clip": ("Clipped updates", "percent of updates"),
    "ups": ("Updates per second", "updates per second"),
    "wpb": ("Targets in an update", "targets"),
    "bsz": ("Examples in an update", "examples"),
    "wait": ("Time waited for data", "seconds between two rows"),
    "loss_scale": ("Loss scale", "factor on the loss"),
}
"""Title and label of the values; others are called as they are logged."""

MECHANICS = ("lr", "gnorm", "wps", "padding")
FURTHER = ("clip", "ups", "wpb", "bsz", "wait", "loss_scale")
NO_CURVES = {"epoch", "wall", "train_wall", "valid_best"}
MAY_BE_LOG = {"gnorm", "ppl", "loss_scale"}
FROM_ZERO = {"lr", "wps", "padding", "clip", "ups", "wpb", "bsz", "wait"}
MOST_CHARTS = 60


@dataclass(frozen=True)
class Panels:
    """The charts that matter, and the others."""

    main: list[Chart]
    further: list[Chart]


@dataclass(frozen=True)
class _Source:
    """Where the values of a metric come from: an event, and how the log calls them."""

    event: str
    name: str
    metric: str
    label: str


def panels_of(runs: Sequence[RunLog]) -> Panels:
    """Returns the charts of some runs; each run has the style of its place."""
    sources = [_sources(run) for run in runs]
    judged = _in_order(s.metric for found in sources for s in found if s.event in ("valid", "test"))
    trained = _in_order(s.metric for found in sources for s in found if s.event == TRAINING)
    logged = [*MECHANICS, *FURTHER]
    scores = [name for name in judged if name not in logged]
    first = [name for name in ("loss", *_best_metrics(runs)) if name in scores or name in trained]
    main = _in_order([*first, *scores])
    rest = [name for name in trained if name not in main and name not in logged]
    charts = {name: _chart(name, runs, sources) for name in [*main, *logged, *rest]}
    return Panels(
        main=[charts[name] for name in [*main, *MECHANICS][:MOST_CHARTS] if charts[name].lines],
        further=[charts[name] for name in [*FURTHER, *rest][:MOST_CHARTS] if charts[name].lines],
    )


def _sources(run: RunLog) -> list[_Source]:
    """Returns what a run has curves of."""
    splits = _further_splits(run)
    found: list[_Source] = []
    for name in run.names(TRAINING):
        if name not in NO_CURVES:
            metric = name.removeprefix("train_")
            found.append(_Source(TRAINING, name, metric, "train"))
    for event in ("valid", "test"):
        for name in run.names(event):
            if name in NO_CURVES:
                continue
            metric, label = name.removeprefix(f"{event}_"), event
            for split in splits if event == "valid" else []:
                if metric.startswith(f"{split}_"):
                    metric, label = metric.removeprefix(f"{split}_"), split
            found.append(_Source(event, name, metric, label))
    return [source for source in found if _is_drawn(run, source)]


def _is_drawn(run: RunLog, source: _Source) -> bool:
    """Says whether there is a curve; the single value of a final test stands in the table."""
    curve = run.curve(source.event, source.name)
    return curve is not None and (source.event != "test" or len(curve.values) > 1)


def _chart(metric: str, runs: Sequence[RunLog], sources: Sequence[list[_Source]]) -> Chart:
    lines: list[Line] = []
    for index, (run, found) in enumerate(zip(runs, sources, strict=True)):
        for source in found:
            if source.metric == metric:
                lines.append(_line(run, source, Style(index), len(runs) > 1))
    title, y_label = LABELS.get(metric, (metric.replace("_", " "), metric.replace("_", " ")))
    return Chart(
        title=title,
        y_label=y_label,
        lines=lines,
        may_be_log=metric in MAY_BE_LOG,
        from_zero=metric in FROM_ZERO,
    )


def _line(run: RunLog, source: _Source, style: Style, is_named: bool) -> Line:
    curve = run.curve(source.event, source.name)
    updates, values = (curve.updates, curve.values) if curve else ([], [])
    is_training = source.event == TRAINING
    is_mechanics = source.metric in (*MECHANICS, *FURTHER)
    label = "" if is_mechanics else source.label
    return Line(
        label=f"{run.name} {label}".strip() if is_named else label or run.name,
        style=replace(style, is_further=source.label not in ("train", "valid")),
        updates=updates,
        seconds=run.seconds_at(updates),
        values=values,
        is_main=not is_training or is_mechanics,
    )


def _best_metrics(runs: Sequence[RunLog]) -> list[str]:
    names = []
    for run in runs:
        checkpoint = run.config.get("checkpoint")
        name = checkpoint.get("best_metric") if isinstance(checkpoint, dict) else None
        if isinstance(name, str):
            names.append(name.removeprefix("valid_"))
    return _in_order(names)


def _further_splits(run: RunLog) -> list[str]:
    validation = run.config.get("validation")
    splits = validation.get("splits") if isinstance(validation, dict) else None
    return [s for s in splits[1:] if isinstance(s, str)] if isinstance(splits, list) else []


def _in_order(names: object) -> list[str]:
    """Returns names without repetitions."""
    return list(dict.fromkeys(names))  # type: ignore[call-overload] # an iterable of names


def last_value(run: RunLog, event: str, name: str) -> float:
    """Returns the newest value of a curve, nan if there is none."""
    curve = run.curve(event, name)
    return curve.values[-1] if curve else math.nan
