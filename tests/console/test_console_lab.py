"""The connection lab: what the second document's test page does, and more, in a browser."""

import itertools
import json
import re
import time
from typing import Any

import pytest
from support.console import LOST, Demo, Visitors, check_access, connected, go, playwright, sideways

from tidings.protocol.close_codes import CloseCode, may_reconnect

pytestmark = pytest.mark.slow

# A page that counts on five hundred pings.
SETTINGS = ("limits.command_burst=5000",)

# Every command of a server with rooms; those that apps for other clients add are not for people.
COMMANDS = {
    *(
        "authenticate",
        "ping",
        "subscribe",
        "unsubscribe",
        "publish",
        "ack",
        "history",
        "presence",
        "refresh",
    ),
    *(
        "stats",
        "join_room",
        "leave_room",
        "room_subscribe",
        "room_unsubscribe",
        "room_message",
        "user_message",
    ),
}

# Who comes and goes is told between what is said.
SAID = "#chat li:not(.event)"

NUMBER = re.compile(r"^\d+(\.\d)?$")


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


def join(page: Any, room: str) -> None:
    page.fill("#room", room)
    page.press("#room", "Enter")
    expect(page, "#channels").to_contain_text(f"room:{room}")


def say(page: Any, text: str) -> None:
    page.fill("#say-text", text)
    page.press("#say-text", "Enter")


def send(page: Any, command: str, data: str | None = None) -> None:
    page.select_option("#command", command)
    if data is not None:
        page.fill("#command-data", data)
    page.click("#commands button[type=submit]")


def until_connections(page: Any, demo: Demo, user: str, wanted: int) -> None:
    """Until the server counts so many; a close frame and its answer take a moment."""
    deadline = time.monotonic() + 20
    with demo.http() as http:
        while len(http.get(f"/api/v1/users/{user}/connections").json()["connections"]) != wanted:
            assert time.monotonic() < deadline, f"not {wanted} connections of {user}"
            page.wait_for_timeout(50)


def test_two_people_talk_and_see_how_it_is_done(open_console: Visitors, demo: Demo) -> None:
    """What one says reaches the other and nobody else, timed; leaving ends it; after a restart all are back."""
    alice, bob = (open_console(user, "lab", expected=LOST) for user in ("alice", "bob"))
    expect(bob, "#say-text").to_be_disabled()
    join(alice, "tea")
    join(bob, "tea")
    join(bob, "coffee")
    expect(alice, "#latency-messages dd").to_have_text(["–"] * 4)
    say(alice, "hello, Bob")
    expect(bob, SAID).to_contain_text("hello, Bob")
    expect(bob, f"{SAID} strong").to_have_text("Alice")
    expect(bob, f"{SAID} time").to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    expect(alice, f"{SAID} .took").to_have_text(re.compile(r"^\d+(\.\d)? ms$"))
    expect(alice, "#latency-messages dd").to_have_text([NUMBER] * 4)
    expect(alice, "#latency-ping dd").to_have_text([NUMBER] * 4)
    expect(bob, "#channels li:has-text('room:tea')").to_contain_text("at 1")
    bob.select_option("#say-room", "coffee")
    say(bob, "anybody?")
    expect(bob, SAID).to_have_count(2)
    bob.get_by_label("Leave room:tea").click()
    expect(bob, "#channels").not_to_contain_text("room:tea")
    expect(bob, "#room").to_be_focused()
    say(alice, "gone?")
    # An answer that comes behind whatever the room would have brought.
    send(bob, "ping")
    expect(bob, "#command-answer").to_contain_text("Answered")
    expect(bob, SAID).to_have_count(2)
    expect(alice, SAID).to_have_count(2)

    before = alice.locator("#connection-id").text_content()
    demo.stop()
    expect(alice, "#why").to_contain_text(re.compile("3001|1006"))
    expect(alice, "#why").to_contain_text("may reconnect")
    expect(alice, "#connect").to_have_text("Try now")
    demo.start()
    connected(alice)
    playwright.expect(alice.locator("#connection-id")).not_to_have_text(before)
    expect(alice, "#why").to_contain_text("Last time it ended")
    # What was said where it waited for a connection is said, too.
    say(alice, "back again")
    expect(alice, f"{SAID} .text").to_contain_text(["hello, Bob", "gone?", "back again"])


def test_disconnecting_is_for_the_lab_alone(open_console: Visitors, demo: Demo) -> None:
    """Disconnected, nobody is there; connecting and reconnecting work; another page has its connection back."""
    page = open_console("bob", "lab")
    until_connections(page, demo, "bob", 1)
    page.click("#disconnect")
    expect(page, "#lab-state").to_have_text("Disconnected")
    expect(page, "#why").to_contain_text("1000")
    expect(page, "#disconnect").to_be_disabled()
    expect(page, "#ping").to_be_disabled()
    until_connections(page, demo, "bob", 0)
    send(page, "ping")
    expect(page, "#command-answer").to_contain_text("1000")
    page.click("#connect")
    connected(page)
    first = page.locator("#connection-id").text_content()
    page.click("#connect")
    playwright.expect(page.locator("#connection-id")).not_to_have_text(first)
    until_connections(page, demo, "bob", 1)
    page.click("#disconnect")
    until_connections(page, demo, "bob", 0)
    go(page, "profile")
    connected(page)


def test_every_frame_is_shown_and_no_token(open_console: Visitors, demo: Demo) -> None:
    """Direction, type, size and time of each, and its JSON; filtered, paused, cleared and bounded."""
    page = open_console("alice", "lab")
    page.click("#connect")
    first = page.locator("#frames li.out", has_text="authenticate")
    playwright.expect(first.locator(".size")).to_have_text(re.compile(r"^\d+ B$"))
    playwright.expect(first.locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))
    first.locator("summary").click()
    playwright.expect(first.locator("pre")).to_contain_text('"token": "…"')
    expect(page, "#frames li.in").to_contain_text(["connected"])
    assert demo.tokens["alice"][-20:] not in page.content()

    send(page, "stats")
    page.select_option("#frames-filter", "stats")
    expect(page, "#frames li").to_have_count(2)
    page.select_option("#frames-filter", "")
    page.check("#frames-quiet")
    expect(page, "#frames .kind:text-is('ping')").to_have_count(0)
    page.click("#frames-pause")
    shown = page.locator("#frames li").count()
    send(page, "history")
    expect(page, "#frames-count").to_contain_text("waiting")
    expect(page, "#frames li").to_have_count(shown)
    page.click("#frames-pause")
    expect(page, "#frames .kind:text-is('history')").to_have_count(2)
    page.click("#frames-clear")
    expect(page, "#frames li").to_have_count(0)
    page.uncheck("#frames-quiet")

    send(page, "stats")
    expect(page, "#frames .kind:text-is('stats')").to_have_count(2)
    for _ in range(3):
        page.evaluate("for (let n = 0; n < 100; n++) document.getElementById('ping').click()")
        expect(page, "#frames li:last-child.in").to_have_count(1)
    expect(page, "#frames li").to_have_count(500)
    expect(page, "#frames .kind:text-is('stats')").to_have_count(0)


def test_every_command_has_an_example_that_is_answered(open_console: Visitors) -> None:
    """Each of the protocol's with its own answer or a refusal in words; others and wrong JSON are told, too."""
    page = open_console("alice", "lab")
    commands = page.locator("#command option").all_text_contents()[:-1]
    assert {*commands} == COMMANDS
    refused = {"publish": "forbidden", "refresh": "unauthorized", "authenticate": "^[a-z_]+: "}
    for command in commands:
        page.select_option("#command", command)
        expect(page, "#command-about").not_to_be_empty()
        page.evaluate("document.getElementById('command-answer').replaceChildren()")
        page.click("#commands button[type=submit]")
        answer = re.compile(refused.get(command, "Answered in"))
        playwright.expect(page.locator("#command-answer p"), command).to_have_text(answer)
    page.select_option("#command", "")
    page.fill("#command-type", "nonsense")
    page.click("#commands button[type=submit]")
    expect(page, "#command-answer").to_contain_text("unknown_type")
    send(page, "history", '{"channel": 7}')
    expect(page, "#command-answer").to_contain_text("invalid_data")
    for wrong, told in (('{"channel": ', "Not JSON"), ("[1]", "Expected a JSON object")):
        send(page, "history", wrong)
        expect(page, "#command-data-error").to_contain_text(told)
        expect(page, "#command-data").to_be_focused()


def test_publishing_and_figures_go_by_role(open_console: Visitors) -> None:
    """What is wrong with a publication stands at its field; who may not is told; figures are of the role; all
    that comes is text.
    """
    alice, root = open_console("alice", "lab"), open_console("admin", "lab")
    alice.click("#publish button[type=submit]")
    expect(alice, "#to-error").to_contain_text("may not publish")
    for field, value, error in (
        ("payload", '{"message": ', "Not JSON"),
        ("payload", "[1]", "Expected a JSON object"),
        ("payload", '{"message": 7}', "message"),
        ("to", "room tea", "channel name"),
        ("event", "pong", "only the server"),
    ):
        right = root.input_value(f"#{field}")
        root.fill(f"#{field}", value)
        root.click("#publish button[type=submit]")
        expect(root, f"#{field}-error").to_contain_text(error)
        expect(root, f"#{field}[aria-invalid=true]").to_be_focused()
        root.fill(f"#{field}", right)
    evil = "<img src=x onerror=alert(1)><b>bold</b>"
    root.fill("#payload", json.dumps({"message": evil}))
    root.click("#publish button[type=submit]")
    expect(root, "#publish-done").to_contain_text("Published at offset")
    expect(root, "#payload-error").to_have_text("")
    expect(alice, "#chat li.event strong").to_have_text("system_message")
    expect(alice, "#chat li.event .text").to_contain_text(evil)
    alice.locator("#frames summary", has_text="system_message").last.click()
    expect(alice, "#frames pre").to_contain_text("onerror")
    join(alice, "tea")
    say(alice, evil)
    expect(alice, "#chat li.own .text").to_have_text(evil)
    assert alice.locator("main img, main b").count() == 0

    alice.click("#stats-refresh")
    expect(alice, "#stats h3").to_have_text(["This connection"])
    expect(alice, "#stats").to_contain_text("user:alice")
    root.click("#stats-refresh")
    expect(root, "#stats h3").to_have_text(["This connection", "The server"])
    expect(root, "#stats").to_contain_text("Publications")


def test_another_client_is_seen_frame_by_frame(open_console: Visitors, demo: Demo) -> None:
    """Each dialect at its endpoint, with the token in place of its sign and shown nowhere; its end is told."""
    page = open_console("admin", "lab")
    page.click("#raw-open")  # the native one: who speaks is said by the first message
    expect(page, "#raw-state").to_have_text("Open.")
    expect(page, "#raw-text").to_have_value(re.compile("authenticate.*•••"))
    page.click("#raw-send")
    expect(page, "#raw-frames .kind").to_have_text(["authenticate", "connected"])

    def visit(dialect: str, greeting: str | None, *replies: tuple[str, str]) -> None:
        """Open it, and say something after the other, each when the one before was answered."""
        if page.locator("#raw-close").is_enabled():
            page.click("#raw-close")
            expect(page, "#raw-state").to_contain_text("Closed: 1000")
        page.click("#raw-frames-clear")
        page.select_option("#door", label=dialect)
        page.fill("#address", page.input_value("#address").replace("CODE", demo.code))
        page.click("#raw-open")
        expect(page, "#raw-state").to_have_text("Open.")
        for said, heard in [(None, greeting), *replies] if greeting else replies:
            if said is not None:
                page.fill("#raw-text", said)
                page.click("#raw-send")
            playwright.expect(page.locator("#raw-frames li.in", has_text=heard).last).to_be_visible()

    entering = '{"type":"room_subscribe","data":{"room":"notifications"}}'
    visit("the knowledge platform (S2)", "connected", ('{"type":"ping"}', "pong"), (entering, "subscribed"))
    visit("GinForge (S4)", None, ('{"type":"ping"}', "pong"))
    visit("single login, English (S1)", "connected", ("ping", "pong"))
    visit("the line board: dashboard (S3)", "connected", ('{"type":"heartbeat"}', "heartbeat_ack"))
    synced = '{"type":"sync_line_accounts","data":[{"line_account_id":"lab"}]}'
    visit("the line board: device (S3)", "auth_success", (synced, "sync_result"))
    page.locator("#raw-frames summary").last.click()
    expect(page, "#raw-frames pre").to_contain_text('"created_count": 1')
    assert demo.tokens["admin"][-20:] not in page.content()
    page.click("#raw-close")
    # Another server gets no token of this one's.
    page.fill("#address", "ws://example.org/ws?token=•••")
    page.click("#raw-open")
    expect(page, "#address-error").to_contain_text("on this server")
    # A server that closes is quoted.
    page.fill("#address", "/ws")
    page.click("#raw-open")
    expect(page, "#raw-state").to_have_text("Open.")
    page.fill("#raw-text", '{"type":"authenticate","data":{"token":"nonsense"}}')
    page.click("#raw-send")
    expect(page, "#raw-state").to_contain_text("3500 invalid token")
    # What the page opened ends with it.
    page.click("#raw-open")
    expect(page, "#raw-state").to_have_text("Open.")
    go(page, "profile")
    until_connections(page, demo, "admin", 1)


def test_it_is_for_everybody(open_console: Visitors) -> None:
    """Every control that is in use is reached by Tab and has a name; long names and texts fit a telephone; page
    and server agree on who may come back after which close code.
    """
    page = open_console("alice", "lab")
    join(page, "a-room-" + "y" * 100)
    say(page, "z" * 500)
    expect(page, SAID).to_have_count(1)
    usable = page.locator(
        "main input:visible, main button:visible, main select:visible, main textarea:visible"
    ).all()
    wanted = {control.get_attribute("id") for control in usable if control.is_enabled()} - {None}
    page.evaluate("document.querySelector('main h1').focus()")
    reached: set[str] = set()
    for _ in itertools.repeat(None, len(usable) + 40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert wanted <= reached
    check_access(page)
    for width in (360, 768):
        page.set_viewport_size({"width": width, "height": 800})
        assert sideways(page) == 0
    codes = [*map(int, CloseCode), 1004, 1014, 3499, 3500, 3999, 4000, 4999]
    answers = page.evaluate(
        "codes => import('/console/pages/lab/codes.js').then(m => codes.map(m.mayReconnect))", codes
    )
    assert dict(zip(codes, answers, strict=True)) == {code: may_reconnect(code) for code in codes}
