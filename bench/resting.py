"""One server with many connections that say nothing: what each holds, and what its heartbeats cost."""

from dataclasses import dataclass

import msgspec
import trio

from tidings.bench.kernel import tcp_buffer_bytes
from tidings.bench.observe import anonymous_bytes, cpu_seconds, descriptors
from tidings.bench.peers import Peer
from tidings.bench.processes import Child
from tidings.bench.replies import Done, FleetState, Left, ServerState
from tidings.bench.server import Settings
from tidings.bench.workbench import Clients, Workbench, poll, progress
from tidings.server.edge.heartbeat import SPREAD

# Connected in one request, each of which must be answered in ASK_SECONDS.
AT_A_TIME = 2500

# Every line of code on the way has run, and what it keeps for good is there, before anything is counted.
WARM_UP = 10

# Until what the last handshake or close leaves behind is done.
SETTLE_SECONDS = 0.5

# How long the empty server is watched, whose own cost is no heartbeat's.
EMPTY_SECONDS = 1.0

# How many times as long as they should take heartbeats are waited for.
LATE = 4

# A connection that has ended may still be closing for `heartbeat.close_timeout`, 2 s.
PATIENCE_SECONDS = 10.0


class Rested(msgspec.Struct, frozen=True):
    """One server with so many idle connections. Bytes and seconds."""

    connections: int
    empty: int
    """Memory of the server without any: pages of its own, without those of libraries."""
    memory: float
    """… and what each adds to it."""
    buffers: float | None
    """What each adds to the buffers of the machine's TCP sockets, both ends; None where that is not told."""
    tasks: float | None
    """Of a connection; None where they cannot be counted."""
    descriptors: float
    """The server's, of a connection."""
    watched: float
    """How long heartbeats were counted."""
    pings: int
    heartbeat: float
    """CPU time of the server for each ping with its pong; 0 where there were none."""
    load_share: float
    living: int
    """Connections at the end."""
    problems: list[str]
    faults: list[str]


class _Holding(msgspec.Struct, frozen=True):
    """What the server, and the kernel, hold now."""

    memory: int
    buffers: int | None
    tasks: int | None
    descriptors: int


@dataclass(frozen=True)
class How:
    """How each server is measured; all but `join` is about ours alone."""

    engine: str
    tls: bool
    join: bool
    ping_interval: float
    cycles: int


@dataclass(frozen=True)
class Rest:
    """A server to be measured."""

    name: str
    title: str
    peer: Peer | None
    how: How

    async def rest(self, bench: Workbench, count: int) -> Rested:
        """A new process with so many idle connections. Raises ChildFailed."""
        name, how = f"{self.name}-{count}", self.how
        if self.peer is None:
            settings = Settings(engine=how.engine, tls=how.tls, ping_interval=how.ping_interval)
            server = await bench.server(settings, f"server-{name}")
            profile = "tidings" if how.join else "arrival"
            clients = await bench.clients(f"{name}-client", profile, tls=how.tls)
        else:
            server = await bench.peer(f"server-{name}", self.peer)
            clients = await bench.clients(f"{name}-client", "broadcast")
        await self._warm_up(server, clients)
        empty = await self._holding(server)
        own_share = await self._cpu_share(server, EMPTY_SECONDS)
        await _connect(server, clients, count)
        await trio.sleep(SETTLE_SECONDS)
        full = await self._holding(server)
        watched, pings, spent, load_share = 0.0, 0, 0.0, 0.0
        if self.peer is None and how.cycles:
            watched, pings, spent, load_share = await self._watch(server, clients, count)
        state = await clients.ask(FleetState, "state")
        faults = server.errors() if self.peer is None else []
        await clients.child.end()
        await server.end()
        found = Rested(
            connections=count,
            empty=empty.memory,
            memory=(full.memory - empty.memory) / count,
            buffers=_each(full.buffers, empty.buffers, count),
            tasks=_each(full.tasks, empty.tasks, count),
            descriptors=(full.descriptors - empty.descriptors) / count,
            watched=watched,
            pings=pings,
            heartbeat=(spent - own_share * watched) / pings if pings else 0.0,
            load_share=load_share,
            living=state.joined,
            problems=state.problems,
            faults=faults,
        )
        progress(f"{self.title}: {count:,} connections, {found.memory / 1024:.1f} KiB each")
        return found

    async def _warm_up(self, server: Child, clients: Clients) -> None:
        before = descriptors(server.pid)
        await clients.connect(server.ready.port, WARM_UP, tell=False)
        await clients.ask(Left, "leave")

        async def look() -> int:
            return descriptors(server.pid)

        await poll(look, lambda seen: seen <= before, PATIENCE_SECONDS)
        await trio.sleep(SETTLE_SECONDS)

    async def _holding(self, server: Child) -> _Holding:
        """After a forced garbage collection: the server's rubbish is no connection's."""
        tasks = None
        if self.peer is None:
            tasks = (await server.ask(ServerState, "stats", deep=True)).tasks
        else:
            await server.ask(Done, "collect")
        return _Holding(anonymous_bytes(server.pid), tcp_buffer_bytes(), tasks, descriptors(server.pid))

    @staticmethod
    async def _cpu_share(server: Child, seconds: float) -> float:
        cpu, began = cpu_seconds(server.pid), trio.current_time()
        await trio.sleep(seconds)
        return (cpu_seconds(server.pid) - cpu) / (trio.current_time() - began)

    async def _watch(self, server: Child, clients: Clients, count: int) -> tuple[float, int, float, float]:
        """Seconds, pings, CPU seconds of the server, share of the load's core."""
        how = self.how
        await trio.sleep(how.ping_interval)  # by now each has had its first
        before = await clients.ask(FleetState, "state")
        cpu, load = cpu_seconds(server.pid), cpu_seconds(clients.child.pid)
        began = trio.current_time()
        await trio.sleep(how.cycles * how.ping_interval)

        async def look() -> FleetState:
            return await clients.ask(FleetState, "state")

        # On a busy machine they come late, and the figure is of as many all the same.
        due = before.pings + how.cycles * count
        after = await poll(look, lambda seen: seen.pings >= due, LATE * how.cycles * how.ping_interval)
        spent, seconds = cpu_seconds(server.pid) - cpu, trio.current_time() - began
        return seconds, after.pings - before.pings, spent, (cpu_seconds(clients.child.pid) - load) / seconds


def mean_ping_interval(interval: float) -> float:
    """Seconds between two pings of an idle connection, on average: each is early by up to SPREAD."""
    return interval * (1 - SPREAD / 2)


async def _connect(server: Child, clients: Clients, count: int) -> None:
    for already in range(0, count, AT_A_TIME):
        await clients.connect(server.ready.port, min(AT_A_TIME, count - already), tell=False)


def _each(full: int | None, empty: int | None, count: int) -> float | None:
    return None if full is None or empty is None else (full - empty) / count
