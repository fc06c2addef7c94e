"""Checks of histories."""

from support.broker_contract.case import AGE, EVERYTHING, SMALL, Case, promise
from tidings.protocol.positions import Position


@promise()
async def history_is_what_was_delivered(case: Case) -> None:
    """Read back, every publication is equal in every field to what the hub was given."""
    await case.open("room:a")
    for number in range(5):
        await case.broker.publish(
            "room:a",
            f"event{number}",
            b'{"n":%d}' % number,
            user_id=f"u{number}" if number % 2 else None,
            excluded_session="s" if number == 3 else None,
        )
    delivered = await case.node.wait("room:a", 5)
    history = await case.broker.history("room:a", 0, **EVERYTHING)
    assert list(history.publications) == delivered
    assert history.first == 1
    assert history.position == Position(delivered[-1].epoch, 5)


@promise()
async def history_begins_behind_any_offset(case: Case) -> None:
    """Negative, within, at the end, beyond, and beyond all numbers."""
    await case.publish("room:a", 5)
    for after in (-(2**70), -(2**63), -1, 0, 1, 4, 5, 6, 2**63 - 1, 2**63, 2**70):
        assert await case.kept("room:a", after) == [each for each in range(1, 6) if each > after]
        history = await case.broker.history("room:a", after, **EVERYTHING)
        assert (history.first, history.position.offset) == (1, 5)


@promise()
async def history_comes_in_pages(case: Case) -> None:
    """At most `limit`, and no more than the first that brings the payloads to `most_bytes`."""
    payload = b'{"x":"%s"}' % (b"x" * 92)
    assert len(payload) == 100
    await case.publish("room:a", 10, payload)

    async def page(after: int, limit: int, most_bytes: int) -> list[int]:
        history = await case.broker.history("room:a", after, limit=limit, most_bytes=most_bytes)
        assert (history.first, history.position.offset) == (1, 10)
        return [each.offset for each in history.publications]

    assert await page(0, 3, 10**6) == [1, 2, 3]
    assert await page(3, 3, 10**6) == [4, 5, 6]
    assert await page(9, 3, 10**6) == [10]
    assert await page(10, 3, 10**6) == []
    assert await page(0, 10, 200) == [1, 2]
    assert await page(0, 10, 201) == [1, 2, 3]
    assert await page(0, 10, 1) == [1], "one that is larger than a page still comes"
    assert await page(4, 1, 1) == [5]


@promise()
async def a_channel_that_never_was_has_a_position(case: Case) -> None:
    """It keeps nothing, stands at 0, and goes on from there."""
    history = await case.broker.history("room:new", 0, **EVERYTHING)
    assert (list(history.publications), history.first, history.position.offset) == ([], 1, 0)
    assert await case.open("room:new") == history.position
    [receipt] = await case.publish("room:new")
    assert receipt.position == Position(history.position.epoch, 1)


@promise()
async def history_keeps_the_newest(case: Case) -> None:
    """As many as the policy says, without a hole; it begins with the oldest kept."""
    for count in range(1, 4 * SMALL):
        await case.publish("room:small", 1)
        oldest = max(1, count - SMALL + 1)
        assert await case.kept("room:small") == list(range(oldest, count + 1))
        history = await case.broker.history("room:small", 1, limit=1, most_bytes=1)
        assert history.first == oldest
        assert [each.offset for each in history.publications] == ([max(oldest, 2)] if count > 1 else [])


@promise("advance")
async def history_forgets_what_is_too_old(case: Case) -> None:
    """Younger than the policy's age it is there, older it is not; the position stays."""
    await case.publish("room:short", 3)
    case.pass_time(AGE / 2)
    await case.publish("room:short", 2)
    case.pass_time(AGE / 2 - 1)
    assert await case.kept("room:short") == [1, 2, 3, 4, 5]
    case.pass_time(2)
    assert await case.kept("room:short") == [4, 5]
    case.pass_time(AGE / 2)
    history = await case.broker.history("room:short", 0, **EVERYTHING)
    assert (list(history.publications), history.first, history.position.offset) == ([], 6, 5)
    [receipt] = await case.publish("room:short")
    assert receipt.position == Position(history.position.epoch, 6)
    assert await case.kept("room:short") == [6]


@promise("nothing kept")
async def a_channel_may_keep_nothing(case: Case) -> None:
    """With a size of 0 there are positions and deliveries, and no history."""
    await case.open("room:none")
    receipts = await case.publish("room:none", 3)
    await case.node.wait("room:none", 3)
    history = await case.broker.history("room:none", 0, **EVERYTHING)
    assert (list(history.publications), history.first) == ([], 4)
    assert history.position == receipts[-1].position


@promise()
async def history_is_kept_while_nobody_listens(case: Case) -> None:
    """Released, the channel is still there for who comes back."""
    await case.open("room:a")
    await case.publish("room:a", 2)
    await case.node.wait("room:a", 2)
    case.release("room:a")
    await case.publish("room:a", 2)
    assert await case.kept("room:a", 1) == [2, 3, 4]
    assert (await case.open("room:a")).offset == 4


@promise()
async def a_cleared_channel_goes_on(case: Case) -> None:
    """Nothing is kept of it, its position stays, and later offsets follow on, for listeners too."""
    await case.open("room:a")
    [*_, last] = await case.publish("room:a", 3)
    assert await case.broker.clear("room:a") == last.position
    assert await case.broker.clear("room:a") == last.position
    history = await case.broker.history("room:a", 0, **EVERYTHING)
    assert (list(history.publications), history.first, history.position) == ([], 4, last.position)
    [receipt] = await case.publish("room:a")
    assert receipt.position == Position(last.epoch, 4)
    assert await case.kept("room:a") == [4]
    await case.node.wait("room:a", 4)


@promise()
async def clearing_what_never_was(case: Case) -> None:
    """It stands at 0, and goes on from there."""
    position = await case.broker.clear("room:new")
    assert position.offset == 0
    assert await case.open("room:new") == position
