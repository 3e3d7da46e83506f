"""Outputs for validation examples over the training of runs, as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

from seqtrain.report.chart import swatch
from seqtrain.report.forecast_view import forecasts_over_training
from seqtrain.report.heat_map import heat_map
from seqtrain.report.markup import element, scrolled, shown
from seqtrain.report.run_log import RunLog
from seqtrain.report.styles import Style

MOST_EXAMPLES = 8
MOST_ROWS = 12
GIVEN = ("source", "reference")

Row = Mapping[str, Any]
Key = tuple[str, ...]


def sample_section(runs: Sequence[RunLog]) -> str:
    """Returns the outputs of all runs, example by example; empty if none were logged.

    What several runs say to the same example stands together, with the example once.
    """
    examples: dict[Key, dict[int, dict[int, Row]]] = {}
    for index, run in enumerate(runs):
        for row in run.samples:
            key = _key(row)
            if key in examples or len(examples) < MOST_EXAMPLES:
                said = examples.setdefault(key, {}).setdefault(index, {})
                said[row["num_updates"]] = row  # the last one of an update counts
    cards = [_card(key, found, runs) for key, found in examples.items()]
    return element("div", "".join(cards), class_="samples") if cards else ""


def _key(row: Row) -> Key:
    given = (str(row.get(name, "")) for name in GIVEN)
    return (str(row.get("split", "")), str(row["id"]), *given)


def _card(key: Key, found: Mapping[int, Mapping[int, Row]], runs: Sequence[RunLog]) -> str:
    first = next(iter(next(iter(found.values())).values()))
    parts = [element("h3", shown(f"{key[0]} example {key[1]}"), class_="card")]
    for name in GIVEN:
        if isinstance(first.get(name), str | int | float):
            text = element("bdi", shown(first[name]))
            parts.append(element("p", element("b", shown(name)) + " " + text, class_="text"))
    for index, rows in found.items():
        if len(runs) > 1:
            parts.append(element("h4", swatch(Style(index)) + shown(runs[index].name)))
        parts.append(_said([rows[updates] for updates in sorted(rows)], runs[index].name))
    return element("article", "".join(parts))


def _said(rows: Sequence[Row], name: str) -> str:
    """Returns what a run said to an example."""
    parts = [_outputs(rows, name)]
    if isinstance(rows[-1].get("attention"), Mapping):
        parts.append(heat_map(rows[-1]["attention"]))
    return "".join([*parts, *_forecasts(rows)])


def _outputs(rows: Sequence[Row], name: str) -> str:
    """Returns a table of what was said after how many updates, repetitions on one line."""
    found: list[tuple[int, int, str]] = []
    for row in rows:
        updates, text = row["num_updates"], _output(row)
        if found and found[-1][2] == text:
            found[-1] = (found[-1][0], updates, text)
        elif text:
            found.append((updates, updates, text))
    if not found:
        return ""
    lines = []
    for first, last, said in _spread(found):
        when = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        lines.append(element("tr", element("td", when, class_="number") + element("td", said)))
    head = '<tr><th scope="col">update</th><th scope="col">output</th></tr>'
    table = element("table", element("thead", head) + element("tbody", "".join(lines)))
    return scrolled(table, f"outputs of {name}")


def _output(row: Row) -> str:
    """Returns what is said of an example, as markup."""
    for key in ("output", "error"):
        if isinstance(row.get(key), str):
            return element("bdi", shown(row[key]))
    prediction = row.get("prediction")
    if not isinstance(prediction, Mapping) or "forecast" in prediction:
        return ""
    if "label" in prediction:
        share = prediction.get("probability")
        percent = f" ({100 * share:.0f} %)" if isinstance(share, float) else ""
        return element("bdi", shown(f"{prediction['label']}{percent}"))
    labels = prediction.get("labels")
    if isinstance(labels, list):
        return element("bdi", shown(" ".join(str(label) for label in labels)))
    return element("bdi", shown(prediction))


def _forecasts(rows: Sequence[Row]) -> list[str]:
    found = [
        (row["num_updates"], row["prediction"])
        for row in rows
        if isinstance(row.get("prediction"), Mapping) and "forecast" in row["prediction"]
    ]
    return forecasts_over_training(found)


def _spread(rows: list[Any]) -> list[Any]:
    """Returns some evenly spaced rows, the first and the last among them."""
    if len(rows) <= MOST_ROWS:
        return rows
    return [rows[round(i * (len(rows) - 1) / (MOST_ROWS - 1))] for i in range(MOST_ROWS)]
