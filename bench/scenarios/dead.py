"""Half of the clients die without a word, in four ways: when the server knows, and what of them it keeps."""

import os
import random
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from tidings.bench.dead_report import (
    PHASES,
    SLACK_SECONDS,
    holdings_table,
    judge_deaths,
    judge_living,
    latency_table,
    plots,
)
from tidings.bench.deaths import Death, Killed, Reset, Stopped, Swallowed
from tidings.bench.holdings import Holdings, holdings
from tidings.bench.kernel import check_descriptors
from tidings.bench.netns import Network, NoNetwork, network
from tidings.bench.observe import resident_bytes
from tidings.bench.options import Common, Count, CountOrNone, NotNegative, Positive
from tidings.bench.processes import ChildFailed
from tidings.bench.replies import Departed, Done, FleetState, Left, Quantiles, Rounds, ServerState
from tidings.bench.report import Report
from tidings.bench.server import Settings
from tidings.bench.tcp_table import unacknowledged
from tidings.bench.workbench import Clients, Workbench, expect, poll, progress

# How long to wait for what does not become as it should, before it is called broken.
PATIENCE_SECONDS = 10.0

# What Linux takes for a process that does not read: it announces 64 KiB, and for small messages no more later. What
# is published until the stopped are detected must fit, or their window closes.
WINDOW_BYTES = 60_000

# The longest that Linux delays an acknowledgement (TCP_DELACK_MAX, 200 ms), and a little.
ACKNOWLEDGE_SECONDS = 0.25

# Shares of `pong_timeout`: when the dead are looked at, and for how long; nobody is overdue by then.
EARLY, LATE = 0.8, 0.15

# What a record of TLS 1.3 adds: head, type and tag.
TLS_RECORD_BYTES = 22

# Of the blocks of memory that the dead took, what may still be in use: a server remembers names for a while.
# And for each publication, of which the room keeps some to hand out again.
KEPT_SHARE = 0.1
PUBLICATION_BLOCKS = 10

CAPACITY_ROUNDS = 20

# Clients of one group that join in a row; then comes another group, so that no group stands together in the room.
SLICE = 50

# One for each way.
LEAST_DEAD = 4


LIVING = "living"

# Of the processes whose clients are to die.
DYING_NICENESS = 15


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """What can be set."""

    clients: Annotated[Count, Parameter(help="Clients in the room, in all.")] = 5000
    dead: Annotated[Count, Parameter(help="How many of them die, in equal parts in each way.")] = 2500
    ping_interval: Annotated[
        Positive, Parameter(help="Seconds of silence after which the server pings.")
    ] = 5.0
    pong_timeout: Annotated[Positive, Parameter(help="Seconds that it waits for an answer.")] = 3.0
    payload: Annotated[CountOrNone, Parameter(help="Bytes of text in a publication.")] = 256
    rate: Annotated[
        NotNegative,
        Parameter(help="Publications a second; 0: half of what the server can with all clients."),
    ] = 0.0
    seconds: Annotated[
        Positive, Parameter(help="Length of the phases before the deaths and after them.")
    ] = 10.0


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed, NoNetwork."""
    if not LEAST_DEAD <= options.dead < options.clients:
        raise ChildFailed(f"--dead: at least {LEAST_DEAD}, one for each way, and fewer than --clients")
    check_descriptors(options.clients)
    return await _Run(options, bench).run()


class _Run:
    """One run, step by step; each step checks what it promised."""

    def __init__(self, options: Options, bench: Workbench) -> None:
        self._options = options
        self._bench = bench
        self._living_count = options.clients - options.dead
        self._bound = options.ping_interval + options.pong_timeout
        self._columns: dict[str, Holdings] = {}
        self._memory: dict[str, int] = {}
        self._blocks: dict[str, int] = {}
        self._left_out = ""
        self._report = Report(
            f"dead: {options.dead:,} of {options.clients:,} clients die without closing; ping after "
            f"{options.ping_interval:g} s, pong within {options.pong_timeout:g} s, {options.engine} engine"
            + (", TLS" if options.tls else "")
        )

    async def run(self) -> Report:
        """All of it."""
        expect(10)
        await self._prepare()
        await self._connect()
        rate, capacity = await self._load_rate()
        living, report = self._living, self._report

        options = self._options
        await living.ask(Done, "load", rate=rate, payload=options.payload, seed=str(options.seed))
        progress("warming up")
        await self._server.ask(Departed, "departed")
        await trio.sleep(options.seconds / 10)
        shares = {"before": await self._phase("before", options.seconds)}
        await self._die(rate)
        shares["during"] = (await living.ask(FleetState, "state")).load_share
        shares["after"] = await self._phase("after", options.seconds)
        await living.ask(Done, "load_end")
        # Before the clock stops: what is on its way is late, and belongs to the last phase.
        await self._ledger()
        latency = {name: await living.ask(Quantiles, "latency", phase=name) for name in PHASES}
        for name in PHASES:
            await living.keep_samples(name, f"latency-{name}")

        deaths = judge_deaths(self._report, self._deaths, self._bound, self._left_out)
        judge_living(report, latency, shares)
        settled = await self._leftovers()
        report.tables += [
            deaths,
            latency_table(latency, shares),
            holdings_table(self._columns, self._blocks, self._memory),
        ]
        report.plots += plots(self._deaths, self._bound, latency)
        report.raw = {
            "options": asdict(options),
            "capacity": capacity,
            "rate": rate,
            "frame_bytes": self._frame,
            "left_out": self._left_out,
            "looked_after_seconds": self._looked,
            "deaths": {
                death.name: {
                    "count": death.count,
                    "seconds": death.seconds,
                    "closes": {str(code): count for code, count in death.codes.items()},
                    "connections_meanwhile": death.found._asdict(),
                }
                for death in self._deaths
            },
            "latency": msgspec.to_builtins(latency),
            "load_share": shares,
            "settled_seconds": settled,
            "holdings": {name: msgspec.to_builtins(held) for name, held in self._columns.items()},
            "memory": self._memory,
            "blocks": self._blocks,
        }
        return report

    # --- before --------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """Start everybody; the server is empty then."""
        options, bench = self._options, self._bench
        progress("starting")
        way: Network | None = None
        try:
            way = bench.hold(network())
        except NoNetwork as error:
            self._left_out = str(error)
        self._host = way.host if way is not None else Settings().host
        self._server = await bench.server(
            Settings(
                ping_interval=options.ping_interval,
                pong_timeout=options.pong_timeout,
                engine=options.engine,
                tls=options.tls,
                host=self._host,
            )
        )
        if way is not None:
            try:
                way.check_reaches(self._server.ready.port)
            except NoNetwork as error:
                self._left_out, way = str(error), None
        self._living = await self._clients(LIVING)
        kinds: list[type[Death]] = [Stopped, Reset, Killed]
        count, more = divmod(options.dead, len(kinds) + (way is not None))
        counts = [count + (at < more) for at in range(len(kinds) + 1)]
        self._deaths: list[Death] = [
            kind(await self._clients(kind.__name__.lower()), each)
            for kind, each in zip(kinds, counts, strict=False)
        ]
        if way is not None:
            swallowed = await self._clients("swallowed", way)
            self._deaths.insert(0, Swallowed(swallowed, counts[-1], way))
        else:
            self._report.warnings.append(
                f"the black hole is left out: {self._left_out}; the other three ways share the dead"
            )
        # What the first connection loads or opens for good is no leak.
        warm = await self._clients("warm-up")
        await warm.connect(self._server.ready.port, 10, tell=False)
        await warm.ask(Left, "leave")
        await poll(self._stats, lambda state: not state.sockets, PATIENCE_SECONDS)
        await self._note("empty")

    async def _clients(self, name: str, way: Network | None = None) -> Clients:
        clients = await self._bench.clients(name, inside=way.inside if way else (), tls=self._options.tls)
        if name != LIVING:
            # The end of a process with thousands of sockets is work for its core. What the living feel shall be
            # the server's doing, and not that of a core which they share with the dying.
            os.setpriority(os.PRIO_PROCESS, clients.child.pid, DYING_NICENESS)
        await clients.place(self._host, way.sources if way else ())
        return clients

    async def _connect(self) -> None:
        """The living, and then all who will die, in slices of a drawn order; one publication reaches everybody."""
        port = self._server.ready.port
        await self._living.connect(port, self._living_count)
        await self._note("living")
        progress(f"connecting {self._options.dead:,} who will die")
        slices = [
            (death, min(SLICE, death.count - begun))
            for death in self._deaths
            for begun in range(0, death.count, SLICE)
        ]
        random.Random(self._options.seed).shuffle(slices)
        for death, count in slices:
            await death.clients.connect(port, count, tell=False)
        await self._note("everybody")

        before = (await self._stats()).statistics["bytes_sent"]
        await self._server.ask(Done, "publish", payload=self._options.payload)
        fleets = [self._living, *(death.clients for death in self._deaths)]

        async def received() -> int:
            return sum([(await fleet.ask(FleetState, "state")).received for fleet in fleets])

        reached = await poll(received, lambda count: count >= self._options.clients, PATIENCE_SECONDS)
        self._report.check(
            f"one publication reached all {self._options.clients:,}",
            reached == self._options.clients,
            f"{reached:,} received it",
        )
        sent = (await self._stats()).statistics["bytes_sent"] - before
        self._frame = round(sent / self._options.clients) + (TLS_RECORD_BYTES if self._options.tls else 0)

    async def _load_rate(self) -> tuple[float, float]:
        """The rate of the load, and what the server could: publications a second."""
        options, report = self._options, self._report
        progress("how much can the server do?")
        rounds = await self._living.ask(
            Rounds,
            "closed_loop",
            rounds=CAPACITY_ROUNDS,
            payload=options.payload,
            server=self._server.pid,
            seed=str(options.seed),
        )
        capacity = CAPACITY_ROUNDS / rounds.server_cpu
        fits = WINDOW_BYTES / self._frame / (self._bound + SLACK_SECONDS)
        rate = options.rate or min(capacity / 2, fits)
        if not options.rate and fits < capacity / 2:
            report.warnings.append(
                f"the load is {rate / capacity:.0%} of capacity instead of half: more would close the windows of "
                f"the stopped within {self._bound:g} s; a smaller --payload allows more"
            )
        elif rate > fits:
            report.warnings.append(
                f"at {rate:g} publications/s the windows of the stopped close before they are detected: from "
                "then on what is sent to them waits in the server; a smaller --payload keeps them open"
            )
        self._loaded = f"{rate:.3g} publications/s, {rate / capacity:.0%} of {capacity:.3g}"
        return rate, capacity

    async def _phase(self, name: str, seconds: float) -> float:
        """Let the load go on for so long; returns the share of their core that the living used."""
        progress(f"{name}: {self._loaded}")
        await self._living.ask(FleetState, "state")
        await self._living.ask(Done, "phase", name=name)
        # The server is asked as it is while they die: questions cost it time, and keep its core awake.
        await poll(self._remaining, lambda _: False, seconds)
        return (await self._living.ask(FleetState, "state")).load_share

    # --- the deaths ----------------------------------------------------------------------------------

    async def _die(self, rate: float) -> None:
        """All at once; look at how TCP sees them, and wait until the hub has let go of the last."""
        options, port = self._options, self._server.ready.port
        progress(f"{options.dead:,} die")
        await self._living.ask(Done, "phase", name="during")
        for death in self._deaths:
            death.recent = int((rate * ACKNOWLEDGE_SECONDS + 2) * self._frame)
            await death.strike()
        began = trio.current_time()

        # Before a pong can be overdue: now each kind of death must look as it is meant to.
        await poll(self._remaining, lambda _: False, EARLY * options.pong_timeout)
        groups = {death.name: death.clients.addresses for death in self._deaths}
        found = await poll(
            lambda: unacknowledged(port, groups),
            # The table can be inexact while it changes, and a burst may be on its way: then look again.
            lambda seen: all(death.is_as_meant(seen[death.name]) for death in self._deaths),
            LATE * options.pong_timeout,
        )
        self._looked = trio.current_time() - began
        for death in self._deaths:
            await death.observe(found[death.name])
        progress("waiting for the server to notice")
        patience = self._bound + SLACK_SECONDS + PATIENCE_SECONDS - (trio.current_time() - began)
        await poll(self._remaining, lambda remaining: not remaining, patience)

    async def _remaining(self) -> int:
        """How many of those who are to die the hub still has."""
        by_name = {death.name: death for death in self._deaths}
        for user, code, at in (await self._server.ask(Departed, "departed")).departures:
            # One of the living who is lost breaks their ledger's promise.
            if (death := by_name.get(user.rpartition("-")[0])) is not None:
                death.departed(code, at)
        return sum(death.remaining for death in self._deaths)

    # --- the living ----------------------------------------------------------------------------------

    async def _ledger(self) -> None:
        """Every publication reached every one of the living, once, in order."""

        async def look() -> FleetState:
            return await self._living.ask(FleetState, "state")

        # The first publication was the server's own.
        state = await poll(look, lambda seen: seen.lowest == 1 + seen.published, PATIENCE_SECONDS)
        self._published = state.published
        self._report.check(
            "the living have every publication, once, in order",
            state.joined == self._living_count
            and state.lowest == state.highest == 1 + state.published
            and not (state.missing or state.repeated or state.problem_count),
            f"{state.joined:,} clients at offset {state.lowest}-{state.highest} of {1 + state.published}, "
            f"{state.missing} missing, {state.repeated} repeated, {state.problem_count} problems "
            f"{state.problems or ''}".rstrip(),
        )

    # --- what is left --------------------------------------------------------------------------------

    async def _leftovers(self) -> float:
        """None of the dead, and in the end none of anybody; returns how long the first took, in seconds."""
        report, server, counts = self._report, self._server, dict.fromkeys(("1000", "1006", "3012"), 0)
        progress("what is left of the dead?")
        begun = trio.current_time()
        alive = self._columns["living"]
        after = await self._note("the dead gone", alive)
        settled = trio.current_time() - begun
        report.check(
            "hub, tasks, descriptors and objects are what they were with the living alone",
            after == alive,
            after.difference(alive) or "equal",
        )
        taken, kept = (
            self._blocks[name] - self._blocks["living"] for name in ("everybody", "the dead gone")
        )
        report.check(
            f"of the memory that the dead took at most {KEPT_SHARE:.0%} is in use, beside {PUBLICATION_BLOCKS} "
            "blocks for each publication",
            kept <= KEPT_SHARE * taken + PUBLICATION_BLOCKS * self._published,
            f"{kept:,} of {taken:,} blocks, {self._published:,} publications",
        )
        for death in self._deaths:
            death.bury()
        progress("the living leave")
        left = await self._living.ask(Left, "leave")
        report.check(
            "the living closed in order", not left.dropped, f"{left.dropped} closing handshakes did not end"
        )
        empty = self._columns["empty"]
        last = await self._note("all gone", empty)
        report.check(
            "the empty server is what it was before anybody came",
            last == empty,
            last.difference(empty) or "equal",
        )
        counts["1000"] = 10 + self._living_count
        for death in self._deaths:
            counts[str(int(death.code))] += death.count
        closes = (await self._stats()).closes
        expected = {code: count for code, count in counts.items() if count}
        report.check("each close is recorded with its reason", closes == expected, closes)
        report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")
        return settled

    async def _stats(self) -> ServerState:
        return await self._server.ask(ServerState, "stats")

    async def _note(self, name: str, like: Holdings | None = None) -> Holdings:
        """Note what the server holds, and its memory."""
        held = self._columns[name] = await holdings(self._server, like, PATIENCE_SECONDS)
        self._memory[name] = resident_bytes(self._server.pid)
        self._blocks[name] = (await self._stats()).blocks
        return held
