"""Messages from user to user, and the bounds of what is said to anybody."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.client import RawClient
from support.kept_rooms import (
    SERVICE,
    Directory,
    RoomsSite,
    enters,
    inline_site,
    next_of,
    rooms_config,
    says,
)
from trio.testing import MockClock, wait_all_tasks_blocked


@pytest.fixture
async def rooms(tmp_path: Path, autojump_clock: MockClock) -> AsyncIterator[RoomsSite]:
    """A server that keeps no rooms: what it says of users and texts holds either way."""
    async with inline_site(rooms_config(tmp_path, kept=False, text_chars=10)) as site:
        yield site


async def _tell(client: RawClient, to: str, text: str = "hi", **more: Any) -> str:
    answer = await client.command("user_message", {"to": to, "text": text, **more})
    return str(answer["type"] if answer["type"] == "published" else answer["data"]["code"])


async def test_a_message_reaches_the_user_and_says_who_has_sent_it(rooms: RoomsSite) -> None:
    """On every device, from who the server knows it is from, whatever the sender claims; further fields arrive."""
    ann = await rooms.connect("ann")
    devices = [await rooms.connect("bob"), await rooms.connect("bob")]
    claimed = {"from": "eve", "username": "Eve", "sender": "eve", "mood": "glad"}
    answer = await ann.command("user_message", {"to": "bob", "text": "<b>hi</b>", **claimed})
    assert (answer["type"], answer["data"]["channel"]) == ("published", "user:bob")
    for device in devices:
        told = (await next_of(device, "user_message"))["data"]
        expected = {"from": "ann", "to": "bob", "text": "<b>hi</b>", "username": "ann", "mood": "glad"}
        assert told == {**expected, "sender": "eve"}
    # A note to oneself, on all of one's devices.
    await ann.send_json({"type": "user_message", "data": {"to": "ann", "text": "milk"}})
    assert (await next_of(ann, "user_message"))["data"]["from"] == "ann"


async def test_nobody_fills_the_inbox_of_a_name_that_never_was(rooms: RoomsSite) -> None:
    """Without a directory of users only those are known who are online, or whose device was here before."""
    ann = await rooms.connect("ann")
    assert await _tell(ann, "bob") == "not_found"
    client = await rooms.peers.open()
    status, _, _ = await client.handshake("/ws?device=phone", token=rooms.token("bob"))
    assert status == 101
    assert await client.receive_json()
    await client.aclose()
    await wait_all_tasks_blocked()
    assert not rooms.site.server.context.push.is_online("bob")
    assert await _tell(ann, "bob") == "published"


async def test_with_a_directory_its_users_are_known_and_nobody_else(rooms: RoomsSite) -> None:
    """Who is online with a token of somebody else's making is no user; who never logged in is one."""
    rooms.site.server.context.push.users = Directory("bob")
    ann = await rooms.connect("ann")
    assert await _tell(ann, "bob") == "published"
    assert await _tell(ann, "ann") == "not_found"


async def test_an_invited_user_must_be_one_where_there_is_a_directory(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Else anybody may be a member before the first login; but nobody's inbox is filled."""
    async with inline_site(rooms_config(tmp_path)) as rooms:
        push = rooms.site.server.context.push
        await rooms.create("ann", "r", "invited")
        await rooms.invite("ann", "r", "later")
        await wait_all_tasks_blocked()
        kept = await push.history("user:later", None, limit=10)
        assert getattr(kept, "publications", None) == []
        assert await enters(await rooms.connect("later"), "r")
        push.users = Directory("bob")
        assert await rooms.refused("ann", "PUT", "/r/members/eve", {"role": "member"}) == (404, "not_found")
        await rooms.invite("ann", "r", "bob")


async def test_where_nobody_sends_direct_messages_administrators_do(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """`rooms.direct = "nobody"` says so."""
    async with inline_site(rooms_config(tmp_path, kept=False, direct="nobody")) as rooms:
        ann, root = await rooms.connect("ann"), await rooms.connect("root", roles=("admin",))
        assert await _tell(ann, "root") == "forbidden"
        assert await _tell(root, "ann") == "published"


async def test_a_text_is_something_and_not_too_long(rooms: RoomsSite) -> None:
    """Nothing, blanks, and more than `rooms.text_chars` are refused, naming the field, to rooms and users alike."""
    ann = await rooms.connect("ann")
    assert await enters(ann, "r")
    for command, where in (("room_message", {"room": "r"}), ("user_message", {"to": "ann"})):
        for text, code in (("", "invalid_data"), (" \n\u3000", "invalid_data"), ("x" * 11, "too_large")):
            error = (await ann.command(command, {**where, "text": text}))["data"]
            assert (error["code"], error["message"].endswith("at `$.data.text`")) == (code, True), error
        assert (await ann.command(command, {**where, "text": "é" * 10}))["type"] == "published"
    assert (await ann.command("user_message", {"to": "a b", "text": "x"}))["data"]["code"] == "invalid_data"


async def test_a_flood_is_refused_with_the_time_to_wait(rooms: RoomsSite) -> None:
    """Whoever sends faster than a connection may is told so, in these commands as in others."""
    ann = await rooms.connect("ann")
    await ann.command("join_room", {"room": "r"})
    for number in range(250):
        command = ("room_message", {"room": "r"}) if number % 2 else ("user_message", {"to": "ann"})
        await ann.send_json({"type": command[0], "data": {**command[1], "text": "x"}, "id": str(number)})
    seen: dict[str, float] = {}
    while "249" not in seen:
        message = await ann.receive_json()
        if message["type"] == "error":
            assert message["data"]["code"] == "rate_limited", message
            seen[message["id"]] = message["data"]["retry_after"]
    assert all(seconds > 0 for seconds in seen.values())
    assert len({int(number) % 2 for number in seen}) == 2


async def _was_here(rooms: RoomsSite, user: str) -> None:
    """Have somebody been here with a device, and gone."""
    client = await rooms.peers.open()
    status, _, _ = await client.handshake("/ws?device=phone", token=rooms.token(user))
    assert status == 101
    assert await client.receive_json()
    await client.aclose()
    await wait_all_tasks_blocked()


async def test_nobody_empties_the_inbox_of_who_is_away(tmp_path: Path, autojump_clock: MockClock) -> None:
    """One sender leaves so many messages and invitations for one who is away, and is told when to go on."""
    async with inline_site(rooms_config(tmp_path, direct_waiting=3)) as rooms:
        for user in ("bob", "cleo"):
            await _was_here(rooms, user)
        ann, root = await rooms.connect("ann"), await rooms.connect("root", roles=("admin",))
        await rooms.create("ann", "r")
        await rooms.invite("ann", "r", "bob")
        assert [await _tell(ann, "bob") for _ in range(3)] == ["published", "published", "rate_limited"]
        told = (await ann.command("user_message", {"to": "bob", "text": "x"}))["data"]
        assert told["message"].endswith("try again in 60 s"), told
        assert told["retry_after"] == 60
        await rooms.done("ann", "DELETE", "/r/members/bob")
        too_many = (429, "rate_limited")
        assert await rooms.refused("ann", "PUT", "/r/members/bob", {"role": "member"}) == too_many
        await rooms.done(SERVICE, "PUT", "/r/members/bob", {"role": "member"})
        await rooms.invite("ann", "r", "bob", role="admin")
        assert await _tell(ann, "cleo") == "published", "somebody else"
        assert {await _tell(root, "bob") for _ in range(5)} == {"published"}
        bob = await rooms.connect("bob")
        assert {await _tell(ann, "bob") for _ in range(5)} == {"published"}, "who is there can go"
        assert await _tell(bob, "ann") == "published"


async def test_the_room_of_notices_is_for_everybody_to_enter_and_for_nobody_to_speak_in(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Also where rooms are not open; administrators speak there, and a grant is no reason to."""
    async with inline_site(rooms_config(tmp_path, kept=False, open_rooms=False)) as rooms:
        ann, root = (
            await rooms.connect("ann", channels=("room:*",)),
            await rooms.connect("root", roles=("admin",)),
        )
        bob = await rooms.connect("bob")
        assert not await enters(bob, "other")
        for client, comes in ((ann, "forbidden"), (bob, "forbidden"), (root, "published")):
            assert await enters(client, "notifications")
            assert await says(client, "notifications") == comes
        asked = {"channel": "room:notifications", "event": "note", "payload": {}}
        assert (await ann.command("publish", asked))["data"]["code"] == "forbidden"
