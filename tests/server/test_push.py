"""What a program that pushes may ask of the server, beside real connections on memory streams."""

from typing import Any

import msgspec
import pytest
import trio.testing
from support.site import Site, configured, memory_site
from trio.testing import MockClock

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.events import Notification
from tidings.server.brokers.base import BrokerUnavailable
from tidings.server.config import ChannelRule, Limits
from tidings.server.push import OUTBOX_SHARE, PublishRefused

LARGEST = Limits().outbox_bytes // OUTBOX_SHARE


async def test_each_verb_reaches_its_audience_and_nobody_else(site: Site) -> None:
    """A user, a role, a group, a room, everybody: those concerned get it, in order, and the others nothing."""
    push = site.server.context.push
    alice = await site.connect("alice", roles=["editor"])
    bob = await site.connect("bob", group_id="sales")
    await bob.command("join_room", {"room": "lobby"})
    await push.to_user("alice", "note", {"n": 1})
    await push.to_role("editor", "note", {"n": 2})
    await push.to_group("sales", "note", {"n": 3})
    await push.to_room("lobby", "note", {"n": 4})
    await push.broadcast("note", {"n": 5})
    for client, numbers in ((alice, [1, 2, 5]), (bob, [3, 4, 5])):
        got = [await client.receive_json() for _ in numbers]
        assert [message["data"]["n"] for message in got] == numbers


async def test_structs_are_published_as_their_fields(site: Site) -> None:
    """A Struct's fields arrive under the names that its encoding has, and are checked as any payload."""

    class Renamed(msgspec.Struct, rename="camel"):
        unread_count: int

    push = site.server.context.push
    alice = await site.connect("alice")
    position = await push.to_user("alice", "badge", Renamed(unread_count=3))
    message = await alice.receive_json()
    assert (message["data"], message["offset"]) == ({"unreadCount": 3}, position.offset)
    await push.to_user("alice", "notification", Notification("Hi", "there"))
    assert (await alice.receive_json())["data"]["title"] == "Hi"


@pytest.mark.parametrize(
    ("channel", "event", "payload", "code"),
    [
        ("room:a b", "note", {}, ErrorCode.INVALID_DATA),
        ("room:", "note", {}, ErrorCode.INVALID_DATA),
        ("everybody", "note", {}, ErrorCode.INVALID_DATA),
        ("all", "connected", {}, ErrorCode.FORBIDDEN),
        ("all", "presence", {}, ErrorCode.FORBIDDEN),
        ("all", "notification", {"title": "no message"}, ErrorCode.INVALID_DATA),
        ("all", "note", {"n": 2**70}, ErrorCode.INVALID_DATA),
        ("all", "note", {"n": float}, ErrorCode.INVALID_DATA),
        ("all", "", {}, ErrorCode.INVALID_DATA),
        ("all", "bad\n\x00ev", {}, ErrorCode.INVALID_DATA),
        ("all", "\ud800", {}, ErrorCode.INVALID_DATA),
        ("all", "x" * 65, {}, ErrorCode.INVALID_DATA),
        ("all", "note", [1, 2], ErrorCode.INVALID_DATA),
        ("all", "note", {"text": "x" * LARGEST}, ErrorCode.TOO_LARGE),
        # Five characters become nineteen in JSON, or four become nine bytes in MessagePack.
        ("all", "note", {"n": [1e15] * (LARGEST // 19)}, ErrorCode.TOO_LARGE),
        ("all", "note", {"n": [0.5] * (LARGEST // 8)}, ErrorCode.TOO_LARGE),
    ],
)
async def test_what_cannot_be_published_is_refused_and_reaches_nobody(
    site: Site, channel: str, event: str, payload: dict[str, Any], code: ErrorCode
) -> None:
    """`submit` says why, `publish` raises it, and no subscriber hears of it."""
    push = site.server.context.push
    alice = await site.connect("alice")
    refusal = await push.submit(channel, event, payload)
    assert isinstance(refusal, Refusal)
    assert refusal.code is code
    with pytest.raises(PublishRefused, match=code.value):
        await push.publish(channel, event, payload)
    await push.broadcast("note", {"n": 1})
    assert (await alice.receive_json())["data"] == {"n": 1}


async def test_a_key_used_for_two_things_is_a_conflict(site: Site) -> None:
    """The same key again publishes nothing; for another payload it is refused."""
    push = site.server.context.push
    first = await push.publish("all", "note", {"n": 1}, idempotency_key="k")
    assert await push.publish("all", "note", {"n": 1}, idempotency_key="k") == first
    refusal = await push.submit("all", "note", {"n": 2}, idempotency_key="k")
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.CONFLICT


async def test_it_knows_who_is_there(site: Site) -> None:
    """Users online, connections of each, members of a channel: all follow who comes and goes."""
    push = site.server.context.push
    assert (push.online_users(), push.online_count(), push.is_online("alice")) == ([], 0, False)
    phone, laptop = await site.connect("alice"), await site.connect("alice")
    bob = await site.connect("bob")
    await bob.command("join_room", {"room": "lobby"})
    await phone.command("join_room", {"room": "lobby"})
    await laptop.command("join_room", {"room": "lobby"})
    assert sorted(push.online_users()) == ["alice", "bob"]
    assert (push.online_count(), push.connection_count("alice"), push.is_online("alice")) == (2, 2, True)
    assert push.members_of("room:lobby") == ["alice", "bob"]
    assert push.members_of("room:empty") == []
    first, second = push.connections_of("alice")
    assert first.connection_id != second.connection_id
    assert (first.username, first.dialect) == ("alice", "native")
    assert first.channels == ["all", "room:lobby", "user:alice"]
    await phone.aclose()
    await laptop.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert push.online_users() == ["bob"]
    assert (push.connections_of("alice"), push.members_of("room:lobby")) == ([], ["bob"])


async def test_disconnecting_a_user_ends_all_connections_behind_what_was_published(site: Site) -> None:
    """Each gets what came before and then the close that was asked for; the neighbour stays."""
    push = site.server.context.push
    phone, laptop, bob = [await site.connect(name) for name in ("alice", "alice", "bob")]
    await push.broadcast("note", {"n": 1})
    assert push.disconnect("alice", CloseCode.ACCOUNT_DELETED) == 2
    assert push.disconnect("alice") == 0, "each is closed once"
    for client in (phone, laptop):
        assert (await client.receive_json())["data"] == {"n": 1}
        assert (await client.receive_json())["data"]["code"] == CloseCode.ACCOUNT_DELETED
        assert (await client.closed()).code == CloseCode.ACCOUNT_DELETED
    assert (await bob.receive_json())["data"] == {"n": 1}
    assert push.disconnect("nobody") == 0


async def test_one_connection_can_be_ended_alone(site: Site) -> None:
    """By its id; a wrong id ends none."""
    push = site.server.context.push
    phone, laptop = await site.connect("alice"), await site.connect("alice")
    first = push.connections_of("alice")[0]
    assert push.disconnect("alice", connection_id="no-such") == 0
    assert push.disconnect("alice", connection_id=first.connection_id) == 1
    await phone.receive_json()
    assert (await phone.closed()).code == CloseCode.DISCONNECTED
    await push.to_user("alice", "note", {"n": 1})
    assert (await laptop.receive_json())["data"] == {"n": 1}


async def test_taking_a_user_out_of_a_channel_tells_the_client(site: Site) -> None:
    """`unsubscribed` comes behind what was published before, and nothing of the channel comes after it."""
    push = site.server.context.push
    alice = await site.connect("alice")
    await alice.command("join_room", {"room": "lobby"})
    await push.to_room("lobby", "note", {"n": 1})
    assert push.unsubscribe("alice", "room:lobby") == 1
    assert push.unsubscribe("alice", "room:lobby") == 0
    await push.to_room("lobby", "note", {"n": 2})
    await push.to_user("alice", "note", {"n": 3})
    kinds = [await alice.receive_json() for _ in range(3)]
    assert [(message["type"], message["data"]) for message in kinds] == [
        ("note", {"n": 1}),
        ("unsubscribed", {"channel": "room:lobby"}),
        ("note", {"n": 3}),
    ]


async def test_the_largest_publication_closes_nobody(site: Site) -> None:
    """A healthy client takes it, and the one after it, in either encoding."""
    push = site.server.context.push
    alice = await site.connect("alice")
    for _ in range(2):
        await push.to_user("alice", "note", {"text": "x" * (LARGEST - len('{"text":""}'))})
        assert len((await alice.receive_json())["data"]["text"]) > LARGEST - 100


async def test_a_structs_keys_may_be_what_they_are(site: Site) -> None:
    """JSON's keys are strings; a registered Struct with integers for keys can be published all the same."""

    class Tally(msgspec.Struct):
        votes: dict[int, int]

    site.server.context.registry.event("tally", Tally, owner="test")
    push = site.server.context.push
    alice = await site.connect("alice")
    await push.to_user("alice", "tally", Tally({1: 2}))
    assert (await alice.receive_json())["data"] == {"votes": {"1": 2}}
    with pytest.raises(PublishRefused, match="invalid_data"):
        await push.to_user("alice", "tally", {"votes": {"one": 2}})


class Untellable(msgspec.Struct):
    """Holds what no encoding can carry."""

    thing: Any


class Listed(msgspec.Struct, array_like=True):
    """Is encoded as an array."""

    n: int


@pytest.mark.parametrize("payload", [Untellable(object()), Listed(1)])
async def test_a_struct_that_is_no_object_is_refused(site: Site, payload: msgspec.Struct) -> None:
    """With PublishRefused, as everything that cannot be published."""
    with pytest.raises(PublishRefused, match="invalid_data"):
        await site.server.context.push.broadcast("note", payload)


@pytest.mark.parametrize("key", ["", "k" * 129])
async def test_a_key_has_its_bounds_for_apps_too(site: Site, key: str) -> None:
    """Nobody can make the server remember a megabyte for five minutes."""
    with pytest.raises(PublishRefused, match="idempotency_key"):
        await site.server.context.push.publish("all", "note", {}, idempotency_key=key)


async def test_an_announcement_reaches_who_is_there_and_is_not_kept(site: Site) -> None:
    """It has no offset, leaves the channel's alone, spares the login named, and is checked as any publication."""
    push = site.server.context.push
    mine = await site.connect("alice", session_id="mine")
    other = await site.connect("alice", session_id="other")
    await push.to_user("alice", "note", {"n": 1})
    await push.announce("user:alice", "look", {"n": 2}, excluded_session="mine")
    await push.to_user("alice", "note", {"n": 3})
    heard = [await other.receive_json() for _ in range(3)]
    assert [message["data"]["n"] for message in heard] == [1, 2, 3]
    assert [message.get("offset") for message in heard] == [1, None, 2]
    assert heard[1]["user_id"] == "alice"
    heard = [await mine.receive_json() for _ in range(2)]
    assert [message["data"].get("n") for message in heard] == [1, 3]
    page = await push.history("user:alice", None, limit=10)
    assert not isinstance(page, Refusal)
    assert [kept.offset for kept in page.publications] == [1, 2]


@pytest.mark.parametrize("is_kept", [True, False])
async def test_one_login_of_a_role_can_be_left_out(site: Site, is_kept: bool) -> None:
    """An administrator's other tabs need not hear what one did: it passes the position, and others are told."""
    push = site.server.context.push
    mine = [await site.connect("root", roles=["admin"], session_id="mine") for _ in range(2)]
    others = [
        await site.connect(user, roles=["admin"], session_id=f"of-{user}") for user in ("root", "ann")
    ]
    stranger = await site.connect("bob", session_id="mine")
    way = push.publish if is_kept else push.announce
    await push.to_role("admin", "note", {"n": 1})
    await way("role:admin", "note", {"n": 2}, excluded_session="mine")
    await push.to_role("admin", "note", {"n": 3})
    for client in others:
        heard = [await client.receive_json() for _ in range(3)]
        assert [message["data"]["n"] for message in heard] == [1, 2, 3]
    for client in mine:
        heard = [await client.receive_json() for _ in range(3 if is_kept else 2)]
        assert [message["data"].get("n") for message in heard] == ([1, None, 3] if is_kept else [1, 3])
        if is_kept:
            assert (heard[1]["type"], heard[1]["data"]["channel"]) == ("position", "role:admin")
            assert heard[1]["data"]["offset"] == heard[2]["offset"] - 1
    assert (await stranger.command("ping"))["type"] == "pong", "it is no member, and has heard nothing"


@pytest.mark.parametrize(
    ("channel", "event", "payload", "session", "code"),
    [
        ("everybody", "note", {}, None, ErrorCode.INVALID_DATA),
        ("all", "connected", {}, None, ErrorCode.FORBIDDEN),
        ("all", "notification", {"title": "no message"}, None, ErrorCode.INVALID_DATA),
        ("all", "note", [1], None, ErrorCode.INVALID_DATA),
        ("all", "note", {"text": "x" * LARGEST}, None, ErrorCode.TOO_LARGE),
        ("all", "note", {}, "s", ErrorCode.FORBIDDEN),
        ("room:lobby", "note", {}, "s", ErrorCode.FORBIDDEN),
        ("group:sales", "note", {}, "s", ErrorCode.FORBIDDEN),
        ("user:alice", "note", {}, "", ErrorCode.INVALID_DATA),
        ("role:admin", "note", {}, "", ErrorCode.INVALID_DATA),
        ("role:admin", "note", {}, "s" * 129, ErrorCode.INVALID_DATA),
        ("user:alice", "note", {}, "s" * 129, ErrorCode.INVALID_DATA),
    ],
)
async def test_what_cannot_be_announced_is_refused(
    site: Site, channel: str, event: str, payload: Any, session: str | None, code: ErrorCode
) -> None:
    """`announce` and `publish` refuse the same, and nobody hears of it."""
    push = site.server.context.push
    alice = await site.connect("alice")
    for way in (push.announce, push.publish):
        with pytest.raises(PublishRefused) as refused:
            await way(channel, event, payload, excluded_session=session)
        assert refused.value.refusal.code is code
    await push.broadcast("note", {"n": 1})
    assert (await alice.receive_json())["data"] == {"n": 1}


async def test_a_broker_that_is_not_there_is_a_refusal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked of it, the answer is `unavailable` with its words, and never a fault."""
    push, broker = site.server.context.push, site.server.context.broker

    async def unavailable(*_: object, **__: object) -> Any:
        raise BrokerUnavailable("the disk is full")

    for name in ("publish", "announce", "history", "clear"):
        monkeypatch.setattr(type(broker), name, unavailable)
    for outcome in (
        await push.submit("all", "note", {}),
        await push.history("all", None, limit=1),
        await push.clear_history("all"),
    ):
        assert outcome == Refusal(ErrorCode.UNAVAILABLE, "the disk is full")
    for way in (push.publish, push.announce):
        with pytest.raises(PublishRefused, match="unavailable: the disk is full"):
            await way("all", "note", {})


async def test_each_user_has_keys_of_their_own(autojump_clock: MockClock) -> None:
    """Who guesses another's key in a room that all may publish to neither stops nor repeats their message."""
    rules = {"room:*": ChannelRule(publish="subscribers")}
    async with memory_site(configured(channels=rules)) as site:
        said = []
        for user in ("bob", "carol", "bob"):
            client = await site.connect(user)
            await client.command("join_room", {"room": "a"})
            answer = await client.command(
                "publish",
                {"channel": "room:a", "event": "e", "payload": {"by": user}, "idempotency_key": "order-17"},
            )
            assert answer["type"] == "published", answer
            said.append(answer["data"]["offset"])
        assert said == [1, 2, 1]
