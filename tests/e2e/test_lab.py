"""The lab page and the API docs page in a browser, against a server process."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.later import Later
from support.readme import python_of
from support.site import SECRET

from tidings.client import Publisher
from tidings.protocol.close_codes import CloseCode, may_reconnect
from tidings.server.auth import Authenticator
from tidings.server.config import Auth

if find_spec("playwright") is None:
    pytest.skip("playwright is not installed", allow_module_level=True)
playwright = Later("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

pytestmark = pytest.mark.slow

# For a browser on a busy machine; nothing waits for it to pass.
PATIENCE_MS = 20_000

# A browser that speaks to nobody but the server.
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# A page that counts on a thousand pings, and a restart that does not wait.
SETTINGS = ("limits.command_burst=5000", "server.drain_seconds=1")

# What only an end of the server may make a browser say.
LOST = re.compile(r"WebSocket connection to '.*' failed")

_authenticator = Authenticator(Auth(secret=SECRET))

Open = Callable[..., Any]


def token(user: str, *roles: str) -> str:
    """A token of a user whose name is the id with a capital."""
    return _authenticator.issue(user, username=user.capitalize(), roles=roles, ttl=3600)


class Process:
    """`tidings serve`, on the same port each time it is started."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / "log").open("ab")
        self._folder = folder
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        env = {"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error", "TIDINGS_AUTH_SECRET": SECRET}
        path = os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tidings.server", "serve", "--port", str(self.port), *settings],
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._folder,
            env=env if path is None else env | {"PYTHONPATH": path},
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"http://[^/:]+:(\d+)/", line):
                self.port = int(found[1])
                return
        self.close()
        raise AssertionError((self._folder / "log").read_text())

    def stop(self) -> None:
        """End it as an operator does, and wait for it."""
        self._process.terminate()
        assert self._process.wait(30) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    @property
    def url(self) -> str:
        """Where the lab is."""
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("lab"))
    yield process
    process.close()


@pytest.fixture
def open_page(browser: Any, server: Process) -> Iterator[Open]:
    """Opens a page of its own browser profile. At the end: no error in any console, no request to another host.

    A violation of the Content-Security-Policy is such an error. `expected` matches those that are none.
    """
    contexts: list[Any] = []
    faults: list[str] = []
    hosts: set[str] = set()

    def opened(
        path: str = "",
        *,
        bearer: str | None = None,
        width: int = 1280,
        expected: re.Pattern[str] | None = None,
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)

        def console(message: Any) -> None:
            if message.type in ("error", "warning") and not (expected and expected.search(message.text)):
                faults.append(message.text)

        page.on("console", console)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).netloc))
        page.goto(server.url + path + ("" if bearer is None else f"#token={bearer}"))
        if bearer is not None:
            playwright.expect(page.locator("#state")).to_have_attribute("data-tone", "good")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
    assert hosts <= {f"127.0.0.1:{server.port}"}


def join(page: Any, room: str) -> None:
    page.fill("#room", room)
    page.press("#room", "Enter")
    expect(page, "#channels").to_contain_text(f"room:{room}")


def say(page: Any, text: str) -> None:
    page.fill("#say-text", text)
    page.press("#say-text", "Enter")


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


@pytest.fixture(autouse=True)
def _patience() -> None:
    playwright.expect.set_options(timeout=PATIENCE_MS)


def test_two_people_chat_in_a_room(open_page: Open) -> None:
    """What one page says reaches the other, with name and time; nobody else's room hears it."""
    alice, bob = open_page(bearer=token("alice")), open_page(bearer=token("bob"))
    carol = open_page(bearer=token("carol"))
    join(alice, "tea")
    join(bob, "tea")
    join(carol, "coffee")
    say(alice, "hello, Bob")
    expect(bob, "#chat li").to_contain_text("hello, Bob")
    expect(bob, "#chat li strong").to_have_text("Alice")
    expect(bob, "#chat li time").to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    say(bob, "hello, Alice")
    expect(alice, "#chat li").to_have_count(2)
    say(carol, "anybody?")
    expect(carol, "#chat li").to_have_count(1)
    expect(bob, "#chat li").to_have_count(2)


def test_leaving_a_room_ends_it(open_page: Open) -> None:
    """After Leave nothing of the room arrives, and one cannot speak there."""
    alice, bob = open_page(bearer=token("alice")), open_page(bearer=token("bob"))
    join(alice, "tea")
    join(bob, "tea")
    bob.get_by_label("Leave room:tea").click()
    expect(bob, "#channels").not_to_contain_text("room:tea")
    expect(bob, "#say-text").to_be_disabled()
    say(alice, "gone?")
    expect(alice, "#chat li").to_have_count(1)
    bob.click("#ping")
    expect(bob, "#chat li").to_have_count(0)


def test_what_the_server_sends_is_text(open_page: Open) -> None:
    """HTML in a message, a user's name or an event is shown as it was written, and makes no element."""
    evil = "<img src=x onerror=alert(1)><b>bold</b>"
    bearer = _authenticator.issue("mallory", username=evil, roles=["admin"], ttl=600)
    page = open_page(bearer=bearer)
    join(page, "tea")
    say(page, evil)
    expect(page, "#chat li .text").to_have_text(evil)
    expect(page, "#chat li strong").to_have_text(evil)
    expect(page, "#state-text").to_have_text(f"Connected as {evil}")
    page.fill("#payload", json.dumps({"message": evil}))
    page.click("#publish button[type=submit]")
    expect(page, "#chat li.event .text").to_contain_text(evil)
    page.locator("#frames summary", has_text="system_message").last.click()
    expect(page, "#frames pre").to_contain_text("onerror")
    assert page.locator("main img, main b").count() == 0


def test_frames_are_shown_raw_and_without_the_token(open_page: Open) -> None:
    """Each frame has direction, type, size and time, and opens to its JSON; the token is in none of them."""
    bearer = token("alice")
    page = open_page(bearer=bearer)
    first = page.locator("#frames li").first
    playwright.expect(first).to_have_class("out")
    playwright.expect(first).to_contain_text("authenticate")
    playwright.expect(first.locator(".size")).to_have_text(re.compile(r"^\d+ B$"))
    playwright.expect(first.locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))
    first.locator("summary").click()
    playwright.expect(first.locator("pre")).to_contain_text('"token": "•••')
    page.fill("#token", bearer)
    page.click("#connect")
    expect(page, "#frames li.in").to_contain_text(["connected", "refreshed"])
    assert bearer[-20:] not in page.content()


def test_frames_can_be_filtered_paused_and_cleared(open_page: Open) -> None:
    """A filter shows one type, pause lets the view stand still without losing a frame, clear empties it."""
    page = open_page(bearer=token("alice"))
    expect(page, "#frames li.in").to_contain_text(["connected", "stats"])
    page.select_option("#frames-filter", "stats")
    expect(page, "#frames li").to_have_count(2)
    page.select_option("#frames-filter", "")
    page.check("#frames-quiet")
    expect(page, "#frames .kind").to_have_text(["authenticate", "connected", "stats", "stats"])
    page.click("#frames-pause")
    join(page, "tea")
    expect(page, "#frames-count").to_contain_text("waiting")
    expect(page, "#frames li").to_have_count(4)
    page.click("#frames-pause")
    expect(page, "#frames .kind").to_have_text(
        ["authenticate", "connected", "stats", "stats", "join_room", "subscribed"]
    )
    page.click("#frames-clear")
    expect(page, "#frames li").to_have_count(0)


def test_frames_are_bounded(open_page: Open) -> None:
    """However many frames come, the last 500 are kept."""
    page = open_page(bearer=token("alice"))
    for _ in range(4):
        page.evaluate("for (let n = 0; n < 100; n++) document.getElementById('ping').click()")
        expect(page, "#latency-ping").to_contain_text("median")
        expect(page, "#frames li.out:last-child").to_have_count(0)
    expect(page, "#frames li").to_have_count(500)
    assert page.locator("#frames li", has_text="authenticate").count() == 0


def test_latency_is_measured(open_page: Open) -> None:
    """Pings come by themselves and on demand; a message of one's own is timed by its arrival."""
    page = open_page(bearer=token("alice"))
    number = re.compile(r"^\d+(\.\d)?$")
    expect(page, "#latency-ping dd").to_have_text([number] * 4)
    pongs = page.locator("#frames .kind", has_text="pong")
    playwright.expect(pongs.first).to_be_visible()
    before = pongs.count()
    page.click("#ping")
    playwright.expect(pongs.nth(before)).to_be_visible()
    playwright.expect(page.locator("#latency polyline").first).to_have_attribute(
        "points", re.compile(r"\S \S")
    )
    expect(page, "#latency-messages dd").to_have_text(["–"] * 4)
    join(page, "tea")
    say(page, "how long?")
    expect(page, "#latency-messages dd").to_have_text([number] * 4)
    expect(page, "#chat li .took").to_have_text(re.compile(r"^\d+(\.\d)? ms$"))


def test_a_wrong_token_is_refused_for_good(open_page: Open) -> None:
    """The page says who refused and why, that it must not come back by itself, and does not."""
    page = open_page()
    page.fill("#token", "not.a.token")
    page.press("#token", "Enter")
    expect(page, "#state-text").to_have_text("Closed: invalid token")
    expect(page, "#token-error").to_contain_text("Refused")
    expect(page, "#why").to_contain_text("3500")
    expect(page, "#why").to_contain_text("must not reconnect")
    assert page.locator("#token").get_attribute("aria-invalid") == "true"
    expect(page, "#retry").to_be_hidden()


def test_a_restart_brings_the_page_back(open_page: Open, server: Process) -> None:
    """The page tells that the server shut down, returns by itself, and is in its rooms again."""
    page = open_page(bearer=token("alice"), expected=LOST)
    join(page, "tea")
    before = page.locator("#connection-id").text_content()
    server.stop()
    expect(page, "#state-text").to_have_text(re.compile("Reconnecting|Connecting"))
    expect(page, "#why").to_contain_text(re.compile("3001|1006"))
    server.start()
    expect(page, "#state-text").to_have_text("Connected as Alice")
    playwright.expect(page.locator("#connection-id")).not_to_have_text(before)
    expect(page, "#channels").to_contain_text("room:tea")
    expect(page, "#say-text").to_be_enabled()
    say(page, "back again")
    expect(page, "#chat li .text").to_have_text("back again")


def test_a_token_in_the_fragment_leaves_the_address_bar(open_page: Open, server: Process) -> None:
    """The fragment's token is used, kept for a reload in this tab alone, and gone from address and history."""
    bearer = token("alice")
    page = open_page(bearer=bearer)
    assert page.url == server.url
    page.reload()
    expect(page, "#state-text").to_have_text("Connected as Alice")
    assert page.url == server.url
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("document.cookie") == ""
    # A second link, opened where the page already is.
    page.goto(f"{server.url}#token={token('bob')}")
    expect(page, "#state-text").to_have_text("Connected as Bob")
    assert page.url == server.url
    page.click("#forget")
    page.reload()
    expect(page, "#state-text").to_have_text("Not connected")


def connections(server: Process, user: str) -> int:
    """How many connections the server itself counts for a user."""
    with Publisher(server.url, token=token("root", "admin")) as asking:
        return len(asking.connections(user).connections)


def wait_for_connections(page: Any, server: Process, user: str, wanted: int) -> None:
    """Until the server counts so many; a close frame and its answer take a moment."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (count := connections(server, user)) != wanted:
        assert time.monotonic() < deadline, f"{count} connections of {user}, not {wanted}"
        page.wait_for_timeout(50)


def test_another_link_ends_the_connection_before(open_page: Open, server: Process) -> None:
    """Who was connected where a second link is opened has left the server, and nobody stays after Disconnect."""
    page = open_page(bearer=token("dora"))
    join(page, "tea")
    assert connections(server, "dora") == 1
    page.evaluate("bearer => { location.hash = `#token=${bearer}` }", token("emil"))
    expect(page, "#state-text").to_have_text("Connected as Emil")
    wait_for_connections(page, server, "dora", 0)
    assert connections(server, "emil") == 1
    page.click("#disconnect")
    wait_for_connections(page, server, "emil", 0)
    expect(page, "#state-text").to_have_text(re.compile("Closed|Disconnected|Not connected"))


def test_without_a_token_it_says_how_to_get_one(open_page: Open) -> None:
    """A newcomer reads what to type, also after pressing Connect with nothing pasted."""
    page = open_page()
    expect(page, "#about").to_contain_text("make serve")
    expect(page, "#token-hint").to_contain_text("tidings token --user alice")
    page.click("#connect")
    expect(page, "#token-error").to_contain_text("tidings token --user alice")
    expect(page, "#state-text").to_have_text("Not connected")


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("payload", '{"message": ', "Not JSON"),
        ("payload", "[1]", "Expected a JSON object"),
        ("payload", '{"message": 7}', "message"),
        ("to", "room tea", "channel name"),
        ("event", "pong", "only the server"),
    ],
)
def test_a_wrong_publication_is_told_at_its_field(
    open_page: Open, field: str, value: str, error: str
) -> None:
    """Wrong JSON and the server's refusals stand at the field that they are about, and go when it is right."""
    page = open_page(bearer=token("root", "admin"))
    right = page.input_value(f"#{field}")
    page.fill(f"#{field}", value)
    page.click("#publish button[type=submit]")
    expect(page, f"#{field}-error").to_contain_text(error)
    playwright.expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")
    playwright.expect(page.locator(f"#{field}")).to_be_focused()
    page.fill(f"#{field}", right)
    page.click("#publish button[type=submit]")
    expect(page, "#publish-done").to_contain_text("Published at offset")
    expect(page, f"#{field}-error").to_have_text("")


def test_who_may_not_publish_is_told(open_page: Open) -> None:
    """A user without the role is refused at the channel, and what an admin publishes reaches everybody."""
    alice, root = open_page(bearer=token("alice")), open_page(bearer=token("root", "admin"))
    alice.click("#publish button[type=submit]")
    expect(alice, "#to-error").to_contain_text("may not publish")
    root.click("#publish button[type=submit]")
    expect(alice, "#chat li.event strong").to_have_text("system_message")


def test_figures(open_page: Open) -> None:
    """Everybody sees the figures of their connection; an admin the server's too."""
    alice, root = open_page(bearer=token("alice")), open_page(bearer=token("root", "admin"))
    alice.click("#stats-refresh")
    expect(alice, "#stats h3").to_have_text(["This connection"])
    expect(alice, "#stats").to_contain_text("user:alice")
    root.click("#stats-refresh")
    expect(root, "#stats h3").to_have_text(["This connection", "The server"])
    expect(root, "#stats").to_contain_text("Publications")


def test_the_page_agrees_on_close_codes(open_page: Open) -> None:
    """After every code there is, and after some that there are not, page and server agree on coming back."""
    page = open_page()
    codes = [*map(int, CloseCode), 1004, 1014, 3499, 3500, 3999, 4000, 4999]
    answers = page.evaluate("codes => import('/lab/codes.js').then(m => codes.map(m.mayReconnect))", codes)
    assert dict(zip(codes, answers, strict=True)) == {code: may_reconnect(code) for code in codes}


@pytest.mark.parametrize("path", ["", "docs"])
@pytest.mark.parametrize("width", [360, 768, 1024, 1440])
def test_nothing_scrolls_sideways(open_page: Open, path: str, width: int) -> None:
    """From a phone to a desk, the page is as wide as the window."""
    page = open_page(path, width=width)
    if path:
        expect(page, "#loading").to_be_hidden()
        for summary in page.locator(".operation > summary").all():
            summary.click()
    else:
        page.fill("#token", token("a-user-with-a-name-as-long-as-a-name-may-be-" + "x" * 80))
        page.click("#connect")
        expect(page, "#state").to_have_attribute("data-tone", "good")
        join(page, "a-room-" + "y" * 100)
        say(page, "z" * 500)
        expect(page, "#chat li").to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_works_by_keyboard(open_page: Open) -> None:
    """Every control that is in use is reached by Tab, and has a name for a screen reader."""
    page = open_page(bearer=token("alice"))
    join(page, "tea")
    usable = page.locator("input:visible, button:visible, select:visible, textarea:visible").all()
    wanted = {control.get_attribute("id") for control in usable if control.is_enabled()} - {None}
    page.evaluate("document.activeElement.blur()")
    reached: set[str] = set()
    for _ in itertools.repeat(None, 120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert wanted <= reached
    for control in usable:
        name = control.evaluate(
            "e => e.ariaLabel || e.labels?.[0]?.textContent.trim() || e.textContent.trim()"
        )
        assert name, control


def test_the_docs_show_every_operation(open_page: Open, server: Process, browser: Any) -> None:
    """Each path and method of openapi.json is there, with the fields of its body."""
    page = open_page("docs")
    expect(page, "#loading").to_be_hidden()
    document = page.evaluate("fetch('openapi.json').then(answer => answer.json())")
    operations = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method in ("get", "post", "put", "delete", "patch")
    }
    shown = {
        tuple(summary.locator(".method, .path").all_text_contents())
        for summary in page.locator(".operation > summary").all()
    }
    assert shown == operations
    page.locator("#post-api-v1-publish > summary").click()
    body = page.locator("#post-api-v1-publish .fields").first
    for name in ("channel", "event", "payload"):
        playwright.expect(body.locator(".name", has_text=re.compile(f"^{name}$")).first).to_be_visible()


def test_the_docs_try_a_request(open_page: Open) -> None:
    """A request with the token typed above is answered, reaches the subscribers, and is written as a curl line
    that does not hold the token.
    """
    bearer = token("root", "admin")
    listener = open_page(bearer=token("alice"))
    join(listener, "lobby")
    page = open_page("docs", expected=re.compile("401"))
    operation = page.locator("#post-api-v1-publish")
    operation.locator("summary").first.click()
    operation.locator("textarea").fill(
        '{"channel": "room:lobby", "event": "greeting", "payload": {"it\'s": "here"}}'
    )
    operation.get_by_role("button", name="Send").click()
    playwright.expect(operation.locator(".answered .status")).to_contain_text("401")
    page.fill("#token", bearer)
    operation.get_by_role("button", name="Send").click()
    playwright.expect(operation.locator(".answered .status")).to_contain_text("200")
    playwright.expect(operation.locator(".answered pre")).to_contain_text("offset")
    expect(listener, "#chat li.event").to_contain_text("greeting")
    curl = operation.locator(".curl").text_content()
    assert '-H "Authorization: Bearer $TIDINGS_TOKEN"' in curl
    assert r"it'\''s" in curl
    assert bearer not in page.content()


def test_the_readmes_script_publishes_to_a_page(open_page: Open, server: Process) -> None:
    """Ten lines of synchronous Python, run as the README shows them, are read by a person in a browser."""
    page = open_page(bearer=token("alice"))
    join(page, "lobby")
    script = python_of("Publish from your back end").replace(":8000", f":{server.port}")
    subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={"TIDINGS_TOKEN": token("backend", "admin"), "PATH": ""},
        check=True,
        timeout=30,
    )
    for text in ("Report ready", "Hello from a script", "Maintenance at noon"):
        expect(page, "#chat").to_contain_text(text)
