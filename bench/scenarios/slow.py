"""A room under load in which 1, 10 and 100 clients stop reading: what the others feel, and what waits."""

from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from tidings.bench.backlog import Lot, Watch
from tidings.bench.holdings import Holdings, holdings
from tidings.bench.lots import Bounds, Outcome, judge, latencies, lots, plots
from tidings.bench.options import Common, Count, CountOrNone, Positive
from tidings.bench.processes import Child, ChildFailed
from tidings.bench.replies import Clients as ClientList
from tidings.bench.replies import ClientState, Done, FleetState, Quantiles
from tidings.bench.report import Report, milliseconds
from tidings.bench.server import Settings
from tidings.bench.workbench import POLL_SECONDS, Clients, Workbench, expect, poll, progress

# Of each lot, the one that reads on when it is too late.
RESUMES = 0

# After its seal, and within `close_timeout`: the frames in the kernel's buffers are still to be had.
RESUME_SECONDS = 0.25

# Behind `close_timeout`: all closing handshakes are over, or given up.
CLOSED_SECONDS = 1.5

WARM_UP_SECONDS = 1.0
DRAIN_SECONDS = 10.0

BUSY = 0.8

ALONE = "the room alone"
AFTER = "the room alone again"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """What can be set."""

    clients: Annotated[Count, Parameter(help="Clients in the room that go on reading.")] = 500
    slow: Annotated[
        tuple[int, ...],
        Parameter(
            consume_multiple=True,
            help="How many join them and stop reading, lot after lot; the first of each lot reads on when it "
            "has been sealed.",
        ),
    ] = (1, 10, 100)
    seconds: Annotated[Positive, Parameter(help="Length of each phase in which everybody reads.")] = 6.0
    patience: Annotated[Positive, Parameter(help="Seconds within which a lot must be sealed.")] = 30.0
    rate: Annotated[Positive, Parameter(help="Publications a second.")] = 80.0
    payload: Annotated[CountOrNone, Parameter(help="Bytes of text in a publication.")] = 4096
    outbox_bytes: Annotated[Count, Parameter(help="The server's limits.outbox_bytes.")] = 1048576
    close_timeout: Annotated[Positive, Parameter(help="The server's heartbeat.close_timeout.")] = 2.0
    required_ratio: Annotated[
        float, Parameter(help="How many times the others' p99 may be what it was while all were reading.")
    ] = 1.5


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    if not options.slow or min(options.slow) < 1 or len(set(options.slow)) < len(options.slow):
        raise ChildFailed("--slow: each lot is of at least one client, and of another size than the others")
    report = Report(
        f"slow: a room of {options.clients:,} under {options.rate:g} publications/s of {options.payload} B, in "
        f"which {', '.join(map(str, options.slow))} further clients stop reading ({options.engine} engine"
        f"{', TLS' if options.tls else ''})"
    )
    expect(3 + 4 * len(options.slow))
    server = await bench.server(
        Settings(
            outbox_bytes=options.outbox_bytes,
            engine=options.engine,
            tls=options.tls,
            close_timeout=options.close_timeout,
            # Whoever reads nothing answers no ping either: it shall be what waits that tells, not the silence.
            pong_timeout=options.patience + options.close_timeout + CLOSED_SECONDS,
        )
    )
    room = await bench.clients("client", tls=options.tls)
    await room.connect(server.ready.port, options.clients)
    scene = _Scene(options, bench, server, room)
    alone = await holdings(server)
    rows = {ALONE: await scene.undisturbed(ALONE)}
    outcomes = [await scene.lot(number, count, alone) for number, count in enumerate(options.slow)]
    rows[AFTER] = await scene.undisturbed(AFTER)

    state = await scene.drained()
    bounds = Bounds(options.outbox_bytes, options.patience, options.required_ratio)
    for outcome in outcomes:
        judge(report, bounds, outcome, alone)
    report.check(
        "the others' ledger: every publication, once, in order",
        state.joined == options.clients
        and state.lowest == state.highest == state.published > 0
        and state.received == state.expected
        and not (state.missing or state.repeated or state.problem_count),
        f"{state.joined} clients at offset {state.lowest}-{state.highest} of {state.published}, {state.missing} "
        f"missing, {state.repeated} repeated, {state.problem_count} problems {state.problems or ''}",
    )
    report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")
    for outcome in outcomes:
        rows[f"{outcome.count} more, all reading"] = outcome.reading
        rows[f"{outcome.count} of them stopped"] = outcome.stopped
        if outcome.load_share > BUSY:
            report.warnings.append(
                f"{outcome.count} stopped: the clients used {outcome.load_share:.0%} of their core: latencies "
                "are theirs too"
            )
    rows[AFTER] = rows.pop(AFTER)
    report.tables += [latencies(rows, outcomes), lots(bounds, outcomes)]
    report.plots += plots(bounds, rows, scene.watch)
    report.raw = {
        "options": asdict(options),
        "latency": msgspec.to_builtins(rows),
        "lots": msgspec.to_builtins(outcomes),
        "looks": msgspec.to_builtins(scene.watch.looks),
        "state": msgspec.to_builtins(state),
    }
    return report


class _Scene:
    """The room, and those who come to stop reading in it."""

    def __init__(self, options: Options, bench: Workbench, server: Child, room: Clients) -> None:
        self._options = options
        self._bench = bench
        self._server = server
        self._room = room
        self.watch = Watch(server)

    async def undisturbed(self, name: str) -> Quantiles:
        """The room under load, and nobody else."""
        progress(name)
        await self._load()
        await self._room.ask(Done, "phase", name=name)
        # The server is looked at as it is with a lot: that keeps its core awake, and the room is faster for it.
        self.watch.lot = Lot("", 0)
        await self.watch.during(self._options.seconds)
        return await self._unload(name)

    async def lot(self, number: int, count: int, alone: Holdings) -> Outcome:
        """So many come, read for a while, and stop; until nothing is left of them, or patience is over."""
        options, room, watch = self._options, self._room, self.watch
        slow = await self._bench.clients(f"lot-{number}", tls=options.tls)
        # All behind an Ethernet's segment size, see `client.py`.
        await slow.connect(self._server.ready.port, count, ethernet=count)
        watch.lot = Lot(slow.name, count)
        progress(f"{count} more, all reading")
        await self._load()
        reading, stopped = f"{count} more, all reading", f"{count} of them stopped"
        await room.ask(Done, "phase", name=reading)
        before = await watch.during(options.seconds)
        progress(f"{count} stop reading")
        await room.ask(FleetState, "state")
        await slow.ask(FleetState, "state")
        await room.ask(Done, "phase", name=stopped)
        watch.stopped()
        for each in range(count):
            await slow.ask(Done, "stall", number=each)
        victim, read_on = await self._until_closed(slow, before.closes)
        found = watch.outcome(before.closes)
        shares = [(await each.ask(FleetState, "state")).load_share for each in (room, slow)]
        latency = await self._unload(stopped)
        lot_state = await slow.ask(FleetState, "state")
        held = await holdings(self._server, alone)
        await slow.child.end()
        progress(f"{count}: p99 of the others {milliseconds(latency.p99)} ms")
        return Outcome(
            count=count,
            reading=await room.ask(Quantiles, "latency", phase=reading),
            stopped=latency,
            first_sealed=found.first_sealed,
            last_sealed=found.last_sealed,
            closed=found.closed,
            waiting=found.waiting,
            most=found.most,
            grown=found.resident - before.resident,
            closes=found.closes,
            victim=victim,
            read_on=read_on,
            problems=lot_state.problems,
            holdings=held,
            load_share=sum(shares),
        )

    async def _until_closed(self, slow: Clients, before: dict[str, int]) -> tuple[ClientState, float]:
        """Look on until all are closed; let one read on meanwhile. Its end, and for how long it read."""
        watch = self.watch
        deadline = trio.current_time() + self._options.patience
        resumed: float | None = None
        gone: float | None = None
        while True:
            look = await watch.look()
            now = trio.current_time()
            out = watch.out_at[RESUMES]
            if resumed is None and out is not None and now >= out + RESUME_SECONDS:
                await slow.ask(Done, "resume", number=RESUMES)
                resumed = now
            victim = (await slow.ask(ClientList, "clients", numbers=[RESUMES])).clients[0]
            if victim.is_gone and gone is None:
                gone = now
            are_closed = watch.are_closed(before)
            if are_closed and gone is not None:
                break
            if not look.in_hub:
                # All are sealed: what is still to come is bounded by the server's own time-out.
                sealed = max(at for at in watch.out_at if at is not None)
                deadline = min(deadline, sealed + self._options.close_timeout + CLOSED_SECONDS)
            if now >= deadline:
                break
            await trio.sleep(POLL_SECONDS)
        read_on = 0.0 if resumed is None else (gone or trio.current_time()) - resumed
        return victim, read_on

    async def _load(self) -> None:
        options = self._options
        # The publishers take turns, so that no one client comes near its rate.
        await self._room.ask(
            Done, "load", rate=options.rate, payload=options.payload, seed=str(options.seed)
        )
        await trio.sleep(WARM_UP_SECONDS)

    async def _unload(self, phase: str) -> Quantiles:
        """Publish nothing more and wait until all is delivered; the phase's latencies."""
        await self._room.ask(Done, "load_end")
        await self.drained()
        await self._room.ask(Done, "phase", name="between")
        await self._room.keep_samples(phase, phase.replace(" ", "-").replace(",", ""))
        return await self._room.ask(Quantiles, "latency", phase=phase)

    async def drained(self) -> FleetState:
        """The room, once it has everything, or DRAIN_SECONDS are over."""

        async def look() -> FleetState:
            return await self._room.ask(FleetState, "state")

        return await poll(look, lambda state: state.received >= state.expected, DRAIN_SECONDS)
