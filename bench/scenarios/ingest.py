"""Many publishers, few receivers: rooms of 50, 10 and 2 in which somebody says many things in one write."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.bench.contest import (
    OURS,
    ContestOptions,
    Entry,
    check_ledger,
    check_ratio,
    enter,
    named,
    raw_options,
    raw_runs,
    refuse_too_many,
    settings_of,
    take_turns,
    title_of,
    warn_of_busy,
)
from tidings.bench.fanout_report import ratio_to, run_range
from tidings.bench.processes import ChildFailed
from tidings.bench.quantiles import median
from tidings.bench.report import Bars, Report, Table, microseconds, milliseconds
from tidings.bench.workbench import Workbench, expect

WITH_IDS = f"{OURS}-ids"


class Shape(NamedTuple):
    """Rooms of one size, and what is said in them."""

    members: int
    burst: int
    """Messages that one member sends in one write."""
    best: tuple[str, ...] = ()
    """The peers that ours must not need more CPU than."""

    def __str__(self) -> str:
        return f"rooms of {self.members}, bursts of {self.burst}"


SHAPES = (Shape(50, 20, ("uwebsockets", "socketify")), Shape(10, 60), Shape(2, 200, ("picows",)))


@dataclass(frozen=True, kw_only=True)
class Options(ContestOptions):
    """What can be set."""

    clients: Annotated[
        int,
        Parameter(
            help="Clients, divided into rooms of 50, of 10 and of 2, in turn; in each one speaks.",
            validator=Number(gte=1),
        ),
    ] = 500
    deliveries: Annotated[
        int,
        Parameter(help="Deliveries in a run, about; at least one round.", validator=Number(gte=1)),
    ] = 200_000
    payload: Annotated[
        int, Parameter(help="Bytes of text in a message.", validator=Number(gte=1, lte=60_000))
    ] = 256
    peers: Annotated[
        tuple[str, ...],
        Parameter(
            help="Servers to compare with, in the same run: their names, `all` or `none`.",
            consume_multiple=True,
        ),
    ] = ("floor", "picows", "uwebsockets", "socketify")


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    refuse_too_many(options.clients)
    shapes = [shape for shape in SHAPES if options.clients >= shape.members]
    if not shapes or options.clients % max(shape.members for shape in shapes):
        raise ChildFailed("--clients must be a multiple of 50, or of 10 below that")
    report = Report(
        f"ingest: {options.clients:,} clients in rooms in each of which one says several messages of "
        f"{options.payload:,} B in one write, medians of {options.runs} alternating runs, seed {options.seed}"
    )
    report.warnings += [
        f"{shape}: left out, there are too few clients" for shape in SHAPES if shape not in shapes
    ]
    entries = await enter(options, bench, report)
    ours = entries[0]
    # The same once more, with clients who want an answer to every message. A process of its own, since both
    # have rooms of the same names.
    again = await bench.server(settings_of(options), WITH_IDS)
    entries.insert(
        1, Entry(WITH_IDS, f"{title_of(options)}, with ids", again, ours.profile, acknowledged=True)
    )
    expect(len(shapes) * len(entries) * (1 + options.runs))
    raw: dict[str, Any] = {}
    for shape in shapes:
        await _shape(shape, entries, options, bench, report)
        raw[str(shape)] = raw_runs(entries)
    faults = ours.server.errors() + again.errors()
    report.check("the server logged no fault", not faults, faults[:3] or "none")
    report.raw = {"options": raw_options(options), "shapes": raw}
    return report


async def _shape(
    shape: Shape, entries: Sequence[Entry], options: Options, bench: Workbench, report: Report
) -> None:
    """Measure one shape with clients of its own, and tell it."""
    going = [entry for entry in entries if not entry.failed]
    rooms = options.clients // shape.members
    for entry in going:
        entry.clients = await bench.clients(
            f"of-{entry.name}-{shape.members}",
            entry.profile,
            rooms=rooms,
            tls=options.tls and entry.profile == "tidings",
        )
        await entry.clients.connect(entry.server.ready.port, options.clients)
    rounds = max(1, round(options.deliveries / (options.clients * shape.burst)))
    await take_turns(
        going,
        report,
        options,
        f"rooms-of-{shape.members}",
        rounds=rounds,
        deliveries=options.clients * shape.burst,
        payload=options.payload,
        burst=shape.burst,
    )
    for entry in going:
        await check_ledger(entry, report, options.clients, f", {shape}")
        await entry.clients.child.end()
    _tell(shape, entries, report)


def _tell(shape: Shape, entries: Sequence[Entry], report: Report) -> None:
    ours = named(entries, OURS)
    report.tables.append(
        Table(
            [str(shape), "CPU µs/delivery", "range", "times ours", "CPU µs/message in", "deliveries/s",
             "completion ms", "load CPU"],
            [_row(entry, ours) for entry in entries],
        )
    )  # fmt: skip
    counted = [entry for entry in entries if entry.counts]
    report.plots.append(
        Bars(
            f"Server CPU for a delivery, {shape}",
            "µs",
            [entry.title for entry in counted],
            [entry.cpu * 1e6 for entry in counted],
            [(min(entry.per_delivery) * 1e6, max(entry.per_delivery) * 1e6) for entry in counted],
            [entry.title for entry in counted if entry.name in (OURS, WITH_IDS)],
        )
    )
    warn_of_busy(report, counted, f" in {shape}")
    for name in shape.best:
        best = named(entries, name)
        if best is not None and ours is not None:
            check_ratio(report, f"{shape}: at most {best.name}'s CPU per delivery", ours, best, 1.0)


def _row(entry: Entry, ours: Entry | None) -> list[str]:
    if not entry.counts:
        return [entry.title, "not counted", *[""] * 6]
    return [
        entry.title,
        microseconds(entry.cpu),
        run_range(entry.per_delivery),
        ratio_to(entry, ours),
        microseconds(median([run.server_cpu / run.messages for run in entry.runs])),
        f"{entry.figure('per_second'):,.0f}",
        milliseconds(entry.figure("completion")),
        f"{entry.figure('load'):.0%}",
    ]
