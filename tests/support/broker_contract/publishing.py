"""Checks of publishing and listening."""

import time

import trio

from support.broker_contract.case import EVERYTHING, PAYLOAD, Case, promise
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Receipt


@promise()
async def positions_rise_by_one(case: Case) -> None:
    """From the position that `open` tells, each publication has the next offset, in one epoch."""
    start = await case.open("room:a")
    receipts = await case.publish("room:a", 5)
    expected = [Position(start.epoch, start.offset + step) for step in range(1, 6)]
    assert [receipt.position for receipt in receipts] == expected


@promise()
async def who_asks_first_is_first(case: Case) -> None:
    """Publications that do not wait for each other are numbered in the order in which they began."""
    receipts: dict[int, Receipt] = {}

    async def publisher(number: int, *, task_status: trio.TaskStatus[None]) -> None:
        # No await between the two.
        task_status.started()
        receipts[number] = await case.broker.publish("user:bob", "news", PAYLOAD)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            await nursery.start(publisher, number)
    assert [receipts[number].offset for number in range(20)] == list(range(1, 21))


@promise()
async def a_receipt_says_what_it_is_worth(case: Case) -> None:
    """What `durability` says of a channel is what its receipts say."""
    for channel in ("room:a", "user:bob"):
        [receipt] = await case.publish(channel)
        assert receipt.durability == case.broker.durability(channel)
        assert receipt.dropped == 0


@promise()
async def everything_after_open_is_delivered_once_in_order(case: Case) -> None:
    """The hub gets exactly the publications behind the position told, with the positions that publishers got."""
    await case.publish("room:a", 3)
    before = len(case.node.of("room:a"))
    start = await case.open("room:a")
    receipts = await case.publish("room:a", 5)
    arrived = (await case.node.wait("room:a", before + 5))[before:]
    assert [Position(each.epoch, each.offset) for each in arrived] == [each.position for each in receipts]
    assert (arrived[0].epoch, arrived[0].offset) == (start.epoch, start.offset + 1)


@promise()
async def open_in_the_middle_of_publications_divides_them(case: Case) -> None:
    """Whatever is on its way while `open` answers: up to the position nothing comes, behind it all does."""

    async def publisher() -> None:
        for _ in range(10):
            await case.broker.publish("room:a", "news", PAYLOAD)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(publisher)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        await case.open("room:a")
    last = 100
    await case.node.until(
        lambda: bool(case.node.of("room:a")) and case.node.of("room:a")[-1].offset == last
    )


@promise()
async def a_publication_arrives_as_it_was_published(case: Case) -> None:
    """Everything comes through byte for byte, stamped with the time of acceptance."""
    await case.open("user:bob")
    publish = case.broker.publish
    earliest = int(time.time() * 1000)
    receipt = await publish(
        "user:bob", "user:updated", PAYLOAD, user_id="bob", excluded_session="this-login"
    )
    latest = int(time.time() * 1000)
    await publish("user:bob", "sync_update", b"{}")
    first, second = await case.node.wait("user:bob", 2)
    assert first == Publication(
        "user:bob",
        "user:updated",
        PAYLOAD,
        receipt.offset,
        receipt.epoch,
        first.time_ms,
        "bob",
        "this-login",
    )
    assert earliest <= first.time_ms <= latest
    assert (second.event, second.payload, second.user_id) == ("sync_update", b"{}", None)
    assert second.excluded_session is None


@promise("whole")
async def an_announcement_has_no_place(case: Case) -> None:
    """It comes with offset 0 and an empty epoch, is not kept, and moves no position."""
    start = await case.open("room:a")
    await case.broker.announce(
        "room:a", "joined", b'{"user_id":"bob"}', user_id="bob", excluded_session="s"
    )
    [announced] = await case.node.wait("room:a", 1)
    assert announced == Publication(
        "room:a", "joined", b'{"user_id":"bob"}', 0, "", announced.time_ms, "bob", "s"
    )
    assert await case.kept("room:a") == []
    [receipt] = await case.publish("room:a")
    assert receipt.position == Position(start.epoch, start.offset + 1)


@promise()
async def opening_twice_is_opening_once(case: Case) -> None:
    """A second `open` tells the position reached meanwhile, and nothing is delivered twice."""
    await case.open("room:a")
    [receipt] = await case.publish("room:a", 1)
    await case.node.wait("room:a", 1)
    assert await case.open("room:a") == receipt.position
    await case.publish("room:a", 1)
    await case.node.wait("room:a", 2)


@promise()
async def releasing_is_idempotent_and_may_be_undone(case: Case) -> None:
    """Released twice or never opened: no error. Opened again, the channel never repeats a position."""
    case.release("room:never")
    await case.open("room:a")
    [last] = await case.publish("room:a", 1)
    await case.node.wait("room:a", 1)
    case.release("room:a")
    case.release("room:a")
    again = await case.open("room:a")
    assert again == last.position or again.epoch != last.epoch
    [receipt] = await case.publish("room:a", 1)
    assert receipt.position == Position(again.epoch, again.offset + 1)
    await case.node.wait("room:a", 2)


@promise()
async def one_release_ends_any_number_of_opens(case: Case) -> None:
    """Listening is not counted: it stands for the node, and the hub counts the subscribers."""
    await case.open("room:a")
    await case.open("room:a")
    case.release("room:a")
    start = await case.open("room:a")
    [receipt] = await case.publish("room:a", 1)
    assert receipt.position == Position(start.epoch, start.offset + 1)
    await case.node.wait("room:a", 1)


@promise()
async def channels_do_not_know_of_each_other(case: Case) -> None:
    """Offsets and histories are each channel's own, and names that look alike are different channels."""
    names = ["room:a", "room:A", "room:a:b", "room:a.b", "user:a"]
    for name in names:
        await case.open(name)
    for count, name in enumerate(names, 1):
        assert [each.offset for each in await case.publish(name, count)] == list(range(1, count + 1))
    for count, name in enumerate(names, 1):
        await case.node.wait(name, count)
        assert await case.kept(name) == list(range(1, count + 1))
    case.release("room:a")
    await case.broker.clear("room:a")
    [receipt] = await case.publish("room:a:b", 1)
    assert receipt.offset == 4
    assert await case.kept("room:a:b") == [1, 2, 3, 4]


@promise()
async def who_publishes_to_nobody_sees_the_offsets_rise(case: Case) -> None:
    """A channel needs no listener to have positions."""
    first, second = await case.publish("room:empty", 2)
    assert second.position == Position(first.epoch, first.offset + 1)
    assert await case.open("room:empty") == second.position


@promise()
async def publishers_at_once_share_one_order(case: Case) -> None:
    """Any number of publishing tasks: every offset once, and delivery in the order of the offsets."""
    start = await case.open("room:a")
    receipts: list[Receipt] = []

    async def publisher() -> None:
        for _ in range(10):
            receipts.append(await case.broker.publish("room:a", "news", PAYLOAD))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(publisher)
    expected = [start.offset + step for step in range(1, 101)]
    assert sorted(receipt.offset for receipt in receipts) == expected
    assert [each.offset for each in await case.node.wait("room:a", 100)] == expected
    assert {receipt.epoch for receipt in receipts} == {start.epoch}


@promise()
async def what_was_delivered_is_in_the_history(case: Case) -> None:
    """Whoever reads after a delivery finds it, and finds no hole before it, while others publish."""
    await case.open("room:a")
    done = trio.Event()

    async def publisher() -> None:
        for _ in range(20):
            await case.broker.publish("room:a", "news", PAYLOAD)
            await trio.lowlevel.checkpoint()

    async def reader() -> None:
        while not done.is_set():
            delivered = [each.offset for each in case.node.of("room:a")]
            kept = await case.kept("room:a")
            assert kept[: len(delivered)] == delivered
            assert kept == list(range(1, len(kept) + 1))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as readers:
        readers.start_soon(reader)
        async with trio.open_nursery() as publishers:
            for _ in range(4):
                publishers.start_soon(publisher)
        done.set()
    assert await case.kept("room:a") == list(range(1, 81))


@promise("lose")
async def what_was_lost_has_another_epoch(case: Case) -> None:
    """History [1..7] is lost and 5 others follow: nobody who has seen 6 may be told that nothing is missing."""
    before = (await case.publish("room:a", 7))[-1]
    assert case.lose is not None
    await case.lose("room:a")
    after = (await case.publish("room:a", 5, b'{"n":1}'))[-1]
    assert after.epoch != before.epoch
    history = await case.broker.history("room:a", 0, **EVERYTHING)
    assert history.position == after.position
    assert {each.epoch for each in history.publications} == {after.epoch}
    assert await case.open("room:a") == after.position
