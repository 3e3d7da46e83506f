"""Outputs for validation examples over the training of a run, as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

from seqtrain.report.forecast_view import forecasts_over_training
from seqtrain.report.heat_map import heat_map
from seqtrain.report.markup import element, shown
from seqtrain.report.run_log import RunLog

MOST_EXAMPLES = 8
MOST_ROWS = 12


def sample_section(run: RunLog) -> str:
    """Returns the outputs of a run, example by example; empty if none were logged."""
    examples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in run.samples:
        key = (str(row.get("split", "")), str(row["id"]))
        if key in examples or len(examples) < MOST_EXAMPLES:
            examples.setdefault(key, []).append(row)
    cards = [_card(split, name, rows) for (split, name), rows in examples.items()]
    if not cards:
        return ""
    return element("h3", shown(run.name)) + element("div", "".join(cards), class_="samples")


def _card(split: str, name: str, rows: list[dict[str, Any]]) -> str:
    last = rows[-1]
    parts = [element("h4", shown(f"{split} example {name}"))]
    for key in ("source", "reference"):
        if isinstance(last.get(key), str | int | float):
            text = element("bdi", shown(last[key]))
            parts.append(element("p", element("b", shown(key)) + " " + text, class_="text"))
    parts.append(_outputs(rows))
    if isinstance(last.get("attention"), Mapping):
        parts.append(heat_map(last["attention"]))
    parts += _forecasts(rows)
    return element("article", "".join(parts))


def _outputs(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a table of what was said after how many updates."""
    found = [(row["num_updates"], text) for row in rows if (text := _output(row))]
    if not found:
        return ""
    lines = [
        element("tr", element("td", f"{updates:,}", class_="number") + element("td", said))
        for updates, said in _spread(found)
    ]
    head = "<tr><th>update</th><th>output</th></tr>"
    table = element("table", element("thead", head) + element("tbody", "".join(lines)))
    return element("div", table, class_="wide")


def _output(row: Mapping[str, Any]) -> str:
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


def _forecasts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
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
