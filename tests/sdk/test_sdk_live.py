"""The browser's client against the real server: in Node, in a page of a browser, and in a Worker."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from support.console import CHROMIUM
from support.later import Later
from support.node import SDK
from support.readme import program_of
from support.sdk_live import (
    PATIENCE,
    NodeProgram,
    PageProgram,
    Program,
    ServeProcess,
    inside,
    linked,
    node_program,
    sdk_packages,
)
from support.site import SECRET

from tidings.client import Publisher, ToPublish
from tidings.protocol.close_codes import CloseCode
from tidings.server.auth import Authenticator
from tidings.server.config import Auth
from tidings.server.testing.threaded import ThreadServer, serving_in_thread

pytestmark = pytest.mark.slow

playwright = Later("playwright.sync_api")

KEY: Final = "a-key-of-the-tests"
ROOM: Final = "room:orders"
INBOX: Final = "user:alice"

# A room on disk, as an owner sets it.
DURABLE: Final = {"history_size": 1000, "history_age": 3600, "durable": True}

# So soon that a test need not wait, and so often that a restart does not end it.
SOON: Final = ["jitter", {"base": 20, "cap": 200}]

# What is published while the server is killed and started.
MANY: Final = 200

# A page that the test itself makes has no address, and would not be let near one of this machine.
SWITCHES: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-features=LocalNetworkAccessChecks",
]

Open = Callable[[str], Program]


def soon(seconds: float) -> None:
    """How a publisher waits that is in a hurry."""
    time.sleep(min(seconds, 0.1))


@pytest.fixture(scope="module")
def browser(driver: Any) -> Iterator[Any]:
    """Debian's chromium."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
    yield browser
    browser.close()


@contextmanager
def opened_page(browser: Any, origin: str, *, in_worker: bool = False) -> Iterator[PageProgram]:
    """A page of its own profile, from the server's origin; nothing in it raises unheard."""
    context = browser.new_context()
    faults: list[str] = []
    context.on("weberror", lambda error: faults.append(str(error.error)))
    try:
        yield PageProgram(context, origin, in_worker=in_worker)
    finally:
        context.close()
    assert faults == []


@pytest.fixture
def node() -> Iterator[NodeProgram]:
    """A program in Node."""
    sdk_packages()
    with node_program("live_node.js") as program:
        yield program


@pytest.fixture(params=["node", "page", "worker"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens the program of each surrounding, for a server's origin."""
    if request.param == "node":
        sdk_packages()
    with ExitStack() as stack:

        def open_program(origin: str) -> Program:
            if request.param == "node":
                return stack.enter_context(node_program("live_node.js"))
            browser = request.getfixturevalue("browser")
            return stack.enter_context(opened_page(browser, origin, in_worker=request.param == "worker"))

        yield open_program


@pytest.fixture
def server() -> Iterator[ThreadServer]:
    """A server whose rooms called `orders` are on disk."""
    settings = {f"channels.{ROOM}": DURABLE, "auth.leeway": 0, "auth.api_keys": [KEY]}
    with serving_in_thread(settings) as server:
        yield server


def connect(program: Program, origin: str, *tokens: str, **options: Any) -> None:
    """Have the program connect, with tokens that are handed out in turn."""
    url = origin.replace("http", "ws", 1) + "/ws"
    options.setdefault("reconnect", SOON)
    program.do("open", url=url, tokens=list(tokens), **options)
    assert program.do("connect") == {"value": None}


def subscribe(program: Program, channel: str = ROOM, **options: Any) -> dict[str, Any]:
    """Subscribe; what `ready` said."""
    ready = program.do("subscribe", channel=channel, **options)
    assert "error" not in ready, ready
    told: dict[str, Any] = ready["value"]
    return told


def call(program: Program, method: str, *given: Any) -> Any:
    """Call a method of the client's; what its promise became, which is no error."""
    ended = program.do("call", method=method, given=list(given))
    assert "error" not in ended, ended
    return ended["value"]


def until(program: Program, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """Wait until so many things with those fields have happened; they are returned."""
    found: list[dict[str, Any]] = program.do("until", fields=fields, count=count)
    return found


def numbers(program: Program, **fields: Any) -> list[int]:
    """The numbers in what was heard, in order."""
    return [each["n"] for each in program.do("journal", fields={"kind": "heard", **fields})]


def say(server: ThreadServer, *numbered: int, channel: str = ROOM) -> None:
    """Publish something with a number, one after the other."""
    for n in numbered:
        server.publish(channel, "news", {"n": n})


# --- everywhere -------------------------------------------------------------------------------------------


def test_what_it_can_do(opened: Open, server: ThreadServer) -> None:
    """Connect, subscribe with presence, publish, ask, be refused, leave, and end: each as it is documented."""
    program = opened(server.url)
    connect(program, server.url, server.token("alice", ["admin"], username="Alice"))
    assert program.do("state") | {"user": "alice"} == program.do("state")
    assert call(program, "isConnected") is True
    with_others = server.connect("bob", username="Bob", channels=[ROOM])
    ready = subscribe(program, presence=True)
    assert (ready["channel"], ready["offset"], ready["recovered"]) == (ROOM, 0, False)
    assert {member["user_id"] for member in ready["members"]} == {"alice", "bob"}
    call(program, "send", "room_message", {"room": "orders", "text": "大家好"})
    assert with_others.publication(ROOM)["data"]["username"] == "Alice"
    published = call(program, "publish", ROOM, "news", {"n": 2}, {"idempotency_key": "two"})
    assert published["offset"] == 2
    assert call(program, "publish", ROOM, "news", {"n": 2}, {"idempotency_key": "two"})["offset"] == 2
    until(program, 2, kind="heard", channel=ROOM)
    assert numbers(program) == [None, 2]
    kept = call(program, "request", "history", {"channel": ROOM})
    assert [each["offset"] for each in kept["publications"]] == [1, 2]
    assert call(program, "positions")[ROOM] == {"epoch": ready["epoch"], "offset": 2}
    refused = program.do("call", method="request", given=["history", {"channel": "user:bob/"}])["error"]
    assert (refused["name"], refused["code"]) == ("Refused", "invalid_data")
    program.do("unsubscribe", channel=ROOM)
    call(program, "request", "ping", {})
    say(server, 3)
    call(program, "request", "ping", {})
    assert numbers(program) == [None, 2]
    call(program, "disconnect")
    assert program.do("state")["name"] == "ended"
    assert with_others.command("presence", channel=ROOM)["type"] == "presence"


def test_a_server_that_is_killed(node: NodeProgram, browser: Any, tmp_path: Path) -> None:
    """Of what is published while the server is killed and started again, each of them hears all once, in order."""
    settings = [f"channels.{ROOM}.{name}={str(value).lower()}" for name, value in DURABLE.items()]
    server = ServeProcess(tmp_path, SECRET, f'auth.api_keys=["{KEY}"]', *settings)
    token = Authenticator(Auth(secret=SECRET)).issue("alice", ttl=600)
    is_under_way, is_killed = threading.Event(), threading.Event()

    def publish_all() -> None:
        # In a hurry, so that what it publishes meets the server's end and its start.
        with Publisher(server.origin, api_key=KEY, retries=1000, sleep=soon) as publisher:
            for first in range(0, MANY, 10):
                if first == MANY // 4:
                    is_under_way.set()
                elif first == MANY // 2:
                    assert is_killed.wait(30)
                publisher.batch(
                    ToPublish(channel=channel, event="news", payload={"n": n})
                    for n in range(first, first + 10)
                    for channel in (ROOM, INBOX)
                )

    publishing = threading.Thread(target=publish_all, daemon=True)
    try:
        with (
            opened_page(browser, server.origin) as page,
            opened_page(browser, server.origin, in_worker=True) as worker,
        ):
            programs: dict[str, Program] = {"node": node, "page": page, "worker": worker}
            for device, program in programs.items():
                connect(program, server.origin, token, device=device)
                subscribe(program)
            publishing.start()
            assert is_under_way.wait(30)
            server.kill()
            is_killed.set()
            for program in programs.values():
                until(program, kind="state", name="waiting")
            server.start()
            for program in programs.values():
                until(program, 2, kind="state", name="connected")
                until(program, MANY, kind="heard", channel=ROOM)
                until(program, MANY, kind="message", channel=INBOX)
            publishing.join(30)
            for device, program in programs.items():
                call(program, "request", "ping", {})
                assert numbers(program) == list(range(MANY)), device
                inbox = program.do("journal", fields={"kind": "message", "channel": INBOX})
                assert [each["n"] for each in inbox] == list(range(MANY)), device
                # Of what is not on disk nobody knows, and that is said.
                assert {each["channel"] for each in program.do("journal", fields={"kind": "gap"})} <= {
                    "all"
                }
                call(program, "disconnect")
    finally:
        server.kill()


# --- tokens, queue, inbox ---------------------------------------------------------------------------------


def test_a_token_ends_and_a_login_is_taken_back(node: NodeProgram, server: ThreadServer) -> None:
    """Renewed in band before it ends; once too late, by another connection; revoked, it ends for good."""
    short, longer, long = (
        server.token("alice", ttl=seconds, session_id="one login") for seconds in (8, 9, 600)
    )
    connect(node, server.url, short, longer, longer, long)
    # In band: the server says that the end is near, and again of the next one.
    assert until(node, 3, kind="asked") == [{"kind": "asked", "expired": False}] * 3
    # What was given then is the same again: that connection ends with it, and another one comes.
    until(node, kind="state", code=CloseCode.TOKEN_EXPIRED)
    assert until(node, kind="asked", expired=True)
    assert node.do("connect") == {"value": None}
    with Publisher(server.url, api_key=KEY) as publisher:
        assert publisher.disconnect("alice", code=CloseCode.LOGGED_IN_ELSEWHERE) == 1
    (ended,) = until(node, kind="state", name="ended")
    assert (ended["code"], ended["reason"]) == (CloseCode.LOGGED_IN_ELSEWHERE, "logged in elsewhere")
    assert node.do("call", method="publish", given=[ROOM, "news", {}])["error"]["name"] == "Ended"
    # A person may log in again, and be thrown out again.
    assert node.do("connect") == {"value": None}
    headers = {"X-API-Key": KEY}
    revoked = httpx.post(
        f"{server.url}/api/v1/tokens/revoke",
        json={"session_id": "one login"},
        headers=headers,
        timeout=PATIENCE,
    )
    assert revoked.json()["closed"] == 1
    _, ended = until(node, 2, kind="state", name="ended")
    assert (ended["code"], ended["reason"]) == (CloseCode.INVALID_TOKEN, "token revoked")
    assert node.do("connect")["error"]["code"] == CloseCode.INVALID_TOKEN


def test_what_is_said_while_there_is_no_connection(node: NodeProgram, server: ThreadServer) -> None:
    """It is said in order when there is one again, up to the bound, and beyond it the caller is told."""
    bob = server.connect("bob")
    connect(node, server.url, server.token("alice", ["admin"]), queue=4)
    subscribe(node)
    bob.close()
    server.stop()
    until(node, kind="state", name="waiting")
    for n in range(3):
        call(node, "send", "room_message", {"room": "orders", "text": f"{n}"})
    node.do("begin", method="publish", given=[ROOM, "news", {"n": 3}])
    full = node.do("call", method="send", given=["room_message", {"room": "orders", "text": "too many"}])
    assert full["error"]["name"] == "QueueFull"
    server.start()
    assert node.do("outcome")["value"]["offset"] == 4
    until(node, 4, kind="heard")
    heard = node.do("journal", fields={"kind": "heard"})
    assert [(each["text"], each["n"]) for each in heard] == [
        ("0", None),
        ("1", None),
        ("2", None),
        (None, 3),
    ]


def test_an_inbox_over_restarts_of_the_program(server: ThreadServer) -> None:
    """What a device has acknowledged does not come again, what it has not does; each once on a connection."""
    sdk_packages()
    token = server.token("alice")
    say(server, 1, 2, channel=INBOX)
    for expected, more in (([1, 2], [3]), ([4], [])):
        with node_program("live_node.js") as program:
            connect(program, server.url, token, device="laptop")
            say(server, *more, channel=INBOX)
            until(program, kind="message", n=(more or expected)[-1])
            got = [
                each["n"] for each in program.do("journal", fields={"kind": "message", "channel": INBOX})
            ]
            assert got == [*expected, *more]
            # Acknowledgements are gathered; leaving tells the last one.
            call(program, "disconnect")
        server.restart()
        say(server, *([4] if more else []), channel=INBOX)
    with node_program("live_node.js") as program:
        say(server, 5, 6, channel=INBOX)
        connect(program, server.url, token, device="laptop", acknowledge="manual")
        (five,) = until(program, kind="message", n=5)
        call(program, "ack", INBOX, five["offset"])
    with node_program("live_node.js") as program:
        connect(program, server.url, token, device="laptop")
        until(program, kind="message", n=6)
        got = [each["n"] for each in program.do("journal", fields={"kind": "message", "channel": INBOX})]
        assert got == [6]


# --- bad lines, slow programs -----------------------------------------------------------------------------


def test_a_network_that_goes_and_comes_back(browser: Any, server: ThreadServer) -> None:
    """A page that is online again connects at that moment, however long it would wait, and has missed nothing."""
    with opened_page(browser, server.url) as page:
        connect(page, server.url, server.token("alice"), reconnect=["fixed", {"delay": 3_600_000}])
        subscribe(page)
        context = page.page.context
        context.set_offline(True)
        server.call(server.server.push.disconnect, "alice", CloseCode.GOING_AWAY)
        until(page, kind="state", name="waiting")
        say(server, *range(20))
        # That hour is running; for an attempt that comes before the browser lets it through there is another soon.
        page.do("reconnect", policy=SOON)
        context.set_offline(False)
        until(page, 2, kind="state", name="connected")
        until(page, 20, kind="heard")
        assert numbers(page) == list(range(20))


def test_a_line_that_is_dead(browser: Any, server: ThreadServer) -> None:
    """It is found by its silence, whatever TCP thinks of it; what was said meanwhile is heard when it is back."""
    proxy = server.proxy()
    origin = proxy.url()
    with opened_page(browser, origin) as page:
        connect(page, origin, server.token("alice"), heartbeat={"interval": 200, "timeout": 300})
        subscribe(page)
        server.call(proxy.stall)
        until(page, kind="state", code=CloseCode.NO_PONG)
        say(server, *range(20))
        server.call(proxy.release)
        until(page, 2, kind="state", name="connected")
        until(page, 20, kind="heard")
        assert numbers(page) == list(range(20))


def test_handlers_that_are_slow(node: NodeProgram, server: ThreadServer) -> None:
    """A program that works on each message longer than its heartbeat waits is no dead server, and loses nothing."""
    connect(node, server.url, server.token("alice"), heartbeat={"interval": 40, "timeout": 2_000})
    subscribe(node, busy=2_100)
    say(server, *range(3))
    until(node, 3, kind="heard")
    assert numbers(node) == list(range(3))
    assert node.do("journal", fields={"kind": "state", "name": "waiting"}) == []


def test_a_program_that_was_busy_itself(node: NodeProgram, server: ThreadServer) -> None:
    """What the server answered meanwhile is read before it is taken for dead, though its time is up."""
    heartbeat = {"interval": 40, "timeout": 2_000}
    connect(node, server.url, server.token("alice"), heartbeat=heartbeat, busy=2_100)
    until(node, kind="message", type="pong")
    assert node.do("journal", fields={"kind": "state", "name": "waiting"}) == []


# --- what docs/sdk.md shows -------------------------------------------------------------------------------


SDK_PAGE: Final = "docs/sdk.md"


def test_the_documented_program(server: ThreadServer, tmp_path: Path) -> None:
    """The program for Node, as printed, by the package's name: it says what it hears, and ends by itself."""
    linked(tmp_path, "ws")
    (tmp_path / "orders.mjs").write_text(program_of("A program in Node", "js", SDK_PAGE))
    told = {"TIDINGS_URL": server.ws_url, "TIDINGS_TOKEN": server.token("alice", ["admin"])}
    done = subprocess.run(
        ["node", "orders.mjs"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **told},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "from 0 on"
    assert [line.split(" ", 2)[:2] for line in lines if "room_message" in line] == [
        ["1", "room_message"],
        ["2", "room_message"],
    ]
    assert "kept: 1" in lines


# Around the page's settings of document S1: a page at the server's address, and who asks `check` by hand.
_ASKS: Final = """
import assert from "node:assert/strict";
import * as sdk from "tidings-client";
import { WebSocket } from "ws";

const { TIDINGS_ORIGIN: origin, TIDINGS_TOKEN: token } = process.env;
Object.assign(globalThis, { location: new URL(origin), WebSocket });
const { fetch: fetchOf } = globalThis;
globalThis.fetch = (path, given) => fetchOf(new URL(path, origin), given);
let poll;
const Tidings = function (options) {
  ({ poll } = options);
  return new sdk.Tidings(options);
};
const { fixed } = sdk;
const logouts = [];
const store = { token, logout: (...given) => logouts.push(given) };
"""
_ASKED: Final = """
assert.equal(await poll.check(), true);
store.token = "of a login that has ended";
assert.equal(await poll.check(), false);
globalThis.fetch = async () => new Response("", { status: 503 });
assert.equal(await poll.check(), true, "who cannot say does not say no");
store.token = token;
await tidings.connect();
tidings.disconnect();
assert.deepEqual(logouts, []);
store.token = null;
await assert.rejects(tidings.connect(), { code: 3500 });
assert.deepEqual(logouts, [[]]);
"""


def test_the_documented_check_of_a_login(tmp_path: Path) -> None:
    """S1's settings, as printed: yes for a login that stands, no for one that has ended, no logout otherwise."""
    linked(tmp_path, "ws")
    program = _ASKS + program_of("Coming back", "js", SDK_PAGE) + _ASKED
    (tmp_path / "check.mjs").write_text(program)
    settings = {"server.apps": ["rooms", "accounts"], "server.data_dir": str(tmp_path / "data")}
    with serving_in_thread(settings) as server:
        told = {"TIDINGS_ORIGIN": server.url, "TIDINGS_TOKEN": server.token("alice")}
        done = subprocess.run(
            ["node", "check.mjs"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **told},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


# What a page of another origin does: the module comes from the server, too.
_FROM_ELSEWHERE: Final = """async ([origin, token]) => {
  const { Tidings } = await import(`${origin}/sdk/tidings.js`);
  const tidings = new Tidings({ url: `${origin}/ws`, token });
  await tidings.connect();
  return tidings.state.user_id;
}"""


def test_a_page_of_another_origin(browser: Any) -> None:
    """One that is listed in `auth.origins` loads the module and connects; any other gets neither."""
    with serving_in_thread({"auth.origins": ["http://app.example"]}) as server, ExitStack() as stack:
        context = browser.new_context()
        stack.callback(context.close)
        context.route("http://*.example/", lambda route: route.fulfill(body="", content_type="text/html"))
        page = context.new_page()
        given = [server.url, server.token("alice")]
        page.goto("http://app.example/")
        assert page.evaluate(_FROM_ELSEWHERE, given) == "alice"
        page.goto("http://elsewhere.example/")
        with pytest.raises(playwright.Error, match="dynamically imported module"):
            page.evaluate(_FROM_ELSEWHERE, given)


@contextmanager
def shown(browser: Any, server: ThreadServer, html: str, user: str) -> Iterator[Any]:
    """A page of the server's origin with this HTML, and a user's token where the documented one looks for it."""
    with ExitStack() as stack:
        context = browser.new_context()
        stack.callback(context.close)
        vue = SDK / "node_modules" / "vue" / "dist"
        context.route("**/lobby", lambda route: route.fulfill(body=html, content_type="text/html"))
        context.route("**/vendor/*", lambda route: route.fulfill(path=vue / Path(route.request.url).name))
        token = server.token(user, username=user.title())
        context.add_init_script(f"sessionStorage.setItem('token', {json.dumps(token)})")
        page = context.new_page()
        page.goto(f"{server.url}/lobby")
        playwright.expect(page.locator("#state")).to_have_text("connected", timeout=PATIENCE * 1000)
        yield page


def test_the_documented_page(browser: Any, server: ThreadServer) -> None:
    """The page, as printed: one says something, the other shows it with the name, as text."""
    html = program_of("A page", "html", SDK_PAGE)

    with shown(browser, server, html, "bob") as bob, shown(browser, server, html, "alice") as alice:
        inside(server, "bob", "room:lobby")
        alice.fill("input", "<b>hello</b>")
        alice.press("input", "Enter")
        said = playwright.expect(bob.locator("#said li"))
        said.to_have_text("Alice: <b>hello</b>", timeout=PATIENCE * 1000)


# A component that uses the names of the documented import map.
_COMPONENT: Final = """
<p id="state"></p>
<script type="module">
  import { createApp } from "vue";
  import { useTidings } from "tidings-client/vue";
  const { connected, connect } = useTidings();
  createApp({ setup: () => () => (connected.value ? "connected" : "not connected") }).mount("#state");
  connect(sessionStorage.getItem("token"));
</script>
"""


def test_the_documented_import_map(browser: Any, server: ThreadServer) -> None:
    """Vue and its adapter without a bundler: the browser finds both, and what the adapter imports."""
    sdk_packages()
    html = program_of("Without a bundler", "html", SDK_PAGE) + _COMPONENT
    with shown(browser, server, html, "alice"):
        assert server.server.push.is_online("alice")
