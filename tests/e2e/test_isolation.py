"""Nobody receives, or says, what is not theirs."""

from typing import Any

import pytest
from support.client import RawClient
from support.hostile_rights import ISOLATION, heard
from support.hostile_site import hostile_site, try_rows
from support.site import Site
from support.tasks import Peers, unharmed
from support.tokens import forged


async def _holder(peers: Peers, **claims: Any) -> RawClient:
    """A client whose token has these claims."""
    client = await peers.open()
    status, _, body = await client.handshake(token=forged(**claims))
    assert status == 101, body
    assert (await client.receive_json())["type"] == "connected"
    return client


async def _publish(client: RawClient, channel: str, event: str = "order:ready") -> Any:
    return await client.command("publish", {"channel": channel, "event": event, "payload": {}})


async def test_publications_reach_their_audience_only(live_site: Site) -> None:
    """A user's, a group's and a role's event reach exactly that user, group and role, and `all` everybody."""
    async with unharmed(live_site) as peers:
        admin = await peers.connect("admin", roles=["admin"])
        alice = await peers.connect("alice", group_id="red", roles=["editor"])
        tab = await peers.connect("alice", group_id="red", roles=["editor"])
        bob = await peers.connect("bob", group_id="blue")
        # Whose names begin or end alike are others all the same.
        near = [await peers.connect(name) for name in ("alic", "alice.", "Alice", "alice:1", "1alice")]
        for channel in ("user:alice", "group:red", "role:editor", "room:nobody", "all"):
            assert (await _publish(admin, channel))["type"] == "published"
        whole = [(name, "order:ready") for name in ("user:alice", "group:red", "role:editor", "all")]
        assert await heard(alice) == whole
        assert await heard(tab) == whole
        for other in (bob, *near):
            assert await heard(other) == [("all", "order:ready")]


async def test_a_room_is_heard_by_its_members_while_they_are_members(live_site: Site) -> None:
    """Not before joining, and nothing after the answer to leaving, however much is being said."""
    async with unharmed(live_site) as peers:
        alice, bob = await peers.connect("alice"), await peers.connect("bob")
        await alice.command("join_room", {"room": "r"})
        assert await heard(bob) == []
        await alice.command("room_message", {"room": "r", "text": "before"})
        await bob.command("join_room", {"room": "r"})
        assert await heard(bob) == []
        for number in range(50):
            say = {"type": "room_message", "data": {"room": "r", "text": str(number)}}
            await alice.send_json(say)
            if number == 25:
                await bob.send_json({"type": "leave_room", "data": {"room": "r"}, "id": "leave"})
        while (message := await bob.receive_json()).get("id") != "leave":
            assert message["channel"] == "room:r"
        assert message["type"] == "unsubscribed"
        assert await heard(alice)
        assert await heard(bob) == []


async def test_nothing_is_reached_that_is_not_ones_own() -> None:
    """Channels of others are `forbidden`, patterns and look-alikes no channels, admin routes 403 for every user."""
    async with hostile_site() as site:
        await try_rows(site, ISOLATION)


async def test_room_names_do_not_collide(live_site: Site) -> None:
    """However names are put together from parts, or look alike, each is a room of its own."""
    names = ["a", "a:b", "b:c", "a:b:c", "c", "a:", ":a", "A", "a.b", "room:a"]
    async with unharmed(live_site) as peers:
        members = {name: await peers.connect(f"in-{name}") for name in names}
        for name, member in members.items():
            await member.command("join_room", {"room": name})
        for name, member in members.items():
            await member.send_json({"type": "room_message", "data": {"room": name, "text": name}})
            message = await member.receive_json()
            assert (message["channel"], message["data"]["text"]) == (f"room:{name}", name)
        for member in members.values():
            assert await heard(member) == []


async def test_only_members_speak_in_a_room(live_site: Site) -> None:
    """Before joining and after leaving, `room_message` is forbidden; nobody hears it."""
    async with unharmed(live_site) as peers:
        alice, bob = await peers.connect("alice"), await peers.connect("bob")
        await alice.command("join_room", {"room": "r"})
        say = {"room": "r", "text": "hello"}
        assert (await bob.command("room_message", say))["data"]["code"] == "forbidden"
        await bob.command("join_room", {"room": "r"})
        await bob.command("leave_room", {"room": "r"})
        assert (await bob.command("room_message", say))["data"]["code"] == "forbidden"
        assert await heard(alice) == []


async def test_nobody_speaks_in_anothers_name(live_site: Site) -> None:
    """Whatever a room message claims of its sender, the server's word stands."""
    async with unharmed(live_site) as peers:
        alice = await peers.connect("alice")
        await alice.command("join_room", {"room": "r"})
        claimed = {"user_id": "bob", "username": "Bob", "id": "1", "from": "bob", "channel": "all"}
        await alice.send_json(
            {"type": "room_message", "data": {"room": "r", "text": "hi"} | claimed, "user_id": "bob"}
        )
        message = await alice.receive_json()
        assert message["channel"] == "room:r"
        assert (message["data"]["user_id"], message["data"]["username"]) == ("alice", "alice")
        assert message["data"]["id"] != "1"
        assert "user_id" not in message


async def test_publishing_takes_a_permission(live_site: Site) -> None:
    """A user publishes nowhere, not even to the own channel or a room joined; with a grant, just there."""
    async with unharmed(live_site) as peers:
        alice = await peers.connect("alice", group_id="red", roles=["editor"])
        await alice.command("join_room", {"room": "r"})
        for channel in ("all", "user:alice", "user:bob", "group:red", "role:editor", "room:r", "room:x"):
            assert (await _publish(alice, channel))["data"]["code"] == "forbidden"
        writer = await _holder(peers, sub="writer", channels={"room:r": ["publish"]})
        assert (await _publish(writer, "room:r"))["type"] == "published"
        for channel in ("room:r2", "room:r:1", "room:R", "all", "user:writer"):
            assert (await _publish(writer, channel))["data"]["code"] == "forbidden"
        assert await heard(alice) == [("room:r", "order:ready")]


async def test_a_grant_opens_one_channel_and_no_other(live_site: Site) -> None:
    """`channels` of a token adds what it names: a kind's wildcard grants that kind alone."""
    async with unharmed(live_site) as peers:
        desk = await _holder(peers, sub="desk", channels=["user:bob", "group:*"])
        for channel, allowed in (
            ("user:bob", True),
            ("group:any", True),
            ("user:bob:1", False),
            ("user:alice", False),
            ("role:any", False),
        ):
            answer = await desk.command("subscribe", {"channel": channel})
            assert (answer["type"] == "subscribed") is allowed, channel
        assert (await _publish(desk, "user:bob"))["data"]["code"] == "forbidden"


@pytest.mark.parametrize(
    ("first", "channel"),
    [
        ({"roles": ["editor"]}, "role:editor"),
        ({"group_id": "red"}, "group:red"),
        ({"channels": ["user:bob"]}, "user:bob"),
        ({"roles": ["admin"]}, "user:bob"),
    ],
    ids=["role", "group", "grant", "admin"],
)
async def test_a_refresh_takes_what_the_newer_token_does_not_give(
    live_site: Site, first: dict[str, Any], channel: str
) -> None:
    """After `refresh` with a token of fewer rights nothing more comes from channels that it does not open."""
    async with unharmed(live_site) as peers:
        admin = await peers.connect("admin", roles=["admin"])
        alice = await _holder(peers, sub="alice", **first)
        assert (await alice.command("subscribe", {"channel": channel}))["type"] == "subscribed"
        assert (await alice.command("refresh", {"token": forged(sub="alice")}))["type"] == "refreshed"
        await _publish(admin, channel)
        assert await heard(alice) == []


async def test_server_figures_are_for_admins(live_site: Site) -> None:
    """`stats` shows a user the own connection and nothing of the others."""
    async with unharmed(live_site) as peers:
        admin, alice = await peers.connect("admin", roles=["admin"]), await peers.connect("alice")
        assert set((await alice.command("stats"))["data"]) == {"connection"}
        assert (await admin.command("stats"))["data"]["server"]["connections"] == 3
        half = await _holder(peers, sub="half", roles=["administrator", "Admin"])
        assert set((await half.command("stats"))["data"]) == {"connection"}
