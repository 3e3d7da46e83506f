"""Charts as SVG, drawn here: no script, no style sheet and nothing from elsewhere is needed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from seqtrain.report.markup import element, shown
from seqtrain.report.styles import Style, marker_path
from seqtrain.report.ticks import Axis, linear_axis, log_axis, number, spanning_axis, time_unit

WIDTH, HEIGHT = 430.0, 270.0
TOP, BOTTOM, RIGHT = 12.0, 49.0, 12.0
FONT = 13.0
"""In units of the drawing, which a phone shows a little smaller."""
MOST_POINTS = 300
"""Drawn of a line; of more points the highest and the lowest of each stretch stay."""
MOST_MARKERS = 12
LOG_RATIO = 30.0
"""Values that may be drawn logarithmically are so if the largest is so many times the smallest."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart."""

    label: str
    style: Style
    updates: Sequence[int]
    seconds: Sequence[float]
    """nan where no time is known."""
    values: Sequence[float]
    """nan makes a gap."""
    is_main: bool = True
    """Thick, with filled markers; else thin, with hollow ones."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over updates and over time."""

    title: str
    y_label: str
    lines: list[Line] = field(default_factory=list)
    may_be_log: bool = False
    from_zero: bool = False
    x_label: str = ""
    """What the lines' `updates` count, where it is something else, which may be negative."""

    @property
    def is_log(self) -> bool:
        """Whether values are drawn logarithmically."""
        values = _finite(self.lines)
        return (
            self.may_be_log
            and bool(values)
            and min(values) > 0.0
            and max(values) / min(values) > LOG_RATIO
        )

    @property
    def has_times(self) -> bool:
        """Whether there is a time for some point."""
        return any(math.isfinite(second) for line in self.lines for second in line.seconds)


def svg(chart: Chart, over_time: bool = False) -> str:
    """Returns a chart with labelled axes as an SVG element."""
    xs, x_axis, x_label = x_positions(chart, over_time)
    y_axis = y_axis_of(chart)
    left = 34.0 + 0.56 * FONT * max(len(label) for label in y_axis.labels)
    frame = _Frame(left, x_axis, y_axis)
    parts = [
        _grid(frame),
        *(_line(frame, x, line) for x, line in zip(xs, chart.lines, strict=True)),
    ]
    y_label = f"{chart.y_label} (log scale)" if y_axis.is_log else chart.y_label
    middle = (left + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 6, x_label, text_anchor="middle"))
    y = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(_text(FONT, y, y_label, text_anchor="middle", transform=f"rotate(-90 {FONT} {y})"))
    return element(
        "svg", "".join(parts), viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img",
        aria_label=f"{chart.title}: {chart.y_label} over {x_label}", font_size=FONT,
    )  # fmt: skip


def x_positions(chart: Chart, over_time: bool) -> tuple[list[list[float]], Axis, str]:
    """Returns where the points of each line stand, the axis, and what it is called."""
    if not over_time:
        xs = [[float(update) for update in line.updates] for line in chart.lines]
        ends = [end for x in xs if x for end in (x[0], x[-1])]
        return xs, spanning_axis(ends), chart.x_label or "updates"
    known = [s for line in chart.lines for s in line.seconds if math.isfinite(s)]
    length, unit = time_unit(max(known, default=0.0))
    xs = [[second / length for second in line.seconds] for line in chart.lines]
    return xs, spanning_axis([second / length for second in known]), f"{unit} of training"


def y_axis_of(chart: Chart) -> Axis:
    """Returns the axis of the values."""
    values = _finite(chart.lines)
    if chart.is_log:
        return log_axis(values)
    return linear_axis(values or [0.0], from_zero=chart.from_zero)


def swatch(style: Style, is_main: bool = True) -> str:
    """Returns a short piece of a line, for legends."""
    frame_y = 6.0
    content = _path(f"M1 {frame_y}H37", style, is_main)
    content += _marker(style, 19.0, frame_y, is_main, "")
    return element("svg", content, viewBox="0 0 38 12", width=38, height=12, class_="swatch",
                   aria_hidden="true")  # fmt: skip


def legend(lines: Sequence[Line]) -> str:
    """Returns what each line of a chart is, as markup for below it."""
    entries = [
        element("span", swatch(line.style, line.is_main) + shown(line.label), class_="entry")
        for line in lines
    ]
    return element("figcaption", " ".join(entries))


def thinned(
    xs: Sequence[float], ys: Sequence[float], most: int = MOST_POINTS
) -> list[tuple[float, float]]:
    """Returns points of a line that look like all of them: extremes stay, and gaps as nan."""
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x)]
    if len(points) <= most:
        return points
    size = -(-2 * len(points) // most)
    kept: list[tuple[float, float]] = []
    for begin in range(0, len(points), size):
        stretch = points[begin : begin + size]
        known = [point for point in stretch if not math.isnan(point[1])]
        if not known:
            kept.append(stretch[0])
            continue
        extremes = {min(known, key=lambda p: p[1]), max(known, key=lambda p: p[1])}
        kept += sorted(extremes)
    if not math.isnan(points[-1][1]) and kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


@dataclass(frozen=True)
class _Frame:
    left: float
    x_axis: Axis
    y_axis: Axis

    def x(self, value: float) -> float:
        return self.left + self.x_axis.place(value) * (WIDTH - RIGHT - self.left)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.y_axis.place(value) * (HEIGHT - BOTTOM - TOP)


def _grid(frame: _Frame) -> str:
    parts = []
    for tick, label in zip(frame.y_axis.ticks, frame.y_axis.labels, strict=True):
        y = frame.y(tick)
        parts.append(f'<path d="M{frame.left:.1f} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(_text(frame.left - 5, y + 0.35 * FONT, label, text_anchor="end"))
    bottom = HEIGHT - BOTTOM
    for tick, label in zip(frame.x_axis.ticks, frame.x_axis.labels, strict=True):
        x = frame.x(tick)
        parts.append(f'<path d="M{x:.1f} {bottom}v4" stroke="#555555"/>')
        # The last label would stand out of the picture.
        is_last = x > WIDTH - RIGHT - 14
        anchor = "end" if is_last else "middle"
        at = min(x + 12, WIDTH - 2) if is_last else x
        parts.append(_text(at, bottom + 7 + FONT, label, text_anchor=anchor))
    axes = f"M{frame.left:.1f} {TOP}V{bottom}H{WIDTH - RIGHT}"
    return "".join([*parts, f'<path d="{axes}" fill="none" stroke="#555555"/>'])


def _line(frame: _Frame, xs: Sequence[float], line: Line) -> str:
    points = thinned(xs, line.values)
    if frame.y_axis.is_log:
        points = [(x, y if y > 0 else math.nan) for x, y in points]
    commands, is_open = [], False
    for x, y in points:
        if math.isnan(y):
            is_open = False
            continue
        commands.append(f"{'L' if is_open else 'M'}{frame.x(x):.1f} {frame.y(y):.1f}")
        is_open = True
    real = [(x, y) for x, y in points if not math.isnan(y)]
    marked = [
        _marker(
            line.style,
            frame.x(x),
            frame.y(y),
            line.is_main,
            f"{line.label}: {number(y)} at {number(x)}",
        )
        for x, y in _spaced(real, line.style.index, line.is_main)
    ]
    return _path("".join(commands), line.style, line.is_main) + "".join(marked)


def _spaced(
    points: list[tuple[float, float]], index: int, is_main: bool
) -> list[tuple[float, float]]:
    """Returns the points with a marker; lines have theirs at different places."""
    most = MOST_MARKERS if is_main else MOST_MARKERS // 2
    if len(points) <= most:
        return points
    every = len(points) // most
    return points[(index * 2 + 1) % every :: every]


def _path(commands: str, style: Style, is_main: bool) -> str:
    dashes = f' stroke-dasharray="{style.dashes}"' if style.dashes else ""
    width = 2.0 if is_main else 1.1
    return (
        f'<path d="{commands}" fill="none" stroke="{style.colour}" stroke-width="{width}" '
        f'stroke-linejoin="round"{dashes}/>'
    )


def _marker(style: Style, x: float, y: float, is_main: bool, title: str) -> str:
    commands = marker_path(style.marker, x, y, 3.4 if is_main else 2.6)
    fill = style.colour if is_main else "#ffffff"
    content = f"<title>{shown(title)}</title>" if title else ""
    return f'<path d="{commands}" fill="{fill}" stroke="{style.colour}">{content}</path>'


def _text(x: float, y: float, text: str, **attributes: object) -> str:
    return element("text", shown(text), x=f"{x:.1f}", y=f"{y:.1f}", fill="#333333", **attributes)


def _finite(lines: Sequence[Line]) -> list[float]:
    return [value for line in lines for value in line.values if math.isfinite(value)]
