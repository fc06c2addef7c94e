"""The routes of the line board on a running server: who may ask what, groups and their codes, and pages."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from support.accounts import error
from support.lines_rows import accounts_of, group_of, line, lines_connection
from support.notifications import (
    KEY,
    NotifiedSite,
    ask_with_key,
    notified_config,
    notified_site,
)

from tidings.protocol.publications import iso_milliseconds
from tidings.server.apps.lines.accounts import load_accounts
from tidings.server.apps.lines.app import lines_app
from tidings.server.apps.lines.customers import sync_customer, sync_follow_up
from tidings.server.apps.lines.incoming import add_lines
from tidings.server.extension.tables import wall_ms

GROUPS: Final = "/api/v1/lines/groups"
EAST: Final = f"{GROUPS}/1"

ADMINS: Final[list[tuple[str, str, Any]]] = [
    ("POST", GROUPS, {"name": "north"}),
    ("PATCH", EAST, {}),
    ("POST", f"{EAST}/codes", None),
    ("GET", f"{EAST}/codes", None),
    ("DELETE", f"{EAST}/codes/1", None),
]
#: When the lines came: not today, and not so long ago that they are swept away.
THEN: Final = wall_ms() - 3 * 86_400_000
READING: Final = [EAST, *(f"{EAST}/{what}" for what in ("accounts", "incoming", "customers", "follow-ups"))]


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[NotifiedSite]:
    """Two groups, the first with five accounts, eleven lines, five customers and five follow-ups."""
    with lines_connection("", tmp_path) as connection:
        east = group_of(connection, "east", "Asia/Shanghai")
        group_of(connection, "west")
        made = accounts_of(connection, east, *(f"a{n}" for n in range(5)))
        lines = [line(made[0], str(n % 4), at=THEN + n, details='{"text":"你好"}') for n in range(10)]
        add_lines(connection, [*lines, line(made[1], "0", at=THEN + 10)])
        for n in range(5):
            its: dict[str, Any] = {"customer_id": f"c{n}", "details": f'{{"n":{n}}}', "now_ms": n}
            sync_customer(connection, east.id, account_id=made[0].id if n else None, **its)
            sync_follow_up(connection, east.id, client_id=None, content=f"f{n}", **its)
        connection.commit()
    config = notified_config(tmp_path)
    async with notified_site(config, beside=[lines_app(config.lines)]) as site:
        yield site


async def test_who_may_ask_what_of_the_board(board: NotifiedSite) -> None:
    """Nobody without credentials; administrators and keys all; a group's own users read it, and no other."""
    own, other = board.site.token("u1", group_id=1), board.site.token("u2", group_id=2)
    nobody = board.site.token("u3")
    for method, path, body in [*ADMINS, *(("GET", path, None) for path in READING)]:
        more = {} if body is None else {"json": body}
        assert error(await board.ask(method, path, **more))[:2] == (401, "unauthorized"), path
    for method, path, body in ADMINS:
        more = {} if body is None else {"json": body}
        assert error(await board.ask(method, path, own, **more))[:2] == (403, "forbidden"), path
        await board.done(method, path, board.root, **more)
        assert (await ask_with_key(board.http, method, path, KEY, **more)).is_success, path
    for path in READING:
        for token in (other, nobody):
            assert error(await board.ask("GET", path, token))[:2] == (403, "forbidden"), path
        for token in (own, board.root):
            await board.done("GET", path, token)
        # Who may read one group learns of no other, nor whether it is there.
        for unknown in ("2", "77"):
            refused = error(await board.ask("GET", path.replace(EAST, f"{GROUPS}/{unknown}"), own))
            assert refused[:2] == (403, "forbidden")
        missing = error(await board.ask("GET", path.replace(EAST, f"{GROUPS}/77"), board.root))
        assert missing[:2] == (404, "not_found")


async def test_a_groups_users_see_their_own_group_alone(board: NotifiedSite) -> None:
    """In the list as by its id, with its code and figures, as administrators see it; others see an empty list."""
    everything = (await board.done("GET", GROUPS, board.root))["groups"]
    assert [each["name"] for each in everything] == ["east", "west"]
    for group in everything:
        token = board.site.token(f"u{group['id']}", group_id=str(group["id"]))
        assert await board.done("GET", GROUPS, token) == {"groups": [group]}
        assert await board.done("GET", f"{GROUPS}/{group['id']}", token) == group
    # A group's name is no group's id, nor is a number that is written otherwise.
    for elsewhere in ("77", "east", "01", "1:1"):
        token = board.site.token("u3", group_id=elsewhere)
        assert await board.done("GET", GROUPS, token) == {"groups": []}
    assert await board.done("GET", GROUPS, board.site.token("u4")) == {"groups": []}
    assert error(await board.ask("GET", GROUPS))[:2] == (401, "unauthorized")


async def test_a_group_and_its_codes(board: NotifiedSite) -> None:
    """A group is made with a code; a new one takes its place; a disabled one leaves none."""
    root = board.root
    made = await board.done("POST", GROUPS, root, json={"name": "东组", "time_zone": "Asia/Tokyo"})
    at = f"{GROUPS}/{made['id']}"
    assert (made["name"], made["time_zone"], set(made["figures"].values())) == ("东组", "Asia/Tokyo", {0})
    code = made["activation_code"]
    assert len(code) == 8
    assert set(code) <= set("23456789ABCDEFGHJKLMNPQRSTUVWXYZ")
    assert await board.done("GET", at, root) == made
    everything = (await board.done("GET", GROUPS, root))["groups"]
    assert [group["name"] for group in everything] == ["east", "west", "东组"]
    assert everything[2] == made
    figures = everything[0]["figures"]
    assert (figures["total_accounts"], figures["online_accounts"]) == (5, 0)
    assert (figures["total_incoming"], figures["duplicate_incoming"], figures["today_incoming"]) == (
        11,
        6,
        0,
    )
    changed = await board.done("PATCH", at, root, json={"name": "new", "time_zone": "UTC"})
    assert changed == {**made, "name": "new", "time_zone": "UTC"}
    assert await board.done("PATCH", at, root, json={}) == changed
    renewed = await board.done("POST", f"{at}/codes", root)
    assert renewed["activation_code"] not in {code, None}
    codes = (await board.done("GET", f"{at}/codes", root))["codes"]
    disabled: Any = None
    told = [(each["activation_code"], each["disabled_at"] is None) for each in codes]
    assert told == [(renewed["activation_code"], True), (code, False)]
    for each in codes:
        disabled = await board.done("DELETE", f"{at}/codes/{each['id']}", root)
        assert (disabled["activation_code"], disabled["activation_code_id"]) == (None, None)
    assert await board.done("GET", at, root) == disabled
    assert error(await board.ask("DELETE", f"{EAST}/codes/{codes[0]['id']}", root))[:2] == (
        404,
        "not_found",
    )


_WRONG: Final[list[tuple[dict[str, Any], str]]] = [
    ({"time_zone": "Asia/Shanghai"}, "missing required field `name`"),
    ({"name": " \t"}, "Expected a name: not only white space, no control characters - at `$.name`"),
    ({"name": "x" * 129}, "at `$.name`"),
    (
        {"name": "x", "time_zone": "asia/shanghai"},
        "unknown time zone: is it Asia/Shanghai? - at `$.time_zone`",
    ),
    ({"name": "x", "time_zone": "Berlin"}, "unknown time zone: is it Europe/Berlin? - at `$.time_zone`"),
    ({"name": "x", "time_zone": "../../etc/passwd"}, "at `$.time_zone`"),
    ({"name": "x", "time_zone": "posixrules"}, "unknown time zone - at `$.time_zone`"),
    ({"name": "x", "zone": "UTC"}, "unknown field `zone`"),
]


async def test_wrong_groups_are_refused_by_field(board: NotifiedSite) -> None:
    """Of a zone that nobody knows the one that was meant is named; nothing is made or changed."""
    before = await board.done("GET", GROUPS, board.root)
    for body, words in _WRONG:
        status, code, message = error(await board.ask("POST", GROUPS, board.root, json=body))
        assert (status, code) == (400, "invalid_data"), body
        assert words in message
        if "name" in body:
            assert words in error(await board.ask("PATCH", EAST, board.root, json=body))[2]
    for path, expected in (
        ("0", 400),
        (str(2**53), 400),
        ("-1", 400),
        ("9" * 40, 400),
        ("x", 404),
        ("99", 404),
    ):
        for method, end in (
            ("GET", ""),
            ("PATCH", ""),
            ("POST", "/codes"),
            ("GET", "/codes"),
            ("GET", "/incoming"),
        ):
            more: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
            answer = await board.ask(method, f"{GROUPS}/{path}{end}", board.root, **more)
            assert error(answer)[0] == expected, (method, path, end)
    assert error(await board.ask("DELETE", f"{EAST}/codes/99", board.root))[:2] == (404, "not_found")
    assert await board.done("GET", GROUPS, board.root) == before


async def test_pages_of_what_devices_reported(board: NotifiedSite) -> None:
    """Each row comes once, whatever the size of the pages, with its fields as the device sent them."""
    token = board.site.token("u1", group_id=1)

    async def listed(what: str, cursor: str, limit: int, **params: Any) -> list[Any]:
        found: list[Any] = []
        place: Any = None
        while True:
            asked = {"limit": limit, **params, **({} if place is None else {cursor: place})}
            page = await board.done("GET", f"{EAST}/{what}", token, params=asked)
            rows = page[what.replace("-", "_")]
            assert len(rows) <= limit
            found += rows
            place = page["next"]
            if place is None:
                return found

    accounts: list[Any] = []
    incoming, customers, follow_ups = accounts, accounts, accounts
    for limit in (1, 2, 5, 200):
        accounts = await listed("accounts", "after", limit)
        assert [each["line_account_id"] for each in accounts] == ["a0", "a1", "a2", "a3", "a4"]
        incoming = await listed("incoming", "before", limit)
        assert len({each["id"] for each in incoming}) == 11
        customers = await listed("customers", "before", limit)
        assert [each["customer_id"] for each in customers] == ["c4", "c3", "c2", "c1", "c0"]
        follow_ups = await listed("follow-ups", "before", limit)
        assert [each["content"] for each in follow_ups] == ["f4", "f3", "f2", "f1", "f0"]
    first = accounts[0]
    assert (first["total_incoming"], first["duplicate_incoming"], first["online_status"]) == (
        10,
        6,
        "offline",
    )
    own = await listed("incoming", "before", 3, account=first["id"])
    assert [(each["incoming_line_id"], each["duplicate"]) for each in own[-5:]] == [
        *(("0", True), ("3", False), ("2", False), ("1", False), ("0", False)),
    ]
    assert own[-1]["received_at"] == iso_milliseconds(THEN)
    assert own[-1]["details"] == {"text": "你好"}
    assert (incoming[0]["line_account_id"], incoming[0]["details"]) == ("a1", {})
    assert (customers[0]["line_account_id"], customers[4]["line_account_id"]) == ("a0", None)
    assert (customers[3]["details"], follow_ups[3]["details"]) == ({"n": 1}, {"n": 1})
    assert [each["content"] for each in await listed("follow-ups", "before", 9, customer="c3")] == ["f3"]
    assert await listed("follow-ups", "before", 9, customer="\0") == []
    for params in ({"limit": 0}, {"limit": 201}, {"before": 0}, {"before": "x"}):
        assert error(await board.ask("GET", f"{EAST}/incoming", token, params=params))[:2] == (
            400,
            "invalid_data",
        )
    kept = await board.push.tables.read(partial(load_accounts))
    assert [account.id for account in kept] == [each["id"] for each in accounts]
