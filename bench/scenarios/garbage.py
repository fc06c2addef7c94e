"""Garbage collections beside many idle connections: how often, how long, and what a room feels of them."""

from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from tidings.bench.collector import CollectorSettings
from tidings.bench.observe import proportional_bytes
from tidings.bench.processes import Child, ChildFailed
from tidings.bench.replies import Collected, Collections, Done, FleetState, Left, Pauses, Quantiles
from tidings.bench.report import Report, Table, milliseconds
from tidings.bench.server import Settings
from tidings.bench.workbench import Clients, Workbench, poll, progress

PRODUCT = "product"

# The phase in which one is asked for.
FULL = "a full collection"

# What is compared. Thresholds: net new objects before a young collection, young ones before a middle one,
# middle ones before a full one. The middle one walks all that the young ones before it left.
VARIANTS = {
    "python": CollectorSettings(base="python"),
    PRODUCT: CollectorSettings(),
    "small": CollectorSettings(thresholds=(10_000, 5, 10_000)),
    "freezing": CollectorSettings(thresholds=(10_000, 5, 10_000), freeze_every=1.0),
    "off": CollectorSettings(base="off"),
}

# Handshakes of those who come and go, at once: few, since it is not the queue behind them that is measured.
COMERS_AT_ONCE = 2
COMERS = 25

# Connected in one request, each of which must be answered in ASK_SECONDS.
AT_A_TIME = 2500

# The rates of the room are met by no one client: they take turns.
DRAIN_SECONDS = 10.0

BUSY = 0.8

_GENERATIONS = ("young", "middle", "full")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set."""

    clients: Annotated[int, Parameter(help="Idle connections.")] = 15_000
    room: Annotated[int, Parameter(help="Clients in the room.")] = 200
    rate: Annotated[float, Parameter(help="Publications a second in it.")] = 20.0
    payload: Annotated[int, Parameter(help="Bytes of text in a publication.")] = 256
    seconds: Annotated[float, Parameter(help="Length of each phase under load.")] = 20.0
    engine: Annotated[str, Parameter(help="Engine of the server.")] = Settings().engine
    variants: Annotated[
        tuple[str, ...], Parameter(help=f"Settings to compare, of {', '.join(VARIANTS)}.")
    ] = tuple(VARIANTS)
    most_pause: Annotated[
        float, Parameter(help="Longest collection under load with the product's settings, in ms.")
    ] = 50.0


class Found(msgspec.Struct, frozen=True):
    """One phase."""

    latency: Quantiles | None
    generations: list[Collections]
    seconds: float
    handshakes: int

    @property
    def worst(self) -> float:
        """The longest pause, in seconds."""
        return max(generation.worst for generation in self.generations)

    @property
    def total(self) -> float:
        """Seconds in the collector."""
        return sum(generation.seconds for generation in self.generations)


class Outcome(msgspec.Struct, frozen=True):
    """One variant."""

    phases: dict[str, Found]
    full: Collected
    """A full collection among all of them, asked for."""
    cycles: float
    """Objects for each connection that had ended, which only the collector could free."""
    memory: dict[str, int]


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    report = Report(
        f"gc: {options.clients:,} idle connections ({options.engine} engine), a room of {options.room} under "
        f"{options.rate:g} publications/s, {options.seconds:g} s a phase"
    )
    unknown = [name for name in options.variants if name not in VARIANTS]
    if unknown:
        raise ChildFailed(f"variants: no {unknown[0]!r}; there are {', '.join(VARIANTS)}")
    outcomes: dict[str, Outcome] = {}
    for name in options.variants:
        outcomes[name] = await _Variant(name, options, bench, report).run()
    report.tables += [_latencies(outcomes), _collections(outcomes), _objects(outcomes)]
    if PRODUCT in outcomes:
        check_promises(report, outcomes[PRODUCT], options)
    report.raw = {"options": asdict(options), "variants": msgspec.to_builtins(outcomes)}
    return report


class _Variant:
    """One way to set the collector, in a server of its own."""

    def __init__(self, name: str, options: Options, bench: Workbench, report: Report) -> None:
        self._name = name
        self._options = options
        self._bench = bench
        self._report = report

    async def run(self) -> Outcome:
        options, name = self._options, self._name
        progress(f"{name}:")
        settings = Settings(engine=options.engine, collector=VARIANTS[name])
        server = await self._bench.server(settings, f"server-{name}")
        idle = await self._bench.clients(f"{name}-idle", "arrival")
        comers = await self._bench.clients(f"{name}-comer", "arrival")
        room = await self._bench.clients(f"{name}-room")
        memory = {"empty": proportional_bytes(server.pid)}
        found: dict[str, Found] = {}

        seconds = 0.0
        for already in range(0, options.clients, AT_A_TIME):
            count = min(AT_A_TIME, options.clients - already)
            seconds += (await idle.connect(server.ready.port, count)).seconds
        found["connecting"] = await _pauses(server, None, seconds, options.clients)
        memory["idle"] = proportional_bytes(server.pid)
        await room.connect(server.ready.port, options.room)
        await room.ask(Done, "load", rate=options.rate, payload=options.payload)
        await trio.sleep(1.0)  # warm-up

        found["idle beside"] = await self._phase(server, room, "steady", None)
        found["comings and goings"] = await self._phase(server, room, "churn", comers)
        await room.ask(Done, "phase", name="full")
        await trio.sleep(1.0)
        full = await server.ask(Collected, "collect")
        await trio.sleep(1.0)
        await room.ask(Done, "phase", name="after")
        found[FULL] = await _pauses(server, await room.ask(Quantiles, "latency", phase="full"), 2.0, 0)
        await room.ask(Done, "load_end")
        await self._check_room(room)
        await server.ask(Collected, "collect", frozen=True)
        await server.ask(Pauses, "pauses")
        await idle.ask(Left, "leave")
        memory["after"] = proportional_bytes(server.pid)
        await server.ask(Collected, "collect", frozen=True)
        collected = await server.ask(Pauses, "pauses")
        freed = sum(generation.freed for generation in collected.generations)
        for child in (idle.child, comers.child, room.child):
            await child.end()
        self._report.check(
            f"{name}: the server logged no fault", not server.errors(), server.errors()[:3] or "none"
        )
        await server.end()
        return Outcome(found, full, freed / options.clients, memory)

    async def _phase(self, server: Child, room: Clients, name: str, comers: Clients | None) -> Found:
        """The room under load for a while; `comers` come and go meanwhile."""
        await server.ask(Pauses, "pauses")
        await room.ask(Done, "phase", name=name)
        began = trio.current_time()
        handshakes = 0
        if comers is None:
            await trio.sleep(self._options.seconds)
        else:
            while trio.current_time() < began + self._options.seconds:
                await comers.connect(server.ready.port, COMERS, at_once=COMERS_AT_ONCE, tell=False)
                await comers.ask(Left, "leave")
                handshakes += COMERS
        seconds = trio.current_time() - began
        await room.ask(Done, "phase", name="between")
        found = await _pauses(server, await room.ask(Quantiles, "latency", phase=name), seconds, handshakes)
        progress(f"{self._name}, {name}: {_told(found)}")
        return found

    async def _check_room(self, room: Clients) -> None:
        async def look() -> FleetState:
            return await room.ask(FleetState, "state")

        state = await poll(look, lambda seen: seen.lowest == seen.published, DRAIN_SECONDS)
        complete = state.lowest == state.published and not state.problem_count
        self._report.check(
            f"{self._name}: the room has every publication, once, in order",
            complete and state.joined == self._options.room,
            f"offset {state.lowest} of {state.published}, {state.problems[:3] or 'no problems'}",
        )
        if state.load_share > BUSY:
            self._report.warnings.append(
                f"{self._name}: the room's clients used {state.load_share:.0%} of their core"
            )


async def _pauses(server: Child, latency: Quantiles | None, seconds: float, handshakes: int) -> Found:
    pauses = await server.ask(Pauses, "pauses")
    return Found(latency, pauses.generations, seconds, handshakes)


def _told(found: Found) -> str:
    assert found.latency is not None
    return f"p99.9 {milliseconds(found.latency.p999)} ms, longest collection {milliseconds(found.worst)} ms"


def _latencies(outcomes: dict[str, Outcome]) -> Table:
    return Table(
        ["latency of the room, ms", "p50", "p99", "p99.9", "max"],
        [
            [
                f"{name}: {phase}",
                *map(
                    milliseconds,
                    (found.latency.p50, found.latency.p99, found.latency.p999, found.latency.worst),
                ),
            ]
            for name, outcome in outcomes.items()
            for phase, found in outcome.phases.items()
            if found.latency is not None
        ],
    )


def _collections(outcomes: dict[str, Outcome]) -> Table:
    return Table(
        [
            "collections",
            *_GENERATIONS,
            "longest, ms: young",
            "middle",
            "full",
            "in all, ms",
            "per 1,000 handshakes, ms",
        ],
        [
            [
                f"{name}: {phase}",
                *(str(generation.count) for generation in found.generations),
                *(
                    milliseconds(generation.worst) if generation.count else ""
                    for generation in found.generations
                ),
                milliseconds(found.total),
                milliseconds(found.total * 1000 / found.handshakes) if found.handshakes else "",
            ]
            for name, outcome in outcomes.items()
            for phase, found in outcome.phases.items()
        ],
    )


def _objects(outcomes: dict[str, Outcome]) -> Table:
    return Table(
        ["a full collection among all", "ms", "objects walked", "freed", "cyclic garbage per ended connection",
         "MiB with all", "MiB without"],
        [
            [
                name,
                milliseconds(outcome.full.seconds),
                f"{outcome.full.tracked:,}",
                f"{outcome.full.freed:,}",
                f"{outcome.cycles:.2f}",
                f"{outcome.memory['idle'] / 2**20:.0f}",
                f"{outcome.memory['after'] / 2**20:.0f}",
            ]
            for name, outcome in outcomes.items()
        ],
    )  # fmt: skip


def check_promises(report: Report, outcome: Outcome, options: Options) -> None:
    """What the product's own settings promise."""
    unasked = {name: found for name, found in outcome.phases.items() if name != FULL}
    full = sum(found.generations[2].count for found in unasked.values())
    report.check("no full collection but the one that was asked for", full == 0, full)
    loaded = [found for found in unasked.values() if found.latency is not None]
    worst = max(found.worst for found in loaded) * 1e3
    report.check(
        "an ended connection leaves the collector nothing to do",
        outcome.cycles < 1,
        f"{outcome.cycles:.2f} objects",
    )
    report.check(
        f"no collection longer than {options.most_pause:g} ms while the room is under load",
        worst <= options.most_pause,
        f"{worst:.1f} ms",
    )
