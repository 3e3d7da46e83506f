"""Attention as a picture: which symbols of the source were looked at for each one of the output."""

from collections.abc import Mapping
from typing import Any

from seqtrain.report.markup import element, scrolled, shown

CELL, FONT = 15.0, 11.0
MOST = 60
"""Symbols along a side."""
MOST_CHARACTERS = 12


def heat_map(attention: Mapping[str, Any]) -> str:
    """Returns attention weights as markup: dark is much; empty if they are not in order.

    Args:
        attention: `source` and `target` symbols, and `weights`, a row from 0 to 1 for each symbol
            of the target.
    """
    source, target, rows = (attention.get(key) for key in ("source", "target", "weights"))
    if not (isinstance(source, list) and isinstance(target, list) and isinstance(rows, list)):
        return ""
    sources, targets = [_short(s) for s in source[:MOST]], [_short(t) for t in target[:MOST]]
    if not sources or not targets:
        return ""
    left = 8.0 + 0.62 * FONT * max(len(text) for text in targets)
    top = 8.0 + 0.62 * FONT * max(len(text) for text in sources)
    parts = []
    for column, text in enumerate(sources):
        x = left + CELL * (column + 0.5) + 0.35 * FONT
        parts.append(_text(x, top - 4, text, transform=f"rotate(-90 {x:.1f} {top - 4:.1f})"))
    for line, text in enumerate(targets):
        y = top + CELL * line
        parts.append(_text(left - 4, y + CELL / 2 + 0.35 * FONT, text, text_anchor="end"))
        row = rows[line] if line < len(rows) and isinstance(rows[line], list) else []
        for column, weight in enumerate(row[: len(sources)]):
            parts.append(_cell(left + CELL * column, y, weight, f"{text} from {sources[column]}"))
    width, height = left + CELL * len(sources) + 4, top + CELL * len(targets) + 4
    picture = element(
        "svg", "".join(parts), viewBox=f"0 0 {width:.0f} {height:.0f}", width=f"{width:.0f}",
        height=f"{height:.0f}", role="img", font_size=FONT, class_="heat",
        aria_label="attention to the source (columns) for each symbol of the output (rows)",
    )  # fmt: skip
    caption = "attention: rows are the output, columns the source; dark is much"
    return scrolled(picture + element("figcaption", caption), "attention", kind="figure")


def _cell(x: float, y: float, weight: Any, title: str) -> str:
    share = min(max(float(weight), 0.0), 1.0) if isinstance(weight, int | float) else 0.0
    grey = round(255 - 225 * share**0.7)
    fill = f"#{grey:02x}{grey:02x}{min(255, grey + 12):02x}"
    tip = f"<title>{shown(title)}: {share:.2f}</title>"
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{CELL}" height="{CELL}" fill="{fill}" '
        f'stroke="#e8e8e8">{tip}</rect>'
    )


def _short(symbol: Any) -> str:
    text = str(symbol)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _text(x: float, y: float, text: str, **attributes: object) -> str:
    return element("text", shown(text), x=f"{x:.1f}", y=f"{y:.1f}", fill="#333333", **attributes)
