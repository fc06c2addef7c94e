"""React's hook and Vue's composable, with the real frameworks, against the real server."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from support.node import DOCUMENTS, SDK
from support.readme import program_of, section
from support.sdk_live import NodeProgram, inside, linked, node_program, sdk_packages

from tidings.protocol.close_codes import CloseCode
from tidings.server.testing.threaded import ThreadServer, serving_in_thread

pytestmark = pytest.mark.slow

ROOM: Final = "chat:room001"

SDK_PAGE: Final = "docs/sdk.md"
_TITLES: Final = ("Options", "Methods", "Events")


@pytest.fixture
def server() -> Iterator[ThreadServer]:
    """A server."""
    sdk_packages()
    with serving_in_thread() as server:
        yield server


def until(program: NodeProgram, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """Wait until so many things with those fields have happened; they are returned."""
    found: list[dict[str, Any]] = program.do("until", fields=fields, count=count)
    return found


def online(server: ThreadServer, *users: str) -> None:
    """Wait until these users have one connection each, and nobody else any."""

    async def come_true() -> None:
        push = server.server.push
        wanted = dict.fromkeys(users, 1)
        with trio.fail_after(30):
            while {user: len(push.connections_of(user)) for user in push.online_users()} != wanted:
                await trio.lowlevel.checkpoint()

    server.call(come_true)


@contextmanager
def react(server: ThreadServer) -> Iterator[NodeProgram]:
    """A program with React; when it has ended, no socket of it is open."""
    with node_program("live_react.js", server.ws_url) as program:
        yield program
        program.do("unmount")


@contextmanager
def vue(server: ThreadServer) -> Iterator[NodeProgram]:
    """A program with Vue, Pinia and the components of document S4."""
    with node_program("live_vue.js", server.ws_url, str(DOCUMENTS / "ginforge")) as program:
        yield program


def test_the_documents_hook(server: ThreadServer) -> None:
    """Connected once also in strict mode; it hears, says and subscribes, and is gone when the component is."""
    who = {"user": "alice", "token": server.token("alice"), "room": "tea"}
    with react(server) as page:
        page.do("render", **who, label="first", strict=True)
        until(page, kind="rendered", isConnected=True)
        assert page.do("journal", fields={"kind": "connect"}) == [{"kind": "connect", "user": "alice"}]
        assert page.do("shown") == {
            "text": "Connected",
            "class": "websocket-status websocket-status-connected",
            "role": "status",
        }
        # Strict mode mounts twice: one socket all the same, and no second one that lives on.
        assert page.do("sockets") == {"made": 1, "living": 1}
        until(page, kind="message", type="pong")
        assert len(page.do("journal", fields={"kind": "message", "type": "pong"})) == 1
        server.publish("room:tea", "news", {"n": 1})
        until(page, kind="rendered", last=1)
        # What is called is what the last render brought, and nothing reconnects for it.
        page.do("render", **who, label="second", strict=True)
        until(page, kind="rendered", label="second")
        server.publish("room:tea", "news", {"n": 2})
        assert until(page, kind="message", n=2)[0]["label"] == "second"
        page.do("say", message={"type": "room_message", "data": {"room": "tea", "text": "hello"}})
        until(page, kind="message", type="room_message")
        page.do("leave", room="tea")
        # One component's room is another's, too, until both have had enough of it.
        page.do("join", room="coffee")
        page.do("join", room="coffee")
        page.do("undo")
        inside(server, "alice", "room:coffee")
        server.publish("room:coffee", "news", {"n": 4})
        until(page, kind="message", n=4)
        page.do("undo")
        server.publish("room:coffee", "news", {"n": 5})
        page.do("join", room="a room with a name that is none")
        assert until(page, kind="message", type="error")[0]["code"] == "invalid_data"
        server.publish("room:tea", "news", {"n": 3})
        server.publish("user:alice", "notification", {"title": "4", "message": "4"})
        until(page, kind="message", type="notification")
        heard = page.do("journal", fields={"kind": "message", "type": "news"})
        assert [each["n"] for each in heard] == [1, 2, 4]
        assert page.do("sockets") == {"made": 1, "living": 1}
        page.do("unmount")
        assert until(page, kind="disconnect") == [{"kind": "disconnect", "user": "alice", "name": "idle"}]
        online(server)


def test_users_and_tokens_change_under_the_hook(server: ThreadServer) -> None:
    """Another user or token is another connection, the only one; what came in between is not missed."""
    first, second = (server.token("alice", session_id=name) for name in ("first", "second"))
    with react(server) as page:
        page.do("render", user=None, token=None, room="tea")
        page.do("render", user="alice", token=first, room="tea")
        until(page, kind="connect")
        inside(server, "alice", "room:tea")
        server.publish("room:tea", "news", {"n": 1})
        until(page, kind="message", n=1)
        page.do("render", user="alice", token=second, room="tea")
        server.publish("room:tea", "news", {"n": 2})
        until(page, 2, kind="connect")
        until(page, kind="message", n=2)
        # One of the two changes first: nobody is shown what is somebody else's.
        page.do("render", user="bob", token=second, room="tea")
        until(page, kind="rendered", state="ended", code=CloseCode.DENIED)
        page.do("render", user="bob", token=server.token("bob"), room="tea")
        until(page, kind="connect", user="bob")
        inside(server, "bob", "room:tea")
        server.publish("room:tea", "news", {"n": 3})
        until(page, kind="message", n=3)
        assert [each["n"] for each in page.do("journal", fields={"kind": "message", "type": "news"})] == [
            1,
            2,
            3,
        ]
        online(server, "bob")
        # A function in its place is asked again at each connection, and which one it is does not matter.
        page.do("render", user="bob", token=[server.token("bob")], room="tea")
        until(page, 2, kind="connect", user="bob")
        made = page.do("sockets")["made"]
        page.do("render", user="bob", token=[server.token("bob")], room="tea")
        server.publish("room:tea", "news", {"n": 4})
        until(page, kind="message", n=4)
        assert page.do("sockets") == {"made": made, "living": 1}
        page.do("render", user=None, token=None)
        until(page, kind="rendered", state="idle", isConnected=False)
        until(page, 3, kind="disconnect")
        online(server)


def test_the_hook_over_a_restart_and_an_end(server: ThreadServer) -> None:
    """It says that the connection is lost and back, and that it has ended; then a person may try again."""
    with react(server) as page:
        page.do("render", user="alice", token=server.token("alice"), room="tea")
        until(page, kind="connect")
        server.stop()
        until(page, kind="disconnect")
        until(page, kind="rendered", state="waiting")
        server.start()
        until(page, 2, kind="connect")
        server.publish("user:alice", "news", {"n": 1})
        until(page, kind="message", n=1)
        server.call(lambda: server.server.push.disconnect("alice", CloseCode.DISCONNECTED))
        until(page, kind="rendered", state="ended", code=CloseCode.DISCONNECTED)
        assert page.do("shown")["text"] == "Disconnected: disconnected by an administratorRetry now"
        page.do("press", selector="button")
        until(page, 3, kind="connect")
        until(page, kind="rendered", state="connected")


def test_who_does_not_read_the_last_message(server: ThreadServer) -> None:
    """A component that only listens is not rendered anew by each message."""
    with react(server) as page:
        page.do("render", page="Quiet", user="alice", token=server.token("alice"))
        until(page, kind="quiet")
        before = page.do("renders")["quiet"]
        for n in range(20):
            server.publish("user:alice", "news", {"n": n})
        until(page, kind="quiet", n=19)
        assert page.do("renders")["quiet"] - before <= 2


def test_the_documents_components_on_the_composable(server: ThreadServer) -> None:
    """App, chat and updates of document S4, unchanged: connect, join, say, act on each message, leave."""
    bob = server.connect("bob", channels=[f"room:{ROOM}"])
    with vue(server) as page:
        # The chat stands before the app has connected, as a child's `onMounted` runs before its parent's.
        page.do("mount", name="Chat.vue")
        page.do("mount", name="Updates.vue")
        page.do("mount", name="Listener")
        assert page.do("store") == {"connected": False, "state": "idle", "messages": []}
        page.do("keep", key="admin_token", value=server.token("alice", username="Alice"))
        page.do("mount", name="App.vue")
        page.do("connected")
        assert page.do("type", text="大家好") == ""
        said = bob.publication(f"room:{ROOM}")["data"]
        assert (said["user_id"], said["text"]) == ("alice", "大家好")
        order = {"number": "A-456", "state": "shipped"}
        update = {"entity": "order", "action": "update", "id": "456", "data": order}
        server.publish("user:alice", "data_update", update)
        server.publish(
            "user:alice", "data_update", {"entity": "user", "action": "create", "id": "1", "data": {}}
        )
        server.publish("user:alice", "notification", {"title": "Paid", "message": "Thank you"})
        until(page, kind="called", name="ElNotification")
        (shipped,) = page.do("journal", fields={"kind": "called", "name": "updateOrderStatus"})
        assert shipped["given"] == [order]
        assert len(page.do("journal", fields={"kind": "called", "name": "loadUsers"})) == 1
        until(page, kind="listened", title="Paid")
        # The connection is lost and comes back, with the room.
        server.restart()
        # Its own word for it may be of the old line, which it need not have noticed yet.
        for channel in ("room:news", f"room:{ROOM}"):
            inside(server, "alice", channel)
        server.publish("room:news", "news", {"n": 1})
        until(page, kind="subscribed", n=1)
        page.do("unmount", name="Listener")
        server.publish("room:news", "news", {"n": 2})
        for n in range(6):
            server.publish(f"room:{ROOM}", "news", {"n": n})
        server.publish("user:alice", "notification", {"title": "Last", "message": "-"})
        until(page, 2, kind="called", name="ElNotification")
        kept = page.do("store")["messages"]
        assert [each["type"] for each in kept] == ["news"] * 4 + ["notification"]
        assert kept[-1]["content"]["title"] == "Last"
        assert page.do("journal", fields={"kind": "subscribed", "n": 2}) == []
        assert page.do("journal", fields={"kind": "listened", "title": "Last"}) == []
        page.do("unmount", name="App.vue")
        assert page.do("store")["connected"] is False
        assert page.do("sockets")["made"] >= 2
        # Bob's client is a simple one: it has not come back after the restart.
        online(server)
        page.do("mount", name="App.vue")
        page.do("connected")
        online(server, "alice")
        page.do("dispose")
        online(server)


# --- what docs/sdk.md shows -------------------------------------------------------------------------------

# Around the page's two pieces of code: each is loaded by the package's name, and used.
_USES = """
import assert from "node:assert/strict";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { createPinia, setActivePinia } from "pinia";
import { Notifications } from "./react.mjs";
import { useWebSocketStore } from "./vue.mjs";

globalThis.location = new URL("http://localhost/");
const html = renderToString(createElement(Notifications, { userId: "alice", token: "x", onMessage() {} }));
assert.match(html, /^<header><div class="websocket-status websocket-status-idle">.*<button disabled="">Ping</);
setActivePinia(createPinia());
const store = useWebSocketStore();
assert.deepEqual([store.connected, store.messages, store.state.name], [false, [], "idle"]);
for (const name of ["connect", "send", "disconnect", "on", "subscribe", "retry", "client"]) {
  assert.equal(typeof store[name], "function", name);
}
"""


def test_the_documented_components(tmp_path: Path) -> None:
    """React's and Vue's pieces of the page are programs that run, as printed."""
    linked(tmp_path, "react", "react-dom", "pinia")
    (tmp_path / "vue.mjs").write_text(program_of("Vue", "js", SDK_PAGE))
    (tmp_path / "page.jsx").write_text(program_of("React", "jsx", SDK_PAGE))
    (tmp_path / "use.mjs").write_text(_USES)
    esbuild = [
        str(SDK / "node_modules" / ".bin" / "esbuild"),
        "page.jsx",
        "--jsx=automatic",
        "--outfile=react.mjs",
    ]
    for command in (esbuild, ["node", "use.mjs"]):
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


def test_the_page_names_what_there_is() -> None:
    """Every option, method and event of the client's own has its row, and no row is of something else."""
    source = (SDK / "tidings.js").read_text()
    rows = {
        title: re.findall(r"^\| (`.*?) \|", section(title, SDK_PAGE), re.MULTILINE) for title in _TITLES
    }
    options = re.search(r"@typedef \{object\} Options\n(.*?)\*/", source, re.DOTALL)
    assert options is not None
    written = re.findall(r"@property \{.*\} \[(\w+)\]", options[1])
    assert [row.strip("`") for row in rows["Options"]] == written
    body = source[source.index("export class Tidings ") :]
    methods = set(re.findall(r"^  (?:async )?(\w+)\(.*\{$", body, re.MULTILINE)) - {"constructor"}
    assert set(re.findall(r"(?:`|await )(\w+)\(", " ".join(rows["Methods"]))) == methods
    own = {name for name in re.findall(r'"(@\w+)"', source) if name != "@"}
    assert {name for row in rows["Events"] for name in re.findall(r"`(@\w+)`", row)} == own
    states = re.search(r"name: ((?:\"\w+\" ?\|? ?)+)", source)
    assert states is not None
    for state in re.findall(r"\w+", states[1]):
        assert state in section("States", SDK_PAGE), state
