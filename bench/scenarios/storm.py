"""All connections are dropped at once and all return at once: handshakes a second, and a room that feels it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from tidings.bench.kernel import check_descriptors
from tidings.bench.options import PEERS, Common, Count, CountOrNone, Positive
from tidings.bench.quantiles import CURVE_SHARES, median
from tidings.bench.report import Bars, Curve, Distribution, Lines, Report, Table, microseconds, milliseconds
from tidings.bench.rivals import rivals
from tidings.bench.storming import BEFORE, DROP, PHASES, SHARES, STORM, Storm, Weather
from tidings.bench.workbench import Workbench, expect

OURS = "tidings"
BUSY = 0.8

NO_TOKENS = (
    "the peers check no token, and the 101 is all of their way in; ours verify one, register and join"
)


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """What can be set."""

    clients: Annotated[Count, Parameter(help="The crowd: who is dropped and returns.")] = 5000
    rounds: Annotated[Count, Parameter(help="Drops and returns; figures are medians over them.")] = 5
    drop: Annotated[
        Literal["close", "reset"],
        Parameter(help="How each socket of the crowd ends: close(2), which sends FIN, or with RST."),
    ] = "close"
    at_once: Annotated[
        CountOrNone, Parameter(help="Connects of the returning that may be under way at once; 0: all.")
    ] = 0
    room: Annotated[CountOrNone, Parameter(help="Clients in the room that is not dropped; 0: no room.")] = (
        200
    )
    rate: Annotated[Positive, Parameter(help="Publications a second in it.")] = 20.0
    payload: Annotated[CountOrNone, Parameter(help="Bytes of text in a publication.")] = 256
    seconds: Annotated[
        Positive, Parameter(help="How long the room is watched before each drop, and after each return.")
    ] = 2.0
    peers: Annotated[
        tuple[str, ...],
        Parameter(help="Servers to compare with, by name, or `all`.", consume_multiple=True),
    ] = ()
    peers_directory: Annotated[Path, Parameter(help="Where the peers' environments are.")] = PEERS
    most_p99: Annotated[
        float, Parameter(help="p99 of the room during the drop, and during the return, in ms, at most.")
    ] = 500.0


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    check_descriptors(options.clients + options.room)
    at_once = options.at_once or options.clients
    encrypted = ", TLS" if options.tls else ""
    report = Report(
        f"storm: {options.clients:,} connections ({options.engine} engine{encrypted}) dropped at once "
        f"({options.drop}), then back, {at_once:,} connects under way at once, beside a room of {options.room} "
        f"under {options.rate:g} publications/s; medians of {options.rounds} rounds"
    )
    storms = _storms(options, report)
    weather = Weather(
        engine=options.engine,
        tls=options.tls,
        seed=options.seed,
        clients=options.clients,
        room=options.room,
        rate=options.rate,
        payload=options.payload,
        seconds=options.seconds,
        at_once=at_once,
        reset=options.drop == "reset",
    )
    expect(len(storms) * options.rounds)
    for storm in storms:
        await storm.start(bench, weather)
    blown_out: set[str] = set()
    for number in range(options.rounds):
        for storm in storms if number % 2 else storms[::-1]:
            if storm.name not in blown_out and not await storm.round(number):
                blown_out.add(storm.name)  # what it holds is no longer what the next round begins with
    for storm in storms:
        await storm.end()
    report.tables += [_returns(storms), _drops(storms)]
    if storms[0].has_room:
        report.tables.append(_latencies(storms[0]))
    report.tables.append(_held(storms[0]))
    report.plots += _plots(storms)
    check_promises(report, storms, options)
    _warn(report, storms)
    report.raw = {
        "options": {**asdict(options), "peers_directory": str(options.peers_directory)},
        "servers": {
            storm.name: {
                "rounds": msgspec.to_builtins(storm.rounds),
                "latency": msgspec.to_builtins(storm.latency),
                "room": msgspec.to_builtins(storm.room_state),
                "held": msgspec.to_builtins(storm.held),
            }
            for storm in storms
        },
    }
    return report


def _storms(options: Options, report: Report) -> list[Storm]:
    """Ours first; with peers, which have no room beside, ours without one too."""
    storms = [Storm(OURS, f"tidings, {options.engine}", has_room=options.room > 0)]
    if options.peers:
        found = rivals(options.peers, options.peers_directory, report)
        report.warnings.append(NO_TOKENS)
        if options.tls:
            report.warnings.append("the peers speak plain TCP: --tls is ours alone")
        storms.append(Storm(f"{OURS}-alone", f"tidings, {options.engine}, no room beside"))
        storms += [Storm(name, peer.title, peer) for name, peer in found.items()]
    return storms


def check_promises(report: Report, storms: list[Storm], options: Options) -> None:
    """What is promised of ours; of a peer nothing is, and what it fails at stands in its row."""
    for storm in storms:
        if storm.peer is not None:
            continue
        of = "" if len(storms) == 1 else f"{storm.title}: "
        returned = sum(found.returned for found in storm.rounds)
        report.check(
            f"{of}everybody returned, in every round, without an error",
            returned == options.rounds * options.clients and not storm.errors,
            f"{returned:,} of {options.rounds * options.clients:,}, {storm.errors or 'no errors'}",
        )
        leftovers = [found.leftover for found in storm.rounds if found.leftover]
        gone = [found.gone for found in storm.rounds]
        held = storm.held
        leftovers.append(held["after the last round"].difference(held["the room alone"]))
        report.check(
            f"{of}hub, tasks, descriptors and objects are what they were, after every drop and every return",
            not any(leftovers) and None not in gone,
            next(filter(None, leftovers), "equal" if None not in gone else "descriptors stayed"),
        )
        crowd = storm.crowd_state
        report.check(
            f"{of}the crowd saw no problem, and heard nothing of the room",
            crowd is not None and not crowd.problem_count and not crowd.received,
            "nothing"
            if crowd is None
            else f"{crowd.received} heard, {crowd.problems[:3] or 'no problems'}",
        )
        report.check(f"{of}the server logged no fault", not storm.faults, storm.faults[:3] or "none")
        if storm.has_room:
            _check_room(report, storm, options)


def _check_room(report: Report, storm: Storm, options: Options) -> None:
    state = storm.room_state
    report.check(
        "the room has every publication, once, in order, and lost nobody",
        state is not None
        and state.joined == options.room
        and state.lowest == state.highest == state.published > 0
        and not (state.missing or state.repeated or state.problem_count),
        "nobody"
        if state is None
        else f"{state.joined} clients at offset {state.lowest}-{state.highest} of {state.published}, "
        f"{state.problem_count} problems {state.problems[:3] or ''}",
    )
    for phase, what in ((DROP, "are dropped"), (STORM, "return")):
        found = storm.latency[phase]
        report.check(
            f"p99 of the room while all {what} is at most {options.most_p99:g} ms",
            found.count > 0 and found.p99 * 1e3 <= options.most_p99,
            f"{milliseconds(found.p99)} ms of {found.count:,} deliveries "
            f"(before: {milliseconds(storm.latency[BEFORE].p99)} ms)",
        )


def _warn(report: Report, storms: list[Storm]) -> None:
    for storm in storms:
        resent = [found.resent for found in storm.rounds]
        if any(resent):
            report.warnings.append(
                f"{storm.title}: {min(resent):,}-{max(resent):,} of the returning got in only after the kernel had "
                "sent something of theirs again, a second later: more came at once than the listen queue holds "
                "(the least of the server's backlog and net.core.somaxconn)"
            )
        if storm.rounds and storm.median("load_share") > BUSY:
            report.warnings.append(
                f"{storm.title}: the crowd used more than {BUSY:.0%} of its core: handshakes/s and the times "
                "are the load's as much as the server's (the server's CPU time is not affected)"
            )
        if storm.peer is not None:
            wrong = next((found.leftover for found in storm.rounds if found.leftover), "")
            if wrong:
                report.warnings.append(f"{storm.title}: {wrong}")


def _spread(storm: Storm, name: str, factor: float = 1.0) -> str:
    values = [getattr(found, name) * factor for found in storm.rounds]
    return f"{min(values):,.0f}-{max(values):,.0f}"


def _reached(storm: Storm, place: int) -> str:
    seconds = [found.reached[place] for found in storm.rounds]
    told = [moment for moment in seconds if moment is not None]
    return f"{median(told):.2f}" if len(told) == len(seconds) else "never"


def _returns(storms: list[Storm]) -> Table:
    ours = storms[1] if len(storms) > 1 else storms[0]
    return Table(
        ["the return", "handshakes/s", "range", "CPU µs each", "range", "of ours",
         *(f"{share:.0%}, s" for share in SHARES), "sent again", "errors", "load's core",
         "room's part of the server's core"],
        [
            [
                storm.title if storm.peer is None else f"{storm.title} (no token)",
                f"{storm.median('rate'):,.0f}",
                _spread(storm, "rate"),
                microseconds(storm.median("cpu")),
                _spread(storm, "cpu", 1e6),
                f"{storm.median('cpu') / ours.median('cpu'):.2f}",
                *(_reached(storm, place) for place in range(len(SHARES))),
                f"{storm.median('resent'):,.0f}",
                ", ".join(f"{count} x {why}" for why, count in storm.errors.items()) or "none",
                f"{storm.median('load_share'):.0%}",
                f"{storm.median('room_share'):.0%}" if storm.has_room else "",
            ]
            for storm in storms
            if storm.rounds
        ],
    )  # fmt: skip


def _drops(storms: list[Storm]) -> Table:
    return Table(
        ["the drop", "all gone after, s", "CPU µs each", "memory after the rounds, MiB"],
        [
            [
                storm.title,
                "never" if None in gone else f"{max(filter(None, gone)):.2f}",
                microseconds(storm.median("drop_cpu")),
                "-".join(f"{storm.rounds[at].memory / 2**20:.0f}" for at in (0, -1)),
            ]
            for storm in storms
            if (gone := [found.gone for found in storm.rounds])
        ],
    )


def _latencies(storm: Storm) -> Table:
    return Table(
        ["latency of the room, ms", "deliveries", "p50", "p90", "p99", "p99.9", "max"],
        [
            [phase, f"{found.count:,}",
             *map(milliseconds, (found.p50, found.p90, found.p99, found.p999, found.worst))]
            for phase, found in storm.latency.items()
        ],
    )  # fmt: skip


def _held(storm: Storm) -> Table:
    numbers = {when: held.numbers() for when, held in storm.held.items()}
    return Table(
        ["what the server holds", *numbers],
        [
            [name, *(f"{held[name]:,}" for held in numbers.values())]
            for name in next(iter(numbers.values()))
        ],
    )


def _plots(storms: list[Storm]) -> list[Lines | Distribution | Bars]:
    ours = storms[0]
    curves = [
        Curve(f"round {number + 1}", [x for x, _ in found.curve], [y for _, y in found.curve])
        for number, found in enumerate(ours.rounds)
    ]
    plots: list[Lines | Distribution | Bars] = [
        Lines("Share of the crowd that is back", "seconds since the first connect", "share", curves),
    ]
    if ours.has_room:
        plots.append(
            Distribution(
                "Latency of the room that was not dropped",
                [
                    Curve(phase, CURVE_SHARES, [value * 1e3 for value in ours.latency[phase].curve])
                    for phase in PHASES
                    if ours.latency[phase].count
                ],
            )
        )
    if len(storms) > 1:
        rows = [storm for storm in storms if storm.rounds]
        plots.append(
            Bars(
                "CPU of a handshake, all at once",
                "µs",
                [storm.title for storm in rows],
                [storm.median("cpu") * 1e6 for storm in rows],
                [
                    (min(each) * 1e6, max(each) * 1e6)
                    for each in ([found.cpu for found in storm.rounds] for storm in rows)
                ],
                ours=[storm.title for storm in rows if storm.peer is None],
            )
        )
    return plots
