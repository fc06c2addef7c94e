"""Connections that say nothing: memory of each, whether that grows with their number, and what heartbeats cost."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from tidings.bench.kernel import check_descriptors
from tidings.bench.options import PEERS, Common, CountOrNone, Positive
from tidings.bench.processes import ChildFailed
from tidings.bench.report import Bars, Curve, Lines, Report, Table, microseconds
from tidings.bench.resting import How, Rest, Rested, mean_ping_interval
from tidings.bench.rivals import rivals
from tidings.bench.workbench import Workbench, expect
from tidings.server.config import Heartbeat

OURS = "tidings"

# Below it two figures are the same: the allocator takes memory in pieces of up to a MiB.
FLAT = 1.1

# What the documents that this server was built from plan a connection with, in KiB.
PLANNED = "2-4"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """What can be set."""

    clients: Annotated[
        tuple[int, ...],
        Parameter(help="Connections, for each measurement on a server of its own.", consume_multiple=True),
    ] = (1000, 5000, 15_000)
    join: Annotated[bool, Parameter(help="Let each join one room, beside what every connection has.")] = (
        False
    )
    ping_interval: Annotated[
        Positive,
        Parameter(help="The server's heartbeat.ping_interval: shorter than usual, to see more of them."),
    ] = 2.0
    cycles: Annotated[
        CountOrNone, Parameter(help="How many of these intervals are watched; 0 leaves heartbeats out.")
    ] = 4
    peers: Annotated[
        tuple[str, ...],
        Parameter(help="Servers to compare memory with, by name, or `all`.", consume_multiple=True),
    ] = ()
    peers_directory: Annotated[Path, Parameter(help="Where the peers' environments are.")] = PEERS
    flat: Annotated[
        float, Parameter(help="Memory of a connection: that of the most to that of the least, at most.")
    ] = FLAT


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    counts = sorted(set(options.clients))
    if not counts or counts[0] < 1:
        raise ChildFailed("clients: at least one connection")
    check_descriptors(counts[-1])
    report = Report(
        f"idle: {', '.join(f'{count:,}' for count in counts)} connections ({options.engine} engine"
        f"{', TLS' if options.tls else ''}), {'in one room' if options.join else 'joined to nothing'}; "
        f"heartbeats every {options.ping_interval:g} s"
    )
    subjects = _subjects(options, report)
    expect(len(subjects) * len(counts))
    rested: dict[str, list[Rested]] = {}
    for count in counts:
        for subject in subjects:
            rested.setdefault(subject.name, []).append(await subject.rest(bench, count))
    report.tables.append(_memory(subjects, rested))
    if options.cycles:
        report.tables.append(_heartbeats(rested[OURS], options))
    report.plots += _plots(subjects, rested)
    check_promises(report, rested[OURS], options)
    for subject in subjects:
        for found in rested[subject.name]:
            if subject.peer is not None and found.living < found.connections:
                report.warnings.append(
                    f"{subject.title}: {found.living:,} of {found.connections:,} lived on"
                )
    report.raw = {
        "options": {**asdict(options), "peers_directory": str(options.peers_directory)},
        "servers": msgspec.to_builtins(rested),
    }
    return report


def _subjects(options: Options, report: Report) -> list[Rest]:
    how = How(
        engine=options.engine,
        tls=options.tls,
        join=options.join,
        ping_interval=options.ping_interval,
        cycles=options.cycles,
    )
    subjects = [Rest(OURS, f"tidings, {options.engine}", None, how)]
    if options.peers:
        found = rivals(options.peers, options.peers_directory, report)
        if options.tls:
            report.warnings.append("the peers speak plain TCP: --tls is ours alone")
        subjects += [Rest(name, peer.title, peer, how) for name, peer in found.items()]
    return subjects


def check_promises(report: Report, rested: list[Rested], options: Options) -> None:
    """What is promised of ours."""
    for found in rested:
        report.check(
            f"{found.connections:,}: all lived to the end, without a problem",
            found.living == found.connections and not found.problems,
            f"{found.living:,}, {found.problems[:3] or 'no problems'}",
        )
        if options.cycles:
            report.check(
                f"{found.connections:,}: {options.cycles} heartbeats each",
                found.pings >= found.connections * options.cycles,
                f"{found.pings:,} pings in {found.watched:.1f} s",
            )
        report.check(
            f"{found.connections:,}: the server logged no fault",
            not found.faults,
            found.faults[:3] or "none",
        )
        report.check(
            f"{found.connections:,}: one descriptor each",
            found.descriptors == 1,
            f"{found.descriptors:g}",
        )
    if len(rested) > 1:
        sizes = [found.memory for found in rested]
        ratio = max(sizes) / max(min(sizes), 1e-9)
        report.check(
            f"memory of a connection is flat: within {options.flat:g} from "
            f"{rested[0].connections:,} to {rested[-1].connections:,}",
            min(sizes) > 0 and ratio <= options.flat,
            f"{ratio:.3f}: {', '.join(_kib(size) for size in sizes)} KiB",
        )


def _kib(size: float) -> str:
    return f"{size / 1024:.1f}"


def _memory(subjects: list[Rest], rested: dict[str, list[Rested]]) -> Table:
    return Table(
        ["idle connections", "number", "KiB each", "in all, MiB", "server empty, own MiB",
         "kernel's buffers, KiB each (both ends)", "tasks each", "descriptors each"],
        [
            *(
                [
                    subject.title,
                    f"{found.connections:,}",
                    _kib(found.memory),
                    f"{found.memory * found.connections / 2**20:.0f}",
                    f"{found.empty / 2**20:.0f}",
                    "" if found.buffers is None else _kib(found.buffers),
                    "" if found.tasks is None else f"{found.tasks:g}",
                    f"{found.descriptors:g}",
                ]
                for subject in subjects
                for found in rested[subject.name]
            ),
            ["note: the figure planned with before there was a server", "", PLANNED, "", "", "", "", ""],
        ],
    )  # fmt: skip


def _heartbeats(rested: list[Rested], options: Options) -> Table:
    # Computed with what a ping costs among the fewest: at the usual interval they are as far apart as there,
    # while thousands a second share their wakings of the server.
    default = Heartbeat().ping_interval
    return Table(
        ["heartbeats", "a second", "CPU µs each", f"of a core, every {options.ping_interval:g} s",
         f"every {default:g} s (default; computed)", "load's core"],
        [
            [
                f"{found.connections:,} connections",
                f"{found.pings / found.watched:,.0f}",
                microseconds(found.heartbeat),
                f"{found.heartbeat * found.pings / found.watched:.1%}",
                f"{rested[0].heartbeat * found.connections / mean_ping_interval(default):.1%}",
                f"{found.load_share:.0%}",
            ]
            for found in rested
        ],
    )  # fmt: skip


def _plots(subjects: list[Rest], rested: dict[str, list[Rested]]) -> list[Lines | Bars]:
    def curves(scale: float, *, total: bool) -> list[Curve]:
        return [
            Curve(
                subject.title,
                [found.connections for found in rested[subject.name]],
                [
                    found.memory * (found.connections if total else 1) / scale
                    for found in rested[subject.name]
                ],
            )
            for subject in subjects
        ]

    plots: list[Lines | Bars] = [
        Lines("Memory of a connection", "idle connections", "KiB each", curves(1024, total=False)),
        Lines("Memory of all connections", "idle connections", "MiB", curves(2**20, total=True)),
    ]
    if len(subjects) > 1:
        most = rested[OURS][-1].connections
        plots.append(
            Bars(
                f"Memory of a connection, with {most:,} of them",
                "KiB",
                [subject.title for subject in subjects],
                [rested[subject.name][-1].memory / 1024 for subject in subjects],
                ours=[subject.title for subject in subjects if subject.peer is None],
            )
        )
    return plots
