"""The first document's four scenarios and the second's logins, in real pages: login, profile, users."""

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
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
from support.tokens import forged

from tidings.server.config import Server
from tidings.server.demo import kept_secret

pytestmark = pytest.mark.slow

#: Hard to guess, as far as the server's scale goes.
GOOD, BETTER = "seven quiet harbours 90", "brass otter 41 lighthouse"

#: Nothing; but a server of its own, whose users it renames, and gives other passwords.
SETTINGS = ()

# Logins that end each other; tokens that are to be renewed two seconds later; few attempts; short lists.
STRICT = (
    "accounts.logins=single",
    "accounts.token_ttl=62",
    "accounts.account_attempts=2",
    "http.channels_page=1",
)


# Keeps the answer to the next change back until `release()`.
HELD = """() => {
  const ask = window.fetch;
  window.fetch = async (...given) => {
    const answer = await ask(...given);
    if (given[1]?.method !== "PUT") return answer;
    window.fetch = ask;
    await new Promise((resolve) => (window.release = resolve));
    return answer;
  };
}"""


# Every question is refused; what is done about it in two seconds is `waited()`.
OVERTAKEN = """() => {
  const { fetch, setTimeout } = window;
  const refusal = JSON.stringify({ error: { code: "unauthorized", message: "this login has ended" } });
  window.fetch = async (url, given) =>
    given?.method === "GET" ? new Response(refusal, { status: 401 }) : fetch(url, given);
  window.setTimeout = (action, delay) => {
    if (delay === 2000) window.waited = action;
    else return setTimeout(action, delay);
  };
}"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A server where everybody is logged in once."""
    demo = Demo(tmp_path_factory.mktemp("strict"), STRICT)
    yield demo
    demo.close()


@pytest.fixture
def open_strict(browser: Any, strict: Demo) -> Iterator[Visitors]:
    """Opens pages of its console."""
    visitors = Visitors(browser, strict)
    yield visitors
    visitors.close()


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


def log_in(page: Any, username: str, password: str) -> None:
    page.fill("input[name=username]", username)
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")


def refused(page: Any, name: str) -> Any:
    """What is said to be wrong with a field; only where the field itself says so, too."""
    return expect(page, f"main .field:has(input[name={name}][aria-invalid=true]) .error")


def row(user_id: str) -> str:
    return f"tr[data-id='{user_id}']"


def manage(page: Any, user_id: str, action: str) -> None:
    """Open a user's dialog, and confirm one of its actions."""
    page.click(f"{row(user_id)} button")
    page.click(f"dialog.of-user .access >> text={action}")
    expect(page, "dialog:not(.of-user) h2").to_be_visible()
    page.click("dialog:not(.of-user) button[value=yes]")


def create(http: httpx.Client, **fields: Any) -> str:
    """Add a user; returns the id."""
    answer = http.post("/api/admin/users", json={"password": GOOD, **fields}).raise_for_status()
    return str(answer.json()["user"]["id"])


def test_an_administrator_changes_a_user(open_console: Visitors, demo: Demo) -> None:
    """What is changed on the page of users is on the user's own pages at once, and nothing typed there is lost."""
    admin = open_console("admin", "users")
    expect(admin, f"{row('alice')} .pill").to_have_text("Offline")
    alice, editing = open_console("alice", "profile"), open_console("alice", "profile")
    for page in (alice, editing):
        keep_toasts(page)
        expect(page, "main input[name=username]").to_have_value("alice")
        page.evaluate("window.untouched = true")
    editing.fill("main input[name=email]", "mine@example.org")

    admin.click(f"{row('alice')} button")
    admin.fill("dialog input[name=username]", "Alice B.")
    admin.press("dialog input[name=username]", "Enter")
    expect(admin, "dialog .error:not(:empty)").to_contain_text("U+0020")
    admin.fill("dialog input[name=username]", "AliceB")
    admin.fill("dialog input[name=email]", "alice@example.org")
    admin.fill("dialog input[name=roles]", "editor, night-desk")
    admin.press("dialog input[name=roles]", "Enter")
    expect(admin, "dialog").to_have_count(0)
    expect(admin, f"{row('alice')} strong").to_have_text("AliceB")
    expect(admin, f"{row('alice')} .tag").to_have_text(["editor", "night-desk"])
    expect(admin, f"{row('alice')} button").to_be_focused()

    expect(alice, "main input[name=username]").to_have_value("AliceB")
    expect(alice, "main input[name=email]").to_have_value("alice@example.org")
    expect(alice, ".facts .tag").to_have_text(["editor", "night-desk"])
    expect(alice, "#toasts").to_contain_text("changed elsewhere")
    expect(editing, "main input[name=username]").to_have_value("AliceB")
    expect(editing, "main input[name=email]").to_have_value("mine@example.org")
    expect(editing, "main .field:has([name=email]) .hint").to_contain_text("alice@example.org")
    assert alice.evaluate("window.untouched")
    assert editing.evaluate("window.untouched")

    # The other way round: what users change of themselves is in the administrator's list, and in the other page.
    editing.evaluate("document.getElementById('toasts').replaceChildren()")
    editing.evaluate(HELD)
    editing.click("main form:has([name=email]) button[type=submit]")
    expect(alice, "main input[name=email]").to_have_value("mine@example.org")
    expect(admin, row("alice")).to_contain_text("mine@example.org")
    # The event is there before the answer, and is no news to whoever has made it.
    expect(editing, "main .facts").to_contain_text("mine@example.org")
    assert editing.locator("#toasts .toast").count() == 0
    editing.evaluate("window.release()")
    expect(editing, "main [role=status]:has-text('Saved')").to_be_visible()
    editing.fill("main input[name=username]", "bob")
    editing.press("main input[name=username]", "Enter")
    refused(editing, "username").to_contain_text("Another user has this name")


def test_a_password_that_is_reset(open_console: Visitors, demo: Demo) -> None:
    """All of the user's pages are at the login, with the reason; the temporary password leads to one's own."""
    admin = open_console("admin", "users")
    pages = [open_console("bob", "profile"), open_console("bob", "profile", by="password")]
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    manage(admin, "bob", "Reset password")
    admin.click("dialog:has(#secret) >> text=Copy")
    expect(admin, "dialog:has(#secret) [role=status]").to_have_text("Copied.")
    temporary = admin.evaluate("navigator.clipboard.readText()")
    assert temporary == admin.input_value("#secret")
    admin.click("dialog:has(#secret) button[type=submit]")
    admin.keyboard.press("Escape")
    expect(admin, row("bob")).to_contain_text("temporary password")
    for page in pages:
        expect(page, "#farewell").to_contain_text("password of this account has been changed")
        expect(page, "nav[id=nav]").to_be_hidden()

    # And what was known of the login is gone with it.
    page, other = pages
    keep_toasts(other)
    page.reload()
    expect(page, "input[name=username]").to_be_focused()
    log_in(page, "bob", demo.passwords["bob"])
    refused(page, "password").to_have_text("The user name or the password is wrong.")
    expect(page, "input[name=password]").to_be_focused()
    log_in(page, "bob", temporary)
    expect(page, "main .notice").to_contain_text("temporary password")
    expect(page, "input[name=old_password]").to_be_focused()
    log_in(other, "bob", temporary)
    connected(other)

    # The user's own change: refused with the cure at the field, then done; this login goes on, the other has ended.
    def change(old: str, new: str, again: str) -> None:
        for name, text in (("old_password", old), ("new_password", new), ("again", again)):
            page.fill(f"input[name={name}]", text)
        page.press("input[name=again]", "Enter")

    change(temporary, GOOD, GOOD + "!")
    refused(page, "again").to_contain_text("not the same")
    change(temporary, "password1", "password1")
    refused(page, "new_password").to_contain_text("very common password")
    change("not it", GOOD, GOOD)
    refused(page, "old_password").to_have_text("This is not your password.")
    page.click("main .field:has([name=new_password]) .reveal")
    expect(page, "input[name=new_password]").to_have_attribute("type", "text")
    change(temporary, GOOD, GOOD)
    expect(page, "main [role=status]:has-text('Your other logins have ended')").to_be_visible()
    expect(page, "input[name=new_password]").to_have_attribute("type", "password")
    expect(page, "main .notice").to_be_hidden()
    expect(other, "#farewell").to_contain_text("password of this account has been changed")
    expect(page, "#state").to_have_attribute("data-tone", "good")
    page.reload()
    expect(page, "main .facts").to_contain_text("bob")
    log_in(other, "bob", GOOD)
    expect(other, "#toasts").to_contain_text("Your last login was")
    other.click("#log-out")
    expect(other, "main h1").to_have_text("Log in")
    expect(other, "#farewell").to_have_count(0)


def test_a_user_is_made_and_deleted(open_console: Visitors, demo: Demo) -> None:
    """A new user logs in; deleted, all their pages are at the login at once, and the row is gone everywhere."""
    admin, second = open_console("admin", "users"), open_console("admin", "users")
    expect(second, "tbody tr").not_to_have_count(0)
    keep_toasts(admin)
    keep_toasts(second)
    admin.click("#new-user")
    admin.press("dialog input[name=username]", "Enter")
    expect(admin, "dialog .error:not(:empty)").to_have_text("Please fill this in.")
    admin.fill("dialog input[name=username]", "dora")
    admin.fill("dialog input[name=roles]", "no/role")
    admin.press("dialog input[name=roles]", "Enter")
    expect(admin, "dialog .field:has([name=roles]) .error").to_contain_text("1 to 64 characters")
    admin.fill("dialog input[name=roles]", "")
    # However often it is sent, it is sent once.
    asked: list[str] = []
    admin.on("request", lambda request: asked.append(request.method))
    admin.eval_on_selector("dialog form", "form => { form.requestSubmit(); form.requestSubmit(); }")
    temporary = admin.input_value("#secret")
    assert asked.count("POST") == 1
    look(admin, "users-secret")
    admin.keyboard.press("Escape")
    expect(admin, "tbody tr:has-text('dora')").to_have_count(1)
    expect(admin, "tbody tr:has-text('dora') button").to_be_focused()
    user_id = admin.get_attribute("tbody tr:has-text('dora')", "data-id")

    pages = [open_console(), open_console(language="zh")]
    for page in pages:
        log_in(page, "dora", temporary)
        connected(page)
    # Without a look at the clock: what is heard is enough for the second administrator's list and its search.
    second.evaluate("window.setInterval = () => 0")
    go(second, "profile")
    go(second, "users")
    second.fill("input[name=search]", "DOR")
    expect(second, "tbody tr").to_have_count(1)
    expect(second, f"{row(user_id)} .pill").to_have_text("Online")
    # One who edits meanwhile is told.
    second.click(f"{row(user_id)} button")
    manage(admin, user_id, "Delete user")
    for page, words in zip(pages, ("This account has been deleted.", "此账号已被删除。"), strict=True):
        expect(page, "#farewell").to_have_text(words)
    expect(second, "dialog").to_have_count(0)
    expect(second, "#toasts").to_contain_text("dora has just been deleted")
    expect(second, ".empty").to_contain_text("Nobody has “DOR”")
    expect(admin, "tbody tr:has-text('dora')").to_have_count(0)
    expect(admin, "dialog").to_have_count(0)
    expect(admin, "#new-user").to_be_focused()
    pages[0].reload()
    expect(pages[0], "input[name=username]").to_be_focused()
    assert pages[0].evaluate("sessionStorage.length") == 0

    # The last administrator stays.
    manage(admin, "admin", "Delete user")
    expect(admin, "#toasts").to_contain_text("last administrator")


def test_who_is_there_and_what_was_missed(open_console: Visitors, demo: Demo) -> None:
    """Whoever is disconnected by an administrator does not come back; a list that lost the line asks anew."""
    admin = open_console("admin", "profile", expected=LOST)
    keep_toasts(admin)
    admin.evaluate("window.setInterval = () => 0")
    with demo.http() as http:
        carol = create(http, username="carol")
        page = open_console()
        log_in(page, "carol", GOOD)
        connected(page)
        go(page, "profile")
        expect(page, ".connections li").to_have_count(1)
        expect(page, ".connections li .tag").to_have_text("this page")
        go(admin, "users")
        expect(admin, f"{row(carol)} .pill").to_have_text("Online")
        manage(admin, carol, "Disconnect")
        expect(page, "#state").to_have_attribute("data-tone", "bad")
        expect(admin, "#toasts").to_contain_text("Connections of carol closed: 1.")
        admin.keyboard.press("Escape")
        expect(admin, f"{row(carol)} .pill").to_have_text("Offline")
        page.reload()
        connected(page)

        # Nothing tells of a new user: only the connection that comes back makes the list ask.
        expect(admin, "tbody tr:has-text('emil')").to_have_count(0)
        create(http, username="emil")
        http.post("/api/v1/users/admin/disconnect", json={"code": 3001}).raise_for_status()
        expect(admin, "tbody tr:has-text('emil')").to_have_count(1)


def test_pages_of_many(open_console: Visitors, demo: Demo) -> None:
    """Users come page by page, by name; the last page, emptied, gives way to the one before."""
    with demo.http() as http:
        made = [create(http, username=f"zoe{number:02}") for number in range(51)]
        eve = create(http, username="eve", roles=["admin"])
        page = open_console()
        log_in(page, "eve", GOOD)
        connected(page)
        go(page, "users")
        page.fill("input[name=search]", "zoe")
        expect(page, ".count").to_contain_text("51 found")
        expect(page, "tbody tr").to_have_count(50)
        expect(page, ".pages button").to_have_count(2)
        playwright.expect(page.get_by_role("button", name="Previous")).to_be_disabled()
        page.get_by_role("button", name="Next").click()
        expect(page, "tbody tr strong").to_have_text(["zoe50"])
        http.delete(f"/api/admin/users/{made[-1]}").raise_for_status()
        expect(page, "tbody tr").to_have_count(50)
        expect(page, ".pages").to_be_hidden()
        for user_id in made[:-1]:
            http.delete(f"/api/admin/users/{user_id}").raise_for_status()
        expect(page, ".empty").to_contain_text("Nobody")
        # Who is logged out leaves nothing behind that could still be clicked.
        page.fill("input[name=search]", "")
        page.click(f"{row('bob')} button")
        http.delete(f"/api/admin/users/{eve}").raise_for_status()
        expect(page, "#farewell").to_have_text("This account has been deleted.")
        expect(page, "dialog").to_have_count(0)


WORDS = {
    "en": "This account is logged in on another device. Please log in again.",
    "zh": "此账号已在其他设备上登录，请重新登录。",
    "ja": "このアカウントは他のデバイスでログインされています。再度ログインしてください。",
}


def test_the_next_login_throws_the_last_out(open_strict: Visitors, strict: Demo) -> None:
    """At once, to the login page, with the document's words; and who is out does not come back by itself."""
    out: list[Any] = []
    sockets: list[str] = []
    inside = open_strict("alice", "profile", by="password", language="ja")
    for language in ("zh", "en", "ja"):
        last, words = inside, WORDS[inside.evaluate("document.documentElement.lang")]
        last.evaluate("window.untouched = true")
        last.on("websocket", lambda socket: sockets.append(socket.url))
        inside = open_strict("alice", "profile", by="password", language=language)
        expect(last, "#farewell").to_have_text(words)
        expect(last, "#nav").to_be_hidden()
        expect(last, "main h1").to_be_focused()
        out.append(last)
    for page in out:
        # What brings others back at once.
        page.evaluate(
            "document.dispatchEvent(new Event('visibilitychange')); dispatchEvent(new Event('online'))"
        )
        assert page.evaluate("window.untouched")
        assert page.evaluate("sessionStorage.length") == 0
    expect(inside, ".connections li .tag").to_have_count(1)
    expect(inside, "#state").to_have_attribute("data-tone", "good")
    with strict.http() as http:
        found = http.get("/api/v1/users/alice/connections").raise_for_status().json()["connections"]
    assert len(found) == 1
    assert sockets == []
    # A server that does not tell who is online all at once is asked about each that is shown.
    admin = open_strict("admin", "users")
    expect(admin, ".count").to_contain_text("more than 1 online")
    expect(admin, f"{row('alice')} .pill").to_have_text("Online")
    expect(admin, f"{row('bob')} .pill").to_have_text("Offline")


def test_an_answer_that_overtakes_the_reason(open_console: Visitors, demo: Demo) -> None:
    """A request that is refused before the socket has said why waits for it; where nothing is said, it ends it."""
    with demo.http() as http:
        fay = create(http, username="fay")
        told, untold = open_console(), open_console()
        for page in (told, untold):
            log_in(page, "fay", GOOD)
            connected(page)
            page.evaluate(OVERTAKEN)
            go(page, "profile")
            page.wait_for_function("() => window.waited !== undefined")
            expect(page, "#state").to_have_attribute("data-tone", "good")
        untold.evaluate("window.waited()")
        expect(untold, "#farewell").to_have_text("Your login has ended. Please log in again.")
        http.delete(f"/api/admin/users/{fay}").raise_for_status()
        expect(told, "#farewell").to_have_text("This account has been deleted.")


def test_a_token_that_ends(open_strict: Visitors, strict: Demo) -> None:
    """A login's token is renewed without a word; one that nobody renews leads to the login page when it ends."""
    secret = kept_secret(strict._folder / Server().data_dir)
    assert secret is not None
    brought = open_strict()
    page = open_strict("alice", "profile", by="password")
    page.evaluate("window.untouched = true")
    # Of another issuer, who renews it, or does not.
    ending = forged(secret=secret, sub="carol", exp=int(time.time()) + 15)
    brought.goto(f"{strict.url}#token={ending}")
    token = "sessionStorage.getItem('tidings.token')"
    for _ in range(2):
        before = page.evaluate(token)
        page.wait_for_function(f"before => {token} !== before", arg=before)
    expect(page, "#state").to_have_attribute("data-tone", "good")
    assert page.evaluate("window.untouched")
    expect(brought, "#farewell").to_have_text("Your login has expired. Please log in again.")
    assert brought.evaluate(token) is None


def test_who_guesses_waits(open_strict: Visitors) -> None:
    """Past the attempts of an account the page says for how long, and lets another account try at once."""
    page = open_strict()
    for _ in range(2):
        log_in(page, "bob", "a guess")
        refused(page, "password").to_contain_text("is wrong")
    log_in(page, "bob", "a guess")
    refused(page, "password").to_have_text(re.compile(r"Too many failed logins: try again in \d+ s"))
    expect(page, "main button[type=submit] >> nth=0").to_have_text(re.compile(r"^Wait \d+ s$"))
    expect(page, "main button[type=submit] >> nth=0").to_be_disabled()
    look(page, "login-limited")
    check_access(page)
    page.fill("input[name=username]", "carol")
    expect(page, "main button[type=submit] >> nth=0").to_be_enabled()
    # What the keyboard is set to is said at the field, and what is typed can be seen.
    page.focus("input[name=password]")
    page.evaluate(
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {modifierCapsLock: true}))"
    )
    expect(page, ".field:has([name=password]) [role=status]").to_have_text("Caps Lock is on.")
    page.click(".field:has([name=password]) .reveal")
    expect(page, "input[name=password]").to_have_attribute("type", "text")
    page.press("input[name=password]", "Enter")
    refused(page, "password").to_have_text("Please fill this in.")


def test_dialogs_and_forms_read_well(open_console: Visitors, demo: Demo) -> None:
    """Accessible and no wider than a telephone, with errors shown, in the language with the longest words."""
    page = open_console("admin", "users", language="ja")
    page.click(f"{row('admin')} button")
    page.fill("dialog input[name=email]", "nobody")
    page.press("dialog input[name=email]", "Enter")
    expect(page, "dialog .error:not(:empty)").to_contain_text("@")
    look(page, "users-edit")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        check_access(page)
        assert sideways(page) == 0
    page.keyboard.press("Escape")
    go(page, "profile")
    page.fill("main input[name=email]", "nobody")
    page.press("main input[name=email]", "Enter")
    refused(page, "email").to_contain_text("@")
    page.click("main form:has([name=again]) button[type=submit]")
    expect(page, "main .error:not(:empty)").to_have_count(4)
    look(page, "profile-errors")
    check_access(page)
    assert sideways(page) == 0
