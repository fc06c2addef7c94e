"""Reading histories: one reading of a channel at a time, shared, and nothing of it after it was deleted."""

from collections.abc import Callable

import pytest
import trio
from support.fakes import JSON, Listener, join, publish
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import BrokerUnavailable, History
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import ChannelRule
from tidings.server.delivery.history import Histories
from tidings.server.delivery.hub import Hub
from tidings.server.policies import Policies

ROOM = "room:lobby"

KEEPS = Policies({"*": ChannelRule(history_size=3_000)})

Offsets = list[int] | None


class GatedBroker(MemoryBroker):
    """Keeps 3,000 publications; finds what it is asked for at once, and says it when it is let."""

    def __init__(self, deliver: Callable[[Publication], None]) -> None:
        super().__init__(deliver, policies=KEEPS)
        self.gate = trio.Event()
        self.fails = False
        self.reading = 0
        self.most_reading = 0

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        try:
            found = await super().history(channel, after, limit=limit, most_bytes=most_bytes)
            await self.gate.wait()
        finally:
            self.reading -= 1
        if self.fails:
            raise BrokerUnavailable("it is away")
        return found


@pytest.fixture
def broker(hub: Hub) -> GatedBroker:
    """Joined to the hub as the composition root does."""
    broker = GatedBroker(hub.deliver)
    hub.release = broker.release
    return broker


@pytest.fixture
def histories(hub: Hub, broker: GatedBroker) -> Histories:
    """Of that broker."""
    return Histories(hub, broker, KEEPS)


class Asking:
    """Tasks that each want one page, and what they got."""

    def __init__(self, nursery: trio.Nursery, histories: Histories, position: Position) -> None:
        self.nursery, self.histories, self.position = nursery, histories, position
        self.got: list[Offsets] = []
        self.failed = 0

    def begin(self, after: int = 0, *, count: int = 1) -> trio.CancelScope:
        """Ask so many times; cancelling the scope cancels them all."""
        scope = trio.CancelScope()

        async def ask_all() -> None:
            with scope:
                async with trio.open_nursery() as asking:
                    for _ in range(count):
                        asking.start_soon(self._ask, after)

        self.nursery.start_soon(ask_all)
        return scope

    async def _ask(self, after: int) -> None:
        try:
            page = await self.histories.page(ROOM, self.position.epoch, after, self.position.offset)
        except BrokerUnavailable:
            self.failed += 1
        else:
            self.got.append(None if page is None else [entry.publication.offset for entry in page])


async def _asking(
    hub: Hub, broker: GatedBroker, histories: Histories, nursery: trio.Nursery, count: int = 5
) -> tuple[Asking, Listener]:
    """A channel with so many publications, one subscriber, and whoever is to ask for them."""
    steady = Listener(JSON)
    await join(hub, broker, ROOM, steady)
    await publish(broker, ROOM, count)
    await wait_all_tasks_blocked()
    return Asking(nursery, histories, await broker.open(ROOM)), steady


async def test_what_is_deleted_while_it_is_read_does_not_come_back(
    hub: Hub, broker: GatedBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """Neither who reads it nor who waits for the reading gets what was deleted before they had it."""
    asking, _ = await _asking(hub, broker, histories, nursery)
    asking.begin(count=3)
    await wait_all_tasks_blocked()
    await broker.clear(ROOM)
    histories.forget(ROOM)
    broker.gate.set()
    await wait_all_tasks_blocked()
    assert asking.got == [None] * 3
    asking.begin()
    await wait_all_tasks_blocked()
    assert asking.got == [None] * 4


async def test_nor_where_nothing_was_at_hand_any_more_when_it_was_deleted(
    hub: Hub, broker: GatedBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """What is at hand may be dropped in the middle of a reading: the reading is out of date all the same."""
    asking, _ = await _asking(hub, broker, histories, nursery)
    asking.begin(count=3)
    await wait_all_tasks_blocked()
    hub.keep_recent(ROOM, None)
    await broker.clear(ROOM)
    histories.forget(ROOM)
    broker.gate.set()
    await wait_all_tasks_blocked()
    assert asking.got == [None] * 3


async def test_a_reading_that_outlives_what_was_at_hand_is_used(
    hub: Hub, broker: GatedBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """Dropped meanwhile and not deleted, it serves all who wait, and is not made again for each."""
    asking, _ = await _asking(hub, broker, histories, nursery)
    asking.begin(count=50)
    await wait_all_tasks_blocked()
    hub.keep_recent(ROOM, None)
    broker.gate.set()
    await wait_all_tasks_blocked()
    assert asking.got == [[1, 2, 3, 4, 5]] * 50
    assert (histories.reads, broker.most_reading) == (1, 1)


async def test_never_two_readings_though_the_channel_was_left_and_come_back_to(
    hub: Hub, broker: GatedBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """The hub's channel ends with its last subscriber and the reading goes on: who comes then waits for it."""
    asking, steady = await _asking(hub, broker, histories, nursery)
    asking.begin()
    await wait_all_tasks_blocked()
    hub.disconnect(steady)
    assert hub.statistics().channels == 0
    await join(hub, broker, ROOM, Listener(JSON, "bob"))
    asking.begin(count=3)
    await wait_all_tasks_blocked()
    assert broker.reading == 1
    broker.gate.set()
    await wait_all_tasks_blocked()
    assert asking.got == [[1, 2, 3, 4, 5]] * 4
    assert (histories.reads, broker.most_reading) == (1, 1)


async def test_a_channel_that_everybody_has_left_has_no_pages(
    hub: Hub, broker: GatedBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """Who is left over from a subscription that has ended in the middle of a reading gets nothing."""
    asking, steady = await _asking(hub, broker, histories, nursery)
    asking.begin(count=2)
    await wait_all_tasks_blocked()
    hub.disconnect(steady)
    broker.gate.set()
    await wait_all_tasks_blocked()
    assert asking.got == [None] * 2
    assert hub.statistics().channels == 0


async def test_a_reading_that_is_cancelled_is_made_by_another(
    hub: Hub, broker: GatedBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """Whoever reads may be gone in the middle of it: one of those who wait takes over, and no more than one."""
    asking, _ = await _asking(hub, broker, histories, nursery)
    first = asking.begin()
    await wait_all_tasks_blocked()
    asking.begin(count=20)
    await wait_all_tasks_blocked()
    first.cancel()
    await wait_all_tasks_blocked()
    assert (broker.reading, asking.got) == (1, [])
    broker.gate.set()
    await wait_all_tasks_blocked()
    assert asking.got == [[1, 2, 3, 4, 5]] * 20
    assert (histories.reads, broker.most_reading) == (2, 1)


async def test_a_reading_that_fails_fails_for_all_who_wait(
    hub: Hub, broker: GatedBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """A broker that is away is asked once, not by a thousand in turn; later it is asked again."""
    asking, _ = await _asking(hub, broker, histories, nursery)
    asking.begin(count=1000)
    await wait_all_tasks_blocked()
    broker.fails = True
    broker.gate.set()
    await wait_all_tasks_blocked()
    assert (asking.failed, histories.reads) == (1000, 1)
    broker.fails = False
    asking.begin()
    await wait_all_tasks_blocked()
    assert asking.got == [[1, 2, 3, 4, 5]]


async def test_a_thousand_who_wait_for_a_reading_go_on_in_one_turn(
    hub: Hub, broker: GatedBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """They do not go on one after another: the last is served a few turns of the loop after the first."""
    asking, _ = await _asking(hub, broker, histories, nursery)
    asking.begin(count=1000)
    await wait_all_tasks_blocked()
    broker.gate.set()
    turns = 0
    while len(asking.got) < 1000:
        await trio.lowlevel.checkpoint()
        turns += 1
    assert turns <= 5
    assert histories.reads == 1
