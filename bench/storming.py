"""One server in a storm of reconnections: its connections are all dropped at once, and all return at once."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from tidings.bench.holdings import PATIENCE_SECONDS, Holdings, holdings
from tidings.bench.kernel import tcp_counters
from tidings.bench.observe import cpu_seconds, descriptors, proportional_bytes
from tidings.bench.peers import Peer
from tidings.bench.processes import Child
from tidings.bench.quantiles import median
from tidings.bench.replies import Done, FleetState, Joined, Left, Quantiles
from tidings.bench.report import milliseconds
from tidings.bench.server import Settings
from tidings.bench.workbench import Clients, Workbench, poll, progress

BEFORE, DROP, STORM, AFTER = PHASES = ("before", "drop", "storm", "after")

# Shares of the crowd whose return is timed.
SHARES = (0.5, 0.9, 0.99, 1.0)

# Points of a drawn return.
POINTS = 200

# Connected in one request, each of which must be answered in ASK_SECONDS.
AT_A_TIME = 2500

# Every line of code on the way has run, on both sides, before the clock does.
WARM_UP = 100

# Publications of the room in the shortest of phases: fewer tell nothing of it.
LEAST_PUBLICATIONS = 4

# Crowd and room share the core of the load. The room's clients come first: what they wait for shall be the
# server, not the crowd's own work.
CROWD_NICENESS = 15

# Connects under way at once where nothing is measured: so polite a crowd, on a machine that does other things
# too, must not take longer over any of its handshakes than the server waits for one.
LEISURELY = 8


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What a server is put through."""

    engine: str
    tls: bool
    seed: int
    clients: int
    room: int
    rate: float
    payload: int
    seconds: float
    """How long the room is watched before the drop, and after the storm."""
    at_once: int
    reset: bool


class Round(msgspec.Struct, frozen=True):
    """One drop and one return. Times in seconds."""

    gone: float | None
    """From the drop until the server had no descriptor of the dropped any more; None: it never came to that."""
    drop_cpu: float
    """The server's, for each of the dropped, with all that the room cost meanwhile."""
    returned: int
    refused: dict[str, int]
    resent: int
    """How many returned only after the kernel had sent something of theirs again."""
    reached: list[float | None]
    """From the first connect until each of SHARES of the crowd had joined."""
    rate: float
    """Of all handshakes, a second."""
    cpu: float
    """The server's, for each handshake, with all that the room cost meanwhile."""
    room_share: float
    """The room's: of the server's core, before the drop."""
    load_share: float
    """The crowd's, of the core of the load."""
    curve: list[tuple[float, float]]
    """Share of the crowd that had joined, against seconds."""
    kernel: dict[str, int]
    """What the kernel counted on the whole machine during the return."""
    leftover: str
    """In which numbers the server, the crowd gone again, differed from what it was; empty: in none."""
    memory: int
    """Bytes, after it."""


@dataclass
class Storm:
    """A server, its crowd, and perhaps a room that is not dropped."""

    name: str
    title: str
    peer: Peer | None = None
    has_room: bool = False
    rounds: list[Round] = field(default_factory=list)
    latency: dict[str, Quantiles] = field(default_factory=dict)
    room_state: FleetState | None = None
    crowd_state: FleetState | None = None
    held: dict[str, Holdings] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    _server: Child = field(init=False, repr=False)
    _crowd: Clients = field(init=False, repr=False)
    _room: Clients | None = field(default=None, init=False, repr=False)

    def median(self, name: str) -> float:
        """A figure's median over the rounds."""
        return median([getattr(found, name) for found in self.rounds])

    @property
    def errors(self) -> dict[str, int]:
        """Everybody who did not return, of all rounds, by why."""
        errors: dict[str, int] = {}
        for found in self.rounds:
            for why, count in found.refused.items():
                errors[why] = errors.get(why, 0) + count
        return errors

    async def start(self, bench: Workbench, weather: Weather) -> None:
        """Start server and load, run every line on the way, and fill the room."""
        self._bench, self._weather = bench, weather
        if self.peer is None:
            settings = Settings(engine=weather.engine, tls=weather.tls)
            self._server = await bench.server(settings, f"server-{self.name}")
        else:
            self._server = await bench.peer(f"server-{self.name}", self.peer)
        tls = weather.tls and self.peer is None
        profile = "away" if self.peer is None else "broadcast"
        self._crowd = await bench.clients(f"{self.name}-crowd", profile, tls=tls)
        os.setpriority(os.PRIO_PROCESS, self._crowd.child.pid, CROWD_NICENESS)
        empty = descriptors(self._server.pid)
        await self._crowd.connect(self._server.ready.port, WARM_UP, at_once=LEISURELY, tell=False)
        await self._crowd.ask(Left, "drop", reset=weather.reset)
        await self._let_go(empty)
        if self.has_room:
            self._room = await bench.clients(f"{self.name}-room", tls=tls)
            await self._room.connect(self._server.ready.port, weather.room, tell=False)
        if self.peer is None:
            self.held["the room alone"] = await holdings(self._server)

    async def round(self, number: int) -> bool:
        """Connect, drop all, let all return, and drop them again; False when not all of them returned."""
        weather, pid = self._weather, self._server.pid
        alone = descriptors(pid)
        await self._connect()
        if self.peer is None:
            self.held["everybody"] = await holdings(self._server, self.held.get("everybody"))
        everybody = descriptors(pid)
        await self._talk(begins=True)

        await self._phase(BEFORE)
        cpu, began = cpu_seconds(pid), trio.current_time()
        await trio.sleep(weather.seconds)
        share = (cpu_seconds(pid) - cpu) / (trio.current_time() - began)

        await self._phase(DROP)
        cpu, began = cpu_seconds(pid), trio.current_time()
        dropped = (await self._crowd.ask(Left, "drop", reset=weather.reset)).dropped
        gone = await self._let_go(alone, began)
        drop_cpu = cpu_seconds(pid) - cpu
        await self._phase_ends(began)

        await self._phase(STORM)
        kernel, began = tcp_counters(), trio.current_time()
        joined = await self._crowd.connect(
            self._server.ready.port,
            weather.clients,
            at_once=weather.at_once,
            server=pid,
            tell=False,
            timeline=True,
            all_must=False,
        )
        kernel = {name: count - kernel[name] for name, count in tcp_counters().items()}
        await self._phase_ends(began)
        await self._phase(AFTER)
        await trio.sleep(weather.seconds)
        await self._caught_up()
        await self._talk(begins=False)
        leftover = "" if joined.refused else await self._differs("everybody", everybody)
        await self._crowd.ask(Left, "drop", reset=weather.reset)
        leftover = leftover or await self._differs("the room alone", alone)

        found = Round(
            gone=gone,
            drop_cpu=drop_cpu / max(dropped, 1),
            returned=joined.joined,
            refused=joined.refused,
            resent=joined.resent,
            reached=[reached(joined.arrivals, weather.clients, part) for part in SHARES],
            rate=joined.joined / joined.seconds,
            cpu=joined.server_cpu / max(joined.joined, 1),
            room_share=share,
            load_share=joined.cpu / joined.seconds,
            curve=curve(joined.arrivals, weather.clients),
            kernel=kernel,
            leftover=leftover,
            memory=proportional_bytes(pid),
        )
        self.rounds.append(found)
        progress(f"round {number + 1}: {self.title}: {_told(found, joined)}")
        return not joined.refused

    async def end(self) -> None:
        """Fetch what there is to tell, and end all processes."""
        if self.peer is None:
            self.held["after the last round"] = await holdings(self._server, self.held["the room alone"])
        self.crowd_state = await self._crowd.ask(FleetState, "state")
        if self._room is not None:
            self.room_state = await self._room.ask(FleetState, "state")
            for phase in PHASES:
                self.latency[phase] = await self._room.ask(Quantiles, "latency", phase=phase)
                await self._room.keep_samples(phase, f"{self.name}-{phase}")
            await self._room.child.end()
        await self._crowd.child.end()
        if self.peer is None:
            self.faults = self._server.errors()
        await self._server.end()

    async def _connect(self) -> None:
        """The crowd, at leisure."""
        for already in range(0, self._weather.clients, AT_A_TIME):
            count = min(AT_A_TIME, self._weather.clients - already)
            await self._crowd.connect(self._server.ready.port, count, at_once=LEISURELY, tell=False)

    async def _talk(self, *, begins: bool) -> None:
        if self._room is None:
            return
        if begins:
            await self._phase("between")
            weather = self._weather
            load = {"rate": weather.rate, "payload": weather.payload, "seed": str(weather.seed)}
            await self._room.ask(Done, "load", **load)
            await trio.sleep(1.0)  # warm-up
        else:
            await self._room.ask(Done, "load_end")
            await self._caught_up()

    async def _phase(self, name: str) -> None:
        if self._room is not None:
            await self._room.ask(Done, "phase", name=name)

    async def _phase_ends(self, began: float) -> None:
        """A phase that began then: not before the room has said something in it, and heard it."""
        if self._room is not None:
            await trio.sleep_until(began + LEAST_PUBLICATIONS / self._weather.rate)
            await self._caught_up()

    async def _caught_up(self) -> None:
        """Until the room has what was said up to now: that belongs to the phase in which it was said."""
        if (room := self._room) is None:
            return
        said = (await room.ask(FleetState, "state")).published

        async def look() -> FleetState:
            return await room.ask(FleetState, "state")

        await poll(look, lambda seen: seen.lowest >= said, PATIENCE_SECONDS)

    async def _let_go(self, wanted: int, began: float = 0.0) -> float | None:
        """Seconds from `began` until the server has no more descriptors than that; None when it keeps them."""

        async def look() -> int:
            return descriptors(self._server.pid)

        if await poll(look, lambda seen: seen <= wanted, PATIENCE_SECONDS) > wanted:
            return None
        return trio.current_time() - began

    async def _differs(self, as_when: str, wanted: int) -> str:
        """In what the server is not as it was then, given time to settle; a peer is asked nothing."""
        if self.peer is None:
            now = await holdings(self._server, self.held[as_when])
            differs = now.difference(self.held[as_when])
        else:
            await self._let_go(wanted)
            now_open = descriptors(self._server.pid)
            differs = "" if now_open == wanted else f"descriptors: {now_open} instead of {wanted}"
        return differs and f"not as with {as_when}: {differs}"


def reached(arrivals: Sequence[float], count: int, share: float) -> float | None:
    """When that share of `count` had arrived, arrivals in rising order; None when it never had."""
    needed = max(1, -int(-share * count // 1))  # rounded up
    return arrivals[needed - 1] if needed <= len(arrivals) else None


def curve(arrivals: Sequence[float], count: int) -> list[tuple[float, float]]:
    """Some POINTS of (seconds, share of `count` that had arrived), the first and the last arrival among them."""
    if not arrivals:
        return []
    last = len(arrivals) - 1
    places = sorted({round(step * last / POINTS) for step in range(POINTS + 1)})
    return [(0.0, 0.0), *((arrivals[place], (place + 1) / count) for place in places)]


def _told(found: Round, joined: Joined) -> str:
    return (
        f"{joined.joined:,} back after {joined.seconds:.2f} s, {milliseconds(found.cpu)} ms CPU each, "
        f"{found.resent:,} only after a retransmission"
    )
