"""The line board in real pages: what devices report is there at once, for whom it is meant, and nobody else."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

import pytest
from support.console import LOST, Demo, Visitors, check_access, connected, go, look, playwright
from support.line_desk import Desk, customer_of
from support.long_page import ACCOUNTS, Sample, Watch, growth, opened

pytestmark = pytest.mark.slow

GROUPS = "/api/v1/lines/groups"
FIGURES = (
    *("online_accounts", "total_accounts", "today_incoming", "today_duplicate", "total_incoming"),
    "duplicate_incoming",
)


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


def shows(page: Any, **figures: int) -> None:
    """Wait until the tiles show these figures."""
    for name, value in figures.items():
        expect(page, f"[data-figure={name}] .value").to_have_text(f"{value:,}")


def row_of(page: Any, account: str) -> Any:
    return page.locator(f'.accounts tr[data-account="{account}"]')


def shows_what_http_says(page: Any, demo: Demo, east: "East") -> None:
    """The page's figures are in the end those that are asked for, of the group and of each of its accounts."""
    with demo.http() as http:
        told = http.get(f"{GROUPS}/{east.id}").json()
        accounts = http.get(f"{GROUPS}/{east.id}/accounts").json()["accounts"]
    shows(page, **{name: told["figures"][name] for name in FIGURES})
    columns = ("total_incoming", "today_incoming", "duplicate_incoming", "today_duplicate")
    for account in accounts:
        row = row_of(page, account["line_account_id"])
        for name in columns:
            playwright.expect(row.locator(f".of-{name}")).to_have_text(f"{account[name]:,}")


@dataclass
class East:
    """A group, and the name of a user of it."""

    id: int
    code: str
    user: str

    @property
    def route(self) -> str:
        """Its page, for administrators."""
        return f"board/{self.id}"


@pytest.fixture
def east(demo: Demo) -> East:
    """A group of the test's own, whose user has a token of another issuer."""
    with demo.http() as http:
        made = http.post(GROUPS, json={"name": "East"}).json()
    user = f"east-{made['id']}"
    demo.tokens[user] = demo.token(user, group_id=str(made["id"]), ttl=3600)
    return East(made["id"], made["activation_code"], user)


def test_two_dashboards_see_what_a_device_reports(open_console: Visitors, demo: Demo, east: East) -> None:
    """Accounts, lines, duplicates, changes and absence, at once in both; of another group nothing, in either."""
    with demo.http() as http:
        west = http.post(GROUPS, json={"name": "West", "time_zone": "Asia/Tokyo"}).json()
    admin, user = open_console("admin", east.route), open_console(east.user, "board")
    both = (admin, user)
    for page in both:
        expect(page, "#group-title").to_have_text("East")
        expect(page, ".heading code").to_have_text(east.code)
        expect(page, ".accounts .empty").to_contain_text(east.code)
        expect(page, ".incoming .empty").to_be_visible()
    # What only administrators have.
    for selector in ("#new-group", ".groups", ".heading .danger"):
        expect(admin, selector).to_be_visible()
        expect(user, selector).to_have_count(0)

    with Desk(demo.port, east.code) as desk, Desk(demo.port, west["activation_code"], "west") as other:
        desk.ask(
            "sync_line_accounts",
            [
                {"line_account_id": "a1", "display_name": "Front desk", "platform": "line"},
                {"line_account_id": "a2"},
                {"line_account_id": "a10", "online_status": "away"},
            ],
        )
        other.sync("secret-account")
        desk.incoming("a1", "ann", customer_name="<img src=x onerror=alert(1)>")
        desk.incoming("a1", "ann")
        desk.incoming("a2", "ben")
        for _ in range(3):
            other.incoming("secret-account", "secret-customer")
        for page in both:
            shows(page, online_accounts=2, total_accounts=3, total_incoming=3, today_duplicate=1)
            # By name, numbers as numbers; the figures in the row of their account.
            playwright.expect(page.locator(".accounts tbody th")).to_have_text(
                ["a2", "a10", "Front deska1 · line"]
            )
            playwright.expect(page.locator(".accounts tbody .pill")).to_have_text(
                ["Online", "away", "Online"]
            )
            playwright.expect(page.locator(".incoming .customer")).to_have_text(["ben", "ann", "ann"])
            playwright.expect(page.locator(".incoming li").nth(1)).to_contain_text("Duplicate")
            playwright.expect(page.locator(".incoming .tag")).to_have_count(1)
            expect(page, ".incoming .details").to_have_text("customer_name: <img src=x onerror=alert(1)>")
        # The other group's figures are in the administrator's list, as they change, and nowhere else.
        playwright.expect(admin.locator(".groups tr", has_text="West")).to_have_text(
            f"West1 / 1323{west['activation_code']}"
        )

        # Sorted by what came in, then looked for.
        user.click(".accounts .of-total_incoming button")
        expect(user, ".accounts .of-total_incoming[aria-sort]").to_have_attribute("aria-sort", "descending")
        playwright.expect(user.locator(".accounts .name")).to_have_text(["Front desk", "a2", "a10"])
        user.fill(".accounts input", "FRONT")
        playwright.expect(user.locator(".accounts .name")).to_have_text(["Front desk"])
        user.fill(".accounts input", "nobody")
        expect(user, ".accounts .empty").to_be_visible()
        user.fill(".accounts input", "")

        # Paused, the list stands still, and counts; the other goes on.
        user.click(".incoming .head button")
        desk.incoming("a2", "cleo")
        desk.incoming("a10", "dan")
        expect(user, ".incoming .head .hint").to_have_text("2 more since")
        playwright.expect(user.locator(".incoming .customer")).to_have_text(["ben", "ann", "ann"])
        playwright.expect(admin.locator(".incoming .customer").first).to_have_text("dan")
        user.click(".incoming .head button")
        playwright.expect(user.locator(".incoming .customer").first).to_have_text("dan")

        desk.ask("customer_sync", {"customer_id": "ann", "line_account_id": "a1", "name": "Ann Lee"})
        desk.ask("follow_up_sync", {"customer_id": "ann", "content": "called back"})
        user.get_by_role("button", name="Customers", exact=True).click()
        expect(user, ".records tbody td.mono").to_have_text("a1")
        user.get_by_role("button", name="ann", exact=True).click()
        expect(user, ".records tbody .content").to_have_text("called back")
        expect(user, ".records .only").to_contain_text("ann")

        desk.ask("account_status_change", {"line_account_id": "a10", "online_status": "online"})
        for page in both:
            shows(page, online_accounts=3)
            shows_what_http_says(page, demo, east)
            check_access(page)
        look(admin, "board")
        look(user, "board-user")

        # A chart of each figure, by its tile; as a sentence for whoever does not see it.
        admin.click("[data-figure=total_incoming]")
        expect(admin, "#course-title").to_have_text("Incoming in all, since this page was opened")
        chart = admin.locator(".charts svg[role=img]").nth(1)
        playwright.expect(chart).to_have_attribute("aria-label", lately("Incoming in all: now 5"))

    # The device is gone, and with it its accounts; figures stay.
    for page in both:
        shows(page, online_accounts=0, total_accounts=3, total_incoming=5)
        playwright.expect(page.locator(".accounts tbody .pill")).to_have_text(["Offline"] * 3)
        assert "secret" not in page.content()
    for message in ("West", west["activation_code"]):
        assert message not in user.content()


def test_an_administrator_keeps_groups_and_codes(open_console: Visitors, demo: Demo, east: East) -> None:
    """A group is made, renamed and given another code, as whoever watches it sees at once; wrong input is told."""
    admin, user = open_console("admin", "board"), open_console(east.user, "board")
    expect(user, "#group-title").to_have_text("East")
    admin.click("#new-group")
    admin.fill("dialog input[name=name]", "South")
    admin.fill("dialog input[name=time_zone]", "asia/shanghai")
    admin.press("dialog input[name=time_zone]", "Enter")
    expect(admin, "dialog [aria-invalid]").to_have_value("asia/shanghai")
    expect(admin, "dialog .field:last-of-type .error, dialog .error").to_contain_text(
        ["", "is it Asia/Shanghai?", ""]
    )
    check_access(admin)
    admin.fill("dialog input[name=time_zone]", "Asia/Shanghai")
    admin.press("dialog input[name=time_zone]", "Enter")
    expect(admin, "#group-title").to_have_text("South")
    expect(admin, ".heading .names .hint").to_contain_text("Asia/Shanghai")
    expect(admin, ".groups [aria-current]").to_have_text("South")
    admin.get_by_role("button", name="Edit").click()
    admin.fill("dialog input[name=name]", "东组")
    admin.press("dialog input[name=name]", "Enter")
    expect(admin, "#group-title").to_have_text("东组")
    expect(admin, ".groups [aria-current]").to_have_text("东组")

    go(admin, east.route)
    expect(admin, ".heading code").to_have_text(east.code)
    with Desk(demo.port, east.code) as desk:
        desk.sync("k1")
        shows(user, online_accounts=1)
        admin.get_by_role("button", name="New code").click()
        admin.locator("dialog button[value=no]").click()
        expect(user, ".heading code").to_have_text(east.code)
        admin.get_by_role("button", name="New code").click()
        admin.locator("dialog button[value=yes]").click()
        expect(admin, ".heading code").not_to_have_text(east.code)
        code = admin.locator(".heading code").text_content()
        expect(user, ".heading code").to_have_text(code)
        # Its device has been sent away, and it shows.
        shows(user, online_accounts=0)
    with Desk(demo.port, code) as desk:
        desk.sync("k1")
        shows(user, online_accounts=1)
        admin.get_by_role("button", name="Disable").click()
        admin.locator("dialog button[value=yes]").click()
        for page in (admin, user):
            expect(page, ".heading code").to_have_text("none")
            shows(page, online_accounts=0)
        expect(admin, ".heading .danger").to_be_hidden()
    with demo.http() as http:
        code = http.post(f"{GROUPS}/{east.id}/codes").json()["activation_code"]
    expect(user, ".heading code").to_have_text(code)


def test_an_account_that_comes_while_another_is_asked_for(
    open_console: Visitors, demo: Demo, east: East
) -> None:
    """What the answer under way does not have yet is asked for again."""
    page = open_console(east.user, "board")
    expect(page, ".accounts .empty").to_contain_text(east.code)
    under_way: list[tuple[Any, Any]] = []

    def answer_late(route: Any) -> None:
        if under_way:
            route.continue_()
        else:
            under_way.append((route, route.fetch()))

    pattern = f"**{GROUPS}/{east.id}/accounts?*"
    page.route(pattern, answer_late)
    with Desk(demo.port, east.code) as desk:
        with page.expect_request(pattern):
            desk.sync("early")
        while not under_way:
            page.wait_for_timeout(10)
        desk.sync("early", "late")
        shows(page, total_accounts=2)
        ((route, answer),) = under_way
        route.fulfill(response=answer)
        for account in ("early", "late"):
            playwright.expect(row_of(page, account)).to_have_count(1)


def test_bursts_leave_the_page_at_work(open_console: Visitors, demo: Demo, east: East) -> None:
    """2,000 lines in bursts: clicks are answered between them, the page grows no further, and no line is lost."""
    page = open_console(east.user, "board")
    expect(page, "#group-title").to_have_text("East")
    accounts = [f"b{number}" for number in range(150)]
    tiles = page.locator(".figures .tile")
    with Desk(demo.port, east.code) as desk:
        desk.sync(*accounts)
        for number in range(8):
            desk.burst([(accounts[n % 150], f"c{number}") for n in range(250)])
            tiles.nth(number % 6).click()
            playwright.expect(tiles.nth(number % 6)).to_have_attribute("aria-pressed", "true")
        shows(page, total_incoming=2000, online_accounts=150)
        playwright.expect(page.locator(".incoming li")).to_have_count(100)
        playwright.expect(page.locator(".accounts tbody tr")).to_have_count(100)
        with demo.http() as http:
            lines = http.get(f"{GROUPS}/{east.id}/incoming?limit=1").json()["incoming"]
        newest = page.locator(".incoming li").first
        playwright.expect(newest).to_have_attribute("data-line", str(lines[0]["id"]))
        page.click(".accounts .more button")
        playwright.expect(page.locator(".accounts tbody tr")).to_have_count(150)
        # All of the last minute, as the chart has them.
        chart = page.locator(".charts svg[role=img]").first
        playwright.expect(chart).to_have_attribute("aria-label", lately("Incoming: now 2,00"))


_SESSION = 'async (what) => (await import("./lib/session.js")).session.tidings[what]()'


def test_what_was_missed_is_there_after_an_outage(open_console: Visitors, demo: Demo, east: East) -> None:
    """Without a connection for a while, or with a server that was killed: all that came in is there, once."""
    page = open_console(east.user, "board", expected=LOST)
    other = open_console("admin", east.route, expected=LOST)
    customers = page.locator(".incoming .customer")
    with Desk(demo.port, east.code) as desk:
        desk.sync("m1")
        playwright.expect(row_of(page, "m1").locator(".pill")).to_have_text("Online")
        desk.incoming("m1", "ann")
        playwright.expect(customers).to_have_text(["ann"])
        page.evaluate(_SESSION, "disconnect")
        expect(page, "#state").not_to_have_attribute("data-tone", "good")
        desk.incoming("m1", "ben")
        desk.ask("account_status_change", {"line_account_id": "m1", "online_status": "away"})
        # Whoever is there has been told, and it is not told again.
        shows(other, total_incoming=2, online_accounts=0)
        page.evaluate(_SESSION, "connect")
        connected(page)
        # Lines are sent again; figures are not, and have to be asked for.
        playwright.expect(customers).to_have_text(["ben", "ann"])
        playwright.expect(row_of(page, "m1").locator(".pill")).to_have_text("away")
        shows_what_http_says(page, demo, east)
    # Nothing is heard until the page is let back in.
    page.context.set_offline(True)
    demo.kill()
    expect(page, "#state").not_to_have_attribute("data-tone", "good")
    demo.start()
    with Desk(demo.port, east.code) as desk:
        desk.sync("m1", "late", online_status="busy")
        desk.incoming("late", "eve")
        page.context.set_offline(False)
        connected(page)
        playwright.expect(customers).to_have_text(["eve", "ben", "ann"])
        playwright.expect(row_of(page, "late").locator(".pill")).to_have_text("busy")
        shows_what_http_says(page, demo, east)
        # And it goes on from there.
        desk.incoming("late", "fay")
        playwright.expect(customers).to_have_text(["fay", "eve", "ben", "ann"])


def test_a_page_left_open_does_not_grow(open_console: Visitors, demo: Demo) -> None:
    """Thousands of messages are heard and forgotten; that a page which keeps them would be noticed is tried, too.

    The same over half an hour: `python tests/console/long_page.py`.
    """
    numbers = itertools.count()
    with Desk(demo.port, demo.code) as desk:
        desk.sync(*ACCOUNTS, display_name="Front desk")
        page = opened(open_console)
        watch = Watch(page)

        def report(lines: int) -> None:
            """In frames of one line of each account; every line is a message, and figures come between them."""
            with watch.messages(lines):
                for _ in range(0, lines, len(ACCOUNTS)):
                    desk.burst([(account, customer_of(next(numbers))) for account in ACCOUNTS])

        def samples(lines: int) -> list[Sample]:
            found = []
            for _ in range(6):
                report(lines)
                found.append(watch.take())
            return found

        # Until every list is full.
        report(600)
        assert growth(samples(400), LEAK) == []
        page.evaluate(_KEEP)
        # A margin's worth above what is kept, however much the heap goes up and down.
        grown = growth(samples(600), LEAK)
    assert [fault.partition(":")[0] for fault in grown] == ["heap", "nodes"]


# A page with a leak: it keeps each message, what was made of it, and a row that nobody sees.
_KEEP = """async () => {
  const { session } = await import("./lib/session.js");
  window.kept = [];
  session.tidings.on("*", (data, message) => {
    const row = ["tr", "td", "td"].map((tag) => document.createElement(tag));
    kept.push({ row, message, text: JSON.stringify(message), words: Object.entries(data) });
  });
}"""

# Between the medians of the thirds are 1,600 messages and more; a heap of three megabytes goes up and down by half
# of one while the engine compiles.
LEAK = 1_000_000


def lately(text: str) -> re.Pattern[str]:
    """Any text with this one in it."""
    return re.compile(re.escape(text))
