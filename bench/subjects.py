"""Servers that are measured in turn: one process each for every run, and what it is put through."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.bench.observe import anonymous_bytes, cpu_seconds
from tidings.bench.options import PEERS
from tidings.bench.peers import Peer
from tidings.bench.processes import Child
from tidings.bench.quantiles import median
from tidings.bench.replies import Done, FleetState, Inbound, Joined, Left, ServerState
from tidings.bench.report import microseconds
from tidings.bench.server import Settings
from tidings.bench.workbench import Clients, Workbench, progress
from tidings.server.app import ENGINES

# What messages end in: nothing, or the product's own handlers.
SINK = "sink"
DISPATCHER = "dispatcher"

# Parts of a run, in which the servers take turns.
SLICES = 6

# Every line of code on the way has run before the clock does.
WARM_UP = 100

# Until what a close leaves behind is done.
SETTLE_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set."""

    runs: Annotated[
        int, Parameter(help="Runs of each server, in turn; medians are over runs.", validator=Number(gte=1))
    ] = 5
    connections: Annotated[
        int,
        Parameter(help="Handshakes of a run; they stay, and are the idle connections that memory is of."),
    ] = 3000
    at_once: Annotated[int, Parameter(help="Handshakes under way at once.")] = 64
    messages: Annotated[int, Parameter(help="Messages to the server in a run.")] = 40_000
    batch: Annotated[int, Parameter(help="Messages in one write, and so in one read.")] = 100
    payload: Annotated[int, Parameter(help="Bytes of a message.")] = 128
    talkers: Annotated[int, Parameter(help="Connections that send them.")] = 4
    idle: Annotated[int, Parameter(help="Idle connections with a ping a second; 0 leaves that out.")] = 1000
    idle_seconds: Annotated[float, Parameter(help="How long these are watched.")] = 4.0
    engines: Annotated[tuple[str, ...], Parameter(help="Engines of ours to measure.")] = tuple(
        sorted(ENGINES)
    )
    peers_directory: Annotated[
        Path, Parameter(help="Where the peers' environments are, made by `tidings bench peers --install`.")
    ] = PEERS
    handshake_ratio: Annotated[
        float, Parameter(help="CPU of a handshake: native to reference, and to FastAPI, at most.")
    ] = 0.6
    memory_ratio: Annotated[float, Parameter(help="Memory of a connection: native to reference.")] = 0.65
    inbound_ratio: Annotated[float, Parameter(help="CPU of a message in: native to reference.")] = 0.2


class Run(msgspec.Struct, frozen=True):
    """One run of one server. Seconds of its CPU time, and bytes."""

    handshake: float
    close: float
    memory: float
    tasks: float
    """Of a connection; nan where they cannot be counted."""
    inbound: float
    """For a message that nobody handles."""
    dispatched: float
    """For a command of the same length, with its answer."""
    heartbeat: float
    """For a ping and its pong, a second after the one before."""
    handshakes_per_second: float
    load_share: float


NOT_MEASURED = float("nan")


@dataclass
class Entry:
    """A server to be measured."""

    name: str
    title: str
    peer: Peer | None = None
    clients: Clients = field(init=False)
    runs: list[Run] = field(default_factory=list)

    def median(self, name: str) -> float:
        """A figure's median over the runs."""
        return median([getattr(run, name) for run in self.runs])

    def spread(self, name: str, show: Callable[[float], str]) -> str:
        """Its least and its most."""
        values = [getattr(run, name) for run in self.runs]
        return f"{show(min(values))}-{show(max(values))}"


class _Subject:
    """One server of one round."""

    def __init__(
        self, entry: Entry, number: int, options: Options, bench: Workbench, faults: list[str]
    ) -> None:
        self.entry = entry
        self._number = number
        self._options = options
        self._bench = bench
        self._faults = faults
        self._server: Child | None = None
        self._memory = 0
        self._tasks = NOT_MEASURED
        self.arrivals: list[Joined] = []
        self.close = self.memory = self.tasks = self.heartbeat = NOT_MEASURED
        self.talks: dict[str, list[Inbound]] = {SINK: [], DISPATCHER: []}

    @property
    def _living(self) -> Child:
        assert self._server is not None
        return self._server

    async def start(self, what: str, settings: Settings) -> None:
        """Start the server; a peer is what it is, whatever the settings."""
        name = f"{self.entry.name}-{what}-{self._number}"
        if self.entry.peer is None:
            self._server = await self._bench.server(settings, name)
        else:
            self._server = await self._bench.peer(name, self.entry.peer)

    async def end(self) -> None:
        """End the server, and keep what it complained of. A peer may say what it likes."""
        if self.entry.peer is None:
            self._faults += self._living.errors()
        await self._living.end()

    async def warm_up(self) -> None:
        """Run every line on the way once, and note what the server holds without connections."""
        await self._connect(WARM_UP)
        await self._leave()
        self._memory, self._tasks = await self._holdings()

    async def arrive(self, count: int) -> None:
        """Connect so many, who stay."""
        self.arrivals.append(await self._connect(count))

    async def hold(self) -> None:
        """Note what a connection holds."""
        memory, tasks = await self._holdings()
        self.memory = (memory - self._memory) / self._options.connections
        self.tasks = (tasks - self._tasks) / self._options.connections

    async def leave(self) -> None:
        """Close all, and note what that cost."""
        self.close = await self._leave() / self._options.connections

    async def talk(self, talkers: Child, what: str, messages: int) -> None:
        """Send messages, to a handler that does nothing or to the product's."""
        options = self._options
        found = await talkers.ask(
            Inbound,
            "talk",
            port=self._living.ready.port,
            server=self._living.pid,
            text="x" * options.payload if what == SINK else padded_ping(options.payload),
            messages=messages,
            batch=options.batch,
            connections=options.talkers,
        )
        expected = 0 if what == SINK else found.messages
        if found.answers != expected:
            self._faults.append(f"{self.entry.name}, {what}: {found.answers} answers of {expected}")
        self.talks[what].append(found)

    async def beat(self) -> None:
        """Note what a ping and its pong cost, among idle connections."""
        await self._connect(self._options.idle)
        await trio.sleep(1.0)
        pings = (await self.entry.clients.ask(FleetState, "state")).pings
        before = cpu_seconds(self._living.pid)
        await trio.sleep(self._options.idle_seconds)
        spent = cpu_seconds(self._living.pid) - before
        pings = (await self.entry.clients.ask(FleetState, "state")).pings - pings
        if not pings:
            self._faults.append(f"{self.entry.name}: no pings")
        self.heartbeat = spent / max(pings, 1)
        await self._leave()

    def run(self) -> Run:
        """All of it."""
        arrived = self._options.connections
        return Run(
            handshake=sum(joined.server_cpu for joined in self.arrivals) / arrived,
            close=self.close,
            memory=self.memory,
            tasks=self.tasks,
            inbound=_per_message(self.talks[SINK]),
            dispatched=_per_message(self.talks[DISPATCHER]),
            heartbeat=self.heartbeat,
            handshakes_per_second=arrived / sum(joined.seconds for joined in self.arrivals),
            load_share=max(
                sum(joined.cpu for joined in self.arrivals)
                / sum(joined.seconds for joined in self.arrivals),
                *(talk.load_share for talk in self.talks[SINK]),
            ),
        )

    async def _connect(self, count: int) -> Joined:
        server = self._living
        return await self.entry.clients.connect(
            server.ready.port, count, at_once=self._options.at_once, server=server.pid, tell=False
        )

    async def _leave(self) -> float:
        """Close all connections; the CPU seconds it took."""
        server = self._living
        before = cpu_seconds(server.pid)
        left = await self.entry.clients.ask(Left, "leave")
        if left.dropped:
            self._faults.append(f"{self.entry.name}: {left.dropped} closing handshakes did not end")
        await trio.sleep(SETTLE_SECONDS)
        return cpu_seconds(server.pid) - before

    async def _holdings(self) -> tuple[int, float]:
        """Memory and tasks, once there is no garbage."""
        server = self._living
        await trio.sleep(SETTLE_SECONDS)
        if self.entry.peer is not None:
            await server.ask(Done, "collect")
            return anonymous_bytes(server.pid), NOT_MEASURED
        state = await server.ask(ServerState, "stats", deep=True)
        return anonymous_bytes(server.pid), state.tasks


async def take_turns(
    entries: list[Entry],
    number: int,
    options: Options,
    bench: Workbench,
    talkers: Child,
    faults: list[str],
) -> None:
    """One run of each: slice by slice in turn, so that an hour in which the machine is slow is everybody's."""
    subjects = [_Subject(entry, number, options, bench, faults) for entry in entries]
    ours = [subject for subject in subjects if subject.entry.peer is None]
    for subject in subjects:
        await subject.start("arrivals", Settings(engine=subject.entry.name))
        await subject.warm_up()
    for count, order in _slices(options.connections, subjects):
        for subject in order:
            await subject.arrive(count)
    for subject in subjects:
        await subject.hold()
        await subject.leave()
        await subject.end()
    for what, talking in ((SINK, subjects), (DISPATCHER, ours)):
        for subject in talking:
            await subject.start(what, _talked_to(subject.entry.name, what))
        for count, order in _slices(options.messages if what == SINK else options.messages // 4, talking):
            for subject in order:
                await subject.talk(talkers, what, count)
        for subject in talking:
            await subject.end()
    for subject in ours if options.idle else ():
        await subject.start(
            "idle", Settings(engine=subject.entry.name, ping_interval=1.0, pong_timeout=1.0)
        )
        await subject.beat()
        await subject.end()
    for subject in subjects:
        measured = subject.run()
        subject.entry.runs.append(measured)
        progress(
            f"run {number + 1}: {subject.entry.name}: handshake {microseconds(measured.handshake)} µs, "
            f"{kib(measured.memory)} KiB, message in {microseconds(measured.inbound)} µs"
        )


def _slices(total: int, subjects: list[_Subject]) -> Iterator[tuple[int, list[_Subject]]]:
    """A total in SLICES parts, and the order of the servers in each: to and fro."""
    for number in range(SLICES):
        part = total // SLICES + (number < total % SLICES)
        if part:
            yield part, subjects if number % 2 else subjects[::-1]


def _per_message(talks: list[Inbound]) -> float:
    if not talks:
        return NOT_MEASURED
    return sum(talk.server_cpu for talk in talks) / sum(talk.messages for talk in talks)


def _talked_to(engine: str, what: str) -> Settings:
    """A server whose rates nobody meets."""
    return Settings(engine=engine, sink=what == SINK, command_rate=1e9, command_burst=10**9)


def padded_ping(length: int) -> str:
    """A `ping` command without an id, padded to a length."""
    head, tail = '{"type":"ping","data":{', "}}"
    return head + " " * max(0, length - len(head) - len(tail)) + tail


def kib(size: float) -> str:
    """As `18.7`."""
    return f"{size / 1024:.1f}"
