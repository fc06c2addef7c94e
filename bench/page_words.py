"""The sentences of a report: its title in two parts, its verdict, how to repeat it, how to read it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tidings.bench.report import Bars, Distribution, Lines, Report

# What the page shows in a place of its own, not among the machine's figures.
COMMAND = "command"

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def headline(report: Report) -> tuple[str, str]:
    """The scenario's name, and what it was about."""
    name, _, rest = report.title.partition(": ")
    return (name, rest) if rest and len(name) < 40 else (report.title, "")


def verdict(report: Report) -> str:
    """How many promises were kept."""
    broken = sum(not check.kept for check in report.checks)
    count = len(report.checks)
    if not count:
        return "This scenario only measures: it makes no promise."
    if not broken:
        return "The one promise was kept." if count == 1 else f"All {count} promises were kept."
    return f"{count - broken} of {count} promises {'was' if count - broken == 1 else 'were'} kept."


def options(report: Report) -> dict[str, str]:
    """Everything that was set, defaults too, so that the run can be repeated."""
    found: Any = report.raw.get("options")
    if not isinstance(found, Mapping):
        return {}
    return {str(name): _value(value) for name, value in found.items()}


def seed(report: Report, about: Mapping[str, str]) -> str:
    """Of what was drawn by chance."""
    return about.get("seed") or options(report).get("seed") or "none: nothing is drawn by chance"


def facts(report: Report, about: Mapping[str, str]) -> dict[str, str]:
    """Machine, versions and circumstances, without the command."""
    return {name: value for name, value in about.items() if name not in {COMMAND, "seed"}} | {
        "seed": seed(report, about)
    }


def reading(report: Report) -> list[str]:
    """How to read what this report has."""
    found = ["Compare the figures of this page with each other, not with those of another machine or day."]
    if report.tables:
        found.append(
            "CPU time is the server process's own, its share of the kernel's work included. Latency is what "
            "clients on the same machine saw, their own queue included."
        )
    if any(isinstance(plot, Distribution) for plot in report.plots):
        found.append(
            "In a distribution a curve at 99 % and 20 ms says: 99 of 100 took at most 20 ms. Each mark further "
            "right leaves a tenth of the rest; the right end rests on few samples."
        )
    if any(isinstance(plot, Lines) and plot.marks for plot in report.plots):
        found.append("Dashed vertical lines mark when something was done, or began and ended.")
    if any(isinstance(plot, Bars) and plot.spread for plot in report.plots):
        found.append("A figure whose spread reaches into that of another is not reliably better or worse.")
    if report.checks:
        found.append(
            "Promises were written down before the run; the command exits with 1 when one of them is broken."
        )
    return found


def plain(words: str) -> str:
    """Without what no text, and no XML, should hold."""
    return _UNPRINTABLE.sub(" ", words)


def one_line(words: str) -> str:
    """Without line breaks either."""
    return " ".join(plain(words).split())


def _value(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case Sequence():
            return ", ".join(map(_value, value)) or "none"
        case _:
            return str(value)
