"""Checks of inboxes and their devices."""

import pytest

from support.broker_contract.case import AGE, DEVICE_AGE, DEVICES, SMALL, Case, promise
from tidings.protocol.positions import Position
from tidings.server.brokers.base import TooManyDevices

BOB = "user:bob"


async def positions(case: Case) -> dict[str, int]:
    return {device.name: device.acknowledged for device in await case.broker.devices(BOB)}


@promise()
async def attaching_is_opening(case: Case) -> None:
    """It tells the channel's position, and everything after it comes."""
    await case.publish(BOB, 2)
    before = len(case.node.of(BOB))
    attached = await case.broker.attach(BOB, "phone")
    case.node.listens(BOB, attached.position)
    assert (attached.position.offset, attached.first, attached.acknowledged) == (2, 1, 0)
    [receipt] = await case.publish(BOB)
    assert receipt.position == Position(attached.position.epoch, 3)
    await case.node.wait(BOB, before + 1)
    again = await case.broker.attach(BOB, "laptop")
    assert again.position == receipt.position
    assert await case.open(BOB) == receipt.position
    await case.publish(BOB)
    await case.node.wait(BOB, before + 2)


@promise()
async def the_first_device_gets_everything_kept(case: Case) -> None:
    """It starts before the oldest kept, wherever that is."""
    await case.publish(BOB, SMALL + 3)
    attached = await case.broker.attach(BOB, "phone")
    assert (attached.first, attached.acknowledged) == (4, 3)


@promise()
async def a_later_device_starts_where_the_foremost_is(case: Case) -> None:
    """What any device has received, a new one is not sent again."""
    await case.publish(BOB, 4)
    await case.broker.attach(BOB, "phone")
    await case.broker.acknowledge(BOB, "phone", 3)
    laptop = await case.broker.attach(BOB, "laptop")
    assert laptop.acknowledged == 3
    await case.broker.acknowledge(BOB, "phone", 4)
    assert await positions(case) == {"laptop": 3, "phone": 4}
    assert (await case.broker.attach(BOB, "tablet")).acknowledged == 4


@promise()
async def an_acknowledgement_never_falls(case: Case) -> None:
    """A lower one, a negative one and a repeated one change nothing; one beyond the end is the end."""
    await case.publish(BOB, 4)
    await case.broker.attach(BOB, "phone")
    for offset, reached in ((0, 0), (2, 2), (1, 2), (-1, 2), (-(2**70), 2), (3, 3), (2**70, 4), (4, 4)):
        assert await case.broker.acknowledge(BOB, "phone", offset) == reached
        assert await positions(case) == {"phone": reached}
    await case.publish(BOB)
    assert await case.broker.acknowledge(BOB, "phone", 5) == 5
    assert (await case.broker.attach(BOB, "phone")).acknowledged == 5


@promise()
async def acknowledging_enrols(case: Case) -> None:
    """A device that is not known has what it says it has."""
    await case.publish(BOB, 4)
    assert await case.broker.acknowledge(BOB, "phone", 2) == 2
    assert await case.broker.acknowledge(BOB, "laptop", 99) == 4
    assert await positions(case) == {"laptop": 4, "phone": 2}
    assert (await case.broker.attach(BOB, "phone")).acknowledged == 2
    assert await case.broker.acknowledge("user:new", "phone", 5) == 0


@promise()
async def an_acknowledged_publication_is_missed_by_nobody(case: Case) -> None:
    """What some device still lacks is kept, within the limits, whatever the others say."""
    await case.publish(BOB, 4)
    await case.broker.attach(BOB, "phone")
    await case.broker.acknowledge(BOB, "laptop", 4)
    await case.broker.acknowledge(BOB, "phone", 1)
    assert (await case.kept(BOB, 1)) == [2, 3, 4]
    attached = await case.broker.attach(BOB, "phone")
    assert attached.first <= attached.acknowledged + 1


@promise()
async def devices_are_known_by_name(case: Case) -> None:
    """Those without a name share one position; the list is in the order of the names, each inbox its own."""
    for name in ("zeta", "Alpha", "alpha"):
        await case.broker.attach(BOB, name)
    await case.broker.acknowledge(BOB, "", 0)
    await case.broker.attach("user:eve", "phone")
    assert [device.name for device in await case.broker.devices(BOB)] == ["", "Alpha", "alpha", "zeta"]
    assert [device.name for device in await case.broker.devices("user:eve")] == ["phone"]
    assert list(await case.broker.devices("user:nobody")) == []


@promise()
async def devices_stay_when_nobody_listens(case: Case) -> None:
    """Released and detached, an inbox keeps what came since for the device."""
    attached = await case.broker.attach(BOB, "phone")
    case.broker.detach(BOB, "phone")
    case.broker.detach(BOB, "phone")
    case.broker.detach(BOB, "unknown")
    case.broker.detach("user:never", "phone")
    case.release(BOB)
    await case.publish(BOB, 3)
    again = await case.broker.attach(BOB, "phone")
    assert again.position == Position(attached.position.epoch, 3)
    assert again.acknowledged == 0
    assert await case.kept(BOB) == [1, 2, 3]


@promise()
async def an_inbox_has_so_many_devices(case: Case) -> None:
    """One more is refused, by both ways in, and costs nobody anything; those enrolled go on."""
    for number in range(DEVICES):
        await case.broker.attach(BOB, f"d{number}")
    before = await positions(case)
    with pytest.raises(TooManyDevices, match=BOB):
        await case.broker.attach(BOB, "one more")
    with pytest.raises(TooManyDevices, match=BOB):
        await case.broker.acknowledge(BOB, "one more", 0)
    assert await positions(case) == before
    assert (await case.broker.attach(BOB, "d0")).acknowledged == 0
    await case.publish(BOB, 1)
    assert await case.broker.acknowledge(BOB, "d1", 1) == 1


@promise("advance")
async def devices_that_were_not_seen_make_room(case: Case) -> None:
    """The one that was away for too long goes; those that were seen stay, and so do their positions."""
    await case.publish(BOB, 2)
    for number in range(DEVICES):
        await case.broker.attach(BOB, f"d{number}")
        await case.broker.acknowledge(BOB, f"d{number}", 1)
    case.pass_time(DEVICE_AGE / 2)
    for number in range(1, DEVICES):
        case.broker.detach(BOB, f"d{number}")
    await case.publish(BOB)
    case.pass_time(DEVICE_AGE / 2 - 10)
    with pytest.raises(TooManyDevices):
        await case.broker.attach(BOB, "new")
    case.pass_time(20)
    assert (await case.broker.attach(BOB, "new")).acknowledged == 1
    assert sorted(await positions(case)) == ["d1", "d2", "d3", "new"]
    with pytest.raises(TooManyDevices):
        await case.broker.attach(BOB, "another")


@promise("advance")
async def a_device_is_seen_when_it_comes_and_when_it_goes(case: Case) -> None:
    """`seen_ms` is of the last of both."""
    await case.broker.attach(BOB, "phone")
    [first] = await case.broker.devices(BOB)
    case.pass_time(100)
    case.broker.detach(BOB, "phone")
    await case.publish(BOB)  # `detach` does not wait; what is asked for later is done later
    [second] = await case.broker.devices(BOB)
    case.pass_time(100)
    await case.broker.attach(BOB, "phone")
    [third] = await case.broker.devices(BOB)
    assert second.seen_ms - first.seen_ms == pytest.approx(100_000, abs=10_000)
    assert third.seen_ms - second.seen_ms == pytest.approx(100_000, abs=10_000)


@promise()
async def a_full_inbox_tells_the_publisher(case: Case) -> None:
    """What is pushed out before every device has it is told, and counted; what they have is not."""
    await case.broker.attach(BOB, "phone")
    await case.broker.attach(BOB, "laptop")
    assert [each.dropped for each in await case.publish(BOB, SMALL)] == [0] * SMALL
    await case.broker.acknowledge(BOB, "phone", SMALL)
    assert [each.dropped for each in await case.publish(BOB, 2)] == [1, 1]
    assert case.broker.dropped_unacknowledged == 2
    await case.broker.acknowledge(BOB, "laptop", SMALL)
    assert [each.dropped for each in await case.publish(BOB, SMALL)] == [0, 0, 0, 1, 1]
    assert case.broker.dropped_unacknowledged == 4


@promise()
async def an_inbox_that_nobody_ever_opened_drops_too(case: Case) -> None:
    """Without a device nobody has received anything."""
    receipts = await case.publish(BOB, SMALL + 2)
    assert [each.dropped for each in receipts] == [0] * SMALL + [1, 1]
    assert case.broker.dropped_unacknowledged == 2


@promise()
async def a_room_drops_what_it_does_not_keep(case: Case) -> None:
    """A history that is full is no loss: nobody acknowledges it."""
    receipts = await case.publish("room:small", 3 * SMALL)
    assert [each.dropped for each in receipts] == [0] * 3 * SMALL
    assert case.broker.dropped_unacknowledged == 0


@promise("advance")
async def an_inbox_ages(case: Case) -> None:
    """What nobody fetched in time is gone; the device learns it from `first`."""
    await case.broker.attach(BOB, "phone")
    await case.publish(BOB, 2)
    case.pass_time(AGE + 1)
    await case.publish(BOB, 1)
    attached = await case.broker.attach(BOB, "phone")
    assert (attached.first, attached.acknowledged, attached.position.offset) == (3, 0, 3)
    assert await case.kept(BOB) == [3]


@promise("advance")
async def what_was_too_old_was_not_pushed_out(case: Case) -> None:
    """A full inbox whose publications have aged has room: its publisher is told of no loss."""
    await case.publish(BOB, SMALL)
    case.pass_time(AGE + 1)
    assert [each.dropped for each in await case.publish(BOB, SMALL + 1)] == [0] * SMALL + [1]


@promise()
async def a_cleared_inbox_keeps_its_devices(case: Case) -> None:
    """They stay where they are; what was cleared is missing."""
    await case.publish(BOB, 3)
    await case.broker.attach(BOB, "phone")
    await case.broker.acknowledge(BOB, "phone", 1)
    await case.broker.clear(BOB)
    attached = await case.broker.attach(BOB, "phone")
    assert (attached.first, attached.acknowledged, attached.position.offset) == (4, 1, 3)
