"""The report for people: one self-contained page with plots, the same as Markdown, and a picture for a README.

matplotlib, which draws, is an extra: it is loaded here when a page is asked for, and nowhere else.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from tidings.bench.drawing_colours import ROLES, dark_rules, looks
from tidings.bench.page_markdown import markdown
from tidings.bench.report import Plot, Report

_CURE = "plots need matplotlib: pip install 'tidings[bench]'"

# The width of a README's text on GitHub.
_PICTURE_WIDTH = 830


class CannotDraw(Exception):
    """What draws the plots is not installed."""


def check() -> None:
    """Raises CannotDraw, with the cure, where no page can be written: before a long run, not after it."""
    try:
        import_module("matplotlib.figure")
    except ImportError as error:
        raise CannotDraw(f"{_CURE} ({error})") from None


def write(directory: Path, report: Report, about: Mapping[str, str]) -> Path:
    """Write `report.html` and `report.md` into a directory that exists; returns the page's path.

    Raises CannotDraw, after writing `report.md`, which needs nobody's help, and OSError.
    """
    _save(directory / "report.md", markdown(report, about))
    check()
    from tidings.bench.page_html import page  # noqa: PLC0415  matplotlib is an extra

    path = directory / "report.html"
    _save(path, page(report, about))
    return path


def picture(plot: Plot, path: Path) -> None:
    """Write one plot as an SVG file for a README: right on light and on dark pages, by itself.

    It has a background of its own: where a viewer's idea of dark and the page's differ, text keeps its contrast.
    Raises CannotDraw, ValueError when the plot has nothing to draw, and OSError.
    """
    check()
    from tidings.bench import drawing, drawing_svg  # noqa: PLC0415  matplotlib is an extra

    if drawing.is_empty(plot):
        raise ValueError(f"nothing to draw in the plot {plot.title!r}")
    drawn = drawing.draw(plot, looks([plot]), "", width=_PICTURE_WIDTH, titled=True)
    drawing_svg.frame(drawn.svg, 20, ROLES["paper"], drawing.caption(drawn, _PICTURE_WIDTH))
    rules = (
        'text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}'
        f"@media (prefers-color-scheme:dark){{{dark_rules()}}}"
    )
    _save(path, drawing_svg.standalone(drawn.svg, rules))


def _save(path: Path, content: str) -> None:
    # A command line may hold bytes that are no text.
    path.write_text(content, encoding="utf-8", errors="backslashreplace")
