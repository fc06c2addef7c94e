"""One message to N clients: what it costs the server, when the last one has it, and how that grows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.bench.contest import (
    BUSY,
    FLOOR,
    OURS,
    ContestOptions,
    Entry,
    Other,
    check_ledger,
    check_ratio,
    enter,
    named,
    raw_options,
    raw_runs,
    refuse_too_many,
    take_turns,
    warn_of_busy,
)
from tidings.bench.crosscheck import crosscheck
from tidings.bench.fanout_report import growth_plots, growth_table, plots, tables
from tidings.bench.growth import Stage, check_growth
from tidings.bench.observe import anonymous_bytes, cores
from tidings.bench.open_loops import OpenResult, open_loop
from tidings.bench.processes import ChildFailed
from tidings.bench.replies import Collected
from tidings.bench.report import Report
from tidings.bench.steer import receiving_on
from tidings.bench.workbench import Workbench, expect, progress

# What ours promises beside a peer: at most so many times its CPU per delivery, or less than that.
_PROMISES = (
    (FLOOR, 1.3, False),
    ("websockets", 0.65, False),
    ("node-ws", 1.0, True),
    ("go-gorilla", 1.0, True),
    ("picows", 1.15, False),
    ("uwebsockets", 1.15, False),
    ("socketify", 1.15, False),
)

# The cross-check's open loop: modest, since it is the clients that are compared.
REAL_SECONDS = 10.0
REAL_RATE = 10.0


@dataclass(frozen=True, kw_only=True)
class Options(ContestOptions):
    """What can be set."""

    clients: Annotated[int, Parameter(help="Clients, all rooms together.", validator=Number(gte=1))] = 2000
    rooms: Annotated[
        int,
        Parameter(help="Rooms that they are divided over; in each one speaks.", validator=Number(gte=1)),
    ] = 1
    rounds: Annotated[
        int,
        Parameter(
            help="Messages in a run of the closed loop, one when all have the one before; at least 3.",
            validator=Number(gte=3),
        ),
    ] = 30
    payload: Annotated[
        int, Parameter(help="Bytes of text in a message.", validator=Number(gte=1, lte=60_000))
    ] = 256
    seconds: Annotated[
        float, Parameter(help="Of the open loop, for each server; 0: none.", validator=Number(gte=0))
    ] = 5.0
    rate: Annotated[
        float,
        Parameter(
            help="Messages a second of the open loop, the same for all servers. 0: half of what ours did in the"
            " closed loop.",
            validator=Number(gte=0),
        ),
    ] = 0.0
    sweep: Annotated[
        tuple[int, ...],
        Parameter(
            help="Numbers of clients at which to measure too, for the growth: 1000 5000 15000.",
            consume_multiple=True,
            validator=Number(gte=1),
        ),
    ] = ()
    real: Annotated[
        int,
        Parameter(
            help="Real clients (`tidings.client`) that join at the end, to show that they see what the light"
            " ones measure.",
            validator=Number(gte=0),
        ),
    ] = 0
    steer: Annotated[
        bool,
        Parameter(
            help="Have the receivers' half of TCP done on the load's core, as remote clients' machines"
            " would do it. Needs root."
        ),
    ] = False
    required_ratio: Annotated[
        float, Parameter(help="How many times less CPU than trio-websocket ours must need.")
    ] = 10.0


async def run(options: Options, bench: Workbench, *, others: Sequence[Other] = ()) -> Report:
    """Run it, with other servers of our protocol beside ours, if any.

    Raises ChildFailed; with `steer`, ChildFailed too where that is not to be had.
    """
    if not 1 <= options.rooms <= min(options.clients, *options.sweep, options.clients):
        raise ChildFailed("there must be at least one client, and one for each room")
    refuse_too_many(max(options.clients, *options.sweep, 0))
    if options.real and options.rooms > 1:
        raise ChildFailed("--real needs everybody in one room")
    with receiving_on(cores()[1] if options.steer else None):
        return await _Fanout(options, bench, others).run()


@dataclass
class _Fanout:
    """One run of the scenario."""

    options: Options
    bench: Workbench
    others: Sequence[Other]
    entries: list[Entry] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    opened: dict[str, OpenResult] = field(default_factory=dict)

    async def run(self) -> Report:
        options = self.options
        rooms = f"{options.rooms} rooms" if options.rooms > 1 else "one room"
        report = Report(
            f"fanout: one message of {options.payload:,} B to {options.clients:,} clients in {rooms}, "
            f"medians of {options.runs} alternating runs of {options.rounds}, seed {options.seed}"
            + (", receivers' half of TCP on the load's core" if options.steer else "")
        )
        counts = sorted({options.clients, *options.sweep})
        self.entries = await enter(options, self.bench, report, self.others)
        # Connecting, the runs at each number of clients, and an open loop.
        expect(len(self.entries) * (len(counts) * (1 + options.runs) + bool(options.seconds)))
        for entry in self.entries:
            entry.clients = await self.bench.clients(
                f"of-{entry.name}",
                entry.profile,
                rooms=options.rooms,
                tls=options.tls and entry.profile == "tidings",
            )
        empty = await self._memory()
        connected = 0
        measured: dict[str, Any] = {}
        for count in counts:
            await self._stage(count, connected, report, empty)
            connected = count
            if count == options.clients:
                for entry in self.entries:
                    await self._open(entry, report)
                    await check_ledger(entry, report, count)
                self._tell(report)
                await self._real(report)
                measured = raw_runs(self.entries)
        if options.sweep:
            for entry in self.entries:
                await check_ledger(entry, report, connected, f", {connected:,} clients")
            self._tell_growth(report)
        faults = self.entries[0].server.errors()
        report.check("the server logged no fault", not faults, faults[:3] or "none")
        report.raw = {
            "options": raw_options(options),
            "servers": measured,
            "open": msgspec.to_builtins({name: asdict(result) for name, result in self.opened.items()}),
            "growth": [asdict(stage) for stage in self.stages],
        }
        return report

    async def _memory(self) -> int:
        """The memory of our server, without garbage; its own, since others of its libraries come and go."""
        server = self.entries[0].server
        await server.ask(Collected, "collect", frozen=True)
        return anonymous_bytes(server.pid)

    async def _stage(self, count: int, connected: int, report: Report, empty: int) -> None:
        options = self.options
        for entry in self.entries:
            if not entry.failed:
                await entry.clients.connect(entry.server.ready.port, count - connected)
        memory = (await self._memory() - empty) / count
        # As many deliveries in a run as with the number of clients asked for: thousands more must not take
        # the slower servers minutes.
        rounds = max(3, round(options.rounds * options.clients / count))
        await take_turns(
            self.entries,
            report,
            options,
            f"closed-{count}",
            rounds=rounds,
            deliveries=count,
            payload=options.payload,
        )
        going = [entry for entry in self.entries if entry.counts]
        self.stages.append(
            Stage(
                count,
                {entry.name: entry.cpu for entry in going},
                {entry.name: entry.figure("completion") for entry in going},
                memory,
            )
        )

    async def _open(self, entry: Entry, report: Report) -> None:
        options = self.options
        if not options.seconds:
            return
        if entry.counts:
            members = options.clients / options.rooms
            rate = options.rate or self.entries[0].figure("per_second") / 2 / members
            try:
                result = self.opened[entry.name] = await open_loop(
                    entry,
                    rate=rate,
                    members=members,
                    payload=options.payload,
                    seconds=options.seconds,
                    seed=f"{options.seed}/open",
                )
            except ChildFailed as error:
                if entry is self.entries[0]:
                    raise
                entry.fail(report, str(error))
            else:
                self._judge_open(entry, result, report)
        progress(f"open loop: {entry.name}")

    def _judge_open(self, entry: Entry, result: OpenResult, report: Report) -> None:
        if entry.name == OURS and not self.options.rate:
            report.check(
                "open loop: ours keeps up with half of what it did in the closed loop",
                not result.overloaded,
                f"{result.published:,} of {result.wanted:,.0f} messages in {result.seconds:.1f} s",
            )
        if result.cut_short or result.load_share > BUSY:
            report.warnings.append(
                f"open loop, {entry.title}: the load used {result.load_share:.0%} of its core and sent "
                f"{result.published:,} of {result.wanted:,.0f} messages: latency is its own as much as the server's"
            )

    async def _real(self, report: Report) -> None:
        options = self.options
        if options.real:
            ours = self.entries[0]
            found = await crosscheck(
                self.bench,
                ours.server,
                ours.clients,
                count=options.real,
                seconds=REAL_SECONDS,
                rate=REAL_RATE,
                payload=options.payload,
                tls=options.tls,
            )
            found.tell(report)

    def _tell(self, report: Report) -> None:
        options = self.options
        ours = self.entries[0]
        report.tables.extend(tables(self.entries, self.opened))
        report.plots.extend(plots(self.entries, self.opened, options.clients))
        warn_of_busy(report, self.entries)
        for name, most, below in _PROMISES:
            peer = named(self.entries, name)
            if peer is not None and ours.counts:
                words = (
                    f"less CPU per delivery than {name}"
                    if below
                    else f"at most {most:g} of {name}'s CPU per delivery"
                )
                check_ratio(report, words, ours, peer, most, below=below)
        slowest = named(self.entries, "trio-websocket")
        if slowest is not None and ours.counts:
            ratio = slowest.cpu / ours.cpu
            report.check(
                f"at least {options.required_ratio:g} times less CPU per delivery than trio-websocket",
                ratio >= options.required_ratio,
                f"{ratio:.1f} times",
            )

    def _tell_growth(self, report: Report) -> None:
        titles = {entry.name: entry.title for entry in self.entries if not entry.failed}
        report.tables.append(growth_table(self.stages, titles))
        report.plots.extend(growth_plots(self.stages, titles))
        check_growth(report, self.stages, titles)
