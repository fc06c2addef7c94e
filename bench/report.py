"""What a scenario found: tables for people, checks for the exit status, raw figures for later."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows under a head; all columns but the first are figures, and stand right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        """Markdown, aligned, so that it can be pasted and read as it is."""
        widths = [max(len(row[at]) for row in (self.head, *self.rows)) for at in range(len(self.head))]
        rule = [
            ("-" if at == 0 else "") + "-" * (width - 1) + (":" if at else "")
            for at, width in enumerate(widths)
        ]
        lines = [self._line(self.head, widths), f"| {' | '.join(rule)} |"]
        return "\n".join([*lines, *(self._line(row, widths) for row in self.rows)])

    @staticmethod
    def _line(row: Sequence[str], widths: Sequence[int]) -> str:
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Curve:
    """One line of a plot."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Lines:
    """Curves over a common axis, as completion against the number of clients."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    log_x: bool = False
    log_y: bool = False
    marks: Sequence[tuple[float, str]] = ()
    """Moments (or other places on the x axis) to mark, each with its word."""


@dataclass(frozen=True)
class Distribution:
    """Latencies by percentile: each curve's x are shares from 0 to below 1, its y milliseconds."""

    title: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Bars:
    """One figure of several things, in the order given; less is better unless `more_is_better`."""

    title: str
    unit: str
    labels: Sequence[str]
    values: Sequence[float]
    spread: Sequence[tuple[float, float]] = ()
    """The least and the most of each, run by run."""
    ours: Sequence[str] = ()
    """Labels to be shown as ours."""
    more_is_better: bool = False


Plot = Lines | Distribution | Bars


@dataclass(frozen=True)
class Check:
    """A promise, and whether it was kept."""

    promise: str
    kept: bool
    found: str


@dataclass
class Report:
    """The outcome of one scenario."""

    title: str
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    """With what it was found, beside the machine: versions of others."""

    def check(self, promise: str, kept: bool, found: object) -> None:
        """Note whether a promise was kept."""
        self.checks.append(Check(promise, kept, str(found)))

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return all(check.kept for check in self.checks)

    def __str__(self) -> str:
        """For a terminal or a README."""
        parts = [f"## {self.title}", *(str(table) for table in self.tables)]
        if self.checks:
            parts.append(
                "\n".join(
                    f"{'  ok  ' if check.kept else 'BROKEN'}  {check.promise}: {check.found}"
                    for check in self.checks
                )
            )
        parts += [f"warning: {warning}" for warning in self.warnings]
        return "\n\n".join(parts) + "\n"


def milliseconds(seconds: float) -> str:
    """As `7.31`."""
    return f"{seconds * 1e3:.2f}"


def microseconds(seconds: float) -> str:
    """As `3.98`."""
    return f"{seconds * 1e6:.2f}"
