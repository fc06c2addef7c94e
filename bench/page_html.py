"""The report as one HTML page that asks nobody for anything: no script, no font, no picture from elsewhere."""

from collections.abc import Collection, Mapping, Sequence
from html import escape

from tidings.bench import drawing, drawing_svg
from tidings.bench import page_words as words
from tidings.bench.drawing_colours import Look, is_floor, looks
from tidings.bench.page_style import POLICY, STYLE
from tidings.bench.page_tables import best_cells, figures, our_rows, wordy
from tidings.bench.report import Bars, Curve, Plot, Report, Table

_OURS = ' class="ours"'
_WORDS = ' class="words"'


def page(report: Report, about: Mapping[str, str]) -> str:
    """All of it."""
    name, rest = words.headline(report)
    ours = {label for plot in report.plots if isinstance(plot, Bars) for label in plot.ours}
    styles = looks(report.plots, ours)
    sections = [
        _section("Figures", _tables(report.tables, ours)),
        _section("Plots", "".join(_figure(at, plot, styles) for at, plot in enumerate(report.plots))),
        _section("Promises", _promises(report)),
        _section("Warnings", _warnings(report)),
        _section("How it was run", _circumstances(report, about)),
        _section("How to read it", _reading(report)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_text(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(name)} – Tidings benchmark</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header>\n<p class="kicker">Tidings benchmark</p>\n<h1>{_text(name)}</h1>\n'
        + (f'<p class="lead">{_text(rest[0].upper() + rest[1:])}</p>\n' if rest else "")
        + _verdict(report)
        + "</header>\n"
        + "".join(sections)
        + "</main>\n</body>\n</html>\n"
    )


def _text(value: str) -> str:
    return escape(words.plain(value))


def _section(title: str, content: str) -> str:
    name = title.lower().replace(" ", "-")
    if not content:
        return ""
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{content}</section>\n'


def _verdict(report: Report) -> str:
    broken = [check for check in report.checks if not check.kept]
    kind = " broken" if broken else "" if report.checks else " none"
    parts = [f"<strong>{words.verdict(report)}</strong>"]
    if broken:
        parts.append(
            "Broken: "
            + "; ".join(f"{_text(check.promise)} (found: {_text(check.found)})" for check in broken)
            + "."
        )
    if report.warnings:
        count = len(report.warnings)
        parts.append(f'<a href="#warnings">{count} warning{"s"[: count - 1]}</a> below.')
    return f'<p class="verdict{kind}">{" ".join(parts)}</p>\n'


def _tables(tables: Sequence[Table], ours: Collection[str]) -> str:
    found = []
    has_best = has_ours = has_floor = False
    for at, table in enumerate(tables):
        best, mine = best_cells(table, ours), our_rows(table, ours)
        mine = mine if len(mine) < len(table.rows) else frozenset()
        has_best, has_ours = has_best or bool(best), has_ours or bool(mine)
        has_floor = has_floor or any(is_floor(row[0]) for row in table.rows if row)
        found.append(_table(table, f"Table {at + 1}: {table.head[0]}", mine, best))
    legend = []
    if has_ours:
        legend.append("Shaded: ours.")
    if has_best:
        legend.append("Underlined: the best of a column" + (", floors apart." if has_floor else "."))
    return "".join(found) + (f'<p class="legend">{" ".join(legend)}</p>\n' if legend else "")


def _table(
    table: Table,
    name: str,
    mine: Collection[int] = frozenset(),
    best: Collection[tuple[int, int]] = frozenset(),
) -> str:
    prose = wordy(table)
    head = "".join(
        f'<th scope="col"{_WORDS * (column in prose)}>{_text(cell)}</th>'
        for column, cell in enumerate(table.head)
    )
    rows = []
    for at, row in enumerate(table.rows):
        cells = [f'<th scope="row">{_text(row[0])}</th>']
        for column, cell in enumerate(row[1:], start=1):
            content = _text(cell)
            if (at, column) in best:
                content = f'<b class="best">{content}<span class="hidden"> (best)</span></b>'
            cells.append(f"<td{_WORDS * (column in prose)}>{content}</td>")
        rows.append(f"<tr{_OURS * (at in mine)}>{''.join(cells)}</tr>")
    # The region can be scrolled by keyboard, so it is one that can be reached and has a name.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(name)}">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>\n</div>\n"
    )


def _figure(at: int, plot: Plot, styles: Mapping[str, Look]) -> str:
    parts = [f'<figure>\n<h3 id="plot-{at}">{_text(plot.title)}</h3>\n']
    remarks: Sequence[str] = ["There was nothing to draw."]
    if not drawing.is_empty(plot):
        for kind, width in (("wide", drawing.WIDE), ("narrow", drawing.NARROW)):
            drawn = drawing.draw(plot, styles, f"p{at}{kind[0]}-", width=width)
            drawn.svg.set("class", kind)
            parts.append(drawing_svg.text(drawn.svg) + "\n")
            remarks = drawn.remarks
        if not isinstance(plot, Bars):
            parts.append(_keys(plot.curves, styles))
    if remarks:
        parts.append(f"<figcaption>{_text(' '.join(remarks))}</figcaption>\n")
    parts.append(_data(plot))
    return "".join([*parts, "</figure>\n"])


def _keys(curves: Sequence[Curve], styles: Mapping[str, Look]) -> str:
    """Which curve is whose, where there is no room for names beside the curves."""
    items = []
    for curve in curves:
        look = styles[curve.label]
        line = drawing_svg.key(look)
        items.append(f"<li{_OURS * look.ours}>{line}{_text(curve.label)}</li>")
    return f'<ul class="keys">{"".join(items)}</ul>\n'


def _data(plot: Plot) -> str:
    table, step = figures(plot)
    if not table.rows:
        return ""
    thinned = f", one row in {step}" if step > 1 else ""
    return (
        f"<details>\n<summary>The figures of this plot{thinned}</summary>\n"
        + _table(table, f"Figures of: {plot.title}")
        + "</details>\n"
    )


def _promises(report: Report) -> str:
    items = [
        f'<li class="{"kept" if check.kept else "broken"}"><span class="mark">{"ok" if check.kept else "BROKEN"}'
        f'</span><span>{_text(check.promise)}</span> <span class="found">{_text(check.found)}</span></li>\n'
        for check in report.checks
    ]
    return f'<ul class="promises">\n{"".join(items)}</ul>\n' if items else ""


def _warnings(report: Report) -> str:
    items = [f"<li>{_text(warning)}</li>\n" for warning in report.warnings]
    return f'<ul class="warnings">\n{"".join(items)}</ul>\n' if items else ""


def _circumstances(report: Report, about: Mapping[str, str]) -> str:
    command = about.get(words.COMMAND)
    parts = [f"<pre><code>{_text(command)}</code></pre>\n"] if command else []
    parts.append(_pairs(words.facts(report, about)))
    options = words.options(report)
    if options:
        parts.append(
            f"<details>\n<summary>All options, defaults too</summary>\n{_pairs(options)}</details>\n"
        )
    return "".join(parts)


def _pairs(pairs: Mapping[str, str]) -> str:
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>\n" for name, value in pairs.items())
    return f"<dl>\n{items}</dl>\n"


def _reading(report: Report) -> str:
    items = "".join(f"<li>{_text(sentence)}</li>\n" for sentence in words.reading(report))
    return f'<div class="reading"><ul>\n{items}</ul></div>\n'
