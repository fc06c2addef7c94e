"""Curves over an axis: distributions by percentile, and figures over time or size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tidings.bench.drawing_canvas import Canvas, extent, wrapped
from tidings.bench.drawing_colours import Look
from tidings.bench.drawing_scale import Scale, is_drawable, round_number, scale, spread_out
from tidings.bench.report import Curve, Distribution, Lines

# Up to so many points a curve shows each of them.
FEW = 16

# Where the axis of a distribution is marked: the share, and its number of nines.
PERCENTILES = ("0", "50", "90", "99", "99.9", "99.99", "99.999", "99.9999")

SMALL = 12.0
_LABEL = 12.5
_LINE_HEIGHT = 15.0


@dataclass(frozen=True)
class _Chart:
    """What both kinds come down to: y over x, with the ticks of x where these are not round numbers."""

    x_label: str
    y_label: str
    curves: Sequence[Curve]
    log_x: bool
    log_y: bool
    marks: Sequence[tuple[float, str]] = ()
    x_ticks: Mapping[float, str] = field(default_factory=dict)


def nines(share: float) -> float:
    """How far out on the axis of a distribution a share stands: 0.9 is 1, 0.99 is 2; NaN outside [0, 1)."""
    return -math.log10(1 - share) if 0 <= share < 1 else math.nan


def chart(plot: Lines | Distribution) -> _Chart:
    """A plot's data as a chart; an axis of which no figure is positive is not logarithmic."""
    if isinstance(plot, Lines):
        log_x = plot.log_x and any(is_drawable(x, log=True) for curve in plot.curves for x in curve.x)
        marks = sorted(mark for mark in plot.marks if is_drawable(mark[0], log=log_x))
        log_y = plot.log_y and _has_positive(plot.curves, log_x=log_x)
        return _Chart(plot.x_label, plot.y_label, plot.curves, log_x, log_y, marks)
    curves = [Curve(curve.label, [nines(share) for share in curve.x], curve.y) for curve in plot.curves]
    ticks = {nines(float(name) / 100): f"{name} %" for name in PERCENTILES}
    return _Chart(
        "percentile", "ms", curves, log_x=False, log_y=_has_positive(curves, log_x=False), x_ticks=ticks
    )


def _has_positive(curves: Sequence[Curve], *, log_x: bool) -> bool:
    return any(
        is_drawable(x, log=log_x) and is_drawable(y, log=True)
        for curve in curves
        for x, y in zip(curve.x, curve.y, strict=False)
    )


def draw(canvas: Canvas, plot: Lines | Distribution, looks: Mapping[str, Look], top: float) -> list[str]:
    """Draw it below `top`; returns what must be said beside it."""
    what = chart(plot)
    is_wide = canvas.width >= 600
    points = [
        (x, y)
        for curve in what.curves
        for x, y in zip(curve.x, curve.y, strict=False)
        if is_drawable(x, log=what.log_x) and is_drawable(y, log=what.log_y)
    ]
    places = [*(x for x, _ in points), *(x for x, _ in what.marks)]
    words = {
        curve.label: wrapped(curve.label, _LABEL, 0.27 * canvas.width)
        for curve in what.curves
        if is_wide and last(curve, what) is not None
    }
    bottom = canvas.height - 44.0
    y = scale((y for _, y in points), bottom, top, log=what.log_y, ticks=6)
    names = {tick: round_number(tick) for tick in y.ticks}
    left = 12 + max((extent(name, SMALL) for name in names.values()), default=0)
    longest = max(
        (extent(line, _LABEL, bold=True) for lines in words.values() for line in lines), default=0
    )
    right = canvas.width - (longest + 30 if words else 14)
    x = scale(places, left + 6, right, log=what.log_x, ticks=7 if is_wide else 4, tight=True)
    marks = _mark_words(what, x, left, canvas.width)
    y = replace(y, end=top + 26 + 16 * (max((mark.row for mark in marks), default=-1) + 1))

    canvas.text(0, top + 8, what.y_label, "muted", size=SMALL)
    for tick, name in names.items():
        canvas.line([left, right], [y.at(tick)] * 2, "faint")
        canvas.text(left - 6, y.at(tick), name, "muted", size=SMALL, anchor="right")
    canvas.line([left, right], [bottom] * 2, "neutral")
    _draw_x(canvas, what, x, bottom)
    for mark in marks:
        canvas.line([mark.place] * 2, [top + 32 + 16 * mark.row, bottom], "muted", dash=(4, 3))
    for mark in marks:
        half, height = extent(mark.word, SMALL) / 2, top + 24 + 16 * mark.row
        # The line of a mark whose word stands higher goes behind this one.
        canvas.box(mark.middle - half - 2, height - 8, 2 * half + 4, 16, "paper")
        canvas.text(mark.middle, height, mark.word, size=SMALL, anchor="center")
    # Ours last, so that it lies above the others.
    for curve in sorted(what.curves, key=lambda curve: looks[curve.label].ours):
        _draw_curve(canvas, curve, looks[curve.label], x, y)
    if words:
        _draw_labels(canvas, what, looks, words, x, y)
    return _remarks(what, y)


def _draw_x(canvas: Canvas, what: _Chart, x: Scale, bottom: float) -> None:
    own = sorted({value for curve in what.curves for value in curve.x if is_drawable(value, log=x.log)})
    names = what.x_ticks or {tick: round_number(tick) for tick in (own if 1 < len(own) <= 8 else x.ticks)}
    # From the right, since the last value matters more than the one before it.
    free = math.inf
    for tick, name in sorted(names.items(), reverse=True):
        place, half = x.at(tick), extent(name, SMALL) / 2
        if place + half + 4 > free or not x.start - 1 <= place <= x.end + 1:
            continue
        free = place - half
        middle = min(place, canvas.width - half - 1)
        canvas.line([place, place], [bottom, bottom + 4], "neutral")
        canvas.text(middle, bottom + 15, name, "muted", size=SMALL, anchor="center")
    middle = (x.start + x.end) / 2
    canvas.text(middle, bottom + 34, what.x_label, "muted", size=SMALL, anchor="center")


def _draw_curve(canvas: Canvas, curve: Curve, look: Look, x: Scale, y: Scale) -> None:
    xs = [x.at(value) for value, _ in zip(curve.x, curve.y, strict=False)]
    ys = [y.at(value) for _, value in zip(curve.x, curve.y, strict=False)]
    visible = [(at, to) for at, to in zip(xs, ys, strict=True) if not math.isnan(at + to)]
    if not visible:
        return
    dots = (7.0 if look.ours else 5.5) if len(visible) <= FEW else 0.0
    width = 3.0 if look.ours else 1.7
    canvas.line(
        xs, [math.nan if math.isnan(at) else to for at, to in zip(xs, ys, strict=True)],
        look.colour, width=width, dash=look.dash, dots=dots, title=curve.label,
    )  # fmt: skip


def _draw_labels(
    canvas: Canvas,
    what: _Chart,
    looks: Mapping[str, Look],
    words: Mapping[str, list[str]],
    x: Scale,
    y: Scale,
) -> None:
    """Each curve's name at its end, apart from each other, with a line to where the curve ends."""
    ends = {curve.label: end for curve in what.curves if (end := last(curve, what)) is not None}
    heights = [_LINE_HEIGHT * len(words[label]) + 2 for label in ends]
    wanted = [y.at(value) for _, value in ends.values()]
    places = spread_out(wanted, heights, y.end - 8, y.start + 8)
    for (label, (furthest, _)), from_, to in zip(ends.items(), wanted, places, strict=True):
        look = looks[label]
        edge = x.end + 22
        begin = x.at(furthest) + 5
        canvas.line([begin, max(begin, x.end + 6), edge - 4], [from_, from_, to], look.colour, width=0.7)
        first = to - _LINE_HEIGHT * (len(words[label]) - 1) / 2
        for row, line in enumerate(words[label]):
            canvas.text(edge, first + row * _LINE_HEIGHT, line, look.colour, size=_LABEL, bold=look.ours)


@dataclass(frozen=True)
class _Mark:
    """Where a mark and its word stand."""

    place: float
    middle: float
    row: int
    word: str


def _mark_words(what: _Chart, x: Scale, left: float, right: float) -> list[_Mark]:
    """The words in as many rows as it takes that they do not overlap."""
    ends: list[float] = []
    found = []
    for value, words in what.marks:
        [word] = wrapped(words, SMALL, right - left - 12, lines=1)
        half = extent(word, SMALL) / 2 + 4
        middle = min(max(x.at(value), left + half), right - half)
        row = next((row for row, end in enumerate(ends) if end <= middle - half), len(ends))
        ends[row : row + 1] = [middle + half]
        found.append(_Mark(x.at(value), middle, row, word))
    return found


def last(curve: Curve, what: _Chart) -> tuple[float, float] | None:
    """The last point of a curve that has a place on the axes."""
    return next(
        (
            (x, y)
            for x, y in reversed(list(zip(curve.x, curve.y, strict=False)))
            if is_drawable(x, log=what.log_x) and is_drawable(y, log=what.log_y)
        ),
        None,
    )


def _remarks(what: _Chart, y: Scale) -> list[str]:
    """What a reader would not see, or would misread."""
    found = []
    if y.log:
        found.append(f"The vertical axis is logarithmic{', the horizontal one too' if what.log_x else ''}.")
    elif what.log_x:
        found.append("The horizontal axis is logarithmic.")
    if not y.from_zero and not y.log:
        found.append("The vertical axis does not begin at zero.")
    empty = [curve.label for curve in what.curves if last(curve, what) is None]
    if empty:
        found.append(f"Nothing to draw of: {', '.join(empty)}.")
    pairs = [
        (x, y)
        for curve in what.curves
        if curve.label not in empty
        for x, y in zip(curve.x, curve.y, strict=False)
    ]
    hidden = sum(not (is_drawable(x, log=what.log_x) and is_drawable(y, log=what.log_y)) for x, y in pairs)
    if hidden:
        found.append(
            f"{hidden:,} of {len(pairs):,} points have no place on these axes (zero, or not a number)."
        )
    return found
