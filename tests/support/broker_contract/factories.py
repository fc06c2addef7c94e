"""The brokers that the contract is run on. A new one adds its factory to `BROKERS`."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import trio

from support.broker_contract.case import DEVICE_AGE, DEVICES, PAYLOAD, Case, Node, policies
from tidings.server.brokers.base import Broker
from tidings.server.brokers.by_policy import PolicyBroker
from tidings.server.brokers.durable import DurableBroker
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.policies import Policies
from tidings.server.store.store import Store

Factory = Callable[[Path], AbstractAsyncContextManager[Case]]
"""Gives a broker, new and empty; what it keeps on disk goes into a directory."""

# More than any check uses at once, and few enough to push one out.
_IDLE: Final = 40


class Clock:
    """The real clocks, which a check may put ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead += seconds

    def wall(self) -> float:
        """Unix seconds."""
        return time.time() + self.ahead

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() + self.ahead


def memory_broker(
    kind: type[MemoryBroker], node: Node, clock: Clock, rules: Policies, **more: Any
) -> MemoryBroker:
    """A memory broker, or one like it, as the contract wants it."""
    return kind(
        node.deliver,
        policies=rules,
        moved=node.moved,
        told=node.tell,
        clock=clock.wall,
        monotonic=clock.monotonic,
        idle_channels=_IDLE,
        devices=DEVICES,
        device_age=DEVICE_AGE,
        **more,
    )


async def push_out(broker: Broker) -> None:
    """Make a memory broker forget every channel that nobody listens to."""
    for number in range(_IDLE + 1):
        await broker.publish(f"room:other-{number}", "news", PAYLOAD)


@asynccontextmanager
async def memory(_directory: Path) -> AsyncIterator[Case]:
    """The broker of a single process."""
    node, clock = Node(), Clock()
    broker = memory_broker(MemoryBroker, node, clock, policies(durable_rooms=False, durable_inboxes=False))

    async def lose(_channel: str) -> None:
        await push_out(broker)

    yield Case(broker, node, advance=clock.advance, lose=lose)


@asynccontextmanager
async def _durable_broker(
    directory: Path, node: Node, clock: Clock, rules: Policies
) -> AsyncIterator[DurableBroker]:
    store = Store(
        directory,
        rules,
        devices=DEVICES,
        device_age=DEVICE_AGE,
        clock=clock.wall,
        monotonic=clock.monotonic,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        try:
            yield DurableBroker(store, rules, node.deliver, node.moved, clock=clock.wall)
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def durable(directory: Path) -> AsyncIterator[Case]:
    """The broker over SQLite, with its threads, for rooms too."""
    node, clock = Node(), Clock()
    rules = policies(durable_rooms=True, durable_inboxes=True)
    async with _durable_broker(directory, node, clock, rules) as broker:
        # Presence and nodes are not its business, and the checks of them leave it alone.
        yield Case(cast(Broker, broker), node, advance=clock.advance, durable_only=True)


@asynccontextmanager
async def by_policy(directory: Path) -> AsyncIterator[Case]:
    """Both of them behind one: rooms in memory, inboxes on disk."""
    node, clock = Node(), Clock()
    rules = policies(durable_rooms=False, durable_inboxes=True)
    async with _durable_broker(directory, node, clock, rules) as on_disk:
        in_memory = memory_broker(MemoryBroker, node, clock, rules)

        async def lose(_channel: str) -> None:
            await push_out(in_memory)

        yield Case(PolicyBroker(in_memory, on_disk, rules), node, advance=clock.advance, lose=lose)


BROKERS: dict[str, Factory] = {"memory": memory, "durable": durable, "by policy": by_policy}
