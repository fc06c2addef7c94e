"""What stands out in a table, and a plot as a table."""

import re
from collections.abc import Collection, Sequence

from tidings.bench.drawing_colours import is_floor, is_ours
from tidings.bench.drawing_scale import number
from tidings.bench.report import Bars, Curve, Distribution, Plot, Table

# Rows of figures beside a plot; a longer series is thinned, and says so.
ROWS = 200

# Characters of a range, `1,234.56 (1,200.10-1,400.90)`; what is longer is a sentence.
_LONGEST_FIGURE = 28

# Figures of the measurement, not of the server.
_INDIFFERENT = re.compile(
    r"\b(range|rate|load|ratio|of ours|count|clients|rooms|runs|size|lost|spread)\b", re.IGNORECASE
)
_MORE = re.compile(r"\w/s\b")
_LESS = re.compile(r"(\bms\b|µs|\b(KiB|MiB|GiB|CPU)\b)")
_FIGURE = re.compile(r"\s*(\d[\d,]*(?:\.\d+)?)(?![\d/-])")


def our_rows(table: Table, ours: Collection[str]) -> frozenset[int]:
    """Numbers of the rows that are ours."""
    return frozenset(at for at, row in enumerate(table.rows) if row and (row[0] in ours or is_ours(row[0])))


def best_cells(table: Table, ours: Collection[str]) -> frozenset[tuple[int, int]]:
    """The best cell of each column, as (row, column), where rows are servers and the head says which way is better.

    Rows are servers when some are ours and some are not, each but once. A floor is no competitor. A column with a
    cell that is no figure has its best among the others; equal ones are all the best, unless all are equal.
    """
    mine = our_rows(table, ours)
    names = [row[0] for row in table.rows if row]
    if not mine or len(mine) == len(table.rows) or len(set(names)) != len(names):
        return frozenset()
    found: set[tuple[int, int]] = set()
    for column, head in enumerate(table.head[1:], start=1):
        if _INDIFFERENT.search(head) or not (_MORE.search(head) or _LESS.search(head)):
            continue
        figures = {
            at: float(figure[1].replace(",", ""))
            for at, row in enumerate(table.rows)
            if not is_floor(row[0]) and (figure := _FIGURE.match(row[column]))
        }
        if len(set(figures.values())) < 2:
            continue
        best = max(figures.values()) if _MORE.search(head) else min(figures.values())
        found |= {(at, column) for at, value in figures.items() if value == best}
    return frozenset(found)


def wordy(table: Table) -> frozenset[int]:
    """Columns of sentences, which may be broken into lines and begin on the left."""
    return frozenset(
        column
        for column in range(1, len(table.head))
        if any(len(row[column]) > _LONGEST_FIGURE for row in table.rows)
    )


def figures(plot: Plot) -> tuple[Table, int]:
    """A plot's data: every so manieth row of it, and the last."""
    if isinstance(plot, Bars):
        return _bars(plot), 1
    x_label = "share" if isinstance(plot, Distribution) else plot.x_label
    curves = plot.curves
    alike = all(list(curve.x) == list(curves[0].x) and len(curve.y) == len(curve.x) for curve in curves)
    if alike:
        columns = [[_place(x) for x in curves[0].x]] if curves else []
        columns += [[number(y) for y in curve.y] for curve in curves]
        rows = list(zip(*columns, strict=True))
        step = -(-len(rows) // ROWS) or 1
        return Table([x_label, *(curve.label for curve in curves)], _thinned(rows, step)), step
    step = -(-sum(len(curve.x) for curve in curves) // ROWS) or 1
    y_label = "ms" if isinstance(plot, Distribution) else plot.y_label
    return Table(
        ["curve", x_label, y_label], [row for curve in curves for row in _points(curve, step)]
    ), step


def _bars(plot: Bars) -> Table:
    rows = []
    for at, (label, value) in enumerate(zip(plot.labels, plot.values, strict=False)):
        edges = plot.spread[at] if at < len(plot.spread) else (value, value)
        rows.append([label, number(value), *(map(number, edges) if plot.spread else ())])
    return Table(["", plot.unit, *(("least", "most") if plot.spread else ())], rows)


def _points(curve: Curve, step: int) -> list[Sequence[str]]:
    rows = [(curve.label, _place(x), number(y)) for x, y in zip(curve.x, curve.y, strict=False)]
    return _thinned(rows, step)


def _thinned(rows: Sequence[Sequence[str]], step: int) -> list[Sequence[str]]:
    found = list(rows[::step])
    if rows and (len(rows) - 1) % step:
        found.append(rows[-1])
    return found


def _place(x: float) -> str:
    return f"{x:,.8g}"
