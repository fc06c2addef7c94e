"""Light clients against real ones: whether what thousands of raw sockets measure is what an application sees."""

from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from tidings.bench.processes import Child
from tidings.bench.quantiles import CURVE_SHARES
from tidings.bench.replies import Done, FleetState, Left, Quantiles
from tidings.bench.report import Check, Curve, Distribution, Report, Table, milliseconds
from tidings.bench.workbench import Clients, Workbench, expect, poll, progress

# Until everybody has what was published last.
SETTLE_SECONDS = 20.0

PHASE = "cross-check"


class Group(NamedTuple):
    """Clients of one kind."""

    title: str
    clients: Clients
    number: int


class Seen(NamedTuple):
    """What they got of the publications of the check."""

    group: Group
    state: FleetState
    received: int
    """Of these publications, all clients together."""
    latency: Quantiles


@dataclass
class CrossCheck:
    """What came of it."""

    publications: int
    """Publications of the check."""
    light: Quantiles
    """Of all the light clients that were there before. Seconds."""
    beside: Quantiles
    """Of as many light clients as real ones, that joined next to them."""
    real: Quantiles
    table: Table
    plot: Distribution
    checks: list[Check] = field(default_factory=list)

    def tell(self, report: Report) -> None:
        """Put it into a scenario's report."""
        report.tables.append(self.table)
        report.plots.append(self.plot)
        report.checks += self.checks


async def crosscheck(
    bench: Workbench,
    server: Child,
    clients: Clients,
    *,
    count: int,
    seconds: float,
    rate: float,
    payload: int,
    tls: bool = False,
) -> CrossCheck:
    """Let `count` real clients join the room of `clients`, who publish at a rate for so long; then compare.

    The server sends in the order in which members joined, so whoever comes last hears last. A fair comparison
    is with neighbours: half as many light clients join before the real ones as behind them, in a process of
    their own. `clients` must be of one room and at rest, and are so again afterwards, with everybody else gone;
    their latencies go on under `all`. `tls` as for `bench.clients`. Raises ChildFailed, also for those who do
    not join.
    """
    expect(4)
    light = Group("light, all that were there", clients, (await _state(clients)).joined)
    beside = Group(
        "light, next to the real ones", await bench.clients(f"{clients.name}-beside", tls=tls), count
    )
    real = Group("real: tidings.client", await bench.real_clients(f"{clients.name}-real", tls=tls), count)
    port = server.ready.port
    await beside.clients.connect(port, count // 2)
    await real.clients.connect(port, count)
    await beside.clients.connect(port, count - count // 2)
    groups = (light, beside, real)
    before = {group.title: (await _state(group.clients)) for group in groups}
    first = before[light.title].highest
    published = before[light.title].published
    for group in groups:
        await group.clients.ask(Done, "phase", name=PHASE)
    progress(f"cross-check: {count} real and {count} light clients beside {light.number:,}")
    await clients.ask(Done, "load", rate=rate, payload=payload)
    await trio.sleep(seconds)
    await clients.ask(Done, "load_end")
    seen = await _settled(groups, before, first)
    for group in groups:
        await group.clients.keep_samples(PHASE, f"{PHASE}-{group.clients.name}")
    await clients.ask(Done, "phase", name="all")
    for group in (beside, real):
        await group.clients.ask(Left, "leave")
        await group.clients.child.end()
    return judge(seen, first, seen[0].state.published - published)


async def _state(clients: Clients) -> FleetState:
    return await clients.ask(FleetState, "state")


async def _settled(groups: tuple[Group, ...], before: dict[str, FleetState], first: int) -> list[Seen]:
    """What all have got once nothing is under way any more, or SETTLE_SECONDS have passed."""
    already = before[groups[0].title].published

    async def look() -> list[FleetState]:
        return [await _state(group.clients) for group in groups]

    def at_rest(states: list[FleetState]) -> bool:
        newest = first + states[0].published - already
        return all(state.lowest == state.highest == newest for state in states)

    states = await poll(look, at_rest, SETTLE_SECONDS)
    return [
        Seen(
            group,
            state,
            state.received - before[group.title].received,
            await group.clients.ask(Quantiles, "latency", phase=PHASE),
        )
        for group, state in zip(groups, states, strict=True)
    ]


def judge(seen: list[Seen], first: int, publications: int) -> CrossCheck:
    """Compare the three groups; so many publications of the check followed offset `first`."""
    light, beside, real = seen
    checks = [
        Check(
            f"cross-check: {one.group.title}: the same {publications:,} publications, once, in order",
            _is_complete(one, publications, first),
            f"{one.received:,} of {publications * one.group.number:,}, last offsets {one.state.lowest:,} to "
            f"{one.state.highest:,}, {one.state.problem_count} problems"
            + "".join(f"; {problem}" for problem in one.state.problems[:2]),
        )
        for one in seen
    ]
    checks.append(
        Check(
            "cross-check: the light clients are not the slower measure: their p50 is not above that of real "
            "ones next to them",
            beside.latency.count > 0 and beside.latency.p50 <= real.latency.p50,
            f"{milliseconds(beside.latency.p50)} and {milliseconds(real.latency.p50)} ms",
        )
    )
    return CrossCheck(
        publications,
        light.latency,
        beside.latency,
        real.latency,
        _table(seen, publications),
        Distribution(
            "latency of the same publications, by kind of client",
            [
                Curve(one.group.title, CURVE_SHARES, [value * 1e3 for value in one.latency.curve])
                for one in seen
            ],
        ),
        checks,
    )


def _is_complete(one: Seen, publications: int, first: int) -> bool:
    """Every client all of them: each checked that offsets rise by one, and what all got adds up."""
    return (
        publications > 0
        and one.state.joined == one.group.number
        and one.received == publications * one.group.number
        and one.latency.count == one.received
        and one.state.lowest == one.state.highest == first + publications
        and not one.state.problem_count
    )


def _table(seen: list[Seen], publications: int) -> Table:
    return Table(
        ["clients", "number", "publications", "p50 ms", "p90 ms", "p99 ms", "max ms"],
        [
            [
                one.group.title,
                f"{one.group.number:,}",
                f"{publications:,}",
                milliseconds(one.latency.p50),
                milliseconds(one.latency.p90),
                milliseconds(one.latency.p99),
                milliseconds(one.latency.worst),
            ]
            for one in seen
        ],
    )
