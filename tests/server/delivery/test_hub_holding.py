"""Channels that are held while a broker is asked for them: nobody may pull them away, nothing is passed over."""

from contextlib import suppress

import pytest
from support.fakes import JSON, Listener, join, publish
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.positions import Position
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.hub import Hub

ROOM = "room:lobby"


@pytest.fixture
def released(hub: Hub, broker: MemoryBroker) -> list[str]:
    """The channels that the hub gives back; the broker gets them too."""
    names: list[str] = []

    def release(name: str) -> None:
        names.append(name)
        broker.release(name)

    hub.release = release
    return names


async def test_a_held_channel_is_not_given_back_before_the_last_holder_is_done(
    hub: Hub, broker: MemoryBroker, released: list[str]
) -> None:
    """The last subscriber may leave while others are about to come: the broker goes on listening for them."""
    alice, bob = Listener(JSON), Listener(JSON)
    await join(hub, broker, ROOM, alice)
    hub.connect(bob)
    with hub.holding([ROOM]):
        with hub.holding([ROOM]):
            position = await broker.open(ROOM)
            hub.disconnect(alice)
        assert released == []
        hub.subscribe(bob, ROOM, position)
    assert released == []
    hub.disconnect(bob)
    assert released == [ROOM]


async def test_who_holds_and_does_not_subscribe_gives_the_channel_back(
    hub: Hub, broker: MemoryBroker, released: list[str]
) -> None:
    """A holder that fails leaves no channel listened to, and one that others subscribe to untouched."""
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)
    with suppress(RuntimeError), hub.holding([ROOM, "all"]):
        await broker.open("all")
        raise RuntimeError
    assert released == ["all"]


async def test_publications_that_pass_by_are_behind_the_position_told(
    hub: Hub, broker: MemoryBroker
) -> None:
    """What was published between the broker's word and the subscribing is not promised to the newcomer."""
    alice = Listener(JSON)
    hub.connect(alice)
    with hub.holding([ROOM]):
        position = await broker.open(ROOM)
        await publish(broker, ROOM, 2)
        assert hub.subscribe(alice, ROOM, position) == Position(position.epoch, 2)
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert alice.offsets(ROOM) == [3]


@pytest.mark.parametrize("before", [0, 1], ids=["nothing passed by", "something passed by"])
async def test_publications_to_subscribers_that_left_meanwhile_are_behind_it_too(
    hub: Hub, broker: MemoryBroker, before: int
) -> None:
    """Others came, were published to and left: the newcomer is told the position after that, not before."""
    alice, bob = Listener(JSON), Listener(JSON)
    hub.connect(bob)
    with hub.holding([ROOM]):
        position = await broker.open(ROOM)
        await publish(broker, ROOM, before)
        await join(hub, broker, ROOM, alice)
        await publish(broker, ROOM, 2)
        hub.disconnect(alice)
        assert hub.subscribe(bob, ROOM, position) == Position(position.epoch, before + 2)
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert bob.offsets(ROOM) == [before + 3]
