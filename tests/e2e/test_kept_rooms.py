"""Kept rooms over real sockets and on a real disk: what owners, members and strangers live through."""

from pathlib import Path

import trio
from support.kept_rooms import enters, next_of, rooms_config, rooms_site, says


async def test_an_owner_invites_talks_and_removes(tmp_path: Path) -> None:
    """A room by invitation from its first day to its last, and over a restart in between."""
    config = rooms_config(tmp_path)
    with trio.fail_after(30):
        async with rooms_site(config) as rooms:
            await rooms.create("ann", "team:x", "invited", title="Team X")
            ann, bob, eve = [await rooms.connect(user) for user in ("ann", "bob", "eve")]
            assert await enters(ann, "team:x")
            assert not await enters(bob, "team:x")
            await rooms.invite("ann", "team:x", "bob")
            told = await next_of(bob, "room_invitation")
            assert told["data"] == {"room": "team:x", "title": "Team X", "by": "ann"}
            assert await enters(bob, "team:x")
            await bob.send_json({"type": "room_message", "data": {"room": "team:x", "text": "I'm in"}})
            heard = (await next_of(ann, "room_message"))["data"]
            assert (heard["user_id"], heard["text"]) == ("bob", "I'm in")
            assert not await enters(eve, "team:x")
        async with rooms_site(config) as rooms:
            ann, bob, eve = [await rooms.connect(user) for user in ("ann", "bob", "eve")]
            assert not await enters(eve, "team:x"), "before anything else was asked of this life"
            assert await enters(bob, "team:x")
            assert await enters(ann, "team:x")
            await rooms.done("ann", "DELETE", "/team:x/members/bob")
            assert (await next_of(bob, "unsubscribed"))["data"] == {"channel": "room:team:x"}
            assert await says(bob, "team:x") == "forbidden"
            assert not await enters(bob, "team:x")
            changed = await next_of(ann, "room_changed")
            assert changed["data"] == {"room": "team:x", "change": "removed", "by": "ann", "user_id": "bob"}
            await rooms.done("ann", "DELETE", "/team:x")
            assert await enters(eve, "team:x"), "a name as any other"


async def test_announcements_are_read_by_all_and_made_by_few(tmp_path: Path) -> None:
    """Everybody enters and reads what was said before; the owner and admins speak; a direct message gets by."""
    with trio.fail_after(30):
        async with rooms_site(rooms_config(tmp_path)) as rooms:
            await rooms.create("ann", "news", "announcements")
            ann, bob = await rooms.connect("ann"), await rooms.connect("bob")
            assert await enters(ann, "news")
            assert await says(ann, "news", "first") == "published"
            assert await enters(bob, "news")
            assert await says(bob, "news") == "forbidden"
            page = await rooms.done("bob", "GET", "/news/history")
            assert [each["data"]["text"] for each in page["publications"]] == ["first"]
            await bob.send_json({"type": "user_message", "data": {"to": "ann", "text": "May I?"}})
            asked = (await next_of(ann, "user_message"))["data"]
            assert asked == {"from": "bob", "to": "ann", "text": "May I?", "username": "bob"}
            await rooms.invite("ann", "news", "bob", role="admin")
            assert await says(bob, "news", "second") == "published"
            assert (await rooms.done("bob", "GET", "/news/presence"))["members"][1]["user_id"] == "bob"
