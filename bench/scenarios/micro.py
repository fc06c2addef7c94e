"""The parts of the server one by one, without sockets: encode, frame, unmask, offer, publish, and more."""

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.bench.micro.results import Case, Collected, Over, Ran, Sizes, Word
from tidings.bench.observe import machine
from tidings.bench.processes import Child, ChildFailed
from tidings.bench.report import Bars, Report, Table
from tidings.bench.workbench import Workbench, expect, progress

# pytest's: one that found what it looked for, and one in which some case was not what it should be.
_USUAL_STATUSES = (0, 1)
_NOTHING_SELECTED = 5

# The way of a message through the server; a group that is not here comes behind.
_ORDER = ("frames", "parser", "deflate", "decode", "encode", "outbox", "hub", "edge")

_decode_word = msgspec.json.Decoder(Word).decode


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set."""

    payload: Annotated[
        int, Parameter(help="Bytes of text in a publication.", validator=Number(gte=1, lte=60_000))
    ] = 256
    subscribers: Annotated[int, Parameter(help="Members of the hub's room.", validator=Number(gte=1))] = (
        10_000
    )
    seconds: Annotated[
        float, Parameter(help="How long each part is timed, about.", validator=Number(gt=0, lte=60))
    ] = 1.0
    rounds: Annotated[int, Parameter(help="Rounds of each part, at least.", validator=Number(gte=2))] = 5
    select: Annotated[
        str, Parameter(help="Only parts whose names fit, as `hub or outbox`: pytest's -k.")
    ] = ""
    compare: Annotated[
        Path | None, Parameter(help="Results of an earlier run (--json): each median is compared with its.")
    ] = None
    seed: Annotated[int, Parameter(help="Of the text of the messages.")] = 1


class _Earlier(msgspec.Struct):
    """What is used of the results of an earlier run."""

    scenario: str = ""
    sizes: Sizes = Sizes()
    cases: list[Case] = []
    machine: dict[str, str] = {}


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed: where pytest-benchmark is missing, or nothing is selected, or it dies."""
    for module in ("pytest", "pytest_benchmark"):
        if importlib.util.find_spec(module) is None:
            raise ChildFailed("micro needs pytest-benchmark: pip install 'tidings[bench]'")
    earlier = None if options.compare is None else _read_earlier(options.compare)
    sizes = Sizes(
        payload=options.payload,
        subscribers=options.subscribers,
        seed=options.seed,
        seconds=options.seconds,
        rounds=options.rounds,
    )
    with tempfile.TemporaryDirectory(prefix="tidings-micro-") as directory:
        file = Path(directory) / "results.json"
        child = await bench.timing(file, msgspec.json.encode(sizes).decode(), options.select)
        ran, status = await _watch(child)
        await child.end()
        if status not in _USUAL_STATUSES:
            raise ChildFailed(_why_not(child, status, options.select))
        # Where nothing passed there is no file.
        cases = read_cases(file.read_bytes()) if file.exists() else []
    return make_report(options, sizes, ran, cases, earlier)


async def _watch(child: Child) -> tuple[list[Ran], int]:
    """What became of each case, and pytest's exit status."""
    ran: list[Ran] = []
    while True:
        match _decode_word(await child.line()):
            case Collected(cases):
                expect(cases)
            case Ran() as case:
                ran.append(case)
                progress(
                    f"{len(ran)}: {case.name} {'' if case.outcome == 'passed' else case.outcome}".rstrip()
                )
            case Over(status):
                return ran, status


def _why_not(child: Child, status: int, select: str) -> str:
    if status == _NOTHING_SELECTED:
        return f"micro: no part is called {select!r}"
    said = child.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n  ".join([f"micro: pytest ended with {status}:", *said[-5:]])


def _read_earlier(file: Path) -> _Earlier:
    """Raises ChildFailed for what is not this scenario's, OSError for what cannot be read."""
    try:
        earlier = msgspec.json.decode(file.read_bytes(), type=_Earlier)
    except msgspec.MsgspecError as error:
        raise ChildFailed(f"{file}: not results of `bench micro --json`: {error}") from None
    if earlier.scenario != "micro":
        raise ChildFailed(f"{file}: not results of `bench micro --json`")
    return earlier


def read_cases(results: bytes) -> list[Case]:
    """The cases in what pytest-benchmark writes, in the order in which they ran."""
    cases = []
    for found in msgspec.json.decode(results)["benchmarks"]:
        stats, told = found["stats"], found["extra_info"]
        figures = {name: stats[name] for name in ("min", "median", "q1", "q3", "rounds", "iterations")}
        cases.append(
            Case(
                name=found["fullname"].rpartition("/")[2],
                group=found["group"],
                title=told["title"],
                each=told["each"],
                per=told["per"],
                **figures,
            )
        )
    return cases


def make_report(
    options: Options, sizes: Sizes, ran: list[Ran], cases: list[Case], earlier: _Earlier | None
) -> Report:
    """Put it together: what became of each case, the figures of those that passed, and what was earlier."""
    report = Report(
        f"micro: the parts one by one, CPU time, no sockets; text of {sizes.payload:,} B, "
        f"a room of {sizes.subscribers:,}"
    )
    before = {case.name: case for case in earlier.cases} if earlier is not None else None
    groups = dict.fromkeys(case.group for case in cases)
    for group in sorted(groups, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)):
        members = [case for case in cases if case.group == group]
        report.tables.append(table(group, members, before))
        report.plots.append(_bars(group, members))
    failed = [f"{case.name}: {case.why}" for case in ran if case.outcome == "failed"]
    report.check(
        "every part did what it should before it was timed",
        not failed and len(cases) > 0,
        "; ".join(failed[:5]) or f"{len(cases)} parts",
    )
    lost = {case.name for case in ran if case.outcome == "passed"} ^ {case.name for case in cases}
    report.check("every part that ran has its figures", not lost, sorted(lost) or "all")
    report.warnings += sorted({f"left out: {case.why}" for case in ran if case.outcome == "skipped"})
    if earlier is not None:
        report.warnings += _differences(options, sizes, earlier, cases)
    shown: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()
    }
    report.raw = {
        "scenario": "micro",
        "options": shown,
        "sizes": msgspec.to_builtins(sizes),
        "cases": msgspec.to_builtins(cases),
    }
    return report


def table(group: str, cases: list[Case], before: dict[str, Case] | None) -> Table:
    """One group. With earlier cases, by name, each median is put beside its earlier one."""
    head = [group, "min µs", "median µs", "IQR µs", "a second", "each"]
    rows = []
    for case in cases:
        each = f"{_three_figures(case.median / case.per * 1e9)} ns/{case.each}" if case.each else ""
        row = [
            case.title,
            _figure(case.min),
            _figure(case.median),
            _figure(case.q3 - case.q1),
            f"{1 / case.median:,.0f}",
            each,
        ]
        if before is not None:
            row += _compared(case, before.get(case.name))
        rows.append(row)
    return Table([*head, "was µs", "now/was"] if before is not None else head, rows)


def _compared(case: Case, was: Case | None) -> list[str]:
    """Nothing where it was not there, or not the same."""
    if was is None or was.title != case.title:
        return ["", ""]
    return [_figure(was.median), f"{case.median / was.median:.2f}"]


def _figure(seconds: float) -> str:
    """Microseconds, as `0.057` or `3,041.2`."""
    value = seconds * 1e6
    return f"{value:,.1f}" if value >= 100 else f"{value:,.3f}"


def _three_figures(value: float) -> str:
    """As `0.0378`, `3.13` or `4,790`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bars(group: str, cases: list[Case]) -> Bars:
    return Bars(
        f"{group}: CPU time of a call, median, from quartile to quartile",
        "µs",
        [case.title for case in cases],
        [case.median * 1e6 for case in cases],
        [(case.q1 * 1e6, case.q3 * 1e6) for case in cases],
    )


def _differences(options: Options, sizes: Sizes, earlier: _Earlier, cases: list[Case]) -> list[str]:
    """What makes the comparison less than one."""
    warnings = []
    was = earlier.sizes
    if (was.payload, was.subscribers, was.seed) != (sizes.payload, sizes.subscribers, sizes.seed):
        warnings.append("the earlier run had other sizes: parts whose titles differ are not compared")
    here = machine()
    warnings += [
        f"the earlier run was with another {name}: {earlier.machine[name]}"
        for name in ("processor", "python")
        if earlier.machine.get(name, here[name]) != here[name]
    ]
    gone = {case.name for case in earlier.cases} - {case.name for case in cases}
    if gone and not options.select:
        warnings.append(f"in the earlier run only: {', '.join(sorted(gone))}")
    return warnings
