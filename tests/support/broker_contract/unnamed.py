"""Checks of the inbox's device without a name: everybody who gives none, also who only looks."""

import pytest

from support.broker_contract.case import AGE, DEVICE_AGE, DEVICES, SMALL, Case, promise
from support.broker_contract.inboxes import BOB, positions
from tidings.protocol.positions import Position
from tidings.server.brokers.base import TooManyDevices


@promise()
async def who_gives_no_name_is_enrolled_by_acknowledging(case: Case) -> None:
    """Coming and going leaves nothing; from the first acknowledgement on there is a position, which never falls."""
    await case.publish(BOB, 4)
    for _ in range(2):
        assert (await case.broker.attach(BOB, "")).acknowledged == 0
        case.broker.detach(BOB, "")
        case.release(BOB)
        assert await positions(case) == {}
    assert await case.broker.acknowledge(BOB, "", 2) == 2
    assert await positions(case) == {"": 2}
    assert (await case.broker.attach(BOB, "")).acknowledged == 2
    assert await case.broker.acknowledge(BOB, "", 1) == 2
    assert await positions(case) == {"": 2}


@promise()
async def looking_without_a_name_is_opening(case: Case) -> None:
    """Everything after the position told comes, with or without an acknowledgement."""
    await case.publish(BOB, 2)
    attached = await case.broker.attach(BOB, "")
    case.node.listens(BOB, attached.position)
    before = len(case.node.of(BOB))
    assert (attached.position.offset, attached.first) == (2, 1)
    [receipt] = await case.publish(BOB)
    assert receipt.position == Position(attached.position.epoch, 3)
    await case.node.wait(BOB, before + 1)
    assert await case.open(BOB) == receipt.position


@promise()
async def without_a_name_one_starts_where_a_new_device_would(case: Case) -> None:
    """Before the oldest kept, or where the foremost is, each time anew, until there is an acknowledgement."""
    await case.publish(BOB, SMALL + 3)
    for _ in range(2):
        attached = await case.broker.attach(BOB, "")
        assert (attached.first, attached.acknowledged) == (4, 3)
    await case.publish(BOB)
    attached = await case.broker.attach(BOB, "")
    assert (attached.first, attached.acknowledged) == (5, 4)
    for offset in (6, 8):
        await case.broker.acknowledge(BOB, "phone", offset)
        assert (await case.broker.attach(BOB, "")).acknowledged == offset
    assert await positions(case) == {"phone": 8}
    assert await case.broker.acknowledge(BOB, "", 7) == 7
    assert (await case.broker.attach(BOB, "")).acknowledged == 7
    assert (await case.broker.attach(BOB, "laptop")).acknowledged == 8
    assert await case.broker.acknowledge(BOB, "", 9) == 9
    assert (await case.broker.attach(BOB, "tablet")).acknowledged == 9


@promise()
async def who_only_looks_loses_nothing(case: Case) -> None:
    """What the named devices have is dropped in silence; a position of the unnamed counts as any other's."""
    await case.broker.attach(BOB, "phone")
    await case.broker.attach(BOB, "")
    await case.publish(BOB, SMALL)
    await case.broker.acknowledge(BOB, "phone", SMALL)
    assert [each.dropped for each in await case.publish(BOB, SMALL)] == [0] * SMALL
    assert case.broker.dropped_unacknowledged == 0
    await case.broker.acknowledge(BOB, "phone", 2 * SMALL)
    await case.broker.acknowledge(BOB, "", SMALL + 1)
    assert [each.dropped for each in await case.publish(BOB, 3)] == [0, 1, 1]
    assert case.broker.dropped_unacknowledged == 2


@promise()
async def where_only_the_unnamed_come_they_count(case: Case) -> None:
    """Their acknowledgement is the inbox's; before it nobody has received anything."""
    await case.broker.attach(BOB, "")
    assert [each.dropped for each in await case.publish(BOB, SMALL + 1)] == [0] * SMALL + [1]
    await case.broker.acknowledge(BOB, "", 3)
    assert [each.dropped for each in await case.publish(BOB, 3)] == [0, 0, 1]


@promise()
async def without_a_name_no_place_is_taken(case: Case) -> None:
    """As many named ones as there may be, beside it, whoever was first; it is never refused."""
    await case.publish(BOB, 2)
    for number in range(DEVICES):
        await case.broker.attach(BOB, f"d{number}")
    assert (await case.broker.attach(BOB, "")).acknowledged == 0
    assert await case.broker.acknowledge(BOB, "", 1) == 1
    assert await case.broker.acknowledge(BOB, "", 2) == 2
    with pytest.raises(TooManyDevices, match=f"{DEVICES} devices"):
        await case.broker.attach(BOB, "more")
    with pytest.raises(TooManyDevices, match=f"{DEVICES} devices"):
        await case.broker.acknowledge(BOB, "more", 1)
    await case.broker.acknowledge("user:eve", "", 0)
    for number in range(DEVICES):
        await case.broker.attach("user:eve", f"d{number}")
    assert len(await case.broker.devices("user:eve")) == len(await case.broker.devices(BOB)) == DEVICES + 1


@promise("advance")
async def the_unnamed_are_forgotten_as_others_are(case: Case) -> None:
    """Not seen for too long, their position goes when a new device comes; nobody is told of what they lack."""
    await case.broker.acknowledge(BOB, "", 0)
    case.pass_time(DEVICE_AGE / 2)
    await case.broker.attach(BOB, "")
    await case.publish("user:eve")  # the time is noted before it moves on
    case.pass_time(DEVICE_AGE / 2 + 10)
    await case.broker.attach(BOB, "phone")
    assert await positions(case) == {"": 0, "phone": 0}
    case.pass_time(DEVICE_AGE / 2)
    await case.broker.attach(BOB, "laptop")
    assert await positions(case) == {"laptop": 0, "phone": 0}


@promise("advance")
async def what_the_unnamed_never_acknowledged_ages(case: Case) -> None:
    """Who looks without a name learns of what is gone from `first`, as everybody."""
    await case.publish(BOB, 2)
    assert (await case.broker.attach(BOB, "")).acknowledged == 0
    case.pass_time(AGE + 1)
    await case.publish(BOB)
    attached = await case.broker.attach(BOB, "")
    assert (attached.first, attached.acknowledged, attached.position.offset) == (3, 2, 3)
