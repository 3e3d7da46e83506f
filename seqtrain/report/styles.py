"""How lines are told apart, on a screen, in print and in grey: colour, dashes and markers."""

from dataclasses import dataclass

# Okabe and Ito's colours without yellow, neighbours of different lightness.
_COLOURS = ("#0072b2", "#e69f00", "#1b1b1b", "#009e73", "#56b4e9", "#7a2e5c", "#d55e00")
_DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "14 3")
_MARKERS = ("circle", "square", "triangle", "diamond", "turned")


@dataclass(frozen=True)
class Style:
    """Of one run: the numbers of colours and of dashes have no common divisor."""

    index: int
    is_further: bool = False
    """Of another curve of the same run: dots and crosses in its colour."""

    @property
    def colour(self) -> str:
        """As #rrggbb."""
        return _COLOURS[self.index % len(_COLOURS)]

    @property
    def dashes(self) -> str:
        """Lengths of dashes and gaps as SVG has them; empty for a line without gaps."""
        return "1 4" if self.is_further else _DASHES[self.index % len(_DASHES)]

    @property
    def marker(self) -> str:
        """One of circle, square, triangle, diamond, turned (triangle) and cross."""
        return "cross" if self.is_further else _MARKERS[self.index % len(_MARKERS)]


def marker_path(marker: str, x: float, y: float, radius: float) -> str:
    """Returns a marker as the commands of an SVG path."""
    r = radius
    shapes = {
        "circle": f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        "square": f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z",
        "triangle": f"M{x:.1f} {y - 1.2 * r:.1f}l{1.2 * r:.1f} {2.1 * r:.1f}h{-2.4 * r:.1f}z",
        "turned": f"M{x:.1f} {y + 1.2 * r:.1f}l{1.2 * r:.1f} {-2.1 * r:.1f}h{-2.4 * r:.1f}z",
        "diamond": f"M{x:.1f} {y - 1.35 * r:.1f}l{1.35 * r:.1f} {1.35 * r:.1f}"
        f"l{-1.35 * r:.1f} {1.35 * r:.1f}l{-1.35 * r:.1f} {-1.35 * r:.1f}z",
        "cross": f"M{x - r:.1f} {y - r:.1f}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}",
    }
    return shapes[marker]
