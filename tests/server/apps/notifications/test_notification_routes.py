"""The routes of notifications under every caller and bad input: who is refused, how, and in which words."""

import json
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from support.accounts import error
from support.notifications import (
    BILLING,
    KEY,
    NOTE,
    NotifiedSite,
    ask_with_key,
    notified_config,
    notified_site,
)

from tidings.server.apps.notifications import pace
from tidings.server.apps.notifications.service import notifications_of

LIST: Final = "/api/v1/notifications"
WS: Final = "/api/v1/ws"
NOTIFY: Final = f"{WS}/notify/alice"

# What callers ask about themselves, and what only administrators ask; each as it would be granted.
OWN: Final[list[tuple[str, str, Any]]] = [
    ("GET", LIST, None),
    ("GET", f"{LIST}/unread", None),
    ("POST", f"{LIST}/demo", None),
    ("POST", f"{LIST}/read", {}),
    ("POST", f"{LIST}/1/read", None),
    ("DELETE", f"{LIST}/1", None),
    ("DELETE", LIST, None),
]
EITHER: Final[list[tuple[str, str, Any]]] = [
    ("POST", f"{WS}/sync-update/alice", {"device": "iPhone", "changes": 5}),
    ("GET", f"{WS}/connections/alice", None),
]
ADMINS: Final[list[tuple[str, str, Any]]] = [
    ("GET", f"{WS}/stats", None),
    ("POST", f"{WS}/broadcast", {"data": {"message": "soon"}}),
    ("POST", NOTIFY, NOTE),
]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[NotifiedSite]:
    """One in which nobody has anything yet."""
    async with notified_site(notified_config(tmp_path)) as site:
        yield site


# --- callers --------------------------------------------------------------------------------------


async def test_who_may_ask_what(site: NotifiedSite) -> None:
    """Nobody without credentials; users about themselves; a key about everybody, but it has no notifications."""
    await site.notify("alice")
    alice, bob = site.site.token("alice"), site.site.token("bob")
    for method, path, body in [*OWN, *EITHER, *ADMINS]:
        more = {} if body is None else {"json": body}
        answer = await site.ask(method, path, **more)
        assert error(answer)[:2] == (401, "unauthorized"), path
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for method, path, body in ADMINS:
        more = {} if body is None else {"json": body}
        assert error(await site.ask(method, path, alice, **more))[:2] == (403, "forbidden"), path
    for method, path, body in EITHER:
        more = {} if body is None else {"json": body}
        assert error(await site.ask(method, path, bob, **more))[:2] == (403, "forbidden"), path
        for caller in (alice, site.root):
            await site.done(method, path, caller, **more)
    for method, path, body in OWN:
        more = {} if body is None else {"json": body}
        for key in (KEY, BILLING):
            status, code, words = error(await ask_with_key(site.http, method, path, key, **more))
            assert (status, code) == (403, "forbidden"), path
            assert "a key is no user" in words
    for method, path, body in [*ADMINS, *EITHER]:
        more = {} if body is None else {"json": body}
        assert (await ask_with_key(site.http, method, path, **more)).is_success, path
    # Somebody else's are not there, whoever asks.
    assert (await site.done("GET", LIST, site.root))["notifications"] == []
    for method, path in (("POST", f"{LIST}/1/read"), ("DELETE", f"{LIST}/1")):
        assert error(await site.ask(method, path, bob))[:2] == (404, "not_found")
    assert (await site.done("GET", f"{LIST}/unread", alice))["unread"] == 2


# --- a user's list --------------------------------------------------------------------------------


async def test_a_list_and_what_becomes_of_it(site: NotifiedSite) -> None:
    """Page by page; one, some and all are read, then deleted; each answer says what is left to read."""
    alice = site.site.token("alice")
    ids = [await site.notify("alice", f"n{number}") for number in range(5)]

    async def listed(**params: Any) -> tuple[list[str], int, str | None]:
        told = await site.done("GET", LIST, alice, params=params)
        return [note["title"] for note in told["notifications"]], told["unread"], told["next"]

    assert await listed(limit=2) == (["n4", "n3"], 5, ids[3])
    assert await listed(limit=3, before=ids[3]) == (["n2", "n1", "n0"], 5, None)
    read = await site.done("POST", f"{LIST}/{ids[4]}/read", alice)
    assert read == {"changed": 1, "unread": 4}
    assert (await site.done("POST", f"{LIST}/{ids[4]}/read", alice)) == {"changed": 0, "unread": 4}
    assert await listed(unread="true") == (["n3", "n2", "n1", "n0"], 4, None)
    marked = await site.done("POST", f"{LIST}/read", alice, json={"up_to": ids[1]})
    assert marked == {"changed": 2, "unread": 2}
    newest = (await site.done("GET", LIST, alice, params={"limit": 1}))["notifications"][0]
    moment = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    assert moment.fullmatch(newest.pop("created_at"))
    assert moment.fullmatch(newest.pop("read_at"))
    assert newest == {**NOTE, "id": ids[4], "title": "n4"}
    assert await site.done("DELETE", f"{LIST}?read=true", alice) == {"changed": 3, "unread": 2}
    assert await site.done("DELETE", f"{LIST}/{ids[2]}", alice) == {"changed": 1, "unread": 1}
    assert error(await site.ask("DELETE", f"{LIST}/{ids[2]}", alice))[:2] == (404, "not_found")
    # Without a body all are meant.
    assert await site.done("POST", f"{LIST}/read", alice) == {"changed": 1, "unread": 0}
    assert await site.done("DELETE", LIST, alice) == {"changed": 1, "unread": 0}
    assert await listed() == ([], 0, None)


async def test_all_devices_hear_what_is_left_to_read(site: NotifiedSite) -> None:
    """Each change is told to every connection of the user's, also of the login that made it, and to nobody else."""
    phone, tab = site.site.token("alice", session_id="phone"), site.site.token("alice", session_id="tab")
    clients = [await site.connect(token) for token in (phone, tab, tab)]
    stranger = await site.connect(site.site.token("bob"))
    note = await site.notify("alice")
    await site.done("POST", f"{LIST}/{note}/read", tab)
    await site.done("DELETE", LIST, phone)  # what is read: the count stays
    for client in clients:
        heard = await site.heard(client, "alice")
        assert [payload["unread"] for event, payload in heard if event == "unread_count"] == [1, 0]
        assert [payload for event, payload in heard if event == "notification"] == [{**NOTE, "id": note}]
    assert await site.heard(stranger, "bob") == []
    # Nothing of a count is kept: who comes later asks.
    later = await site.connect(site.site.token("alice"), path="/ws?device=new")
    assert {event for event, _ in await site.heard(later, "alice")} == {"notification"}


# --- what is sent ---------------------------------------------------------------------------------

_LONG: Final = "x" * 4001
_WRONG: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({"title": ...}, "missing required field `title`", "$"),
    ({"message": ...}, "missing required field `message`", "$"),
    ({"titel": "x"}, "unknown field `titel`", "$"),
    ({"title": ""}, "a title: not only white space", "$.title"),
    ({"title": " \u3000\u2003"}, "a title: not only white space", "$.title"),
    ({"title": None}, "got `null`", "$.title"),
    ({"title": 5}, "got `int`", "$.title"),
    ({"title": "x" * 201}, "length <= 200", "$.title"),
    ({"title": "two\nlines"}, "no control characters", "$.title"),
    ({"title": "a\0b"}, "no control characters", "$.title"),
    ({"message": ""}, "a message: not only white space", "$.message"),
    ({"message": " \r\n\t\n "}, "a message: not only white space", "$.message"),
    ({"message": ["a"]}, "got `array`", "$.message"),
    ({"message": _LONG}, "length <= 4000", "$.message"),
    ({"message": "a\0b"}, "no control characters but tabs and line breaks", "$.message"),
    ({"message": "\x1b[31mred"}, "no control characters but tabs and line breaks", "$.message"),
    ({"type": ""}, "a type: 1 to 32 characters", "$.type"),
    ({"type": "Info"}, "a type: 1 to 32 characters", "$.type"),
    ({"type": "info\n"}, "a type: 1 to 32 characters", "$.type"),
    ({"type": "x" * 33}, "a type: 1 to 32 characters", "$.type"),
    ({"type": None}, "got `null`", "$.type"),
    ({"icon": "x" * 2049}, "1 to 2,048 characters", "$.icon"),
    ({"icon": ""}, "1 to 2,048 characters", "$.icon"),
    ({"link": "/a\r\nb"}, "no control characters", "$.link"),
    ({"link": "x" * 2049}, "1 to 2,048 characters", "$.link"),
    ({"link": "javascript:alert(1)"}, "runs in the reader's page", "$.link"),
    ({"link": "  JavaScript:alert(1)"}, "runs in the reader's page", "$.link"),
    ({"link": "data:text/html,<script>"}, "runs in the reader's page", "$.link"),
    ({"link": "VBSCRIPT:x"}, "runs in the reader's page", "$.link"),
]


async def test_what_is_wrong_with_a_notification_is_said(site: NotifiedSite) -> None:
    """In words, with the field, and nothing of it is kept or pushed."""
    for change, words, path in _WRONG:
        body = {name: value for name, value in {**NOTE, **change}.items() if value is not ...}
        status, code, told = error(await site.ask("POST", NOTIFY, site.root, json=body))
        assert (status, code) == (400, "invalid_data"), change
        assert words in told, (change, told)
        assert told.endswith(f"`{path}`"), (change, told)
    for raw, status in ((b'{"title": "\\ud800", "message": "x"}', 400), (b"[]", 400), (b"", 400)):
        answer = await site.ask("POST", NOTIFY, site.root, content=raw)
        assert answer.status_code == status, raw
    page = await site.done("GET", LIST, site.site.token("alice"))
    assert (page["notifications"], page["unread"]) == ([], 0)


async def test_text_is_carried_as_it_is(site: NotifiedSite) -> None:
    """HTML, SQL, line breaks and every script of the world come back as they went in, pushed and listed."""
    alice = site.site.token("alice")
    client = await site.connect(alice)
    text = (
        "<script>alert('x')</script> & \"; DROP TABLE notifications_notes;-- \n\t العربية 🔔 \u202e\ufdd0"
    )
    body = {
        "title": text.replace("\n\t", ""),
        "message": text,
        "type": "a_1",
        "icon": "🔔",
        "link": "x:y?<z>",
    }
    blanks = {"title": " \u3000x ", "message": "\n\t \u3000\nx\n", "type": "info"}
    for sent in (body, blanks, {"title": "x" * 200, "message": "🔔" * 4000, "type": "x" * 32}):
        note = await site.done("POST", NOTIFY, site.root, json=sent)
        listed = (await site.done("GET", LIST, alice))["notifications"][0]
        assert listed == note
        assert {name: note[name] for name in sent} == sent
        pushed = [
            payload for event, payload in await site.heard(client, "alice") if event == "notification"
        ]
        assert pushed == [{**sent, "id": note["id"]}]


async def test_a_link_may_lead_anywhere_else(site: NotifiedSite) -> None:
    """Relative ones, and those of other programs, are the front end's to open."""
    for link in (
        "/a",
        "a/b?c#d",
        "#top",
        "https://example.org/ü",
        "mailto:a@b",
        "myapp://x",
        "javascripts:x",
    ):
        note = await site.done("POST", NOTIFY, site.root, json={**NOTE, "link": link})
        assert note["link"] == link


async def test_ids_and_users_that_are_none(site: NotifiedSite) -> None:
    """No id that can be written finds a fault: 404 in a path, 400 where it is a field or a name."""
    alice = site.site.token("alice")
    await site.notify("alice")
    for wrong in ("0", "01", "-1", "1.0", "x", "9" * 19, "%00", "1%0A", "١", "1e3", "9" * 5000):
        for method, path in (("POST", f"{LIST}/{wrong}/read"), ("DELETE", f"{LIST}/{wrong}")):
            assert error(await site.ask(method, path, alice))[:2] == (404, "not_found"), (method, wrong)
        answer = await site.ask("GET", f"{LIST}?before={wrong}", alice)
        assert error(answer)[:2] == (400, "invalid_data"), wrong
        body = {"up_to": wrong}
        status, code, words = error(await site.ask("POST", f"{LIST}/read", alice, json=body))
        assert (status, code, words.endswith("`$.up_to`")) == (400, "invalid_data", True), wrong
    for wrong in ("a%20b", "%C3%A9", "a%00", "a" * 129, "a%0A", "*"):
        for method, path, sent in (
            ("POST", f"{WS}/notify/{wrong}", NOTE),
            ("POST", f"{WS}/sync-update/{wrong}", {}),
            ("GET", f"{WS}/connections/{wrong}", None),
        ):
            answer = await site.ask(method, path, site.root, json=sent)
            assert error(answer)[:2] == (400, "invalid_data"), path
    for query in ("limit=0", "limit=201", "limit=x", "unread=perhaps"):
        assert error(await site.ask("GET", f"{LIST}?{query}", alice))[:2] == (400, "invalid_data"), query
    assert (await site.done("GET", f"{LIST}/unread", alice))["unread"] == 1


async def test_a_broadcast_is_an_event_as_any(site: NotifiedSite) -> None:
    """Built-in data is checked, naming the field; another type is carried; what only the server says is not."""
    client = await site.connect(site.site.token("alice"))
    send = partial(site.ask, "POST", f"{WS}/broadcast", site.root)
    answer = await send(json={"data": {"message": "soon", "level": "warning", "at": [1, {"x": None}]}})
    assert answer.status_code == 200
    assert (answer.json()["channel"], answer.json()["offset"]) == ("all", 1)
    assert (await send(json={"type": "shift_over", "data": {"who": "alice"}})).status_code == 200
    heard = await site.heard(client, "alice")
    assert heard == [
        ("system_message", {"message": "soon", "level": "warning", "at": [1, {"x": None}]}),
        ("shift_over", {"who": "alice"}),
    ]
    for body, expected in (
        ({"data": {"message": 5}}, (400, "invalid_data", "`$.data.message`")),
        ({"data": {}}, (400, "invalid_data", "`$.data`")),
        ({"type": "notification", "data": {"title": "x"}}, (400, "invalid_data", "`$.data`")),
        ({"data": []}, (400, "invalid_data", "`$.data`")),
        ({}, (400, "invalid_data", "`$`")),
        ({"type": "a b", "data": {}}, (400, "invalid_data", "`$.type`")),
        ({"type": "pong", "data": {}}, (403, "forbidden", "connection")),
        ({"data": {"message": "x"}, "at": "2026"}, (400, "invalid_data", "`$`")),
        ({"data": {"message": "x", "big": 2**64}}, (400, "invalid_data", "")),
        ({"data": {"message": "x" * 300_000}}, (413, "too_large", "")),
    ):
        answer = await send(content=json.dumps(body).encode())
        status, code, words = error(answer)
        assert (status, code) == expected[:2], body
        assert words.endswith(expected[2]), words


async def test_a_broadcast_may_be_the_documents_whole_message(site: NotifiedSite) -> None:
    """With its timestamp and its user, whatever they are: the server dates it, and it goes to all."""
    clients = [await site.connect(site.site.token(user)) for user in ("alice", "bob")]
    data = {"message": "soon"}
    for more in (
        {"timestamp": "2026-02-09T21:00:00Z", "user_id": "alice"},
        {"timestamp": 1770670800.5, "user_id": None},
    ):
        body = {"type": "system_message", "data": data, **more}
        await site.done("POST", f"{WS}/broadcast", site.root, json=body)
    for client, user in zip(clients, ("alice", "bob"), strict=True):
        assert await site.heard(client, user) == [("system_message", data)] * 2


async def test_a_back_end_may_ask_again(site: NotifiedSite) -> None:
    """With a key: one row, one event, the same answer; another notification of the same key is a conflict."""
    alice = site.site.token("alice")
    client = await site.connect(alice)
    body = {**NOTE, "link": "/orders/7", "idempotency_key": "order-7"}
    made = await site.ask("POST", NOTIFY, site.root, json=body)
    again = await site.ask("POST", NOTIFY, site.root, json=body)
    assert (made.status_code, again.status_code, again.json()) == (201, 201, made.json())
    for change in ({"title": "x"}, {"message": "x"}, {"type": "x"}, {"link": "/x"}, {"icon": "x"}):
        status, code, words = error(await site.ask("POST", NOTIFY, site.root, json={**body, **change}))
        assert (status, code, "idempotency_key" in words) == (409, "conflict", True), change
    for wrong in ("", "x" * 129, "a\0", 5):
        answer = await site.ask("POST", NOTIFY, site.root, json={**body, "idempotency_key": wrong})
        status, code, words = error(answer)
        assert (status, code, words.endswith("`$.idempotency_key`")) == (400, "invalid_data", True), wrong
    heard = await site.heard(client, "alice")
    assert [event for event, _ in heard if event == "notification"] == ["notification"]
    assert [payload for event, payload in heard if event == "unread_count"] == [{"unread": 1}]
    # It is the row's: another user has their own, and what is deleted is forgotten.
    await site.done("POST", f"{WS}/notify/bob", site.root, json=body)
    await site.done("DELETE", LIST, alice)
    anew = await site.done("POST", NOTIFY, site.root, json=body)
    assert anew["id"] != made.json()["id"]


async def test_a_sync_update_reaches_all_devices(site: NotifiedSite) -> None:
    """Any object, whose known fields fit; from the user or an administrator; also the device that was away."""
    alice = site.site.token("alice")
    client = await site.connect(alice, path="/ws?device=phone")
    update = {"device": "iPhone", "changes": 5, "files": ["a", "b"], "<b>": {"deep": [None]}}
    for token in (alice, site.root):
        sent = await site.done("POST", f"{WS}/sync-update/alice", token, json=update)
        assert (sent["channel"], sent["durability"]) == ("user:alice", "disk")
    assert await site.heard(client, "alice") == [("sync_update", update)] * 2
    await client.aclose()
    await site.done("POST", f"{WS}/sync-update/alice", alice, json={})
    back = await site.connect(alice, path="/ws?device=phone")
    assert ("sync_update", {}) in await site.heard(back, "alice")
    for body, path in (({"device": 5}, "`$.device`"), ({"changes": "5"}, "`$.changes`"), ([], "`$`")):
        answer = await site.ask("POST", f"{WS}/sync-update/alice", alice, json=body)
        status, code, words = error(answer)
        assert (status, code, words.endswith(path)) == (400, "invalid_data", True), words


async def test_connections_and_figures(site: NotifiedSite) -> None:
    """Users see their own, without addresses; administrators everybody's; the figures count each thing once."""
    alice = site.site.token("alice")
    clients = [await site.connect(alice) for _ in range(2)]
    await site.connect(site.site.token("bob"))
    for client in clients:
        assert (await client.command("join_room", {"room": "tea"}))["type"] == "subscribed"
    await clients[0].command("join_room", {"room": "chess"})
    told = await site.done("GET", f"{WS}/connections/alice", alice)
    assert (told["user_id"], told["connections"]) == ("alice", 2)
    assert {name for each in told["details"] for name in each} == {
        "connection_id",
        "username",
        "dialect",
        "connected_seconds",
        "channels",
    }
    assert "room:chess" in told["details"][0]["channels"]
    seen = await site.done("GET", f"{WS}/connections/alice", site.root)
    assert [each["peer"] for each in seen["details"]] == ["127.0.0.1"] * 2
    nobody = await site.done("GET", f"{WS}/connections/nobody", site.root)
    assert nobody == {"user_id": "nobody", "connections": 0, "details": []}
    figures = await site.done("GET", f"{WS}/stats", site.root)
    assert figures == {"connections": 3, "users": 2, "rooms": 2}


async def test_users_who_write_to_themselves_without_end_are_slowed_down(
    site: NotifiedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 with the time to wait, for that user alone; administrators and back ends are not slowed down."""
    monkeypatch.setattr(pace, "SENT_AT_ONCE", 3)
    monkeypatch.setattr(pace, "CHANGES_AT_ONCE", 4)
    monkeypatch.setattr(notifications_of(site.push), "pace", pace.OwnPace(lambda: 0.0))
    alice = site.site.token("alice")
    for _ in range(3):
        await site.done("POST", f"{LIST}/demo", alice)
    changes = [("POST", f"{LIST}/read"), ("POST", f"{LIST}/1/read")]
    changes += [("DELETE", f"{LIST}?read=true"), ("DELETE", f"{LIST}/2")]
    for method, path in changes:
        # One that there is not is looked for all the same.
        assert (await site.ask(method, path, alice)).status_code in {200, 404}, path
    for method, path in (("POST", f"{LIST}/demo"), ("POST", f"{WS}/sync-update/alice"), *changes):
        answer = await site.ask(method, path, alice, json={} if method == "POST" else None)
        assert error(answer)[:2] == (429, "rate_limited"), path
        assert answer.headers["Retry-After"] == "1"
    await site.done("POST", f"{LIST}/demo", site.site.token("bob"))
    for _ in range(5):
        await site.done("POST", f"{WS}/sync-update/alice", site.root, json={})
    # What only reads is not counted, and others write on.
    assert (await site.done("GET", f"{LIST}/unread", alice))["unread"] == 0
    assert await site.done("DELETE", LIST, site.site.token("bob")) == {"changed": 1, "unread": 0}


async def test_a_database_that_fails_is_503(site: NotifiedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every route that needs it says to come again, and nothing of why; what needs none goes on."""
    from tidings.server.store.errors import StoreUnavailable

    async def refuse(*_: object) -> None:
        raise StoreUnavailable("no route to db.internal")

    monkeypatch.setattr(site.push.tables, "read", refuse)
    monkeypatch.setattr(site.push.tables, "write", refuse)
    alice = site.site.token("alice")
    for method, path, body in [*OWN, ADMINS[2]]:
        more: dict[str, Any] = {} if body is None else {"json": body}
        answer = await site.ask(method, path, site.root if path == NOTIFY else alice, **more)
        assert error(answer)[:2] == (503, "unavailable"), path
        assert "internal" not in answer.text.replace("internal_", "")
        assert answer.headers["Retry-After"]
    await site.done("POST", f"{WS}/sync-update/alice", alice, json={})


# --- where users are kept -------------------------------------------------------------------------


class Directory:
    """Users of a test's own."""

    async def has_user(self, user_id: str) -> bool:
        """Alice alone."""
        return user_id == "alice"


async def test_a_user_whom_the_directory_does_not_know_is_404(site: NotifiedSite) -> None:
    """Where users are kept; where none are, whoever comes first by an id has what was sent to it."""
    for path, body in ((f"{WS}/notify/bob", NOTE), (f"{WS}/sync-update/bob", {"changes": 1})):
        assert (await site.ask("POST", path, site.root, json=body)).is_success
    bob = site.site.token("bob")
    client = await site.connect(bob)
    heard = {event for event, _ in await site.heard(client, "bob")}
    assert heard == {"notification", "sync_update"}
    site.push.users = Directory()
    for path, body in ((f"{WS}/notify/bob", NOTE), (f"{WS}/sync-update/bob", {"changes": 1})):
        status, code, words = error(await site.ask("POST", path, site.root, json=body))
        assert (status, code, words) == (404, "not_found", "no user has the id bob")
    await site.notify("alice")
    # Who holds a token is somebody, whoever keeps the users.
    await site.done("POST", f"{LIST}/demo", bob)
    await site.done("POST", f"{WS}/sync-update/bob", bob, json={})
    assert len((await site.done("GET", LIST, bob))["notifications"]) == 2


# --- the description ------------------------------------------------------------------------------


async def test_the_description_says_what_there_is_to_meet(site: NotifiedSite) -> None:
    """Each operation has words, its refusals and their headers, and its owner's Structs."""
    document = await site.done("GET", "/openapi.json")
    operations = {
        told["operationId"]: told
        for path, item in document["paths"].items()
        if path.startswith((LIST, f"{WS}/"))
        for told in item.values()
    }
    assert len(operations) == len(OWN) + len(EITHER) + len(ADMINS)
    for name, told in operations.items():
        assert (told["tags"], bool(told["summary"]), bool(told["security"])) == (
            ["notifications"],
            True,
            True,
        )
        answers = told["responses"]
        assert answers["401"]["headers"]["WWW-Authenticate"], name
        assert {"200", "201"} & set(answers), name
        assert {"400", "403", "404", "429", "500", "503"} <= set(answers), name
        assert answers["503"]["headers"]["Retry-After"]["schema"] == {"type": "integer"}, name
    schemas = document["components"]["schemas"]
    told = schemas["NotificationToSend"]
    assert told["required"] == ["title", "message"]
    # What is blank is refused by the description, too; and what it takes, the server takes.
    for field, longest, breaks in (("title", 200, False), ("message", 4000, True)):
        is_good = re.compile(told["properties"][field]["pattern"]).search
        assert told["properties"][field]["maxLength"] == longest
        assert not any(map(is_good, ("", " ", "\u3000\u2003", "\n \t", "a\0", "\0a")))
        assert all(map(is_good, ("a", " a ", "a b")))
        assert bool(is_good("\n a\tb\n")) is breaks
    assert "409" in operations["notifyUser"]["responses"]
    update = operations["syncUpdate"]["requestBody"]["content"]["application/json"]["schema"]
    assert update["properties"]["device"] == {"type": ["string", "null"]}
    assert update["properties"]["changes"]["type"] == ["integer", "null"]
    for name in (
        "markNotificationRead",
        "markNotificationsRead",
        "deleteNotification",
        "deleteNotifications",
    ):
        assert "too often" in operations[name]["responses"]["429"]["description"]
    assert schemas["NotificationPage"]["required"] == ["notifications", "unread", "next"]
    page = {each["name"] for each in operations["notifications"]["parameters"]}
    assert page == {"limit", "before", "unread"}


async def test_options_name_all_methods_of_a_path(site: NotifiedSite) -> None:
    """Of a path that takes several, too."""

    async def allowed(path: str) -> set[str]:
        answer: httpx.Response = await site.ask("OPTIONS", path)
        return set(answer.headers["Allow"].split(", "))

    assert await allowed(LIST) >= {"GET", "DELETE", "OPTIONS"}
    assert "POST" in await allowed(f"{LIST}/read")
    assert (await site.ask("DELETE", f"{LIST}/unread", site.root)).status_code == 405


def test_no_id_is_longer_than_64_bits() -> None:
    """So that the database is never asked for what it cannot hold."""
    from tidings.server.apps.notifications.service import _LONGEST_ID

    assert len(str(_LONGEST_ID)) == 18
    assert _LONGEST_ID < 2**63
