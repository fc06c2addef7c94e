"""The walk over everybody: what it finds, and that it is not walked for each who asks."""

import trio
from support.fakes import JSON, Listener, join
from trio.testing import MockClock

from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.survey import FRESH_SECONDS, WALKED_PER_TURN, Surveyor, walk


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
    assert found.subscriptions == 18
    people["eve"].is_queueing = False
    hub.rerouted(people["eve"])
    hub.disconnect(people["bob"])
    found = await walk(hub, most=99)
    assert [each.user_id for each in found.deepest] == ["cat"]
    assert len(found.largest) == 8  # bob's own channel has ended with him


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
    assert found[-1].subscriptions == found[0].subscriptions - 3
