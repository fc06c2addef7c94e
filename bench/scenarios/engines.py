"""The WebSocket engines, and FastAPI, in turn: what a handshake, an idle connection and a message in cost."""

from collections.abc import Callable
from dataclasses import asdict

import msgspec

from tidings.bench.peers import fastapi
from tidings.bench.replies import FleetState
from tidings.bench.report import Report, Table, microseconds
from tidings.bench.subjects import Entry, Options, kib, take_turns
from tidings.bench.workbench import Workbench

NATIVE = "native"
REFERENCE = "reference"
FASTAPI = "fastapi"

# Above it the load is no longer sure to be the faster side.
BUSY = 0.8

__all__ = ["Options", "check_ratios", "run"]


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    report = Report(
        f"engines: {options.connections:,} handshakes with a token, {options.at_once} under way at once, each "
        f"until `connected`; messages of {options.payload} B, {options.batch} in a write; medians of "
        f"{options.runs} alternating runs, a new process each"
    )
    entries = [Entry(name, f"tidings, {name}") for name in options.engines]
    peer = fastapi(options.peers_directory)
    if peer is None:
        report.warnings.append(
            f"no FastAPI in {options.peers_directory}: the ratio to it is left out; "
            "`python -m tidings.bench peers --install` installs it (needs a package index)"
        )
    else:
        entries.append(Entry(FASTAPI, peer.title, peer))
    for entry in entries:
        entry.clients = await bench.clients(f"to-{entry.name}", "arrival")
    talkers = await bench.talkers()
    faults: list[str] = []
    for number in range(options.runs):
        await take_turns(entries, number, options, bench, talkers, faults)
    report.tables.extend(_tables(entries))
    check_ratios(report, {entry.name: entry for entry in entries}, options)
    for entry in entries:
        state = await entry.clients.ask(FleetState, "state")
        report.check(
            f"{entry.title}: its clients saw no problem",
            not state.problem_count,
            state.problems[:3] or "none",
        )
    report.check("the servers logged no fault", not faults, faults[:3] or "none")
    for entry in entries:
        if entry.median("load_share") > BUSY:
            report.warnings.append(
                f"the clients of {entry.title} used more than {BUSY:.0%} of their core: the server had to "
                "wait for them (its CPU time is not affected)"
            )
    report.raw = {
        "options": {**asdict(options), "peers_directory": str(options.peers_directory)},
        "servers": {entry.name: msgspec.to_builtins(entry.runs) for entry in entries},
    }
    return report


def _figure(value: float, show: Callable[[float], str]) -> str:
    return "" if value != value else show(value)  # noqa: PLR0124  nan


def _tables(entries: list[Entry]) -> list[Table]:
    return [
        Table(
            ["server", "handshake CPU µs", "range", "KiB/connection", "range", "message in CPU µs", "range"],
            [
                [
                    entry.title,
                    *_pair(entry, "handshake", microseconds),
                    *_pair(entry, "memory", kib),
                    *_pair(entry, "inbound", microseconds),
                ]
                for entry in entries
            ],
        ),
        Table(
            ["beside that", "handshakes/s", "close CPU µs", "tasks/connection", "`ping` command in, pong out µs",
             "heartbeat CPU µs", "load CPU"],
            [
                [
                    entry.title,
                    f"{entry.median('handshakes_per_second'):,.0f}",
                    microseconds(entry.median("close")),
                    _figure(entry.median("tasks"), lambda tasks: f"{tasks:.2f}"),
                    _figure(entry.median("dispatched"), microseconds),
                    _figure(entry.median("heartbeat"), microseconds),
                    f"{entry.median('load_share'):.0%}",
                ]
                for entry in entries
            ],
        ),
    ]  # fmt: skip


def _pair(entry: Entry, name: str, show: Callable[[float], str]) -> tuple[str, str]:
    return show(entry.median(name)), entry.spread(name, show)


def check_ratios(report: Report, entries: dict[str, Entry], options: Options) -> None:
    """What the native engine promises, beside whatever was measured with it."""
    native, reference = entries.get(NATIVE), entries.get(REFERENCE)
    if native is None:
        report.warnings.append("without the native engine there is nothing to compare")
        return
    if reference is not None:
        promised = "of the reference engine's"
        _check_ratio(
            report,
            f"CPU of a handshake {promised}",
            native,
            reference,
            "handshake",
            options.handshake_ratio,
        )
        _check_ratio(
            report,
            f"memory of an idle connection {promised}",
            native,
            reference,
            "memory",
            options.memory_ratio,
        )
        _check_ratio(
            report, f"CPU of a message in {promised}", native, reference, "inbound", options.inbound_ratio
        )
    if FASTAPI in entries:
        _check_ratio(
            report,
            "CPU of a handshake of FastAPI's",
            native,
            entries[FASTAPI],
            "handshake",
            options.handshake_ratio,
        )


def _check_ratio(report: Report, what: str, ours: Entry, other: Entry, name: str, most: float) -> None:
    """By the medians; the ratios of the runs that stood side by side tell how sure that is."""
    ratio = ours.median(name) / other.median(name)
    each = [
        getattr(mine, name) / getattr(theirs, name)
        for mine, theirs in zip(ours.runs, other.runs, strict=True)
    ]
    report.check(
        f"native: {what} at most {most:g}",
        ratio <= most,
        f"{ratio:.3f}, run by run {min(each):.3f}-{max(each):.3f}",
    )
