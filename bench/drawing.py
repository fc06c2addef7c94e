"""A plot of a report as SVG, drawn by matplotlib: for a wide page, for a telephone, or as a file of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from tidings.bench import drawing_bars, drawing_curves
from tidings.bench.drawing_canvas import Canvas, wrapped
from tidings.bench.drawing_colours import Look
from tidings.bench.drawing_scale import is_drawable, number
from tidings.bench.report import Bars, Plot

# Pixels: the width of the page's text, and that of a telephone's.
WIDE, NARROW = 1000, 350

_TITLE = 17.0


@dataclass(frozen=True)
class Drawing:
    """A drawn plot, and what must be said beside it."""

    svg: ET.Element
    remarks: Sequence[str]


def is_empty(plot: Plot) -> bool:
    """Whether there is nothing in it to draw."""
    if isinstance(plot, Bars):
        return not any(is_drawable(value, log=False) for value in plot.values)
    what = drawing_curves.chart(plot)
    return all(drawing_curves.last(curve, what) is None for curve in what.curves)


def draw(
    plot: Plot, looks: Mapping[str, Look], prefix: str, *, width: int = WIDE, titled: bool = False
) -> Drawing:
    """Draw it, with its title where the surroundings do not give it. Ids begin with `prefix`."""
    lines = wrapped(plot.title, _TITLE, width - 8, lines=3) if titled else []
    top = 8 + 24 * len(lines) if titled else 2
    canvas = Canvas(width, top + _height(plot, width))
    for row, line in enumerate(lines):
        canvas.text(0, 10 + 24 * row, line, size=_TITLE, bold=True)
    if isinstance(plot, Bars):
        remarks = drawing_bars.draw(canvas, plot, looks, top)
    else:
        remarks = drawing_curves.draw(canvas, plot, looks, top)
    return Drawing(canvas.drawing(prefix, plot.title, describe(plot)), remarks)


def caption(drawing: Drawing, width: int) -> list[str]:
    """The remarks in lines of small print."""
    return wrapped(" ".join(drawing.remarks), 12, width, lines=4) if drawing.remarks else []


def describe(plot: Plot) -> str:
    """The plot in a sentence, for those who do not see it."""
    if isinstance(plot, Bars):
        pairs = zip(plot.labels, plot.values, strict=False)
        better = "more" if plot.more_is_better else "less"
        figures = ", ".join(f"{label} {number(value)}" for label, value in pairs)
        return f"Bars, {plot.unit}, {better} is better: {figures or 'none'}."
    what = drawing_curves.chart(plot)
    ends = [
        f"{curve.label} {number(end[1])}"
        for curve in what.curves
        if (end := drawing_curves.last(curve, what)) is not None
    ]
    if not ends:
        return "Nothing could be drawn."
    return f"Curves of {what.y_label} by {what.x_label}; at their ends: {', '.join(ends)}."


def _height(plot: Plot, width: int) -> int:
    if isinstance(plot, Bars):
        return drawing_bars.height(plot, width)
    if width < 600:
        return 300
    # A line of text for each curve's name.
    return max(420, 100 + 18 * len(plot.curves))
