"""The client code that the documents print, unchanged, under Node, against a server."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from support.node import DOCUMENTS, CannotMake, Page, installed, page
from support.site import SECRET, Site, configured, listening_site

from tidings.client import AsyncPublisher, Client, Publication, ToPublish, connect
from tidings.client.publishing import to_publish
from tidings.server.config import Auth

pytestmark = pytest.mark.slow

KEY = "a-key-that-is-long-enough-for-anybody"
ROOM = "chat:room001"

# What the document's code waits before it connects anew.
DELAY = 5_000
HEARTBEAT = 30_000


@pytest.fixture(scope="session")
def modules() -> Path:
    """The packages; whoever lacks what they need is told."""
    try:
        return installed()
    except CannotMake as why:
        pytest.skip(f"packages of the documents: {why}")


@dataclass
class Served:
    """A server to which document S4's front ends connect as they are, with a publisher."""

    site: Site
    publisher: AsyncPublisher
    modules: Path

    @asynccontextmanager
    async def front_end(self) -> AsyncIterator[Page]:
        """A page of document S4 that nobody has logged in to."""
        async with page(self.modules, "ginforge_page.js", self.site.port) as opened:
            yield opened

    @asynccontextmanager
    async def logged_in(self, *components: str, user: str = "alice") -> AsyncIterator[Page]:
        """A page of a user's, which is connected and shows the components."""
        token = self.site.token(user, username=user.title())
        async with self.front_end() as opened:
            await opened.do("keep", key="admin_token", value=token)
            await opened.do("mount", component="App.vue")
            await opened.event("console", text="WebSocket connected")
            for component in components:
                await opened.do("mount", component=component)
            yield opened

    @asynccontextmanager
    async def member(self) -> AsyncIterator[Client]:
        """Bob, who is in the document's room, with a client of another kind."""
        url = f"ws://127.0.0.1:{self.site.port}/native"
        async with connect(url, token=self.site.token("bob", username="Bob")) as client:
            await client.join(ROOM)
            yield client

    async def cut(self) -> None:
        """End alice's connections."""
        assert await self.publisher.disconnect("alice") == 1


@pytest.fixture
async def served(modules: Path) -> AsyncIterator[Served]:
    """Such a server, as its owner configures it."""
    config = configured(
        auth=Auth(secret=SECRET, api_keys=(KEY,), origins=("http://localhost:5173",)),
        endpoints={"/ws": "ginforge", "/native": "native", "/api/v1/ws/{user_id}": "knowledge"},
    )
    with trio.fail_after(60):
        async with (
            listening_site(config) as site,
            AsyncPublisher(f"http://127.0.0.1:{site.port}", api_key=KEY) as publisher,
        ):
            yield Served(site, publisher, modules)


def documented(kind: str) -> Any:
    """A message as the document prints it, without the time of its own."""
    message = json.loads((DOCUMENTS / "ginforge" / "messages" / f"{kind}.json").read_bytes())
    del message["timestamp"]
    return message


def timeless(message: dict[str, Any]) -> dict[str, Any]:
    """A message without its timestamp, which is now in Unix seconds."""
    stamp = message["timestamp"]
    assert isinstance(stamp, int)
    assert abs(stamp - time.time()) < 60
    return {name: value for name, value in message.items() if name != "timestamp"}


async def heard(feed: AsyncIterator[Any]) -> dict[str, Any]:
    """What is said next in a room, with who says it."""
    item = await anext(feed)
    assert isinstance(item, Publication)
    assert item.event == "room_message"
    return item.fields


# --- document S4 ------------------------------------------------------------------------------------------


async def test_the_store_connects_when_the_app_is_shown(served: Served) -> None:
    """The document's component connects with the token it finds, the store knows it, and the user is online."""
    push = served.site.server.context.push
    async with served.logged_in() as alice:
        assert (await alice.do("store"))["connected"] is True
        assert push.is_online("alice")
        await alice.do("unmount", component="App.vue")
        await alice.event("console", text="WebSocket closed")
        assert (await alice.do("store"))["connected"] is False


async def test_without_a_token_the_app_stays_away(served: Served) -> None:
    """Nobody who has not logged in connects."""
    async with served.front_end() as nobody:
        await nobody.do("mount", component="App.vue")
        assert await nobody.do("store") == {"connected": False, "messages": []}
        assert nobody.unread("refused") == []
    assert served.site.server.context.push.online_count() == 0


async def test_each_kind_of_message_arrives_as_printed(served: Served) -> None:
    """Of the four that the document shows: published by the server's names, each is got by the document's."""
    system, notification = documented("system"), documented("notification")
    update, message = documented("data_update"), documented("user_message")
    shown = notification["content"]
    native = {
        "title": shown["title"],
        "message": shown["body"],
        "type": "info",
        "icon": shown["icon"],
        "link": shown["link"],
    }
    async with served.logged_in() as alice:
        await served.publisher.broadcast("system_message", system["content"])
        assert timeless(await alice.message("system")) == system
        await served.publisher.to_user("alice", "notification", native)
        assert timeless(await alice.message("notification")) == notification
        await served.publisher.to_user("alice", "data_update", update["content"])
        assert timeless(await alice.message("data_update")) == update
        await served.publisher.to_user("alice", "user_message", message["content"])
        assert timeless(await alice.message("user_message")) == message
        kept = (await alice.do("store"))["messages"]
        assert list(map(timeless, kept)) == [system, notification, update, message]


async def test_the_documents_watcher_acts_on_each_message_of_a_burst(served: Served) -> None:
    """Three messages published at once each have their effect: a list reloaded, an order updated, a note shown."""
    note = documented("notification")["content"]
    order = {"number": "A-456", "state": "shipped"}
    burst: list[ToPublish] = [
        to_publish("user:alice", "data_update", documented("data_update")["content"]),
        to_publish(
            "user:alice",
            "data_update",
            {"entity": "order", "action": "update", "id": "456", "data": order},
        ),
        to_publish("user:alice", "notification", {"title": note["title"], "message": note["body"]}),
    ]
    async with served.logged_in("Updates.vue") as alice:
        await served.publisher.batch(burst)
        await alice.event("called", name="ElMessage.success", given=["有新用户加入"])
        await alice.event("called", name="loadUsers")
        await alice.event("called", name="ElMessage.info", given=["订单状态已更新"])
        await alice.event("called", name="updateOrderStatus", given=[order])
        shown = {"title": note["title"], "message": note["body"], "type": "info"}
        await alice.event("called", name="ElNotification", given=[shown])
        assert alice.unread("called") == []


async def test_a_chat_between_the_documents_component_and_another_client(served: Served) -> None:
    """Enter and the button each say what was typed; both sides hear both, with id, name and text."""
    async with served.member() as bob, served.logged_in("Chat.vue") as alice:
        feed = bob.publications()
        assert await alice.do("type", text="  ", submit="enter") == "  "  # nothing to say
        assert await alice.do("type", text="大家好", submit="enter") == ""
        first = await heard(feed)
        assert await alice.do("type", text="Anybody?", submit="button") == ""
        second = await heard(feed)
        assert [(said["user_id"], said["username"], said["text"]) for said in (first, second)] == [
            ("alice", "Alice", "大家好"),
            ("alice", "Alice", "Anybody?"),
        ]
        await bob.say(ROOM, "<b>me</b>")
        third = await heard(feed)
        for expected in (first, second, third):
            got = timeless(await alice.message("room_message"))
            assert got == {"type": "room_message", "content": expected}
        assert len({first["id"], second["id"], third["id"]}) == 3
        # As text: what looks like HTML is not.
        assert await alice.do("chat") == [
            ["Alice:", "大家好"],
            ["Alice:", "Anybody?"],
            ["Bob:", "<b>me</b>"],
        ]


async def test_a_message_from_one_documents_page_to_another(served: Served) -> None:
    """It arrives as the document prints it, and who has sent it is the server's word, not the page's."""
    message = documented("user_message")
    forged = {**message, "content": {**message["content"], "from": "somebody"}}
    async with served.logged_in(user="user_123") as sender, served.logged_in(user="user_456") as receiver:
        for said in (message, forged):
            await sender.do("send", message=said)
            assert timeless(await receiver.message("user_message")) == message


async def test_who_has_left_the_room_hears_nothing_of_it(served: Served) -> None:
    """Between the document's `join_room` and its `leave_room` the room's messages come; after it none does."""
    async with served.member() as bob, served.logged_in() as alice:
        await alice.do("run", snippet="join_room.ts")
        await alice.do("send", message={"type": "ping"})
        await alice.message("pong")  # so the room is joined
        await bob.say(ROOM, "before")
        assert (await alice.message("room_message"))["content"]["text"] == "before"
        await alice.do("run", snippet="leave_room.ts")
        await alice.do("send", message={"type": "ping"})
        await alice.message("pong")
        await bob.say(ROOM, "after")
        await served.publisher.to_user("alice", "data_update", documented("data_update")["content"])
        await alice.message("data_update")
        kinds = [message["type"] for message in (await alice.do("store"))["messages"]]
        assert kinds == ["pong", "room_message", "pong", "data_update"]


async def test_the_documents_heartbeat_is_answered(served: Served) -> None:
    """Each ping that is sent every 30 seconds gets one pong."""
    async with served.logged_in() as alice:
        await alice.do("run", snippet="heartbeat.ts")
        for _ in range(3):
            await alice.do("pass", milliseconds=HEARTBEAT)
            assert set(await alice.message("pong")) == {"type", "content", "timestamp"}
        assert [message["type"] for message in (await alice.do("store"))["messages"]] == ["pong"] * 3


async def test_the_store_connects_again_after_a_cut(served: Served) -> None:
    """Five seconds after a close the store is connected, with the same token, and hears what comes then."""
    push = served.site.server.context.push
    async with served.logged_in() as alice:
        await served.cut()
        await alice.event("console", text="WebSocket closed")
        assert (await alice.do("store"))["connected"] is False
        assert await alice.do("pass", milliseconds=DELAY - 1) == 1
        assert not push.is_online("alice")
        assert await alice.do("pass", milliseconds=1) == 0
        await alice.event("console", text="WebSocket connected")
        await served.publisher.broadcast("system_message", documented("system")["content"])
        assert timeless(await alice.message("system")) == documented("system")


async def test_what_came_while_the_page_was_away_comes_once_on_its_return(served: Served) -> None:
    """A notification published between a cut and the reconnection is there after it, and so is the order."""
    async with served.logged_in() as alice:
        await served.cut()
        await alice.event("console", text="WebSocket closed")
        for title in ("one", "two"):
            await served.publisher.to_user("alice", "notification", {"title": title, "message": "…"})
        await alice.do("pass", milliseconds=DELAY)
        await alice.event("console", text="WebSocket connected")
        await served.publisher.to_user("alice", "notification", {"title": "three", "message": "…"})
        titles = [(await alice.message("notification"))["content"]["title"] for _ in range(3)]
        assert titles == ["one", "two", "three"]
        assert len((await alice.do("store"))["messages"]) == 3


async def test_what_is_said_offline_is_queued_and_said_on_return(served: Served) -> None:
    """By the document's tips nothing is lost that is sent before a connection, or between two; all is in order."""

    def say(text: str) -> dict[str, Any]:
        return {"type": "room_message", "content": {"room": ROOM, "text": text}}

    join = {"type": "join_room", "content": ROOM}
    async with served.member() as bob, served.front_end() as alice:
        feed = bob.publications()
        await alice.do("tips", token=served.site.token("alice"))
        await alice.do("tip_send", message=join)
        await alice.do("tip_send", message=say("early"))
        assert (await heard(feed))["text"] == "early"
        await served.cut()
        await alice.event("closed")
        queued = [
            await alice.do("tip_send", message=message)
            for message in (join, say("one"), say("two"), say("three"))
        ]
        assert queued == [1, 2, 3, 4]
        assert await alice.do("pass", milliseconds=DELAY) == 0
        assert [(await heard(feed))["text"] for _ in range(3)] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("token", "words"), [("", "未提供令牌"), ("nonsense", "令牌无效")], ids=["none", "bad"]
)
async def test_a_page_without_a_good_token_is_refused_in_the_documents_words(
    served: Served, token: str, words: str
) -> None:
    """No upgrade but 401 with the document's JSON, each time; the document's five attempts end."""
    async with served.front_end() as nobody:
        await nobody.do("tips", token=token)
        for attempt in range(6):
            refused = await nobody.event("refused")
            assert (refused["status"], json.loads(refused["body"])) == (401, {"error": words})
            assert refused["type"].startswith("application/json")
            await nobody.event("closed")
            assert await nobody.do("pass", milliseconds=DELAY) == 0
            assert nobody.unread("refused") == [], attempt
        assert nobody.unread("message") == []


# --- document S2 ------------------------------------------------------------------------------------------


def instant(message: dict[str, Any]) -> dict[str, Any]:
    """A message of document S2 without its timestamp, which is written as the document's is."""
    stamp = message["timestamp"]
    assert time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")
    return {name: value for name, value in message.items() if name != "timestamp"}


async def spoken(on: Page) -> dict[str, Any]:
    """The next message that the document's `onMessage` logs."""
    message: dict[str, Any] = (await on.event("log", text="收到消息:"))["message"]
    return instant(message)


async def test_the_documents_hook_is_served(served: Served) -> None:
    """The document's call connects, subscribes to notifications, pings, and is told what is published."""
    token = served.site.token("alice")
    note = {"title": "新消息", "message": "您有一条新的通知", "type": "info"}
    update = {"device": "iPhone", "changes": 5}
    async with page(served.modules, "knowledge_page.js", served.site.port, "alice", token) as alice:
        await alice.event("log", text="WebSocket已连接")
        connected = await spoken(alice)
        assert (connected["type"], connected["data"]["user_id"]) == ("connected", "alice")
        status = {"room": "notifications", "status": "subscribed"}
        assert await spoken(alice) == {"type": "room_subscribe", "data": status}
        assert (await spoken(alice))["type"] == "pong"
        for event, payload in (("notification", note), ("sync_update", update)):
            await served.publisher.to_user("alice", event, payload)
            message = await spoken(alice)
            assert (message["type"], message["data"]) == (event, payload)
            assert message.get("user_id", "alice") == "alice"
        await served.publisher.broadcast("system_message", {"message": "维护", "level": "warning"})
        assert (await spoken(alice))["type"] == "system_message"
        await alice.do("send", message={"type": "stats"})
        assert (await spoken(alice))["type"] == "stats"
        await alice.do("send", message={"type": "nonsense", "data": {}})
        error = await spoken(alice)
        assert (error["type"], error["data"]["code"]) == ("error", "unknown_type")
        await alice.do("unsubscribe", room="notifications")
        assert await spoken(alice) == {
            "type": "room_unsubscribe",
            "data": status | {"status": "unsubscribed"},
        }
        await alice.do("close")
        await alice.event("log", text="WebSocket已断开")


async def test_the_documents_hook_is_refused_at_anothers_path(served: Served) -> None:
    """The path's user must be the token's: nobody listens to what is another's."""
    token = served.site.token("mallory")
    async with page(served.modules, "knowledge_page.js", served.site.port, "alice", token) as mallory:
        assert (await mallory.event("refused"))["status"] == 403
        await mallory.event("log", text="WebSocket已断开")
    assert served.site.server.context.push.online_count() == 0
