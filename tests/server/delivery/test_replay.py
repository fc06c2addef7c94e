"""Coming back from an earlier position: the cut, the pages, what came meanwhile, and live again."""

from collections.abc import Callable, Sequence

import pytest
import trio
from support.fakes import JSON, MSGPACK, Listener, join, publish
from support.readers import Reader
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Broker, History
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import ChannelRule
from tidings.server.delivery.history import PAGE_PUBLICATIONS, Histories
from tidings.server.delivery.hold import Hold
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.recent import Entry
from tidings.server.delivery.replay import Replay
from tidings.server.policies import Policies

ROOM = "room:lobby"

KEEPS = Policies({"*": ChannelRule(history_size=2_000)})


class LongBroker(MemoryBroker):
    """Keeps 2,000 publications, and lets others run while it reads."""

    def __init__(self, deliver: Callable[[Publication], None]) -> None:
        super().__init__(deliver, policies=KEEPS)
        self.turns = 3
        self.reading = 0
        self.most_reading = 0

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        for _ in range(self.turns):
            await trio.lowlevel.checkpoint()
        self.reading -= 1
        return await super().history(channel, after, limit=limit, most_bytes=most_bytes)


@pytest.fixture
def broker(hub: Hub) -> LongBroker:
    """Joined to the hub as the composition root does."""
    broker = LongBroker(hub.deliver)
    hub.release = broker.release
    return broker


@pytest.fixture
def histories(hub: Hub, broker: LongBroker) -> Histories:
    """Of that broker."""
    return Histories(hub, broker, KEEPS)


class Return:
    """One subscriber that comes back."""

    def __init__(self, hub: Hub, histories: Histories, broker: Broker, who: Listener, since: int) -> None:
        self.hub, self.histories, self.broker, self.who, self.since = hub, histories, broker, who, since
        self.hold: Hold | None = None
        self.live = False

    async def begin(
        self, *, limit: int = 65536, piece: int = 2048, skips: Sequence[int] = ()
    ) -> Sequence[Entry] | None:
        """Hold it back, and read the first page."""
        if self.who not in self.hub.connections_of(self.who.identity.user_id):
            self.hub.connect(self.who)
        with self.hub.holding([ROOM]):
            position = await self.broker.open(ROOM)
            self.hold = self.hub.hold_back(self.who, ROOM, position, limit=limit)
        assert self.hold is not None
        self.replay = Replay(
            self.hub,
            self.histories,
            self.who,
            self.hold,
            self.since,
            piece_bytes=piece,
            skips=lambda publication: publication.offset in skips,
        )
        return await self.replay.first_page()

    async def finish(self, page: Sequence[Entry]) -> None:
        """Send all of it."""
        if not self.replay.begin(page):
            await self.replay.run()


@pytest.mark.parametrize("dialect", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_what_was_missed_comes_then_what_came_meanwhile_then_live(
    hub: Hub, broker: LongBroker, histories: Histories, dialect: Dialect
) -> None:
    """Every offset after the one told comes once, in order, with the bytes that the live ones got."""
    steady, bob = Listener(dialect), Listener(dialect, "bob")
    await join(hub, broker, ROOM, steady)
    await publish(broker, ROOM, 10)
    back = Return(hub, histories, broker, bob, 4)
    page = await back.begin()
    assert page is not None
    await publish(broker, ROOM, 3)
    await wait_all_tasks_blocked()
    assert bob.offers == []
    await back.finish(page)
    await publish(broker, ROOM, 2)
    await wait_all_tasks_blocked()
    assert bob.offsets(ROOM) == list(range(5, 16))
    assert bob.frames == steady.frames[4:]


async def test_pending_publications_are_on_one_side_of_the_cut(
    hub: Hub, broker: LongBroker, histories: Histories
) -> None:
    """What the hub has and has not flushed yet is settled before the cut: neither lost nor sent twice."""
    steady, bob = Listener(JSON), Listener(JSON, "bob")
    await join(hub, broker, ROOM, steady)
    await publish(broker, ROOM, 3)
    back = Return(hub, histories, broker, bob, 0)
    # Nothing has yielded since: the three are pending still.
    page = await back.begin()
    assert back.hold is not None
    assert back.hold.head.offset == 3
    assert steady.offsets(ROOM) == [1, 2, 3]
    assert page is not None
    await publish(broker, ROOM, 2)
    await back.finish(page)
    await publish(broker, ROOM, 1)
    await wait_all_tasks_blocked()
    assert bob.offsets(ROOM) == steady.offsets(ROOM) == [1, 2, 3, 4, 5, 6]


async def test_thousands_share_each_reading_and_never_two_are_under_way(
    hub: Hub, broker: LongBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """400 come back to one channel from different positions, while it goes on: a handful of readings."""
    steady = Listener(JSON)
    await join(hub, broker, ROOM, steady)
    await publish(broker, ROOM, 1000)
    await wait_all_tasks_blocked()
    crowd = [Return(hub, histories, broker, Listener(JSON, f"u{n}"), 300 + n % 200) for n in range(400)]

    async def come_back(one: Return) -> None:
        page = await one.begin()
        assert page is not None
        await one.finish(page)

    async with trio.open_nursery() as coming:
        for number, one in enumerate(crowd):
            coming.start_soon(come_back, one)
            if number % 20 == 0:
                await publish(broker, ROOM)
                await trio.lowlevel.checkpoint()
    await wait_all_tasks_blocked()
    for one in crowd:
        assert one.who.offsets(ROOM) == list(range(one.since + 1, 1021))
    assert broker.most_reading == 1
    # 720 publications before the first cut are some three pages, whoever begins where.
    assert histories.reads <= 2 * (1 + 720 // PAGE_PUBLICATIONS)


async def test_a_long_backlog_never_fills_a_slow_readers_outbox(
    hub: Hub, broker: LongBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """1,000 publications of 16 KiB go to one who reads 40 KiB at a time: all of them, and no 3008."""
    payload = b'{"text":"' + b"x" * 16_000 + b'"}'
    for _ in range(1000):
        await broker.publish(ROOM, "news", payload)
    reader = Reader(limit=262_144, room=0)
    back = Return(hub, histories, broker, reader, 0)
    page = await back.begin(piece=65_536)
    assert page is not None
    nursery.start_soon(back.finish, page)
    most = 0
    while len(reader.kernel.received) < 1000 * 16_000:
        await wait_all_tasks_blocked()
        most = max(most, reader.outbox.pending_bytes)
        assert reader.closed is None
        reader.read(40_000)
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    reader.read(10**6)
    assert most <= 262_144
    assert [message["offset"] for message in reader.messages] == list(range(1, 1002))


async def test_more_than_may_wait_closes_with_3010(
    hub: Hub, broker: LongBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """Who is behind and stays behind while the channel goes on is told to come again; neighbours notice nothing."""
    steady = Listener(JSON)
    await join(hub, broker, ROOM, steady)
    await publish(broker, ROOM, 400)
    reader = Reader(limit=8192, room=0)
    back = Return(hub, histories, broker, reader, 0)
    page = await back.begin(limit=4096)
    assert page is not None
    nursery.start_soon(back.finish, page)
    for _ in range(100):
        await publish(broker, ROOM)
        await wait_all_tasks_blocked()
    assert reader.closed is CloseCode.INSUFFICIENT_STATE
    assert steady.offsets(ROOM) == list(range(1, 501))


async def test_who_begins_anew_after_too_much_came_is_not_closed(
    hub: Hub, broker: LongBroker, histories: Histories
) -> None:
    """What closes is the hold that overran: who has left it in the same tick, or begun anew, is served."""
    await publish(broker, ROOM, 3)
    reader = Reader()
    first = Return(hub, histories, broker, reader, 0)
    assert await first.begin(limit=1024) is not None
    for _ in range(20):
        await publish(broker, ROOM)
    again = Return(hub, histories, broker, reader, 0)
    # Settles what is pending: the first hold overruns, and is over.
    page = await again.begin(limit=1024)
    assert first.hold is not None
    assert first.hold.is_lost
    assert page is not None
    await again.finish(page)
    await wait_all_tasks_blocked()
    assert reader.closed is None
    assert [message["offset"] for message in reader.messages] == list(range(1, 24))


async def test_what_is_trimmed_in_the_middle_of_a_replay_closes_with_3010(
    hub: Hub, broker: LongBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """Half a replay is never passed off as a whole one: the client comes again from where it is."""
    await publish(broker, ROOM, 1000)
    reader = Reader(limit=16384, room=0)
    back = Return(hub, histories, broker, reader, 0)
    page = await back.begin()
    assert page is not None
    nursery.start_soon(back.finish, page)
    await wait_all_tasks_blocked()
    await broker.clear(ROOM)
    histories.forget(ROOM)
    while reader.closed is None:
        reader.read(2000)
        await wait_all_tasks_blocked()
    assert reader.closed is CloseCode.INSUFFICIENT_STATE
    got = [message["offset"] for message in reader.messages]
    assert got == list(range(1, len(got) + 1))
    assert 0 < len(got) < 1000


async def test_a_position_that_was_trimmed_gives_no_page(
    hub: Hub, broker: LongBroker, histories: Histories
) -> None:
    """Where the first publication missed is gone, nothing of the rest is sent either, and live goes on."""
    bob = Listener(JSON, "bob")
    await publish(broker, ROOM, 2_005)
    back = Return(hub, histories, broker, bob, 4)
    assert await back.begin() is None
    await publish(broker, ROOM)
    assert back.replay.skip()
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert bob.offsets(ROOM) == [2006, 2007]


async def test_leaving_in_the_middle_ends_the_replay(
    hub: Hub, broker: LongBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """Nothing of the channel comes after the answer to unsubscribe, and no task stays behind."""
    await publish(broker, ROOM, 400)
    reader = Reader(limit=8192, room=0)
    back = Return(hub, histories, broker, reader, 0)
    page = await back.begin()
    assert page is not None
    async with trio.open_nursery() as replaying:
        replaying.start_soon(back.finish, page)
        await wait_all_tasks_blocked()
        before = reader.outbox.pending_bytes
        assert hub.unsubscribe(reader, ROOM)
    reader.read(10**6)
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert len(reader.kernel.received) == before
    assert hub.statistics().channels == 0


async def test_who_is_not_meant_is_told_the_position_only(
    hub: Hub, broker: LongBroker, histories: Histories
) -> None:
    """A publication that is not for this subscriber shows as a `position`, so that no hole is seen."""
    bob = Listener(JSON, "bob")
    await publish(broker, ROOM, 3)
    back = Return(hub, histories, broker, bob, 0)
    page = await back.begin(skips=[2])
    assert page is not None
    await back.finish(page)
    kinds = [(message["type"], message.get("offset")) for message in bob.messages]
    assert kinds == [("news", 1), ("position", None), ("news", 3)]
    assert bob.messages[1]["data"]["offset"] == 2


async def test_subscribing_plainly_while_behind_changes_nothing(
    hub: Hub, broker: LongBroker, histories: Histories
) -> None:
    """A second, plain subscribe of who is held back does not let live ones overtake what was missed."""
    bob = Listener(JSON, "bob")
    await publish(broker, ROOM, 3)
    back = Return(hub, histories, broker, bob, 0)
    page = await back.begin()
    assert page is not None
    await join(hub, broker, ROOM, bob)
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    await back.finish(page)
    assert bob.offsets(ROOM) == [1, 2, 3, 4]


@pytest.mark.parametrize("missed", [True, False])
async def test_a_new_epoch_is_never_gone_on_into(
    hub: Hub, broker: LongBroker, histories: Histories, missed: bool
) -> None:
    """Also where the rest is sent in the very tick in which it began: nothing comes under the old one's name."""
    reader = Reader()
    await publish(broker, ROOM, 3)
    back = Return(hub, histories, broker, reader, 0 if missed else 3)
    page = await back.begin()
    assert page is not None
    await publish(broker, ROOM)
    hub.moved(ROOM, Position("other", 0))
    hub.deliver(Publication(ROOM, "news", b"{}", 1, "other", 1_700_000_000_000))
    await back.finish(page)
    await wait_all_tasks_blocked()
    assert reader.closed is CloseCode.INSUFFICIENT_STATE
    assert [message["offset"] for message in reader.messages] == ([1, 2, 3] if missed else [])


async def test_a_new_epoch_ends_a_replay_and_is_told_to_the_others(
    hub: Hub, broker: LongBroker, histories: Histories
) -> None:
    """Subscribers are told where the channel goes on; who was in the middle of the old epoch comes again."""
    alice, reader = Listener(JSON), Reader("bob")
    await join(hub, broker, ROOM, alice)
    await publish(broker, ROOM, 3)
    back = Return(hub, histories, broker, reader, 0)
    assert await back.begin() is not None
    hub.moved(ROOM, Position("other", 7))
    await wait_all_tasks_blocked()
    assert alice.messages[-1]["type"] == "position"
    assert alice.messages[-1]["data"] == {"channel": ROOM, "epoch": "other", "offset": 7}
    assert reader.closed is CloseCode.INSUFFICIENT_STATE
