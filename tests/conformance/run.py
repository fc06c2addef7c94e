"""What `make conformance` runs: Autobahn's cases against `tidings echo`, with a table at the end."""
# ruff: noqa: T201  it is a program of the command line

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import trio
from cyclopts import App, Parameter

# Started as a file, with `tests` not on the path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from support.conformance import (
    ALLOWED,
    KINDS,
    PROTOCOL,
    SECTIONS,
    TITLES,
    CannotRun,
    Verdict,
    faults,
    objections,
    run_sections,
)
from support.process import running

from tidings.server.app import ENGINES

Section = Literal["1", "2", "3", "4", "5", "6", "7", "9", "10", "12", "13"]

# The reference engine has no compression, and its library's speed is not ours to prove.
_BY_DEFAULT: Final = {"native": tuple(SECTIONS), "reference": PROTOCOL}

_PROGRESS_SECONDS = 2.0

app = App(
    name="conformance",
    help="""Run the cases of the Autobahn TestSuite against Tidings' WebSocket engines.

    kosoku drives the suite's own case files, over TCP, against `tidings echo` in a process of its own.
    A case passes when its verdict, for the messages and for the closing handshake, is OK, NON-STRICT or
    INFORMATIONAL; so many cases must have run as the suite has; and the server must have logged no fault.
    Nothing is written but to the terminal.""",
    help_epilogue="""\
Sections: 1 framing, 2 pings and pongs, 3 reserved bits, 4 opcodes, 5 fragmentation, 6 UTF-8, 7 closing,
9 limits and speed, 10 auto-fragmentation, 12 and 13 compression. Exit code: 0 when everything passed, else 1.

In seconds: conformance/run.py --engine reference --section 7

In a quarter of an hour: conformance/run.py
""",
    version_flags=[],
    default_parameter=Parameter(negative=()),
)


class _Progress:
    """Tells how far it is, every few seconds, and every failure at once."""

    def __init__(self, subject: str, total: int) -> None:
        self._subject = subject
        self._total = total
        self._done = 0
        self._told = time.monotonic()

    def __call__(self, verdict: Verdict) -> None:
        """One more case has ended."""
        self._done += 1
        if verdict.kind not in ALLOWED:
            self._say(f"{verdict.kind} {verdict}")
        elif self._done == self._total or time.monotonic() - self._told >= _PROGRESS_SECONDS:
            self._say(f"{self._done} of {self._total} cases; the last one was {verdict.case}")

    def _say(self, what: str) -> None:
        self._told = time.monotonic()
        print(f"{self._subject}: {what}", file=sys.stderr, flush=True)


class _Outcome:
    """What became of one server under test."""

    def __init__(self, subject: str, sections: Sequence[str]) -> None:
        self.subject = subject
        self._expected = {section: SECTIONS[section] for section in sections}
        self._verdicts: list[Verdict] = []
        self._faults: list[str] = []

    async def run(self, address: str) -> None:
        """Run the sections against a server at an address."""
        told = _Progress(self.subject, sum(self._expected.values()))
        try:
            self._verdicts = await run_sections(address, self._expected, told=told)
        except CannotRun as error:
            self._faults.append(f"kosoku broke down: {error}")

    async def run_engine(self, engine: str) -> None:
        """Run them against `tidings echo`."""
        with tempfile.TemporaryDirectory() as folder:
            arguments = ("echo", "--port", "0", "--engine", engine)
            async with running(*arguments, folder=Path(folder)) as server:
                await self.run(f"ws://127.0.0.1:{server.port}/")
                self._faults += [f"the server logged {line}" for line in faults(server.log)]

    @property
    def objections(self) -> list[str]:
        """What was wrong."""
        return objections(self._verdicts, self._expected) + self._faults

    def rows(self) -> list[list[str]]:
        """The table's lines, one a section."""
        rows = []
        for section, expected in self._expected.items():
            of_section = [verdict for verdict in self._verdicts if verdict.section == section]
            kinds = Counter(verdict.kind for verdict in of_section)
            seconds = sum(verdict.seconds for verdict in of_section)
            rows.append([
                self.subject, section, TITLES[section], f"{len(of_section)}/{expected}",
                *(str(kinds[kind] or "-") for kind in KINDS), f"{seconds:.1f}",
            ])  # fmt: skip
        return rows


@app.default
def main(
    *,
    engine: Annotated[
        list[str] | None,
        Parameter(help="Engine to test; may be repeated. All, unless named.", show_default=False),
    ] = None,
    section: Annotated[
        list[Section] | None,
        Parameter(
            help="Section to run; may be repeated. Unless named: all on native, 1 to 7 and 10 on reference.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        Parameter(help="Another server that echoes, instead of ours, as ws://127.0.0.1:9001/."),
    ] = None,
) -> None:
    """Run the cases and print the table."""
    engines = sorted(ENGINES) if engine is None else engine
    unknown = sorted({*engines} - {*ENGINES})
    if unknown:
        print(
            f"conformance: no engine {unknown[0]!r}; there are: {', '.join(sorted(ENGINES))}",
            file=sys.stderr,
        )
        raise SystemExit(2)

    async def run() -> list[_Outcome]:
        if url is not None:
            outcomes = [_Outcome(url, section or tuple(SECTIONS))]
            await outcomes[0].run(url)
            return outcomes
        # One after the other: the cases of section 9 are about speed.
        outcomes = [_Outcome(name, section or _BY_DEFAULT.get(name, PROTOCOL)) for name in engines]
        for outcome in outcomes:
            await outcome.run_engine(outcome.subject)
        return outcomes

    began = time.monotonic()
    try:
        outcomes = trio.run(run)
    except* KeyboardInterrupt:
        print("conformance: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(_report(outcomes, time.monotonic() - began))


def _report(outcomes: Sequence[_Outcome], seconds: float) -> int:
    """Print what was found; the exit code."""
    head = ["engine", "section", "", "cases", *KINDS, "case seconds"]
    rows = [head, *(row for outcome in outcomes for row in outcome.rows())]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        words, numbers = row[:3], row[3:]
        cells = [cell.ljust(width) for cell, width in zip(words, widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(numbers, widths[3:], strict=True)]
        print("  ".join(cells))
    wrong = [f"{outcome.subject}: {objection}" for outcome in outcomes for objection in outcome.objections]
    print(*wrong, f"{len(wrong)} objections in {seconds:.0f} s", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    app(sys.argv[1:])
