"""Presence as a client sees it: the command, the answer to `subscribe`, and who comes and goes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from support.client import RawClient
from support.site import Site, configured, memory_site
from support.tokens import forged
from trio.testing import MockClock

from tidings.server.brokers.base import BrokerUnavailable, Member
from tidings.server.config import Limits
from tidings.server.config.channels import ChannelRule, Presence
from tidings.server.delivery.presence_lists import KEPT_SECONDS

GRACE = 5.0
ALICE = {"user_id": "alice", "username": "alice"}
BOB = {"user_id": "bob", "username": "bob"}
LOBBY = {"channel": "room:lobby"}


@pytest.fixture
async def site(autojump_clock: MockClock) -> AsyncIterator[Site]:
    """A server on virtual time, where rooms tell who joins and leaves, and small answers are large."""
    config = configured(
        presence=Presence(grace=GRACE),
        channels={"room:*": ChannelRule(join_leave=True), "room:dark": ChannelRule(presence=False)},
        limits=Limits(message_bytes=4096, outbox_bytes=40_000),
    )
    async with memory_site(config) as site:
        yield site


async def _join(site: Site, user: str, room: str = "lobby", **more: Any) -> RawClient:
    client = await site.connect(user, **more)
    client.answers_pings = True
    answer = await client.command("join_room", {"room": room})
    assert answer["type"] == "subscribed"
    return client


async def _next(client: RawClient, *kinds: str) -> Any:
    while (message := await client.receive_json())["type"] not in kinds:
        pass
    return message


async def test_members_hear_who_joins_and_who_leaves(site: Site) -> None:
    """Once for all of a user's connections, after the grace, and without a place in the channel."""
    alice = await _join(site, "alice")
    assert (await _next(alice, "joined"))["data"] == LOBBY | ALICE
    first, second = await _join(site, "bob"), await _join(site, "bob")
    said = await _next(alice, "joined", "left")
    assert (said["type"], said["data"], said["user_id"]) == ("joined", LOBBY | BOB, "bob")
    assert (said["channel"], "offset" in said) == ("room:lobby", False)
    await first.aclose()
    await second.command("leave_room", {"room": "lobby"})
    went = trio.current_time()
    said = await _next(alice, "joined", "left")
    assert (said["type"], said["data"]) == ("left", LOBBY | BOB)
    assert trio.current_time() == pytest.approx(went + GRACE)


async def test_a_reload_is_heard_by_nobody(site: Site) -> None:
    """Who is back within the grace has neither left nor joined."""
    alice, bob = await _join(site, "alice"), await _join(site, "bob")
    assert [(await _next(alice, "joined"))["user_id"] for _ in range(2)] == ["alice", "bob"]
    await bob.aclose()
    await trio.sleep(GRACE - 1)
    await _join(site, "bob")
    with trio.move_on_after(2 * GRACE):
        raise AssertionError(await _next(alice, "joined", "left"))


async def test_a_newcomer_is_told_who_is_there(site: Site) -> None:
    """In the answer to `subscribe` and `join_room`, if asked for; and by the command, at any time."""
    await _join(site, "alice")
    bob = await site.connect("bob")
    plain = await bob.command("subscribe", LOBBY)
    assert "members" not in plain["data"]
    await bob.command("unsubscribe", LOBBY)
    told = await bob.command("subscribe", LOBBY | {"presence": True})
    assert ALICE in told["data"]["members"]
    asked = await bob.command("presence", LOBBY)
    assert (asked["type"], asked["data"]) == ("presence", LOBBY | {"members": [ALICE, BOB]})
    carol = await site.connect("carol")
    joined = await carol.command("join_room", {"room": "lobby", "presence": True})
    assert [one["user_id"] for one in joined["data"]["members"]][:2] == ["alice", "bob"]


async def test_who_may_not_subscribe_may_not_ask(site: Site) -> None:
    """`forbidden`; and so is asking where no presence is kept, in words that say what to set."""
    alice = await site.connect("alice")
    for channel in ("user:bob", "group:g", "role:admin"):
        refused = await alice.command("presence", {"channel": channel})
        assert (refused["type"], refused["data"]["code"]) == ("error", "forbidden")
        assert "may not ask" in refused["data"]["message"]
    for channel in ("room:dark", "user:alice", "all"):
        for command in ({"channel": channel}, {"channel": channel, "presence": True}):
            kind = "subscribe" if "presence" in command else "presence"
            refused = await alice.command(kind, command)
            assert (refused["type"], refused["data"]["code"]) == ("error", "forbidden"), channel
            assert "presence = true" in refused["data"]["message"]
    for wrong in ({}, {"channel": "lobby"}, {"channel": 1}):
        assert (await alice.command("presence", wrong))["data"]["code"] == "invalid_data"


async def test_a_list_too_long_for_an_answer_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would make the one who asks a slow consumer; the message says where else to ask."""
    members = [Member(f"user-{number:04}", "x" * 40) for number in range(300)]

    async def crowd(_: str) -> list[Member]:
        return members

    monkeypatch.setattr(site.server.context.broker, "presence", crowd)
    alice = await site.connect("alice")
    refused = await alice.command("presence", LOBBY)
    assert (refused["type"], refused["data"]["code"]) == ("error", "too_large")
    assert "300 are present" in refused["data"]["message"]
    assert (await alice.command("subscribe", LOBBY | {"presence": True}))["data"]["code"] == "too_large"
    del members[100:]
    await trio.sleep(KEPT_SECONDS)
    answer = await alice.command("presence", LOBBY)
    assert len(answer["data"]["members"]) == 100


async def test_a_broker_that_cannot_answer_is_unavailable(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is refused, and the connection goes on."""

    async def fail(_: str) -> Any:
        raise BrokerUnavailable("the connection is lost")

    monkeypatch.setattr(site.server.context.broker, "presence", fail)
    alice = await site.connect("alice")
    refused = await alice.command("presence", LOBBY)
    assert (refused["data"]["code"], refused["data"]["message"]) == (
        "unavailable",
        "the connection is lost",
    )
    assert (await alice.command("ping"))["type"] == "pong"


async def test_a_refresh_keeps_the_member_and_takes_the_new_name(site: Site) -> None:
    """One member before and after, under the newest name, and nobody hears of anything."""
    bob = await _join(site, "bob")
    alice = await site.connect(token=forged(username="Alice", sid="s"))
    await alice.command("join_room", {"room": "lobby"})
    while (await _next(bob, "joined"))["user_id"] != "alice":
        pass
    answer = await alice.command("refresh", {"token": forged(username="Alice B.", sid="s")})
    assert answer["type"] == "refreshed"
    members = (await bob.command("presence", LOBBY))["data"]["members"]
    assert members == [{"user_id": "alice", "username": "Alice B."}, BOB]
    with trio.move_on_after(2 * GRACE):
        raise AssertionError(await _next(bob, "joined", "left"))
