"""The document S2 on real sockets: its protocol, its routes and its broadcaster, frame by frame."""

import re
import time
from calendar import timegm
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from support.client import RawClient
from support.notifications import NotifiedSite, notified_config, notified_site

from tidings.server.config import Limits

#: What document S2 shows of a notification.
NOTE: Final = {"title": "新消息", "message": "您有一条新的通知", "type": "info"}
SYNC: Final = {"device": "iPhone", "changes": 5}

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Hook:
    """A connection of the document's front end, `useWebSocket(userId, token)`."""

    def __init__(self, client: RawClient, user: str) -> None:
        self.client = client
        self.user = user
        self.counts: list[int] = []
        """What it was told of how much is not read, which comes beside everything else."""

    async def send(self, kind: str, **data: Any) -> None:
        """As the document's `sendMessage`; what has no data has none."""
        await self.client.send_json({"type": kind, **({"data": data} if data else {})})

    async def next(self) -> Any:
        """The next message in the document's envelope, without its timestamp, which is now."""
        while True:
            message = await self.client.receive_json()
            stamp = message.pop("timestamp")
            assert _MOMENT.fullmatch(stamp), stamp
            assert abs(timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")) - time.time()) < 60
            if message["type"] != "unread_count":
                return message
            assert message["user_id"] == self.user
            self.counts.append(message["data"]["unread"])

    async def hears(self, kind: str, data: Any, *, user: str | None = None) -> None:
        """That this message comes next, to the field; `user` is whom it is about."""
        about = {} if user is None else {"user_id": user}
        assert await self.next() == {"type": kind, "data": data, **about}

    async def hears_nothing(self) -> None:
        """That nothing is on its way, and that the connection lives."""
        await self.send("ping")
        await self.hears("pong", {})


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[NotifiedSite]:
    """A server with notifications, at whose `/api/v1/ws/{user_id}` the document's dialect is spoken."""
    async with notified_site(notified_config(tmp_path)) as site:
        yield site


async def use_web_socket(site: NotifiedSite, user: str, token: str | None = None) -> Hook:
    """Connect as the document does, and read the first message."""
    client, status = await site.handshake(f"/api/v1/ws/{user}?token={token or site.site.token(user)}")
    assert status == 101, status
    hook = Hook(client, user)
    first = await hook.next()
    assert first["type"] == "connected", first
    assert first["data"]["user_id"] == user
    return hook


async def test_what_the_client_asks(site: NotifiedSite) -> None:
    """Connected, heartbeat, rooms, its figures, and errors: each answer of the document's type, in its envelope."""
    hook = await use_web_socket(site, "alice")
    await hook.client.send_json(
        {"type": "ping", "data": {}, "timestamp": "2026-02-09T21:00:00Z", "user_id": "x"}
    )
    await hook.hears("pong", {})
    # As `subscribe` with the name of that room does.
    await hook.send("room_subscribe", room="notifications")
    await hook.hears("room_subscribe", {"room": "notifications", "status": "subscribed"})
    await hook.send("room_unsubscribe", room="notifications")
    await hook.hears("room_unsubscribe", {"room": "notifications", "status": "unsubscribed"})
    await hook.send("stats")
    stats = await hook.next()
    assert (stats["type"], stats["data"]["connection"]["commands"]) == ("stats", 4)
    assert "server" not in stats["data"], "the whole server's are for administrators"
    for wrong, code in (
        ({"type": "selfdestruct"}, "unknown_type"),
        ({"type": "room_subscribe", "data": {"room": 7}}, "invalid_data"),
        ({"type": "room_subscribe", "data": {"room": "a b"}}, "invalid_data"),
        ([], "bad_request"),
    ):
        await hook.client.send_json(wrong)
        error = await hook.next()
        assert (error["type"], error["data"]["code"]) == ("error", code), error
        assert set(error["data"]) == {"code", "message"}
    await hook.hears_nothing()


async def test_what_the_back_end_pushes_over_http(site: NotifiedSite) -> None:
    """Each of the document's routes, and the frame that the user's front end gets."""
    hook, other = await use_web_socket(site, "alice"), await use_web_socket(site, "bob")
    made = await site.done("POST", "/api/v1/ws/notify/alice", site.root, json=NOTE)
    await hook.hears("notification", {"id": made["id"], **NOTE}, user="alice")
    demo = await site.done("POST", "/api/v1/notifications/demo", site.site.token("alice"))
    shown = {name: demo[name] for name in ("id", "title", "message", "type")}
    await hook.hears("notification", shown, user="alice")
    await site.done("POST", "/api/v1/ws/sync-update/alice", site.root, json=SYNC)
    await hook.hears("sync_update", SYNC, user="alice")
    await other.hears_nothing()
    message = {"message": "系统将于今晚维护", "level": "warning"}
    await site.done(
        "POST", "/api/v1/ws/broadcast", site.root, json={"type": "system_message", "data": message}
    )
    for each in (hook, other):
        await each.hears("system_message", message)
    told = await site.done("GET", "/api/v1/ws/connections/alice", site.root)
    assert [each["dialect"] for each in told["details"]] == ["knowledge"]
    figures = await site.done("GET", "/api/v1/ws/stats", site.root)
    assert figures == {"connections": 2, "users": 2, "rooms": 0}
    # The unread count came beside them, and changes with what is read.
    read = f"/api/v1/notifications/{made['id']}/read"
    assert await site.done("POST", read, site.site.token("alice")) == {"changed": 1, "unread": 1}
    await hook.hears_nothing()
    assert (hook.counts, other.counts) == ([1, 2, 1], [])


async def test_what_programs_push(site: NotifiedSite) -> None:
    """The broadcaster's calls as the document writes them: to a user, to a room, or to all."""
    broadcaster = site.broadcaster
    hook, other = await use_web_socket(site, "alice"), await use_web_socket(site, "bob")
    for each in (hook, other):
        await each.send("room_subscribe", room="articles")
        await each.hears("room_subscribe", {"room": "articles", "status": "subscribed"})
    note = await broadcaster.send_notification("alice", NOTE)
    await hook.hears("notification", {"id": str(note.id), **NOTE}, user="alice")
    await broadcaster.send_sync_update("alice", SYNC)
    await hook.hears("sync_update", SYNC, user="alice")
    await broadcaster.send_system_message({"message": "只给你", "level": "info"}, user_id="alice")
    await hook.hears("system_message", {"message": "只给你", "level": "info"}, user="alice")
    update = {"entity": "knowledge_base", "action": "updated", "id": "42", "data": {"title": "<b>指南</b>"}}
    send = (update["id"], update["action"], update["data"])
    await broadcaster.send_knowledge_update(*send, user_id="alice")  # type: ignore[arg-type]
    await hook.hears("data_update", update, user="alice")
    await other.hears_nothing()
    await broadcaster.send_system_message({"message": "给所有人"})
    for each in (hook, other):
        await each.hears("system_message", {"message": "给所有人"})
    await other.send("room_unsubscribe", room="articles")
    await other.hears("room_unsubscribe", {"room": "articles", "status": "unsubscribed"})
    await broadcaster.send_knowledge_update(*send, room="articles")  # type: ignore[arg-type]
    await hook.hears("data_update", update)
    await other.hears_nothing()
    await broadcaster.send_knowledge_update(*send)  # type: ignore[arg-type]
    for each in (hook, other):
        await each.hears("data_update", update)


async def test_the_path_names_the_tokens_user(site: NotifiedSite) -> None:
    """Somebody else's is 403, no token or a bad one 401; a user may be called as a route is."""
    alice = site.site.token("alice")
    for path, expected in (
        (f"/api/v1/ws/bob?token={alice}", 403),
        (f"/api/v1/ws/alice/x?token={alice}", 404),
        ("/api/v1/ws/alice", 401),
        ("/api/v1/ws/alice?token=x.y.z", 401),
    ):
        client, status = await site.handshake(path)
        await client.aclose()
        assert status == expected, path
    hook = await use_web_socket(site, "stats")
    assert (await site.done("GET", "/api/v1/ws/stats", site.root))["users"] == 1
    await hook.hears_nothing()


async def test_several_devices_up_to_the_limit(tmp_path: Path) -> None:
    """All of a user's connections get each message once; one more than allowed is refused, and disturbs none."""
    config = notified_config(tmp_path, limits=Limits(connections_per_user=3))
    async with notified_site(config) as site:
        hooks = [await use_web_socket(site, "alice") for _ in range(3)]
        client, status = await site.handshake(f"/api/v1/ws/alice?token={site.site.token('alice')}")
        closed = (await client.closed()).code if status == 101 else None
        assert (status, closed) in {(101, 3504), (429, None)}
        # One that sends nonsense, and one that is cut off, are those alone.
        await hooks[0].client.send_text("{")
        assert (await hooks[0].next())["type"] == "error"
        made = await site.done("POST", "/api/v1/ws/notify/alice", site.root, json=NOTE)
        for hook in hooks:
            await hook.hears("notification", {"id": made["id"], **NOTE}, user="alice")
        await hooks[1].client.aclose()
        await site.broadcaster.send_sync_update("alice", SYNC)
        for hook in (hooks[0], hooks[2]):
            await hook.hears("sync_update", SYNC, user="alice")
            await hook.hears_nothing()


async def test_who_was_away_gets_it_once(site: NotifiedSite) -> None:
    """What was sent meanwhile comes after `connected`, in order; the next connection does not get it again."""
    first = await use_web_socket(site, "alice")
    await first.client.aclose()
    for title in ("一", "二"):
        await site.notify("alice", title)
    await site.broadcaster.send_sync_update("alice", SYNC)
    await site.told("alice")
    back = await use_web_socket(site, "alice")
    heard = [await back.next() for _ in range(3)]
    assert sorted(each["data"].get("title", "-") for each in heard) == ["-", "一", "二"]
    await back.hears_nothing()
    await back.client.aclose()
    # What the kernel took counts as received, within a second; the inbox is told on the way out.
    while site.push.is_online("alice"):
        await trio.lowlevel.checkpoint()
    await site.site.server.context.inboxes.flush()
    again = await use_web_socket(site, "alice")
    await again.hears_nothing()
    assert again.counts == []
