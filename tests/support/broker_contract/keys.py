"""Checks of idempotency keys."""

import pytest
import trio

from support.broker_contract.case import PAYLOAD, Case, promise
from tidings.server.brokers.base import IDEMPOTENCY_SECONDS, IdempotencyConflict, Receipt


@promise()
async def a_repeated_publication_is_published_once(case: Case) -> None:
    """The same key and body again give the same position, and nothing more is delivered or kept."""
    await case.open("room:a")
    first = await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key="k")
    await case.publish("room:a", 1)
    again = await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key="k")
    assert (again.position, again.durability) == (first.position, first.durability)
    assert [each.offset for each in await case.node.wait("room:a", 2)] == [first.offset, first.offset + 1]
    assert await case.kept("room:a") == [first.offset, first.offset + 1]


@promise()
async def a_key_stands_for_one_publication(case: Case) -> None:
    """The same key with another event or payload is a conflict, and publishes nothing."""
    await case.open("room:a")
    await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key="k")
    for event, payload in (("other", PAYLOAD), ("news", b"{}")):
        with pytest.raises(IdempotencyConflict, match="room:a"):
            await case.broker.publish("room:a", event, payload, idempotency_key="k")
    await case.node.wait("room:a", 1)
    assert await case.kept("room:a") == [1]


@promise()
async def keys_are_each_channels_own(case: Case) -> None:
    """One key in two channels is two publications, and so are two keys in one."""
    await case.open("room:a")
    await case.open("room:b")
    await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key="k")
    await case.broker.publish("room:b", "news", b"{}", idempotency_key="k")
    await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key="l")
    await case.node.wait("room:a", 2)
    await case.node.wait("room:b", 1)


@promise()
async def repeats_at_once_publish_once(case: Case) -> None:
    """Any number of tasks that publish under one key share one position."""
    await case.open("room:a")
    receipts: list[Receipt] = []

    async def publisher() -> None:
        receipts.append(await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key="k"))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(publisher)
    assert {str(receipt.position) for receipt in receipts} == {str(receipts[0].position)}
    assert len(receipts) == 10
    await case.node.wait("room:a", 1)


@promise()
async def a_key_outlives_the_history_it_belongs_to(case: Case) -> None:
    """Also when the publication itself was trimmed or cleared, its key gives its position."""
    first = await case.broker.publish("room:small", "news", PAYLOAD, idempotency_key="k")
    await case.publish("room:small", 20)
    again = await case.broker.publish("room:small", "news", PAYLOAD, idempotency_key="k")
    await case.broker.clear("room:small")
    once_more = await case.broker.publish("room:small", "news", PAYLOAD, idempotency_key="k")
    assert first.position == again.position == once_more.position


@promise("advance")
async def a_key_is_remembered_for_five_minutes(case: Case) -> None:
    """Until then it gives its position; from then on it is a new one."""
    first = await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key="k")
    case.pass_time(IDEMPOTENCY_SECONDS - 1)
    again = await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key="k")
    case.pass_time(2)
    other = await case.broker.publish("room:a", "other", b"{}", idempotency_key="k")
    assert (again.position, other.offset) == (first.position, first.offset + 1)


@promise()
async def a_cancelled_publication_may_be_tried_again(case: Case) -> None:
    """Cancelled, it may have been done or not; under its key it is done once in the end."""
    await case.open("room:a")
    for number in range(10):
        key = f"k{number}"
        with trio.CancelScope() as scope:
            scope.cancel()
            await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key=key)
        await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key=key)
    await case.node.wait("room:a", 10)
    assert await case.kept("room:a") == list(range(1, 11))


ODD = (
    *(
        "k",
        "K",
        " ",
        "k ",
        " k",
        "0",
        "00",
        "null",
        "None",
        "true",
        "{}",
        "[1]",
        "%",
        "%s",
        "100%",
        "_",
        "*",
        "?",
    ),
    *('"', "'", "''", '"k"', "\\", "\\k", "\\u0000", "$1", ":k", ";--", "é", "e\u0301", "\u00a0", "\u200b"),
    *("\u2028", "\ufeffk", "\ufffe", "\ufffd", "\U0001f600", "\U0001f600\ufe0f", "\U0010ffff"),
    *("x" * 127, "x" * 128, "\U0001f600" * 128, "k\nk", "\nk", "x" * 128 + "\n" + "x" * 128),
)
"""All are keys, and no two are the same."""


@promise()
async def keys_may_have_any_character_that_is_seen(case: Case) -> None:
    """Quotes, percent signs, accents and pictures: each key is its own, one by one and many at once."""
    receipts: dict[str, Receipt] = {}

    async def publish(key: str) -> None:
        receipts[key] = await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key=key)

    async def repeat(key: str) -> None:
        again = await case.broker.publish("room:a", "news", PAYLOAD, idempotency_key=key)
        assert again.position == receipts[key].position, key

    await case.open("room:a")
    for step in (publish, repeat):
        async with trio.open_nursery() as nursery:
            for key in ODD:
                nursery.start_soon(step, key)
    assert sorted(receipt.offset for receipt in receipts.values()) == list(range(1, len(ODD) + 1))
    for key in ODD:
        await repeat(key)
        with pytest.raises(IdempotencyConflict):
            await case.broker.publish("room:a", "news", b"{}", idempotency_key=key)
    await case.node.wait("room:a", len(ODD))
