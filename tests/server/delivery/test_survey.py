"""The walk over everybody: what it finds, and that it is not walked for each who asks."""

import pytest
import trio
from support.fakes import JSON, Listener, join
from trio.abc import Instrument
from trio.testing import MockClock

from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery import survey as survey_module
from tidings.server.delivery.hold import Hold
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.survey import FRESH_SECONDS, WALKED_PER_TURN, Crowd, Surveyor, walk


async def _crowd(hub: Hub) -> dict[str, Listener]:
    """Six people, each with a channel of their own; three rooms."""
    broker = MemoryBroker(hub.deliver)
    hub.release = broker.release
    people = {name: Listener(JSON, name) for name in ("ann", "bob", "cat", "dan", "eve", "fay")}
    for name, person in people.items():
        await join(hub, broker, f"user:{name}", person)
    everybody = list(people.values())
    await join(hub, broker, "room:large", *everybody)
    await join(hub, broker, "room:b", *everybody[:3])
    await join(hub, broker, "room:a", *everybody[3:])
    return people


async def test_the_deepest_and_the_largest_come_first(autojump_clock: MockClock) -> None:
    """So many of each, with whose it is; sums are of all."""
    hub = Hub()
    people = await _crowd(hub)
    for name, pending in (("bob", 700), ("eve", 900), ("cat", 5)):
        people[name].pending_bytes = pending
        people[name].is_queueing = True
        hub.rerouted(people[name])
    people["ann"].bytes_sent = 100
    found = await walk(hub, most=2)
    assert [(each.user_id, each.outbox_bytes) for each in found.deepest] == [("eve", 900), ("bob", 700)]
    assert (found.outbox_bytes, found.waiting, found.bytes_sent) == (1605, 3, 100)
    assert [(each.channel, each.subscribers) for each in found.largest] == [
        ("room:large", 6),
        ("room:a", 3),
    ]
    people["eve"].is_queueing = False
    hub.rerouted(people["eve"])
    hub.disconnect(people["bob"])
    found = await walk(hub, most=99)
    assert [each.user_id for each in found.deepest] == ["cat"]
    assert len(found.largest) == 8  # bob's own channel has ended with him


async def test_who_always_queues_is_among_them(autojump_clock: MockClock) -> None:
    """Under TLS nothing goes past an outbox, so such a connection is never rerouted: it is known from the start."""
    hub = Hub()
    eve = Listener(JSON, "eve")
    eve.is_queueing = True
    hub.connect(eve)
    eve.pending_bytes = 700
    found = await walk(hub, most=2)
    assert [(each.user_id, each.outbox_bytes) for each in found.deepest] == [("eve", 700)]
    assert (found.outbox_bytes, found.waiting) == (700, 1)
    hub.disconnect(eve)
    assert hub.queueing() == []


async def test_a_crowd_that_came_back_is_a_crowd(autojump_clock: MockClock) -> None:
    """Also where everybody resumed from an earlier position, and was held back first."""
    hub = Hub()
    broker = MemoryBroker(hub.deliver)
    hub.release = broker.release
    people = [Listener(JSON, name) for name in ("ann", "bob", "cat")]
    for person in people:
        # One's own comes first: what is not known to be shared is only looked at to fill the list.
        await join(hub, broker, f"user:{person.identity.user_id}", person)
    for person in people:
        with hub.holding(["room:x"]):
            hold = hub.hold_back(person, "room:x", await broker.open("room:x"), limit=65536)
        assert hold is not None
        assert hub.join(person, hold)
    assert (await walk(hub, most=1)).largest == [Crowd("room:x", 3)]


async def test_subscriptions_are_counted_however_they_begin_and_end(autojump_clock: MockClock) -> None:
    """Held back or not, once or again: each is counted once, and no more once it is over."""
    hub = Hub()
    broker = MemoryBroker(hub.deliver)
    hub.release = broker.release
    ann, bob = Listener(JSON, "ann"), Listener(JSON, "bob")

    async def hold_back(who: Listener, channel: str) -> Hold | None:
        with hub.holding([channel]):
            return hub.hold_back(who, channel, await broker.open(channel), limit=65536)

    def counted() -> int:
        assert hub.subscriptions == hub.statistics().subscriptions
        assert hub.subscriptions == sum(len(hub.channels_of(each)) for each in hub.everybody())
        return hub.subscriptions

    await join(hub, broker, "room:a", ann, bob, ann)
    assert counted() == 2
    await hold_back(ann, "room:a")  # begins anew
    hold = await hold_back(ann, "room:b")
    await hold_back(bob, "room:b")
    assert counted() == 4
    assert hold is not None
    assert hub.join(ann, hold)
    assert counted() == 4
    assert hub.unsubscribe(ann, "room:a")
    assert not hub.unsubscribe(ann, "room:a")
    assert hub.unsubscribe(ann, "room:b")
    assert counted() == 2
    hub.disconnect(bob)
    hub.disconnect(bob)
    assert counted() == 0
    assert await hold_back(bob, "room:a") is None
    assert counted() == 0


class _Steps(Instrument):
    """Counts how often a task has had its turn."""

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task = task
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Trio's hook."""
        self.count += task is self.task


async def test_others_have_their_turn_while_it_walks(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections, outboxes and channels are each walked some at a turn, however many there are."""
    monkeypatch.setattr(survey_module, "WALKED_PER_TURN", 2)
    hub = Hub()
    people = await _crowd(hub)
    for person in people.values():
        person.is_queueing = True
        person.pending_bytes = person.bytes_sent = 1
        hub.rerouted(person)
    steps = _Steps(trio.lowlevel.current_task())
    trio.lowlevel.add_instrument(steps)
    found = await walk(hub, most=9)
    trio.lowlevel.remove_instrument(steps)
    # Six connections, six outboxes, nine channels: two at a turn.
    assert steps.count == 3 + 3 + 5
    assert (found.bytes_sent, found.waiting, len(found.largest)) == (6, 6, 9)


async def test_who_ends_while_it_walks_is_counted_once(autojump_clock: MockClock) -> None:
    """What they were sent goes over to those who have ended: not in both sums, and not in neither."""
    hub = Hub()
    people = [Listener(JSON, f"user{number}") for number in range(WALKED_PER_TURN + 1)]
    for person in people:
        person.bytes_sent = 1
        hub.connect(person)

    async def end() -> None:
        hub.disconnect(people[0])
        hub.disconnect(people[-1])

    found = []

    async def look() -> None:
        found.append(await walk(hub, most=1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        nursery.start_soon(end)
    found.append(await walk(hub, most=1))
    assert [each.bytes_sent for each in found] == [len(people)] * 2


async def test_it_is_walked_once_a_second(autojump_clock: MockClock) -> None:
    """However many ask, at once or one after another; a second later it is walked anew."""
    hub = Hub()
    surveyor = Surveyor(hub, most=3)
    people = await _crowd(hub)
    found = []

    async def ask() -> None:
        found.append(await surveyor.survey())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    hub.disconnect(people["ann"])
    await ask()
    assert len({id(each) for each in found}) == 1
    await trio.sleep(FRESH_SECONDS)
    await ask()
    assert [each.largest[0].subscribers for each in (found[0], found[-1])] == [6, 5]
