"""What holds for every page of the console: weight, looks, languages, and what a bad line does to it."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.console import (
    LOST,
    PATIENCE_MS,
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
from support.readme import program_of, python_of

pytestmark = pytest.mark.slow

#: Every page, as an administrator has them, with a route that shows something.
ROUTES = ("notifications", "rooms/reading", "board", "profile", "users", "monitor", "lab")

# What the first load of the console may weigh, on the wire, in bytes.
FIRST_LOAD = 150_000

# What the page's client is doing.
STATE = 'async () => (await import("./lib/session.js")).session.tidings.state.name'


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


def held(page: Any, pattern: str) -> Callable[[], Any]:
    """Hold the page's requests that match from now on. Called, it waits for the first, to be let go on."""
    routes: list[Any] = []

    def hold(route: Any) -> None:
        routes.append(route)

    def first() -> Any:
        # The page may say that it asks before the route is held.
        while not routes:
            page.wait_for_timeout(10)
        return routes[0]

    page.route(pattern, hold)
    return first


def test_the_first_load_is_light_and_comes_from_one_host(open_console: Visitors, demo: Demo) -> None:
    """From nothing to the first page after the login: under 150 KB, from this server alone."""
    page = open_console()
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    arrived: list[int] = []
    session.on("Network.loadingFinished", lambda event: arrived.append(event["encodedDataLength"]))
    page.goto("about:blank")
    page.goto(demo.url)
    page.fill("input[name=username]", "alice")
    page.fill("input[name=password]", demo.passwords["alice"])
    page.press("input[name=password]", "Enter")
    connected(page)
    page.locator("main h1").wait_for()
    page.wait_for_load_state("networkidle")
    assert len(arrived) > 10
    assert sum(arrived) < FIRST_LOAD, sum(arrived)


def test_every_page_reads_well(open_console: Visitors, demo: Demo) -> None:
    """Accessible by day and by night, and nothing scrolls sideways."""
    page = open_console()
    check_access(page)
    look(page, "login")
    page = open_console("admin")
    with demo.http() as http:
        http.post("/api/v1/notifications/demo").raise_for_status()
    for route in ROUTES:
        go(page, route)
        page.wait_for_load_state("networkidle")
        name = route.partition("/")[0]
        if name == "rooms":
            page.fill(".composer textarea", "hello")
            page.press(".composer textarea", "Enter")
            expect(page, ".lines .line").to_be_visible()
        look(page, name)
        for width, theme in ((1280, "light"), (1280, "dark"), (390, "light")):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=theme)
            assert sideways(page) == 0, (route, width)
            check_access(page)
        page.set_viewport_size({"width": 1280, "height": 800})


def test_every_language_is_complete(open_console: Visitors) -> None:
    """Each text is there in English, Chinese and Japanese, with the same places for values."""
    page = open_console("admin", language="ja")
    expect(page, "html").to_have_attribute("lang", "ja")
    expect(page, "#log-out").to_have_text("ログアウト")
    folders = ["", *(f"pages/{route.partition('/')[0]}/" for route in ("login", *ROUTES))]
    for folder in folders:
        texts = page.evaluate(f"async () => (await import('./{folder}texts.js')).all")
        assert texts.keys() == {"en", "zh", "ja"}
        for code in ("zh", "ja"):
            assert texts[code].keys() == texts["en"].keys(), (folder, code)
            for key, text in texts["en"].items():
                assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", texts[code][key])), key
    for code, heading in (("zh", "监控"), ("en", "Monitor")):
        page.select_option("#language", code)
        go(page, "monitor")
        expect(page, "#nav [aria-current=page]").to_have_text(heading)
    # What somebody is typing is not thrown away without a question; the choice outlives the page.
    go(page, "profile")
    page.locator("main input").first.fill("half a na")
    page.select_option("#language", "zh")
    page.click("dialog button[value=no]")
    playwright.expect(page.locator("main input").first).to_have_value("half a na")
    page.select_option("#language", "zh")
    page.click("dialog button[value=yes]")
    page.reload()
    expect(page, "html").to_have_attribute("lang", "zh")


def test_the_readmes_programs_meet(open_console: Visitors, demo: Demo) -> None:
    """What the README's Python publishes, its JavaScript hears in a page, and the console tells in passing."""
    page = open_console("alice", "profile")
    keep_toasts(page)
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    listening = program_of("Listen in the browser", "js")
    assert len(listening.splitlines()) <= 6
    page.evaluate(f"(async () => {{ {listening} await tidings.subscribe('room:lobby').ready; }})()")
    script = python_of("Publish from your back end").replace(":8000", f":{demo.port}")
    environment = {"TIDINGS_TOKEN": demo.tokens["admin"], "PATH": ""}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True, timeout=60)
    expect(page, "#toasts").to_contain_text("Report ready")
    expect(page, "#toasts").to_contain_text("Maintenance at noon")
    # It has a connection of its own.
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not {"Report ready Have a look", "news {text: Hello from a script}"} <= set(told):
        assert time.monotonic() < deadline, told
        page.wait_for_timeout(10)


def test_colours_can_be_chosen(open_console: Visitors) -> None:
    """As the system has it, light, or dark; the choice outlives the page."""
    page = open_console("alice", theme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.click("#theme")
    expect(page, "html").to_have_attribute("data-theme", "light")
    assert page.evaluate(colour) != dark
    page.click("#theme")
    assert page.evaluate(colour) == dark
    page.reload()
    expect(page, "html").to_have_attribute("data-theme", "dark")


def test_it_is_used_by_keyboard(open_console: Visitors, demo: Demo) -> None:
    """Logging in, skipping the navigation, going to a page and out again, without a pointer."""
    page = open_console()
    page.locator("input[name=username]").wait_for()
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type(demo.passwords["alice"])
    page.keyboard.press("Enter")
    connected(page)
    # A page that is entered has the focus on its heading, so that it is read out.
    playwright.expect(page.locator("main h1")).to_be_focused()
    link = page.locator("#nav a[href='#/rooms']")
    link.focus()
    page.keyboard.press("Enter")
    expect(page, "main > tidings-rooms h1").to_be_focused()
    # The first thing that Tab reaches from the top of the page.
    assert page.evaluate("document.querySelector('a, button, input, select').className") == "skip"
    page.locator(".skip").focus()
    expect(page, ".skip").to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page, "#main").to_be_focused()
    expect(page, "main > tidings-rooms").to_be_visible()
    page.locator("#log-out").focus()
    page.keyboard.press("Enter")
    expect(page, "input[name=username]").to_be_focused()


def test_whoever_logs_out_is_not_told_so(open_console: Visitors) -> None:
    """What the page was still asking for is refused by then: that is no news, and the focus is on the form."""
    # By password: others use the token that the server has printed.
    page = open_console("alice", "profile", by="password")
    asked, ending = held(page, "**/api/v1/notifications?*"), held(page, "**/api/auth/logout")
    go(page, "notifications")
    question = asked()
    page.click("#log-out")
    logout = ending()
    over = logout.fetch()
    assert over.ok
    with page.expect_response("**/api/v1/notifications?*") as refused:
        question.continue_()
    assert refused.value.status == 401
    refused.value.finished()
    logout.fulfill(response=over)
    expect(page, "input[name=username]").to_be_focused()
    expect(page, "#farewell").to_have_count(0)


def test_it_fits_a_telephone(open_console: Visitors) -> None:
    """The navigation is behind a button, which says whether it is open, and closes when a page is chosen."""
    page = open_console("alice", width=390)
    expect(page, "#nav").to_be_hidden()
    page.click("#menu")
    expect(page, "#menu").to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(page, "#nav").to_be_hidden()
    page.click("#menu")
    page.click("#nav a[href='#/rooms']")
    expect(page, "#nav").to_be_hidden()
    expect(page, "main > tidings-rooms h1").to_be_visible()


def test_pages_live_through_the_end_of_their_server(open_console: Visitors, demo: Demo) -> None:
    """Ended and killed under open pages: they say so, come back by themselves, and miss nothing that was kept."""
    alice = open_console("alice", "notifications", expected=LOST)
    monitor = open_console("admin", "monitor", expected=LOST)
    for end, title, route in (
        (demo.stop, "before the end", "users"),
        (demo.kill, "before the kill", "lab"),
    ):
        with demo.http() as http:
            body = {"title": title, "message": "to be read"}
            http.post("/api/v1/ws/notify/alice", json=body).raise_for_status()
        expect(alice, "main > tidings-notifications").to_contain_text(title)
        end()
        expect(alice, "#state").not_to_have_attribute("data-tone", "good")
        # A page that was never loaded says so, and is there when the server is.
        monitor.evaluate(f"location.hash = '#/{route}'")
        expect(monitor, "main [role=alert]").to_be_visible()
        demo.start()
        with demo.http() as http:
            body = {"title": f"after {title}", "message": "while nobody was there"}
            http.post("/api/v1/ws/notify/alice", json=body).raise_for_status()
        connected(alice)
        connected(monitor)
        expect(monitor, f"main > tidings-{route} h1").to_be_visible()
        expect(monitor, "#stale").to_be_hidden()
        expect(alice, "main > tidings-notifications").to_contain_text(f"after {title}")
        assert alice.get_by_text(f"after {title}", exact=True).count() == 1


def test_a_page_without_a_network_waits_for_it(open_console: Visitors, demo: Demo) -> None:
    """Off: it asks at once, and says so when no answer comes. On: it tries at once, and has what came meanwhile."""
    page = open_console("bob", "notifications", expected=LOST)
    page.clock.install()
    page.context.set_offline(True)
    page.wait_for_function("!navigator.onLine")
    # As long as an answer may take.
    page.clock.fast_forward(10_000)
    expect(page, "#state").not_to_have_attribute("data-tone", "good")
    with demo.http() as http:
        body = {"title": "While you were out", "message": "…"}
        http.post("/api/v1/ws/notify/bob", json=body).raise_for_status()
    # Time stands still: no next attempt comes, and only the network's return can bring it.
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 60"))
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (state := page.evaluate(STATE)) != "waiting":
        assert time.monotonic() < deadline, state
        page.wait_for_timeout(10)
    with page.expect_event("websocket"):
        page.context.set_offline(False)
    # An attempt in the very moment of its return may still fail.
    page.clock.resume()
    connected(page)
    expect(page, "main > tidings-notifications").to_contain_text("While you were out")


def test_a_token_that_ends_leads_to_the_login(open_console: Visitors, demo: Demo) -> None:
    """One that nobody can renew: the page says what happened, and the token is forgotten."""
    page = open_console(expected=LOST)
    # The server warns of an end within a minute at once: the page asks for another, and there is none.
    page.locator("input[name=username]").wait_for()
    with page.expect_event("websocket"):
        page.goto(f"{demo.url}#token={demo.token('stranger', ttl=12)}")
    expect(page, "#farewell").to_contain_text("expired")
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page, "input[name=username]").to_be_visible()


def test_nobodys_page_stays_when_they_are_gone(open_console: Visitors, demo: Demo) -> None:
    """Logging out of a server that is gone shows the login at once; until then a page says that it may be old."""
    page = open_console("admin", "board", expected=LOST)
    expect(page, "main").to_contain_text(demo.code)
    page.clock.install()
    demo.kill()
    expect(page, "#state").not_to_have_attribute("data-tone", "good")
    # A quick restart would be over by then.
    page.clock.fast_forward(3_000)
    expect(page, "#stale").to_contain_text("out of date")
    page.click("#log-out")
    expect(page, "input[name=username]").to_be_visible()
    assert demo.code not in page.content()
    demo.start()


def test_a_link_replaces_nobody_without_a_question(open_console: Visitors, demo: Demo) -> None:
    """Whoever is logged in stays so where a link's token is bad, or is somebody else's and they say no."""
    page = open_console("alice", "rooms")
    keep_toasts(page)
    page.evaluate("location.hash = '#token=not.a.token'")
    expect(page, "#toasts").to_contain_text("not followed")
    connected(page)
    expect(page, "#who").to_have_text("Alice")
    for answer, who in (("no", "Alice"), ("yes", "Bob")):
        page.evaluate("token => { location.hash = `#token=${token}`; }", demo.tokens["bob"])
        expect(page, "dialog h2").to_have_text("Go on as Bob?")
        page.click(f"dialog button[value={answer}]")
        connected(page)
        expect(page, "#who").to_have_text(who)
        assert "token" not in page.url
    # Also where the tab is only loaded anew.
    page.goto("about:blank")
    page.goto(f"{demo.url}#token={demo.tokens['alice']}")
    page.click("dialog button[value=no]")
    connected(page)
    expect(page, "#who").to_have_text("Bob")


def test_a_wrong_token_and_a_wrong_password_are_told(open_console: Visitors) -> None:
    """At the field that they are about; a link with a bad token leads to the login."""
    page = open_console()
    page.fill("input[name=username]", "alice")
    page.fill("input[name=password]", "not hers")
    page.press("input[name=password]", "Enter")
    playwright.expect(page.locator(".error", has_text="wrong")).to_be_visible()
    assert page.locator("input[name=password]").get_attribute("aria-invalid") == "true"
    page.goto(page.url.partition("#")[0] + "#token=not.a.token")
    expect(page, "#farewell").to_contain_text("refused")
    assert "not.a.token" not in page.url
