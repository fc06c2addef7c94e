"""Half of the clients die without a word: how long until the server knows, and what of them it keeps."""

import signal
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from tidings.bench.observe import descriptors, resident_bytes
from tidings.bench.processes import Child
from tidings.bench.replies import Done, FleetState, Left, Present, ServerState
from tidings.bench.report import Report, Table
from tidings.bench.server import Settings
from tidings.bench.workbench import Clients, Workbench, poll, progress

# For the machine: the server's timers and our looking are not instantaneous.
SLACK_SECONDS = 1.0

# How long to wait for what does not become as it should, before it is called broken. A connection that
# is out of the hub may still be closing for `heartbeat.close_timeout`, 2 s.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set."""

    clients: Annotated[int, Parameter(help="Clients in the room, in all.")] = 5000
    dead: Annotated[int, Parameter(help="How many of them die: half killed, half stopped.")] = 2500
    ping_interval: Annotated[float, Parameter(help="Seconds of silence after which the server pings.")] = (
        5.0
    )
    pong_timeout: Annotated[float, Parameter(help="Seconds that it waits for an answer.")] = 3.0
    payload: Annotated[int, Parameter(help="Bytes of text in the publication.")] = 256


class Holdings(msgspec.Struct, frozen=True):
    """Everything that a connection takes of a server."""

    connections: int
    users: int
    channels: int
    subscriptions: int
    outbox_bytes: int
    handled: int
    sockets: int
    addresses: int
    tasks: int
    descriptors: int
    objects: int

    @classmethod
    def of(cls, state: ServerState, server: Child) -> "Holdings":
        """What it has now."""
        numbers = state.statistics
        return cls(
            connections=numbers["connections"],
            users=numbers["users"],
            channels=numbers["channels"],
            subscriptions=numbers["subscriptions"],
            outbox_bytes=numbers["outbox_bytes"],
            handled=state.handled,
            sockets=state.sockets,
            addresses=state.addresses,
            tasks=state.tasks,
            descriptors=descriptors(server.pid),
            objects=sum(state.objects.values()),
        )


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    bound = options.ping_interval + options.pong_timeout + SLACK_SECONDS
    report = Report(
        f"dead: {options.dead:,} of {options.clients:,} clients die without closing, half killed, half "
        f"stopped; ping after {options.ping_interval:g} s, pong within {options.pong_timeout:g} s"
    )
    server = await bench.server(
        Settings(ping_interval=options.ping_interval, pong_timeout=options.pong_timeout)
    )
    port = server.ready.port
    living, killed, stopped = [await bench.clients(name) for name in ("living", "killed", "stopped")]
    # Warm-up: what the first connection loads or opens for good is no leak.
    warm = await bench.clients("warm-up")
    await warm.connect(port, 10)
    await warm.ask(Left, "leave")
    await poll(lambda: server.ask(ServerState, "stats"), lambda state: not state.sockets, PATIENCE_SECONDS)
    empty = await _holdings(server)
    memory = [("empty", resident_bytes(server.pid))]

    await living.connect(port, options.clients - options.dead)
    alive = await _holdings(server)
    memory.append(("living only", resident_bytes(server.pid)))
    halves = [(killed, options.dead // 2), (stopped, options.dead - options.dead // 2)]
    for clients, count in halves:
        await clients.connect(port, count)
    everybody = await _holdings(server)
    memory.append(("everybody", resident_bytes(server.pid)))

    # One publication reaches all of them.
    await _publish(server, options)
    states = await _received([living, killed, stopped], options.clients)
    report.check(
        f"one publication reached all {options.clients:,}",
        sum(state.received for state in states) == options.clients,
        f"{sum(state.received for state in states):,} received it",
    )

    progress("killing one half, stopping the other")
    died = trio.current_time()
    killed.child.signal(signal.SIGKILL)
    stopped.child.signal(signal.SIGSTOP)
    gone = await _watch(server, halves, died, bound + PATIENCE_SECONDS)
    for (clients, count), seconds in zip(halves, gone, strict=True):
        promise = f"{count:,} {clients.name} are gone from the hub within {bound:g} s"
        kept = seconds is not None and seconds <= bound
        report.check(promise, kept, "never" if seconds is None else f"{seconds:.2f} s")

    begun = trio.current_time()
    after = await _holdings(server, alive, PATIENCE_SECONDS)
    settled = trio.current_time() - begun
    memory.append(("the dead gone", resident_bytes(server.pid)))
    report.check(
        "hub, tasks, descriptors and objects are what they were with the living alone",
        after == alive,
        _difference(after, alive) or f"after another {settled:.2f} s",
    )
    await _publish(server, options)
    [state] = await _received([living], 2 * (options.clients - options.dead))
    report.check(
        "the living have all publications, without a gap",
        state.joined == options.clients - options.dead
        and state.received == 2 * state.joined
        and not state.problem_count,
        f"{state.joined:,} clients, {state.received:,} received, {state.problem_count} problems",
    )

    progress("the living leave")
    stopped.child.signal(signal.SIGKILL)
    left = await living.ask(Left, "leave")
    report.check(
        "the living closed in order", not left.dropped, f"{left.dropped} closing handshakes did not end"
    )
    last = await _holdings(server, empty, PATIENCE_SECONDS)
    memory.append(("all gone", resident_bytes(server.pid)))
    report.check(
        "the empty server is what it was before anybody came",
        last == empty,
        _difference(last, empty) or "equal",
    )
    closes = (await server.ask(ServerState, "stats")).closes
    expected = {"1000": 10 + options.clients - options.dead, "1006": halves[0][1], "3012": halves[1][1]}
    report.check("each close is recorded with its reason", closes == expected, closes)
    report.check("the server logged no fault", not server.errors(), server.errors()[:3] or "none")

    names = list(Holdings.__struct_fields__)
    columns = {
        "empty": empty, "living": alive, "everybody": everybody, "the dead gone": after, "all gone": last,
    }  # fmt: skip
    report.tables.append(
        Table(
            ["what the server holds", *columns],
            [[name, *(f"{getattr(held, name):,}" for held in columns.values())] for name in names]
            + [["memory MiB", *(f"{size / 2**20:.0f}" for _, size in memory)]],
        )
    )
    report.raw = {
        "options": asdict(options),
        "gone_seconds": {clients.name: seconds for (clients, _), seconds in zip(halves, gone, strict=True)},
        "settled_seconds": settled,
        "holdings": {name: msgspec.to_builtins(held) for name, held in columns.items()},
        "memory": dict(memory),
        "closes": closes,
    }
    return report


async def _holdings(server: Child, like: Holdings | None = None, seconds: float = 0.0) -> Holdings:
    """What the server holds, if need be after waiting until that is as it was before."""

    async def look(*, deep: bool = False) -> Holdings:
        return Holdings.of(await server.ask(ServerState, "stats", deep=deep), server)

    def is_alike(now: Holdings) -> bool:
        return like is None or now == msgspec.structs.replace(like, objects=0)

    # Objects are counted once, at the end: that walks all of them, and a server that does it all the time
    # has no time left to let its connections go.
    await poll(look, is_alike, seconds)
    return await look(deep=True)


async def _publish(server: Child, options: Options) -> None:
    await server.ask(Done, "publish", payload=options.payload)


async def _received(fleets: list[Clients], count: int) -> list[FleetState]:
    async def look() -> list[FleetState]:
        return [await clients.ask(FleetState, "state") for clients in fleets]

    return await poll(
        look, lambda states: sum(state.received for state in states) >= count, PATIENCE_SECONDS
    )


async def _watch(
    server: Child, halves: list[tuple[Clients, int]], died: float, seconds: float
) -> list[float | None]:
    """When the last of each half was gone from the hub, in seconds after their death."""
    gone: dict[str, float] = {}
    groups = {clients.name: (0, count - 1) for clients, count in halves}

    async def look() -> bool:
        present = await server.ask(Present, "present", groups=groups)
        for name, count in present.groups.items():
            if not count and name not in gone:
                gone[name] = trio.current_time() - died
                progress(f"{name}: gone after {gone[name]:.2f} s")
        return len(gone) == len(groups)

    await poll(look, bool, seconds)
    return [gone.get(clients.name) for clients, _ in halves]


def _difference(found: Holdings, wanted: Holdings) -> str:
    return ", ".join(
        f"{name}: {getattr(found, name)} instead of {getattr(wanted, name)}"
        for name in Holdings.__struct_fields__
        if getattr(found, name) != getattr(wanted, name)
    )
