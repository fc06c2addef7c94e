"""The document S4 on real sockets: its messages frame by frame, its rooms, its chat, its refusals."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec
import pytest
import trio.testing
from support.client import KEY, RawClient
from support.site import Site, configured, listening_site

from tidings.protocol.frames import Opcode
from tidings.server.push import Push

# The document's messages, to the letter.
SYSTEM: Final = """
{
  "type": "system",
  "content": {
    "message": "系统将于 30 分钟后维护",
    "level": "warning",
    "code": 1001
  },
  "timestamp": 1697356800
}
"""
NOTIFICATION: Final = """
{
  "type": "notification",
  "content": {
    "title": "用户登录提醒",
    "body": "admin 于 2025-10-15 14:30:00 登录了系统",
    "icon": "User",
    "link": "/system/users"
  },
  "timestamp": 1697356800
}
"""
DATA_UPDATE: Final = """
{
  "type": "data_update",
  "content": {
    "entity": "user",
    "action": "create",
    "id": "123",
    "data": {
      "username": "new_user"
    }
  },
  "timestamp": 1697356800
}
"""
USER_MESSAGE: Final = """
{
  "type": "user_message",
  "content": {
    "from": "user_123",
    "to": "user_456",
    "text": "Hello!"
  },
  "timestamp": 1697356800
}
"""

ROOM: Final = "chat:room001"
#: What the back end says to a room: the document's text, under the names that its chat page reads.
BROADCAST: Final = {"text": "有新用户加入"}


class Store:
    """A connection of the document's front end, `useWebSocketStore`."""

    def __init__(self, client: RawClient) -> None:
        self.client = client

    async def send(self, kind: str, *content: Any) -> None:
        """As the document's `send`: with a content, or without one."""
        await self.client.send_json({"type": kind} | ({"content": content[0]} if content else {}))

    async def said(self, document: str | Mapping[str, Any]) -> None:
        """That the next frame is the document's, its fields in their order; only its timestamp is now."""
        opcode, payload = await self.client.receive_frame()
        assert opcode == Opcode.TEXT
        expected = dict(msgspec.json.decode(document) if isinstance(document, str) else document)
        stamp = msgspec.json.decode(payload)["timestamp"]
        assert type(stamp) is int
        assert abs(stamp - time.time()) < 60
        assert payload.decode() == msgspec.json.encode(expected | {"timestamp": stamp}).decode()

    async def refused(self, code: str, about: str = "") -> None:
        """That the next frame is an error of this code, which names what is wrong."""
        message = await self.client.receive_json()
        assert message.keys() == {"type", "content", "timestamp"}
        assert message["type"] == "error"
        assert message["content"].keys() == {"code", "message"}
        assert message["content"]["code"] == code
        assert about in message["content"]["message"]

    async def heard_nothing(self) -> None:
        """That nothing is on its way, and that the connection lives."""
        await self.send("ping")
        await self.said({"type": "pong", "content": {}})

    async def joined(self, room: Any = ROOM) -> None:
        """Enter a room, of which nothing is said: the pong comes when it is done."""
        await self.send("join_room", room)
        await self.heard_nothing()


@dataclass
class Gateway:
    """A server whose `/ws` is as its GinForge front end knows it, and who is connected to it."""

    site: Site
    clients: AsyncExitStack

    @property
    def push(self) -> Push:
        """The server, as a program in it sees it."""
        return self.site.server.context.push

    async def open(self, path: str) -> RawClient:
        """A connection; it ends with the test."""
        client = await self.site.open()
        self.clients.push_async_callback(client.aclose)
        status, headers, _ = await client.handshake(path)
        assert status == 101
        assert "sec-websocket-protocol" not in headers
        return client

    async def connect(self, user: str, **claims: Any) -> Store:
        """Connect as the document does: nothing is said then."""
        return Store(await self.open(f"/ws?token={self.site.token(user, **claims)}"))


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """Such a server; a test that hangs fails after 30 s."""
    endpoints = {"/ws": "ginforge", "/native": "native"}
    with trio.fail_after(30):
        async with listening_site(configured(endpoints=endpoints)) as site, AsyncExitStack() as clients:
            yield Gateway(site, clients)


@asynccontextmanager
async def backend(site: Site) -> AsyncIterator[Any]:
    """What publishes over HTTP, as another service does; raises where that is refused."""
    headers = {"Authorization": f"Bearer {site.token('admin', roles=['admin'])}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{site.port}", headers=headers) as http:

        async def publish(channel: str, event: str, payload: Mapping[str, Any]) -> None:
            body = {"channel": channel, "event": event, "payload": payload}
            (await http.post("/api/v1/publish", json=body)).raise_for_status()

        yield publish


async def test_the_documents_messages(gateway: Gateway) -> None:
    """Each of the four arrives as printed, whether a program or a service has published it, and nothing else."""
    store, push = await gateway.connect("user_456"), gateway.push
    sender = await gateway.connect("user_123", username="Somebody")
    await sender.heard_nothing()
    system = msgspec.json.decode(SYSTEM)["content"]
    shown = msgspec.json.decode(NOTIFICATION)["content"]
    note = {"title": shown["title"], "message": shown["body"], "type": "info"}
    note |= {"icon": shown["icon"], "link": shown["link"]}
    update = msgspec.json.decode(DATA_UPDATE)["content"]
    await store.heard_nothing()

    await push.broadcast("system_message", system)
    await store.said(SYSTEM)
    await push.to_user("user_456", "notification", note)
    await store.said(NOTIFICATION)
    await push.to_user("user_456", "data_update", update)
    await store.said(DATA_UPDATE)
    async with backend(gateway.site) as publish:
        await publish("all", "system_message", system)
        await store.said(SYSTEM)
        await publish("user:user_456", "notification", {**note, "id": "n-9"})
        told = msgspec.json.decode(NOTIFICATION)
        await store.said({**told, "content": told["content"] | {"id": "n-9"}})
        await publish("user:user_456", "data_update", update)
        await store.said(DATA_UPDATE)
    await sender.said(SYSTEM)
    await sender.said(SYSTEM)

    await sender.send("user_message", {"to": "user_456", "text": "Hello!"})
    await store.said(USER_MESSAGE)
    await store.heard_nothing()
    await sender.heard_nothing()


async def test_a_room_and_its_chat(gateway: Gateway) -> None:
    """Join, broadcast, speak, leave: members hear the same once, in order; joining and leaving are not answered."""
    bob, native = (
        await gateway.connect("2", username="鲍勃"),
        await gateway.open(f"/native?token={gateway.site.token('3')}"),
    )
    alice = await gateway.connect("1", username="爱丽丝")
    await native.receive_json()
    await native.command("join_room", {"room": ROOM})
    await alice.joined(ROOM)
    await bob.joined({"room": ROOM})

    async with backend(gateway.site) as publish:
        await publish(f"room:{ROOM}", "room_message", BROADCAST)
    await gateway.push.to_room(ROOM, "room_message", BROADCAST)
    for store in (alice, bob):
        for _ in range(2):
            await store.said({"type": "room_message", "content": BROADCAST})

    await alice.send("room_message", {"room": ROOM, "text": "你好 <b>&amp;</b>", "mood": 1})
    heard = [await store.client.receive_json() for store in (alice, bob)]
    assert heard[0] == heard[1]
    # What the chat page reads is there, by the names it reads; the text is carried as text.
    said = heard[0]["content"]
    assert (said["username"], said["text"], said["mood"]) == ("爱丽丝", "你好 <b>&amp;</b>", 1)
    assert said["id"]
    assert heard[0].keys() == {"type", "content", "timestamp"}

    await alice.send("leave_room", ROOM)
    await alice.heard_nothing()
    await bob.send("room_message", {"room": ROOM, "text": "还在吗"})
    assert (await bob.client.receive_json())["content"]["text"] == "还在吗"
    await alice.heard_nothing()
    of_room = [await native.receive_json() for _ in range(4)]
    assert [message["data"]["text"] for message in of_room] == [
        BROADCAST["text"],
        BROADCAST["text"],
        "你好 <b>&amp;</b>",
        "还在吗",
    ]


async def test_every_ping_is_answered(gateway: Gateway) -> None:
    """The document's heartbeat, and those of clients that put something into it."""
    store = await gateway.connect("1")
    for text in (
        '{"type":"ping"}',
        '{"type":"ping","content":null}',
        '{"type":"ping","content":"ping"}',
        '{"type":"ping","content":{"at":1},"timestamp":1697356800}',
        ' {"timestamp":"now","type":"ping"} ',
    ):
        await store.client.send_text(text)
        await store.said({"type": "pong", "content": {}})


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", '{"error":"未提供令牌"}'),
        ("?token=", '{"error":"未提供令牌"}'),
        ("?token=not.a.token", '{"error":"令牌无效"}'),
        ("?token={expired}", '{"error":"令牌无效"}'),
    ],
    ids=["none", "empty", "bad", "of another server"],
)
async def test_the_handshake_is_refused_in_the_documents_words(
    gateway: Gateway, query: str, body: str
) -> None:
    """Before the upgrade, with 401 and the document's JSON, byte for byte."""
    foreign = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIiwiZXhwIjoxfQ.c2lnbmF0dXJl"
    stream = await trio.open_tcp_stream("127.0.0.1", gateway.site.port)
    async with aclosing(stream):
        await stream.send_all(
            f"GET /ws{query.replace('{expired}', foreign)} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
        )
        answer = b"".join([piece async for piece in stream])
    head, _, received = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert received == body.encode()


async def test_bad_input_is_told_and_costs_nothing_else(gateway: Gateway) -> None:
    """Each wrong message gets one error that names what is wrong, and the connection goes on."""
    store = await gateway.connect("1")
    for text, code, about in (
        ('{"type":"join_room","content":5}', "invalid_data", "`$.content`"),
        ('{"type":"join_room","content":{"room":"a b"}}', "invalid_data", "`$.content.room`"),
        ('{"type":"join_room"}', "invalid_data", "`content`"),
        ('{"type":"room_message","content":"hello"}', "invalid_data", "`$.content`"),
        ('{"type":"room_message","content":{"room":"a","text":""}}', "invalid_data", "`$.content.text`"),
        ('{"type":"room_message","content":{"room":"a","text":"x"}}', "forbidden", "room:a"),
        ('{"type":"leave_room","content":"a"}', "not_found", "room:a"),
        ('{"type":"user_message","content":{"text":"x"}}', "invalid_data", "`to`"),
        ('{"type":"join_rom","content":"a"}', "unknown_type", "did you mean 'join_room'?"),
        ('{"type":"subscribe","content":{"channel":"all"}}', "unknown_type", "'subscribe'"),
        ('{"type":5}', "bad_request", "type"),
        ('{"content":"ping"}', "bad_request", "type"),
        ("[1]", "bad_request", "type"),
        ("ping", "bad_request", "not a JSON object"),
    ):
        await store.client.send_text(text)
        if text == "[1]":
            await store.refused(code)
        else:
            await store.refused(code, about)
    await store.heard_nothing()
    assert gateway.site.server.context.hub.users == 1


async def test_what_was_missed_comes_on_return(gateway: Gateway) -> None:
    """A notification made while the user is away is the first that is said at the next connection, once."""
    first = await gateway.connect("7")
    await first.heard_nothing()
    await first.client.aclose()
    while gateway.push.is_online("7"):
        await trio.testing.wait_all_tasks_blocked()
    note = {"title": "订单通知", "message": "您的订单已发货", "type": "info"}
    await gateway.push.to_user("7", "notification", note)
    back = await gateway.connect("7")
    await back.said({"type": "notification", "content": {"title": "订单通知", "body": "您的订单已发货"}})
    await back.heard_nothing()
