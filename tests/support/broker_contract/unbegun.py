"""Checks of channels that nobody ever published to: asking for them is no act."""

from support.broker_contract.case import EVERYTHING, Case, promise
from tidings.protocol.positions import Position
from tidings.server.brokers.base import Attachment

INVENTED = "user:invented"


@promise()
async def a_channel_that_never_was_is_the_same_for_all_who_ask(case: Case) -> None:
    """Read, opened, attached to, cleared or acknowledged, in any order: it stands at 0 and keeps nothing."""
    history = await case.broker.history(INVENTED, 0, **EVERYTHING)
    start = history.position
    assert (history.first, list(history.publications), start.offset) == (1, [], 0)
    assert await case.open(INVENTED) == start
    assert await case.broker.attach(INVENTED, "") == Attachment(start, 1, 0)
    assert await case.broker.attach(INVENTED, "phone") == Attachment(start, 1, 0)
    assert await case.broker.acknowledge(INVENTED, "phone", 7) == 0
    assert await case.broker.acknowledge(INVENTED, "", 7) == 0
    assert await case.broker.clear(INVENTED) == start
    for after in (-1, 0, 1, 2**70):
        assert await case.broker.history(INVENTED, after, **EVERYTHING) == history
    [receipt] = await case.publish(INVENTED)
    assert receipt.position == Position(start.epoch, 1)
    assert [each.offset for each in await case.node.wait(INVENTED, 1)] == [1]
    assert (await case.broker.attach(INVENTED, "phone")).acknowledged == 0


@promise()
async def opened_before_it_ever_was(case: Case) -> None:
    """Who opens first, or attaches first, gets everything from the first publication on."""
    for channel in ("room:new", "user:new"):
        assert (await case.open(channel)).offset == 0
        case.release(channel)
        start = await case.open(channel)
        [receipt] = await case.publish(channel)
        assert receipt.position == Position(start.epoch, 1)
        await case.node.wait(channel, 1)
        assert await case.kept(channel) == [1]
    for device in ("", "phone"):
        inbox = f"user:new-{device}"
        attached = await case.broker.attach(inbox, device)
        case.node.listens(inbox, attached.position)
        [receipt] = await case.publish(inbox)
        assert receipt.position == Position(attached.position.epoch, 1)
        await case.node.wait(inbox, 1)
        assert await case.kept(inbox) == [1]


@promise()
async def asking_for_the_invented_forgets_nobody(case: Case) -> None:
    """However many channels somebody makes up, those that were published to keep their positions."""
    await case.publish("room:a", 3)
    cleared = await case.broker.clear("room:a")
    kept = (await case.publish("user:bob", 2))[-1]
    for number in range(50):
        name = f"room:invented-{number}"
        history = await case.broker.history(name, 0, **EVERYTHING)
        assert (history.position.offset, list(history.publications)) == (0, [])
        assert (await case.broker.open(name)).offset == 0
        case.broker.release(name)
        attached = await case.broker.attach(f"user:invented-{number}", "")
        assert (attached.position.offset, attached.first, attached.acknowledged) == (0, 1, 0)
        case.broker.release(f"user:invented-{number}")
    assert await case.open("room:a") == cleared
    assert await case.open("user:bob") == kept.position
    assert list(await case.broker.devices("user:invented-0")) == []
