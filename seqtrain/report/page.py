"""The report of some runs as one HTML page that needs nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from seqtrain.errors import ConfigError, MachineError
from seqtrain.files import write_atomically
from seqtrain.report.chart import Chart, legend, svg, swatch
from seqtrain.report.markup import element, scrolled, shown
from seqtrain.report.options import differing_options, options_of
from seqtrain.report.panels import panels_of
from seqtrain.report.run_log import RunLog
from seqtrain.report.sample_view import sample_section
from seqtrain.report.styles import Style
from seqtrain.report.ticks import number


def write_report(runs: Sequence[RunLog], path: Path) -> Path:
    """Writes the page, in the place of one that is there; returns its path.

    Raises:
        ConfigError: The file's name does not end with .html.
        MachineError: It cannot be written.
    """
    if path.suffix not in (".html", ".htm"):
        raise ConfigError(f"output={path}: the file must end with .html.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, report_page(runs).encode())
    except OSError as error:
        raise MachineError(f"output={path} cannot be written: {error.strerror}.") from error
    return path


def report_page(runs: Sequence[RunLog], live: bool = False) -> str:
    """Returns the whole page.

    Args:
        runs: What to show, at least one.
        live: The page asks its server for news, by the script /live.js.
    """
    style = _asset("report.css")
    title = "Report: " + ", ".join(run.name for run in runs)
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{page_policy(live)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        element("title", shown(title[:200])),
        f"<style>{style}</style>",
        '<script src="/live.js" defer></script>' if live else "",
    ]
    status = element("p", "updates while the run goes on", id="status") if live else ""
    body = (
        element("header", element("h1", "Training report") + status)
        + _switch()
        + element("main", report_content(runs), id="content")
    )
    document = element("head", "".join(head)) + element("body", body)
    return f"<!doctype html>\n{element('html', document, lang='en')}\n"


def report_content(runs: Sequence[RunLog]) -> str:
    """Returns what changes while runs go on: tables, charts, samples."""
    panels = panels_of(runs)
    samples = sample_section(runs)
    notes = [shown(f"{run.name}: {note}") for run in runs for note in run.notes[:20]]
    parts = [
        _overview(runs),
        element("h2", "Curves") + _charts(panels.main),
        _details("More curves", _charts(panels.further)) if panels.further else "",
        element("h2", "Options that differ") + _differences(runs) if len(runs) > 1 else "",
        element("h2", "Outputs over training") + samples if samples else "",
        *(_details(f"All options of {run.name}", _options(run)) for run in runs if run.config),
        element("h2", "Not read") + element("ul", "".join(element("li", n) for n in notes))
        if notes
        else "",
    ]
    return "".join(element("section", part) for part in parts if part)


def page_policy(live: bool) -> str:
    """Returns a policy: only the style sheet in the page is used, and the live page's script."""
    style = _asset("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rules = ["default-src 'none'", f"style-src 'sha256-{digest}'", "base-uri 'none'",
             "form-action 'none'"]  # fmt: skip
    if live:
        rules += ["script-src 'self'", "connect-src 'self'"]
    return "; ".join(rules)


def _asset(name: str) -> str:
    return files("seqtrain.report").joinpath("assets", name).read_text(encoding="utf-8")


def _switch() -> str:
    """Returns two buttons; the style sheet shows the charts of the one that is chosen."""
    return (
        '<input type="radio" name="x" id="by-updates" checked>'
        '<label for="by-updates">over updates</label>'
        '<input type="radio" name="x" id="by-time">'
        '<label for="by-time">over time</label>'
    )


def _overview(runs: Sequence[RunLog]) -> str:
    metrics = _in_order(
        str(c["best_metric"]) for run in runs
        if isinstance(c := run.config.get("checkpoint"), dict) and "best_metric" in c
    )  # fmt: skip
    tests = _in_order(name for run in runs for name in run.test if name != "num_updates")[:8]
    names = ["", "run", "updates", "training", *[f"best {m}" for m in metrics], *tests]
    rows = []
    for index, run in enumerate(runs):
        known = (run.seconds_at([run.num_updates]) or [0.0])[0]
        cells = [swatch(Style(index)), element("b", shown(run.name)), f"{run.num_updates:,}"]
        cells.append(shown(_duration(known)))
        cells += [shown(_best(run, metric)) for metric in metrics]
        cells += [number(run.test[name]) if name in run.test else "-" for name in tests]
        rows.append(cells)
    table = _table(names, rows, "runs, with their best values")
    return element("div", table, class_="overview")


def _best(run: RunLog, metric: str) -> str:
    curve = run.curve("valid", metric)
    if curve is None:
        return "-"
    checkpoint = run.config.get("checkpoint", {})
    known = [(v, u) for u, v in zip(curve.updates, curve.values, strict=True) if v == v]
    choose = max if checkpoint.get("maximize_best_metric") is True else min
    value, updates = choose(known)
    return f"{number(value)} (update {updates:,})"


def _charts(charts: Sequence[Chart]) -> str:
    figures = []
    for chart in charts:
        over_updates = element("div", svg(chart), class_="by-updates")
        over_time = svg(chart, over_time=True) if chart.has_times else "no times are known"
        pictures = over_updates + element("div", over_time, class_="by-time")
        below = legend(chart.lines) if len(chart.lines) > 1 else ""
        figures.append(element("figure", element("h3", shown(chart.title)) + pictures + below))
    return element("div", "".join(figures), class_="charts")


def _differences(runs: Sequence[RunLog]) -> str:
    differences = differing_options(runs)
    if not differences:
        return element("p", "none")
    names = ["option", *(run.name for run in runs)]
    rows = [[shown(key), *(shown(v, 200) for v in values)] for key, values in differences.items()]
    return _table(names, rows, "options that differ")


def _options(run: RunLog) -> str:
    rows = [[shown(key), shown(value)] for key, value in options_of(run).items()]
    return _table(["option", "value"], rows, f"options of {run.name}")


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """Returns a table; names are text, cells are markup."""
    head = element("tr", "".join(element("th", shown(name), scope="col") for name in names))
    body = "".join(element("tr", "".join(element("td", cell) for cell in row)) for row in rows)
    return scrolled(element("table", element("thead", head) + element("tbody", body)), label)


def _details(title: str, content: str) -> str:
    return element("details", element("summary", shown(title)) + content)


def _duration(seconds: float) -> str:
    if seconds != seconds:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _in_order(names: object) -> list[str]:
    return list(dict.fromkeys(names))  # type: ignore[call-overload] # an iterable of names
