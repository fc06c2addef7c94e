"""What every broker promises, run on each of them. A new broker adds its factory to `BROKERS`."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Broker, IdempotencyConflict
from tidings.server.brokers.memory import MemoryBroker

PAYLOAD = '{"text":"héllo \\u0000 ✓"}'.encode()


class Inbox:
    """What a broker has brought to this node's hub. It may come later than `publish` returns."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self._arrived = trio.Event()

    def deliver(self, publication: Publication) -> None:
        """The hub's end: synchronous."""
        self.publications.append(publication)
        self._arrived.set()

    async def wait(self, channel: str, count: int) -> list[Publication]:
        """The publications of a channel, once there are so many. Fails on more."""
        with trio.fail_after(5):
            while len(self.of(channel)) < count:
                self._arrived = trio.Event()
                await self._arrived.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert len(self.of(channel)) == count
        return self.of(channel)

    def of(self, channel: str) -> list[Publication]:
        """What has come of a channel so far."""
        return [publication for publication in self.publications if publication.channel == channel]


Factory = Callable[[Inbox], AbstractAsyncContextManager[Broker]]


@asynccontextmanager
async def memory(inbox: Inbox) -> AsyncIterator[Broker]:
    """The broker of a single process."""
    yield MemoryBroker(inbox.deliver)


BROKERS: dict[str, Factory] = {"memory": memory}


@pytest.fixture
def inbox() -> Inbox:
    """What the broker under test delivers."""
    return Inbox()


@pytest.fixture(params=BROKERS)
async def broker(request: pytest.FixtureRequest, inbox: Inbox) -> AsyncIterator[Broker]:
    """Each broker in turn."""
    async with BROKERS[request.param](inbox) as broker:
        yield broker


async def publish(broker: Broker, channel: str, count: int) -> list[Position]:
    return [await broker.publish(channel, "news", PAYLOAD) for _ in range(count)]


async def test_positions_rise_by_one(broker: Broker, inbox: Inbox) -> None:
    """From the position that `open` tells, each publication has the next offset, in one epoch."""
    start = await broker.open("room:a")
    positions = await publish(broker, "room:a", 5)
    assert positions == [Position(start.epoch, start.offset + step) for step in range(1, 6)]


async def test_everything_after_the_position_of_open_is_delivered_once_in_order(
    broker: Broker, inbox: Inbox
) -> None:
    """The hub gets exactly the publications behind the position told, with the positions that publishers got."""
    await publish(broker, "room:a", 3)
    before = len(inbox.of("room:a"))
    start = await broker.open("room:a")
    positions = await publish(broker, "room:a", 5)
    arrived = (await inbox.wait("room:a", before + 5))[before:]
    assert [Position(each.epoch, each.offset) for each in arrived] == positions
    assert (arrived[0].epoch, arrived[0].offset) == (start.epoch, start.offset + 1)


async def test_a_publication_arrives_as_it_was_published(broker: Broker, inbox: Inbox) -> None:
    """Channel, event, payload and user come through byte for byte, stamped with the time of acceptance."""
    await broker.open("user:bob")
    earliest = int(time.time() * 1000)
    position = await broker.publish("user:bob", "user:updated", PAYLOAD, user_id="bob")
    latest = int(time.time() * 1000)
    await broker.publish("user:bob", "sync_update", b"{}")
    first, second = await inbox.wait("user:bob", 2)
    assert first == Publication(
        "user:bob", "user:updated", PAYLOAD, position.offset, position.epoch, first.time_ms, "bob"
    )
    assert earliest <= first.time_ms <= latest
    assert (second.event, second.payload, second.user_id) == ("sync_update", b"{}", None)


async def test_opening_twice_is_opening_once(broker: Broker, inbox: Inbox) -> None:
    """A second `open` tells the position reached meanwhile, and nothing is delivered twice."""
    await broker.open("room:a")
    [position] = await publish(broker, "room:a", 1)
    assert await broker.open("room:a") == position
    await publish(broker, "room:a", 1)
    await inbox.wait("room:a", 2)


async def test_releasing_is_idempotent_and_may_be_undone(broker: Broker, inbox: Inbox) -> None:
    """Released twice or never opened: no error. Opened again, the channel never repeats a position."""
    broker.release("room:never")
    await broker.open("room:a")
    [last] = await publish(broker, "room:a", 1)
    broker.release("room:a")
    broker.release("room:a")
    again = await broker.open("room:a")
    assert again == last or again.epoch != last.epoch
    await inbox.wait("room:a", 1)
    [position] = await publish(broker, "room:a", 1)
    assert position == Position(again.epoch, again.offset + 1)
    await inbox.wait("room:a", 2)


async def test_one_release_ends_any_number_of_opens(broker: Broker, inbox: Inbox) -> None:
    """Listening is not counted: it stands for the node, and the hub counts the subscribers."""
    await broker.open("room:a")
    await broker.open("room:a")
    broker.release("room:a")
    start = await broker.open("room:a")
    [position] = await publish(broker, "room:a", 1)
    assert position == Position(start.epoch, start.offset + 1)
    await inbox.wait("room:a", 1)


async def test_channels_do_not_know_of_each_other(broker: Broker, inbox: Inbox) -> None:
    """Offsets are each channel's own, and names that look alike are different channels."""
    names = ["room:a", "room:A", "room:a:b", "room:a.b", "user:a"]
    for name in names:
        await broker.open(name)
    for count, name in enumerate(names, 1):
        positions = await publish(broker, name, count)
        assert [position.offset for position in positions] == list(range(1, count + 1))
    for count, name in enumerate(names, 1):
        await inbox.wait(name, count)
    broker.release("room:a")
    [position] = await publish(broker, "room:a:b", 1)
    assert position.offset == 4


async def test_who_publishes_to_nobody_sees_the_offsets_rise(broker: Broker) -> None:
    """A channel needs no listener to have positions."""
    first, second = await publish(broker, "room:empty", 2)
    assert second == Position(first.epoch, first.offset + 1)
    assert await broker.open("room:empty") == second


async def test_publishers_at_once_share_one_order(broker: Broker, inbox: Inbox) -> None:
    """Any number of publishing tasks: every offset once, and delivery in the order of the offsets."""
    start = await broker.open("room:a")
    positions: list[Position] = []

    async def publisher() -> None:
        for _ in range(10):
            positions.append(await broker.publish("room:a", "news", PAYLOAD))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(publisher)
    expected = [start.offset + step for step in range(1, 101)]
    assert sorted(position.offset for position in positions) == expected
    assert [each.offset for each in await inbox.wait("room:a", 100)] == expected
    assert {position.epoch for position in positions} == {start.epoch}


async def test_a_repeated_publication_is_published_once(broker: Broker, inbox: Inbox) -> None:
    """The same key and body again give the same position, and nothing more is delivered."""
    await broker.open("room:a")
    first = await broker.publish("room:a", "news", PAYLOAD, idempotency_key="k")
    await publish(broker, "room:a", 1)
    assert await broker.publish("room:a", "news", PAYLOAD, idempotency_key="k") == first
    assert [each.offset for each in await inbox.wait("room:a", 2)] == [first.offset, first.offset + 1]


@pytest.mark.parametrize(("event", "payload"), [("other", PAYLOAD), ("news", b"{}")])
async def test_a_key_stands_for_one_publication(
    broker: Broker, inbox: Inbox, event: str, payload: bytes
) -> None:
    """The same key with another event or payload is a conflict, and publishes nothing."""
    await broker.open("room:a")
    await broker.publish("room:a", "news", PAYLOAD, idempotency_key="k")
    with pytest.raises(IdempotencyConflict, match="room:a"):
        await broker.publish("room:a", event, payload, idempotency_key="k")
    await inbox.wait("room:a", 1)


async def test_keys_are_each_channels_own(broker: Broker, inbox: Inbox) -> None:
    """One key in two channels is two publications, and so are two keys in one."""
    await broker.open("room:a")
    await broker.open("room:b")
    await broker.publish("room:a", "news", PAYLOAD, idempotency_key="k")
    await broker.publish("room:b", "news", b"{}", idempotency_key="k")
    await broker.publish("room:a", "news", PAYLOAD, idempotency_key="l")
    await inbox.wait("room:a", 2)
    await inbox.wait("room:b", 1)


async def test_repeats_at_once_publish_once(broker: Broker, inbox: Inbox) -> None:
    """Any number of tasks that publish under one key share one position."""
    await broker.open("room:a")
    positions: list[Position] = []

    async def publisher() -> None:
        positions.append(await broker.publish("room:a", "news", PAYLOAD, idempotency_key="k"))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(publisher)
    assert len(set(map(str, positions))) == 1
    await inbox.wait("room:a", 1)
