"""The edges of a replay: where the subscriber is at each moment, how it goes live, and how it is broken off."""

import pytest
import trio
from support.fakes import JSON, MSGPACK, Listener, decode_frame, join, publish, split_frames
from support.readers import Reader
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.positions import Position
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery import hub as hub_module
from tidings.server.delivery.history import Histories
from tidings.server.delivery.hold import Hold
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.replay import Replay

ROOM = "room:lobby"
PIECE = 300


@pytest.fixture
def histories(hub: Hub, broker: MemoryBroker) -> Histories:
    """Of that broker."""
    return Histories(hub, broker)


async def hold_back(hub: Hub, broker: MemoryBroker, who: Listener, *, limit: int = 65536) -> Hold:
    """Subscribe somebody who comes back, connected now if it was not."""
    if who not in hub.connections_of(who.identity.user_id):
        hub.connect(who)
    with hub.holding([ROOM]):
        hold = hub.hold_back(who, ROOM, await broker.open(ROOM), limit=limit)
    assert hold is not None
    return hold


def replaying(hub: Hub, histories: Histories, who: Listener, hold: Hold, since: int = 0) -> Replay:
    """What sends it the rest, some three publications at a time."""
    return Replay(hub, histories, who, hold, since, piece_bytes=PIECE, skips=lambda _publication: False)


class Noting(Reader):
    """Notes the last offset that it was offered: from the history, from what waited, or live."""

    def __init__(self, hub: Hub) -> None:
        super().__init__("bob", limit=1000, room=0)
        self.hub = hub
        self.last = 0

    def offer(self, data: bytes) -> None:
        """As a connection does."""
        for frame in split_frames(data):
            self.last = decode_frame(frame)["offset"]
        super().offer(data)


async def test_what_it_was_sent_is_known_at_every_moment(
    hub: Hub, broker: MemoryBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """From the history, from what came meanwhile, and live: exactly what it was offered may be acknowledged,
    and is the position that a second, plain subscription is told."""
    await publish(broker, ROOM, 20)
    reader = Noting(hub)
    hold = await hold_back(hub, broker, reader)
    replay = replaying(hub, histories, reader, hold)
    page = await replay.first_page()
    assert page is not None
    assert not replay.begin(page)
    nursery.start_soon(replay.run)
    await publish(broker, ROOM, 12)
    steps: set[tuple[int, bool]] = set()
    while not steps or reader.last < 32:
        await wait_all_tasks_blocked()
        steps.add((reader.last, hub.is_held(reader, ROOM)))
        assert hub.sent_to(reader, ROOM) == reader.last
        assert hub.subscribe(reader, ROOM, hold.head) == Position(hold.head.epoch, reader.last)
        reader.read(200)
    assert any(last < 20 and held for last, held in steps), "in the history"
    assert any(20 < last < 32 and held for last, held in steps), "in what came meanwhile"
    assert reader.closed is None


async def test_what_is_pending_was_not_sent(hub: Hub, broker: MemoryBroker) -> None:
    """What the hub has and no subscriber yet may not be acknowledged: this connection may end without it."""
    bob = Listener(JSON, "bob")
    await join(hub, broker, ROOM, bob)
    await publish(broker, ROOM, 3)
    assert (hub.sent_to(bob, ROOM), bob.offers) == (0, [])
    await wait_all_tasks_blocked()
    assert hub.sent_to(bob, ROOM) == 3
    await publish(broker, ROOM)
    await broker.announce(ROOM, "typing", b"{}")
    assert hub.sent_to(bob, ROOM) == 3
    assert hub.sent_to(Listener(JSON, "carol"), ROOM) == 0


async def test_what_a_fan_out_has_not_come_to_was_not_sent(
    hub: Hub, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fan-out that is left for a turn has not reached everybody: who it has not may end without it."""
    monkeypatch.setattr(hub_module, "OFFERS_PER_TURN", 1)
    listeners = [Listener(JSON) for _ in range(4)]
    for listener in listeners:
        await join(hub, broker, ROOM, listener)
    await publish(broker, ROOM, 2)
    between = 0
    while len(listeners[-1].offsets(ROOM)) < 2:
        await trio.lowlevel.checkpoint()
        for listener in listeners:
            had = listener.offsets(ROOM)
            assert hub.sent_to(listener, ROOM) <= max(had, default=0)
            between += bool(had) and not listeners[-1].offsets(ROOM)
    assert between, "it was left on the way"
    await wait_all_tasks_blocked()
    assert [hub.sent_to(listener, ROOM) for listener in listeners] == [2, 2, 2, 2]


async def test_going_live_in_the_middle_of_a_fan_out_doubles_nothing(
    hub: Hub, broker: MemoryBroker, histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for who is behind is in the fan-out's hands, too: it goes live behind that, and gets it once."""
    monkeypatch.setattr(hub_module, "OFFERS_PER_TURN", 1)
    others = [Listener(dialect, f"u{n}") for n, dialect in enumerate((JSON, JSON, JSON, MSGPACK))]
    await join(hub, broker, ROOM, *others)
    bob = Listener(MSGPACK, "bob")
    hold = await hold_back(hub, broker, bob)
    replay = replaying(hub, histories, bob, hold)
    assert await replay.first_page() == ()
    await publish(broker, ROOM)
    turns = 0
    while not hold.frames:
        await trio.lowlevel.checkpoint()
        turns += 1
    assert not others[3].offers, "the fan-out has not come so far"
    replay._offer_held()  # as `run` does once there is room
    assert hub.join(bob, hold)
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    for one in (*others, bob):
        assert one.offsets(ROOM) == [1, 2]


async def test_nothing_is_sent_that_was_about_to_be_when_the_subscription_ended(
    hub: Hub, broker: MemoryBroker, histories: Histories, nursery: trio.Nursery
) -> None:
    """Room comes and the subscription ends in one turn: who waited for room goes on and must see that."""
    await publish(broker, ROOM, 40)
    reader = Noting(hub)
    hold = await hold_back(hub, broker, reader)
    replay = replaying(hub, histories, reader, hold)
    page = await replay.first_page()
    assert page is not None
    assert not replay.begin(page)
    async with trio.open_nursery() as sending:
        sending.start_soon(replay.run)
        await wait_all_tasks_blocked()
        told = reader.last
        reader.read(10_000)
        assert reader.has_room
        assert hub.unsubscribe(reader, ROOM)
    assert 0 < reader.last == told < 40


async def test_who_left_a_room_for_itself_alone_is_not_closed(
    hub: Hub, broker: MemoryBroker, histories: Histories
) -> None:
    """It left before its replay began: the channel has gone with it, which is not an insufficient state."""
    await publish(broker, ROOM, 40)
    reader = Noting(hub)
    hold = await hold_back(hub, broker, reader)
    replay = replaying(hub, histories, reader, hold)
    assert await replay.first_page() is not None
    assert hub.unsubscribe(reader, ROOM)
    await replay.run()
    assert (reader.closed, reader.last) == (None, 0)
