"""Horizontal bars; one that would dwarf the others is cut, and where many would they are dots on a log scale."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tidings.bench.drawing_canvas import Canvas, extent, wrapped
from tidings.bench.drawing_colours import ROLES, Colour, Look, Role, is_ours
from tidings.bench.drawing_scale import Scale, is_drawable, number, round_number, scale
from tidings.bench.report import Bars

# A bar this many times as long as the next shorter one leaves that one and all below it too little room.
_GAP = 2.2
# Beyond this many times the least, lengths from zero say nothing of the small ones.
_DECADES = 30.0
# A bar that were so many times as long is not cut: a gap would hide too much.
_CUT = 15.0

_SIZE = 13.0
_SMALL = 12.0


@dataclass(frozen=True)
class _Layout:
    """Where things stand."""

    left: float
    right: float
    row: float
    thickness: float
    above: bool
    """Whether a bar's name stands above it; else it stands left of it."""


def height(plot: Bars, width: int) -> int:
    """How high it needs to be, in pixels, for a width."""
    return int(34 + len(plot.labels) * _layout(plot, width).row + 30)


def draw(canvas: Canvas, plot: Bars, looks: Mapping[str, Look], top: float) -> list[str]:
    """Draw it below `top`; returns what must be said beside it."""
    layout = _layout(plot, canvas.width)
    cap = _cap(plot)
    # A negative figure has no place on a log scale, and a zero no bar.
    is_log = cap is None
    shown = [value for value in _extremes(plot) if is_drawable(value, log=is_log)]
    if cap is not None and math.isfinite(cap):
        shown = [*(value for value in shown if value <= cap), cap]
    along = scale(
        shown if is_log else [0.0, *shown], layout.left, layout.right, log=is_log, ticks=6, tight=not is_log
    )
    unit = f"{plot.unit} · {'more' if plot.more_is_better else 'less'} is better"
    canvas.text(0, top + 8, unit, "muted", size=_SMALL)
    floor = top + 30 + len(plot.labels) * layout.row
    _draw_axis(canvas, along, top + 26, floor)
    reference = _reference(plot)
    for at, label in enumerate(plot.labels[: len(plot.values)]):
        middle = top + 30 + (at + 0.5) * layout.row + (9 if layout.above else 0)
        look = looks[label]
        if layout.above:
            [words] = wrapped(label, _SIZE, canvas.width - 4, lines=1)
            canvas.text(0, middle - 19, words, size=_SIZE, bold=look.ours)
        else:
            lines = wrapped(label, _SIZE, layout.left - 16)
            for row, line in enumerate(lines):
                place = middle + (row - (len(lines) - 1) / 2) * 15
                canvas.text(layout.left - 10, place, line, size=_SIZE, anchor="right", bold=look.ours)
        _draw_bar(canvas, plot, at, look, along, layout, middle, reference)
    return _remarks(plot, along, reference)


def _draw_bar(
    canvas: Canvas,
    plot: Bars,
    at: int,
    look: Look,
    along: Scale,
    layout: _Layout,
    middle: float,
    reference: tuple[str, float] | None,
) -> None:
    value, label = plot.values[at], plot.labels[at]
    end = along.at(value)
    words = number(value) if math.isfinite(value) else "no figure"
    edge = layout.left
    if not math.isnan(end):
        is_cut = value > along.high
        edge = along.end if is_cut else end
        thick = layout.thickness
        title = f"{label}: {words} {plot.unit}"
        if along.log:
            canvas.line([layout.left, edge], [middle] * 2, "faint", width=2)
            canvas.line([edge], [middle], look.colour, dots=thick * 0.6, title=title)
            edge += thick * 0.3
        else:
            zero = along.at(0)
            # Only ours has its colour all along: the others', by which their curves are known, is a stub.
            paint: Role | Colour = look.colour if look.ours else "neutral"
            canvas.box(min(zero, edge), middle - thick / 2, abs(edge - zero), thick, paint, title=title)
            if not look.ours and look.colour != ROLES["neutral"]:
                canvas.box(zero, middle - thick / 2, min(7.0, abs(edge - zero)), thick, look.colour)
            edge = max(edge, zero)
        edge = max(edge, _draw_spread(canvas, plot, at, along, layout, middle))
        if is_cut:
            _draw_cut(canvas, along.end - 26, middle, thick)
    after = edge + 8 + extent(words, _SIZE, bold=True) + 6
    times = ""
    if reference is not None and not look.ours and is_drawable(value, log=True):
        times = f"{_ratio(value / reference[1])} ×"
    # No line of the grid goes through a figure.
    canvas.box(edge + 5, middle - 9, after - edge - 5 + extent(times, _SMALL), 18, "paper")
    canvas.text(edge + 8, middle, words, size=_SIZE, bold=True)
    canvas.text(after, middle, times, "muted", size=_SMALL)


def _draw_spread(
    canvas: Canvas, plot: Bars, at: int, along: Scale, layout: _Layout, middle: float
) -> float:
    """From the least to the most of the runs, where that is within the axis; returns its right end."""
    if at >= len(plot.spread) or plot.values[at] > along.high:
        return 0.0
    least, most = (along.at(value) for value in plot.spread[at])
    if math.isnan(least) or math.isnan(most) or least == most:
        return 0.0
    most = min(most, along.end + 8)
    end, cap = along.at(plot.values[at]), layout.thickness * 0.2
    # Light on the bar, dark beyond its end.
    pieces: list[tuple[float, float, Role]] = [
        (least, end, "ink" if along.log else "paper"),
        (end, most, "ink"),
    ]
    for first, last, paint in pieces:
        canvas.line([first, last], [middle] * 2, paint, width=1.4)
    for place, paint in ((least, pieces[0][2]), (most, "ink")):
        canvas.line([place, place], [middle - cap, middle + cap], paint, width=1.4)
    return most


def _draw_cut(canvas: Canvas, place: float, middle: float, thick: float) -> None:
    """Two slanted gaps through a bar that is longer than can be shown."""
    for shift in (0, 9):
        left, lean, half = place + shift, 5, thick / 2 + 1
        canvas.shape(
            [(left, middle + half), (left + 4, middle + half), (left + 4 + lean, middle - half),
             (left + lean, middle - half)],
            "paper",
        )  # fmt: skip


def _draw_axis(canvas: Canvas, along: Scale, ceiling: float, floor: float) -> None:
    free = -math.inf
    for tick in along.ticks:
        place, words = along.at(tick), round_number(tick)
        half = extent(words, _SMALL) / 2
        canvas.line([place, place], [ceiling, floor], "neutral" if tick == 0 else "faint")
        if place - half - 6 > free and place + half <= canvas.width:
            free = place + half
            canvas.text(place, floor + 13, words, "muted", size=_SMALL, anchor="center")


def _layout(plot: Bars, width: int) -> _Layout:
    names = max((extent(label, _SIZE, bold=True) for label in plot.labels), default=0.0)
    figures = max((extent(number(value), _SIZE, bold=True) for value in plot.values), default=0.0)
    beside = 16 + figures + (66 if _reference(plot) else 8)
    above = width < 600
    left = 3.0 if above else min(names, 0.3 * width) + 14
    row, thickness = (44.0, 14.0) if above else (34.0, 20.0)
    if len(plot.labels) > 16 and not above:
        row, thickness = 30.0, 14.0
    return _Layout(left, width - beside, row, thickness, above)


def _cap(plot: Bars) -> float | None:
    """The longest bar to be shown whole; infinity when all are, None when a log scale is needed."""
    values = sorted(value for value in plot.values if is_drawable(value, log=False))
    if not values or values[0] < 0 or values[-1] <= 0:
        return math.inf
    for shorter, longer in zip(reversed(values[:-1]), reversed(values[1:]), strict=True):
        cut = sum(value > shorter for value in values)
        if cut > max(1, len(values) // 4):
            break
        if shorter > 0 and longer > _GAP * shorter and 3 * shorter < values[-1] <= _CUT * shorter:
            # So much longer than the others at least does a cut bar look.
            return shorter * 1.2
    positive = [value for value in values if value > 0]
    return None if positive[-1] > _DECADES * positive[0] else math.inf


def _extremes(plot: Bars) -> list[float]:
    found = [*plot.values, *(edge for pair in plot.spread for edge in pair)]
    return [value for value in found if is_drawable(value, log=False)]


def _reference(plot: Bars) -> tuple[str, float] | None:
    """Ours, for the others to be multiples of; None where it is not exactly one."""
    ours = [
        (label, value)
        for label, value in zip(plot.labels, plot.values, strict=False)
        if (label in plot.ours or is_ours(label)) and is_drawable(value, log=True)
    ]
    return ours[0] if len(ours) == 1 and len(plot.labels) > 1 else None


def _ratio(ratio: float) -> str:
    if not 0.005 <= ratio < 1e5:
        return f"{ratio:.0e}"
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:,.1f}" if ratio < 99.95 else f"{ratio:,.0f}"


def _remarks(plot: Bars, along: Scale, reference: tuple[str, float] | None) -> list[str]:
    found = []
    if reference is not None:
        found.append(f"“×”: multiples of {reference[0]}.")
    if plot.spread:
        found.append("Thin lines: from the least to the most, run by run.")
    if along.log:
        found.append("A logarithmic scale: a step is a factor, lengths say nothing.")
    elif any(value > along.high for value in plot.values if math.isfinite(value)):
        found.append("A bar with two gaps is cut: it is longer than there is room for.")
    return found
