"""The second document's notifications and the fourth's rooms and messages, in real pages side by side."""

import json
import re
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from support.console import (
    LOST,
    Demo,
    Visitors,
    check_access,
    connected,
    go,
    keep_toasts,
    look,
    playwright,
    sideways,
)
from support.later import Later

pytestmark = pytest.mark.slow

websockets = Later("websockets.sync.client")

#: Who comes and goes is told, and at once; and rooms keep more than a page shows at first.
SETTINGS = (
    "channels.room:*.history_size=1000",
    "presence.grace=0",
)


HTML = "<img src=x onerror=alert(1)> & <b>bold</b>"


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


def say(page: Any, *texts: str) -> None:
    """Write each, and send it by Enter."""
    for text in texts:
        page.fill(".composer textarea", text)
        page.press(".composer textarea", "Enter")


def heard(page: Any, *texts: str) -> None:
    """What was said, all of it, in this order and once each."""
    expect(page, ".lines .line .text").to_have_text(list(texts))


def notify(demo: Demo, user: str, *titles: str, **more: str) -> None:
    """Have the server notify a user, as a back end does."""
    with demo.http() as http:
        for title in titles:
            body = {"title": title, "message": HTML, **more}
            http.post(f"/api/v1/ws/notify/{user}", json=body).raise_for_status()


def titles(page: Any, wanted: Sequence[str]) -> None:
    """The notifications in the list, in order."""
    expect(page, ".note strong").to_have_text(list(wanted))


def test_two_people_in_a_room(open_console: Visitors, demo: Demo) -> None:
    """Both hear everything in order and see who is there; what is said without a line is sent on return, once."""
    alice = open_console("alice", "rooms/lobby")
    expect(alice, ".members li").to_have_text(["AliceYou"])
    expect(alice, ".notices").to_contain_text("Nothing has been said yet")
    bob = open_console("bob", "rooms", expected=LOST)
    expect(alice, ".lines .note").to_contain_text("Bob came in")
    expect(alice, "[data-user=bob]").to_have_count(1)
    say(alice, HTML)
    heard(bob, HTML)
    expect(bob, ".lines .line img, .lines .line b").to_have_count(0)
    expect(alice, ".line.own .by").to_contain_text("You")
    expect(bob, ".line:not(.own) .by").to_contain_text("Alice")
    expect(bob, ".lines .day").to_have_text(["Today"])

    # Enter that chooses a word of an input method sends nothing; a line break neither.
    field = bob.locator(".composer textarea")
    field.fill("你好")
    field.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    field.press("Shift+Enter")
    field.type("再见")
    heard(bob, HTML)
    field.press("Enter")
    heard(alice, HTML, "你好\n再见")
    expect(bob, ".composer textarea").to_have_value("")

    # The line is gone, and while it is, the server gives the connection up.
    bob.context.set_offline(True)
    say(bob, "said offline", "and more")
    expect(bob, ".line[data-state=waiting]").to_have_count(2)
    look(bob, "rooms-waiting")
    with demo.http() as http:
        http.post("/api/v1/users/bob/disconnect", json={"code": 3001}).raise_for_status()
    expect(alice, ".lines .note >> nth=-1").to_contain_text("Bob left")
    expect(alice, "[data-user=bob]").to_have_count(0)
    say(alice, "where are you?")
    bob.context.set_offline(False)
    heard(alice, HTML, "你好\n再见", "where are you?", "said offline", "and more")
    heard(bob, HTML, "你好\n再见", "where are you?", "said offline", "and more")
    expect(bob, ".line[data-state=waiting]").to_have_count(0)
    expect(alice, "[data-user=bob]").to_have_count(1)

    # The server takes it, and its answer is lost with the connection: it is found in the room, and not said again.
    is_deaf = threading.Event()

    def pass_on(socket: Any) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda message: None if is_deaf.is_set() else socket.send(message))

    bob.route_web_socket(re.compile("/ws"), pass_on)
    bob.reload()
    expect(bob, ".lines .line .text >> nth=-1").to_have_text("and more")
    is_deaf.set()
    say(bob, "taken unheard")
    expect(alice, ".lines .line .text >> nth=-1").to_have_text("taken unheard")
    expect(bob, ".line[data-state=waiting]").to_have_count(1)
    is_deaf.clear()
    with demo.http() as http:
        http.post("/api/v1/users/bob/disconnect", json={"code": 3001}).raise_for_status()
        expect(bob, ".line[data-state=waiting]").to_have_count(0)
        say(bob, "and after")
        expect(alice, ".lines .line .text >> nth=-1").to_have_text("and after")
        kept = http.get("/api/v1/history/room:lobby").raise_for_status().json()["publications"]
    assert [each["data"]["text"] for each in kept][-3:] == ["and more", "taken unheard", "and after"]

    # Elsewhere in the console the room goes on; a reload finds it again, and what was said.
    go(bob, "profile")
    say(alice, "still here?")
    go(bob, "rooms/elsewhere")
    expect(bob, "[data-key=lobby] .badge").to_have_text("1")
    bob.reload()
    bob.click("[data-key=lobby] a")
    expect(bob, ".lines .line .text >> nth=-1").to_have_text("still here?")
    expect(bob, "[data-key=elsewhere]").to_have_count(1)
    expect(bob, ".composer textarea").to_be_focused()
    bob.click(".talk-head >> text=Leave")
    expect(alice, "[data-user=bob]").to_have_count(0)


def test_a_room_that_is_kept(open_console: Visitors, demo: Demo) -> None:
    """Its owner invites, removes, changes and deletes; whom it concerns is told in the page, and hears no more."""
    alice, bob = open_console("alice", "rooms"), open_console("bob", "rooms")
    alice.get_by_role("button", name="New room").click()
    alice.fill("dialog input[name=name]", "no name")
    alice.click("dialog button[type=submit]")
    expect(alice, "dialog .error:not(:empty)").to_contain_text("1 to 128")
    alice.fill("dialog input[name=name]", "team:release")
    alice.fill("dialog input[name=title]", "ybb\u202eol")
    alice.click("dialog button[type=submit]")
    expect(alice, "dialog .error:not(:empty)").to_contain_text("direction of writing")
    alice.fill("dialog input[name=title]", "lobby")
    alice.select_option("dialog select", "invited")
    check_access(alice)
    alice.click("dialog button[type=submit]")
    expect(alice, ".talk-head h2").to_have_text("lobby")
    # Whoever has taken another room's name for a title is seen through: in the head, the list, the invitation.
    expect(alice, ".talk-head .own-name").to_have_text("team:release")
    expect(alice, "[data-key='team:release'] .own-name").to_have_text("team:release")
    expect(alice, "[data-key=lobby] .own-name").to_be_hidden()

    bob.fill("input[name=room]", "team:release")
    bob.press("input[name=room]", "Enter")
    expect(bob, ".notices").to_contain_text("Only members may enter.")
    expect(bob, ".composer").to_be_hidden()
    alice.fill(".invite input", "nobody-of-this-name")
    alice.press(".invite input", "Enter")
    expect(alice, ".invite .error:not(:empty)").to_have_text("There is no such user.")
    # By the name that somebody is met by, as well as by the id.
    alice.fill(".invite input", "Bob")
    alice.press(".invite input", "Enter")
    expect(bob, "#toasts").to_contain_text("alice invited you to lobbyRoom name: team:release")
    expect(bob, ".talk-head h2").to_have_text("lobby")
    expect(bob, ".talk-head .own-name").to_have_text("team:release")
    expect(bob, ".composer").to_be_visible()
    expect(alice, ".people .members >> nth=1").to_contain_text("Bob")
    look(alice, "rooms-owner")

    go(alice, "rooms/lobby")
    say(bob, "one", "two")
    expect(alice, "[data-key='team:release'] .badge").to_have_text("2")
    alice.click("[data-key='team:release'] a")
    heard(alice, "one", "two")
    expect(alice, "[data-key='team:release'] .badge").to_be_hidden()

    alice.get_by_role("button", name="Remove: Bob").click()
    alice.click("dialog button[value=yes]")
    expect(bob, ".notices").to_contain_text("You have been removed from this room")
    expect(bob, ".composer").to_be_hidden()
    expect(alice, ".people .members >> nth=1 >> [data-user=bob]").to_contain_text("Removed")
    say(alice, "without bob")
    heard(alice, "one", "two", "without bob")
    look(bob, "rooms-removed")
    heard(bob, "one", "two")

    alice.get_by_role("button", name="Invite: Bob").click()
    expect(bob, ".composer").to_be_visible()
    heard(bob, "one", "two", "without bob")
    alice.click(".talk-head >> text=Settings")
    alice.fill("dialog input[name=topic]", "June")
    alice.select_option("dialog select", "announcements")
    alice.click("dialog button[type=submit]")
    expect(bob, ".talk-head .hint").to_have_text("June")
    expect(bob, ".notices").to_contain_text("Only the owner and admins speak here.")
    expect(bob, ".composer").to_be_hidden()
    expect(alice, ".composer").to_be_visible()

    alice.click(".talk-head >> text=Settings")
    alice.click("dialog button.danger")
    alice.click("dialog button[value=yes]")
    expect(bob, ".notices").to_contain_text("This room has been deleted.")
    expect(alice, "[data-key='team:release']").to_have_count(0)


def test_messages_between_two(open_console: Visitors, demo: Demo) -> None:
    """What is written to somebody who is away is there on login, and stays over a reload, on both sides."""
    # A login of its own, since it ends.
    alice = open_console("alice", "rooms", by="password")
    alice.get_by_role("button", name="New message").click()
    alice.fill("dialog input[name=user_id]", "bob")
    alice.press("dialog input[name=user_id]", "Enter")
    expect(alice, ".talk-head").to_contain_text("Bob", ignore_case=True)
    say(alice, HTML, "second")
    expect(alice, ".line[data-state=sent]").to_have_count(2)

    bob = open_console("bob", "rooms")
    expect(bob, "[data-key='@alice'] .badge").to_have_text("2")
    bob.click("[data-key='@alice'] a")
    heard(bob, HTML, "second")
    expect(bob, ".lines img").to_have_count(0)
    expect(bob, ".talk-head .hint").to_have_text("Online")
    # In another room, on a phone, where the list is not seen beside it.
    go(alice, "rooms/lobby")
    keep_toasts(alice)
    alice.set_viewport_size({"width": 390, "height": 800})
    say(bob, "an answer")
    expect(alice, "#toasts").to_contain_text("Message from Bob")
    expect(alice, ".back .badge").to_have_text("1")
    expect(alice, ".back").to_have_attribute("aria-label", "All conversations, 1 unread")
    assert sideways(alice) == 0
    look(alice, "rooms-told-elsewhere")
    alice.click("#toasts a")
    heard(alice, HTML, "second", "an answer")
    expect(alice, ".back .badge").to_be_hidden()
    # What is before one's eyes is told nowhere else.
    say(bob, "seen")
    heard(alice, HTML, "second", "an answer", "seen")
    expect(alice, "#toasts").not_to_contain_text("Message from Bob")
    # The window's height is the conversation's, however late the sheet comes that lays it out.
    late: list[Any] = []

    def hold(route: Any) -> None:
        late.append(route)

    alice.route("**/rooms/page.css", hold)
    for page in (alice, bob):
        page.reload()
        connected(page)
        heard(page, HTML, "second", "an answer", "seen")
    late.pop().continue_()
    alice.wait_for_function(
        """() => {
          const { bottom } = document.querySelector(".talk").getBoundingClientRect();
          return Math.abs(innerHeight - 16 - bottom) < 1;
        }"""
    )
    alice.set_viewport_size({"width": 1280, "height": 800})
    expect(alice, "[data-key='@bob'] .badge").to_be_hidden()
    # What was seen is seen, also where another room is shown first.
    look(bob, "rooms-direct")
    assert sideways(bob) == 0
    go(bob, "rooms/lobby")
    bob.reload()
    expect(bob, "[data-key='@alice']").to_contain_text("seen")
    expect(bob, "[data-key='@alice'] .badge").to_be_hidden()

    # Nothing of it is left to whoever uses this tab next.
    alice.click("#log-out")
    expect(alice, "main h1").to_have_text("Log in")
    assert alice.evaluate("sessionStorage.length") == 0


def test_a_front_end_of_the_document_in_the_same_room(open_console: Visitors, demo: Demo) -> None:
    """A plain client of the fourth document's and the page hear each other, also what was said long before."""
    with demo.http() as http:
        for number in range(205):
            said = {"channel": "room:archive", "event": "room_message", "payload": {"text": f"{number}"}}
            http.post("/api/v1/publish", json=said).raise_for_status()
    page = open_console("alice", "rooms/archive")
    heard(page, *map(str, range(5, 205)))
    page.click(".earlier")
    heard(page, *map(str, range(205)))
    expect(page, ".earlier").to_be_hidden()
    expect(page, ".line >> nth=0 >> .by .tag").to_have_text("The server")
    expect(page, ".line >> nth=0 >> .by strong").to_have_count(0)
    # What was read stays where it was, and what comes does not take it away.
    page.locator(".lines").evaluate("list => { list.scrollTop = 0; }")
    expect(page, ".to-end").to_be_visible()
    assert page.locator(".lines").evaluate("list => list.scrollTop") == 0
    page.click(".to-end")
    expect(page, ".lines .line >> nth=-1").to_be_in_viewport()

    page = open_console("alice", "rooms/chat:room001")
    expect(page, ".notices").to_contain_text("Nothing has been said yet")
    url = f"ws://127.0.0.1:{demo.port}/ws?dialect=ginforge&token={demo.tokens['bob']}"
    with websockets.connect(url) as socket:
        for kind, content in (
            ("join_room", "chat:room001"),
            ("room_message", {"room": "chat:room001", "text": HTML}),
        ):
            socket.send(json.dumps({"type": kind, "content": content}))
        heard(page, HTML)
        expect(page, ".line .by").to_contain_text("Bob")
        say(page, "hello from the page")

        def receive(kind: str) -> Any:
            while (message := json.loads(socket.recv(timeout=20)))["type"] != kind:
                pass
            return message["content"]

        assert receive("room_message")["text"] == HTML
        from_page = receive("room_message")
        assert (from_page["text"], from_page["username"]) == ("hello from the page", "Alice")
        socket.send(
            json.dumps({"type": "user_message", "content": {"to": "alice", "text": "to you alone"}})
        )
        expect(page, "[data-key='@bob']").to_contain_text("to you alone")
        keep_toasts(page)
        with demo.http() as http:
            data = {"message": "Maintenance at 22:00", "level": "warning"}
            http.post("/api/v1/ws/broadcast", json={"data": data}).raise_for_status()
            update = {"entity": "user", "action": "create", "id": "123", "data": {}}
            http.post(
                "/api/v1/ws/broadcast", json={"type": "data_update", "data": update}
            ).raise_for_status()
        assert receive("system")["message"] == "Maintenance at 22:00"
        expect(page, "#toasts").to_contain_text("Maintenance at 22:00")
        expect(page, "#toasts").to_contain_text("user 123: create")
        # Somebody is called what the page calls oneself, and is plainly another.
        called_you = demo.token("u7", username="You", ttl=3600)
        with websockets.connect(
            f"ws://127.0.0.1:{demo.port}/ws?dialect=ginforge&token={called_you}"
        ) as other:
            spoken = {"room": "chat:room001", "text": "not you"}
            for kind, content in (("join_room", "chat:room001"), ("room_message", spoken)):
                other.send(json.dumps({"type": kind, "content": content}))
            heard(page, HTML, "hello from the page", "not you")
            expect(page, ".line:not(.own) >> nth=1 >> .by strong").to_have_text("You")
            expect(page, ".line:not(.own) .tag").to_have_count(0)
            expect(page, ".line.own .by strong").to_have_text("Alice")
            expect(page, ".line.own .by .tag").to_have_text("You")
            expect(page, ".members [data-user=u7] .tag").to_have_count(0)
            expect(page, ".members .tag").to_have_text(["You"])
            look(page, "rooms-called-you")
    expect(page, ".lines .note >> nth=-1").to_contain_text("Bob left")


def test_notifications_stored_and_pushed(open_console: Visitors, demo: Demo) -> None:
    """Each is in every tab's list, at once or on return; what is read in one is read in all, and HTML is text."""
    notify(demo, "bob", "before the login", type="warning", link="/docs")
    bob, other = open_console("bob", "notifications", expected=LOST), open_console("bob", "rooms")
    titles(bob, ["before the login"])
    expect(other, "#unread").to_have_text("1")
    keep_toasts(bob)
    keep_toasts(other)
    expect(bob, ".note a").to_have_attribute("rel", "noopener noreferrer")
    expect(bob, ".note .message").to_have_text(HTML)
    expect(bob, ".note img, .note b").to_have_count(0)

    admin = open_console("admin", "notifications", language="zh")
    send = "form:has(input[name=user_id])"
    admin.fill(f"{send} input[name=user_id]", "bob")
    admin.fill(f"{send} input[name=title]", "pushed")
    admin.fill(f"{send} textarea", "by the form")
    admin.fill(f"{send} input[name=link]", "javascript:alert(1)")
    admin.click(f"{send} button")
    expect(admin, f"{send} .error:not(:empty)").to_contain_text("链接应为")
    admin.fill(f"{send} input[name=link]", "")
    admin.click(f"{send} button")
    titles(bob, ["pushed", "before the login"])
    expect(bob, "main p[role=status]").to_contain_text(["New notification: pushed"])
    expect(other, "#toasts").to_contain_text("by the form")
    expect(other, "#unread").to_have_text("2")
    expect(bob, "#unread").to_have_text("2")
    look(bob, "notifications-of-bob")

    # What a program has published is in no list: it is told, whatever it is made of.
    with demo.http() as http:
        for more in (
            {"title": "told alone"},
            {"title": "of another list", "id": "a-7"},
            {"title": "", "id": None},
        ):
            event = {"channel": "user:bob", "event": "notification", "payload": {"message": HTML, **more}}
            http.post("/api/v1/publish", json=event).raise_for_status()
    for page in (bob, other):
        for title in ("told alone", "of another list", "Notification"):
            expect(page, "#toasts").to_contain_text(title + HTML)
    odd = "async odd => (await import('./lib/news.js')).tellNotification(odd)"
    other.evaluate(odd, None)
    other.evaluate(odd, {"title": ["a", 1], "message": {"odd": 1}})
    expect(other, "#toasts").to_contain_text('["a",1]{"odd":1}')
    titles(bob, ["pushed", "before the login"])

    bob.get_by_role("button", name="Mark as read").first.click()
    expect(other, "#unread").to_have_text("1")
    expect(bob, ".note[data-unread] strong").to_have_text(["before the login"])
    bob.click(".segments >> text=Unread")
    titles(bob, ["before the login"])
    bob.get_by_role("button", name="Mark all as read").click()
    expect(bob, ".empty").to_have_text("You have read everything.")
    expect(other, "#unread").to_be_hidden()
    bob.click(".segments >> text=All")
    go(other, "notifications")
    titles(other, ["pushed", "before the login"])
    bob.get_by_role("button", name="Delete", exact=True).first.click()
    titles(bob, ["before the login"])
    bob.get_by_role("button", name="Delete what is read").click()
    bob.click("dialog button[value=yes]")
    expect(bob, ".empty").to_contain_text("Nothing here yet")

    # Away for a while, and what came meanwhile is there on return; more than a page is asked for.
    bob.context.set_offline(True)
    notify(demo, "bob", *(f"number {number}" for number in range(51)))
    with demo.http() as http:
        http.post("/api/v1/users/bob/disconnect", json={"code": 3001}).raise_for_status()
    bob.context.set_offline(False)
    expect(bob, ".note strong >> nth=0").to_have_text("number 50")
    expect(bob, "#unread").to_have_text("51")
    bob.reload()
    expect(bob, ".note").to_have_count(50)
    # As the inbox replays what was not acknowledged: older than what is shown, it waits for the older ones.
    with demo.http() as http:
        old = {"id": "1", "title": "old", "message": "of long ago"}
        event = {"channel": "user:bob", "event": "notification", "payload": old}
        http.post("/api/v1/publish", json=event).raise_for_status()
    expect(bob, "main p[role=status]").to_contain_text(["New notification: old"])
    expect(bob, ".note").to_have_count(50)
    bob.get_by_role("button", name="Show older ones").click()
    expect(bob, ".note").to_have_count(51)
    bob.get_by_role("button", name="Send me one").click()
    titles(bob, ["Demo", *(f"number {number}" for number in range(50, -1, -1))])
