"""Thousands of clients of one channel are cut off at once, miss the same, and return at once."""

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import trio

from tidings.bench.observe import cpu_seconds
from tidings.bench.processes import ChildFailed, running
from tidings.bench.profiles import CHANNEL
from tidings.bench.progress import progress
from tidings.bench.replies import Done, Left
from tidings.bench.resume_crowd import Ids, Progress
from tidings.bench.resume_publisher import EVENT
from tidings.bench.resume_server import Mortal
from tidings.bench.storming import AT_A_TIME
from tidings.bench.workbench import Clients, poll
from tidings.client import AsyncPublisher, Published, ToPublish

# What is there already, and what comes while everybody is away.
BACKLOG = 200
MISSED = 200

NETWORK = 61

# From the cut until the server has let go of everybody, and from the return until the last one has everything.
GONE_SECONDS = 30.0
COMPLETE_SECONDS = 90.0

SLOW_CONSUMER = 'tidings_closes_total{code="3008"}'
READS = "tidings_history_reads_total"
RECOVERED = 'tidings_recoveries_total{outcome="recovered"}'
UNRECOVERABLE = 'tidings_recoveries_total{outcome="unrecoverable"}'


@dataclass(frozen=True)
class Returned:
    """What came of it. Times in seconds from the first connect of the return."""

    clients: int
    cut: int
    joined: int
    refused: dict[str, int]
    seconds: float
    """Until the last handshake."""
    first: float
    """Until the first client had all that it had missed."""
    last: float
    """… until the last one had."""
    curve: list[float]
    complete: int
    reads: float
    recovered: float
    unrecoverable: float
    slow: float
    """Closes with 3008 that the server counted."""
    closes: dict[str, int]
    """Closes that the clients were sent."""
    resent: int
    """How many returned only after the kernel had sent something of theirs again."""
    server_cpu: float
    load_share: float
    """Of the core of the load."""
    meanwhile: int
    """Publications acknowledged during the return."""
    same: bool
    """Whether everybody has all that was acknowledged, and nothing else."""
    problem_count: int
    problems: list[str]


class Teller:
    """Publishes to the crowd's channel, and keeps what was acknowledged."""

    def __init__(self, publisher: AsyncPublisher, payload: int) -> None:
        self._publisher = publisher
        self._text = "x" * payload
        self._numbers = count(1)
        self._one_at_a_time = trio.Lock()
        self.ids: list[str] = []
        self.epoch = ""
        self.offset = 0

    async def publish(self, number: int) -> None:
        """Publish so many at once. Raises ChildFailed."""
        async with self._one_at_a_time:
            ids = [f"tell-{next(self._numbers)}" for _ in range(number)]
            for each, result in zip(
                ids,
                await self._publisher.batch(
                    ToPublish(channel=CHANNEL, event=EVENT, payload={"id": each, "text": self._text})
                    for each in ids
                ),
                strict=True,
            ):
                if not isinstance(result, Published) or result.epoch is None:
                    raise ChildFailed(f"publishing to {CHANNEL}: {result}")
                self.ids.append(each)
                self.epoch, self.offset = result.epoch, result.offset

    async def trickle(self, rate: float) -> None:
        """Publish one now and then, until cancelled."""
        while True:
            await trio.sleep(1 / rate)
            # Whole, also when it is cancelled: what was sent shall be in the ledger.
            with trio.CancelScope(shield=True):
                await self.publish(1)


@asynccontextmanager
async def crowd(server: Mortal, core: int) -> AsyncIterator[Clients]:
    """A process of light clients that return to where they were. Raises ChildFailed."""
    program = [sys.executable, "-m", "tidings.bench.resume_crowd", *(["tls"] if server.tls else [])]
    environment = {"TIDINGS_AUTH_SECRET": server.secret}
    async with running(
        "crowd", program, core=core, directory=server.directory, environment=environment
    ) as child:
        yield Clients(child, NETWORK, None)


async def storm(server: Mortal, core: int, *, clients: int, rate: float, payload: int) -> Returned:
    """Let `clients` gather in a room, cut them off, and let them return. Raises ChildFailed.

    The room must be durable, and new. `rate`: publications a second that go on meanwhile.
    """
    async with (
        AsyncPublisher(server.url("http"), api_key=server.api_key, ssl_context=server.trust()) as publisher,
        crowd(server, core) as people,
    ):
        teller = Teller(publisher, payload)
        await teller.publish(BACKLOG)
        first = len(teller.ids)
        await people.ask(Done, "begin", epoch=teller.epoch, offset=teller.offset)
        progress(f"{clients:,} clients gather")
        for already in range(0, clients, AT_A_TIME):
            await people.connect(server.port, min(AT_A_TIME, clients - already), tell=False)
        await teller.publish(1)  # so that everybody has heard the channel live
        await _all_at(people, teller.offset)

        progress("all are cut off")
        # A scrape walks all connections: asked for when they are gone.
        dropped = (await people.ask(Left, "cut", reset=True)).dropped
        await _gone(server)
        await teller.publish(MISSED)
        before = await server.figures()
        await people.ask(Done, "aim", offset=teller.offset)

        progress("all return")
        already, began, cpu = len(teller.ids), time.monotonic(), cpu_seconds(server.pid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(teller.trickle, rate)
            joined = await people.connect(
                server.port, clients, at_once=clients, timeline=True, tell=False, all_must=False
            )
            seen = await poll(
                lambda: people.ask(Progress, "progress"),
                lambda seen: seen.complete + seen.unrecovered >= joined.joined,
                COMPLETE_SECONDS,
            )
            server_cpu = cpu_seconds(server.pid) - cpu
            nursery.cancel_scope.cancel()
        meanwhile = len(teller.ids) - already
        end = await _all_at(people, teller.offset)
        after = await server.figures()
        ids = (await people.ask(Ids, "ids")).ids
        changed = {name: after.get(name, 0.0) - before.get(name, 0.0) for name in after}
        if READS not in after:
            raise ChildFailed(f"tidings serve tells no {READS}")
        return Returned(
            clients=clients,
            cut=dropped,
            joined=joined.joined,
            refused=joined.refused,
            seconds=joined.seconds,
            first=seen.first - began,
            last=seen.last - began,
            curve=[at - began for at in seen.curve],
            complete=seen.complete,
            reads=changed[READS],
            recovered=changed.get(RECOVERED, 0.0),
            unrecoverable=changed.get(UNRECOVERABLE, 0.0),
            slow=changed.get(SLOW_CONSUMER, 0.0),
            closes=end.closes,
            resent=joined.resent,
            server_cpu=server_cpu,
            load_share=joined.cpu / joined.seconds,
            meanwhile=meanwhile,
            same=ids == teller.ids[first:] and end.lowest == teller.offset,
            problem_count=end.problem_count,
            problems=end.problems,
        )


async def _all_at(people: Clients, offset: int) -> Progress:
    """How far the crowd is, once all of it has everything up to an offset, or patience is over."""
    return await poll(
        lambda: people.ask(Progress, "progress"), lambda seen: seen.lowest >= offset, COMPLETE_SECONDS
    )


async def _gone(server: Mortal) -> None:
    """Until the server holds nobody any more: then nothing of the channel is at hand."""

    async def held() -> float:
        return (await server.figures())["tidings_connections"]

    left = await poll(held, lambda left: left == 0, GONE_SECONDS)
    if left:
        raise ChildFailed(
            f"the server still holds {left:g} of the clients {GONE_SECONDS:g} s after the cut"
        )
