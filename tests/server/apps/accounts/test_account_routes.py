"""The routes of accounts under bad input, bad callers and floods: who is refused, how, and in which words."""

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio
from support.accounts import (
    OTHER,
    PASSWORD,
    AccountsSite,
    accounts_config,
    accounts_site,
    error,
)
from support.site import SECRET
from support.tokens import forged
from trio.testing import wait_all_tasks_blocked

from tidings.server.apps.accounts.service import Accounts
from tidings.server.config import Auth, Config

KEY: Final = "a-key-of-the-tests"
BILLING: Final = "a-key-of-billing"

LOGIN: Final = ("POST", "/api/auth/login")
ME: Final = ("PUT", "/api/users/me")
CHANGE: Final = ("PUT", "/api/users/password")
CREATE: Final = ("POST", "/api/admin/users")
UPDATE: Final = ("PUT", "/api/admin/users/alice")

# What callers ask about themselves, and what only administrators ask; each as it would be granted.
OWN: Final[list[tuple[str, str, Any]]] = [
    ("GET", "/api/auth/check", None),
    ("GET", "/api/users/me", None),
    (*ME, {}),
    (*CHANGE, {"old_password": PASSWORD, "new_password": OTHER}),
    ("POST", "/api/auth/refresh", None),
    ("POST", "/api/auth/logout", None),
]
ADMINS: Final[list[tuple[str, str, Any]]] = [
    ("GET", "/api/admin/users", None),
    (*CREATE, {"username": "eve", "password": PASSWORD, "roles": ["admin"]}),
    (*UPDATE, {"roles": ["admin"]}),
    ("POST", "/api/admin/users/alice/reset-password", None),
    ("DELETE", "/api/admin/users/alice", None),
]


@asynccontextmanager
async def site_with(config: Config) -> AsyncIterator[AccountsSite]:
    """A server with alice, bob and the administrator root; a test that hangs fails after 60 s."""
    with trio.fail_after(60):
        async with accounts_site(config) as site:
            await site.add_all("alice", "bob")
            await site.add_all("root", roles=("admin",))
            yield site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[AccountsSite]:
    """One in which nobody meets a limit by accident."""
    async with site_with(accounts_config(tmp_path)) as site:
        yield site


def accounts_of(site: AccountsSite) -> Accounts:
    """The app's insides, for clocks and counters."""
    accounts = site.site.server.accounts
    assert accounts is not None
    return accounts


# --- bodies --------------------------------------------------------------------------------------

_NAMES: Final[list[tuple[Any, str]]] = [
    (None, "got `null`"),
    (5, "got `int`"),
    ("", "length >= 1"),
    ("a" * 65, "at most 64 characters"),
    ("a" * 257, "length <= 256"),
    ("a b", "U+0020"),
    ("a\0b", "U+0000"),
    ("a\nb", "U+000A"),
    ("a/b", "U+002F"),
    ("\u202ebob", "U+202E"),
    ("al\u200bice", "U+200B"),
    ("\u0430lice", "Cyrillic and Latin"),
    ("\u0301a", "does not begin with an accent"),
    ("...", "at least one letter or digit"),
    ("x';DROP-TABLE-accounts_users;--", "U+0027"),
]
_PASSWORDS: Final[list[tuple[Any, str]]] = [
    (None, "got `null`"),
    (["a"], "got `array`"),
    ("", "length >= 1"),
    ("short", "needs at least 8 characters, and has 5"),
    ("password1", "too easy to guess"),
    ("x" * 1025, "length <= 1024"),
    ("é" * 513, "may have 1,024 bytes"),
    ("brass\0otter 41 lighthouse", "cannot be typed everywhere"),
    ("brass\notter 41 lighthouse", "cannot be typed everywhere"),
]
_EMAILS: Final[list[tuple[Any, str]]] = [
    (7, "got `int`"),
    ("", "length >= 3"),
    ("alice", "one @"),
    ("a@b@c", "one @"),
    ("@example.org", "one @"),
    ("alice@", "one @"),
    ("a b@example.org", "no spaces"),
    ("a\0@example.org", "no invisible characters"),
    ("a\r\nBcc: b@example.org", "no invisible characters"),
    ("\u202ea@example.org", "no invisible characters"),
    ("a@" + "b" * 253, "length <= 254"),
]
_ROLES: Final[list[tuple[Any, str, str]]] = [
    (None, "got `null`", "$.roles"),
    ("admin", "got `str`", "$.roles"),
    ([5], "got `int`", "$.roles[0]"),
    (["user", ""], "a role: 1 to 64 characters", "$.roles[1]"),
    (["a b"], "a role: 1 to 64 characters", "$.roles[0]"),
    (["admin\n"], "a role: 1 to 64 characters", "$.roles[0]"),
    (["admin\0"], "a role: 1 to 64 characters", "$.roles[0]"),
    (["\u0430dmin"], "a role: 1 to 64 characters", "$.roles[0]"),
    (["x" * 65], "a role: 1 to 64 characters", "$.roles[0]"),
    ([f"role{number}" for number in range(17)], "length <= 16", "$.roles"),
]
_GROUPS: Final = [
    *(
        (group, "a group: 1 to 128 characters")
        for group in ("", "a b", "a/b", "7\n", "é", "g@x", "g" * 129)
    ),
    (7, "got `int`"),
    (["7"], "got `array`"),
]


def _wrong() -> list[tuple[tuple[str, str], dict[str, Any], str, str]]:
    """Routes, bodies that are wrong in one field, and what is said of it and where."""
    new = {"username": "carol", "password": PASSWORD}
    change = {"old_password": PASSWORD, "new_password": OTHER}
    rows: list[tuple[tuple[str, str], dict[str, Any], str, str]] = []
    for route, body in ((CREATE, new), (UPDATE, {}), (ME, {})):
        rows += [(route, body | {"username": name}, said, "$.username") for name, said in _NAMES]
        rows += [(route, body | {"email": email}, said, "$.email") for email, said in _EMAILS]
    for route, body in ((CREATE, new), (UPDATE, {})):
        rows += [(route, body | {"roles": roles}, said, where) for roles, said, where in _ROLES]
        rows += [(route, body | {"group_id": group}, said, "$.group_id") for group, said in _GROUPS]
    for password, said in _PASSWORDS:
        rows.append((CREATE, new | {"password": password}, said, "$.password"))
        rows.append((CHANGE, change | {"new_password": password}, said, "$.new_password"))
    rows += [
        (CHANGE, change | {"new_password": PASSWORD}, "this is the old one", "$.new_password"),
        (CHANGE, change | {"new_password": "alice1234"}, "too easy to guess", "$.new_password"),
        (CHANGE, change | {"old_password": ""}, "length >= 1", "$.old_password"),
        (CHANGE, {"old_password": PASSWORD}, "missing required field `new_password`", "$"),
        (CREATE, {"password": PASSWORD}, "missing required field `username`", "$"),
        (CREATE, new | {"id": "root"}, "unknown field `id`", "$"),
        (CREATE, new | {"is_admin": True}, "unknown field `is_admin`", "$"),
        (UPDATE, {"password": OTHER}, "unknown field `password`", "$"),
        (ME, {"roles": ["admin"]}, "unknown field `roles`", "$"),
        (ME, {"group_id": "7"}, "unknown field `group_id`", "$"),
        (ME, {"group_id": None}, "unknown field `group_id`", "$"),
        (LOGIN, {"username": "alice"}, "missing required field `password`", "$"),
        (LOGIN, {"username": "alice", "password": None}, "got `null`", "$.password"),
        (LOGIN, {"username": ["alice"], "password": PASSWORD}, "got `array`", "$.username"),
        (LOGIN, new | {"device": "a\nb"}, "a device's name", "$.device"),
        (LOGIN, new | {"device": "d" * 65}, "a device's name", "$.device"),
        (LOGIN, new | {"remember": True}, "unknown field `remember`", "$"),
    ]
    return rows


async def test_a_field_that_is_wrong_is_named_and_nothing_is_done(site: AccountsSite) -> None:
    """400 with what is wrong with which field, whatever it is; users and passwords stay as they were."""
    root, alice = await site.login("root"), await site.login("alice")
    before = await site.done("GET", "/api/admin/users", root)
    rows = _wrong()
    for (method, path), body, said, where in rows:
        answer = await site.ask(method, path, root if "admin" in path else alice, json=body)
        assert answer.status_code == 400, (path, body, answer.text)
        _, code, message = error(answer)
        assert code == "invalid_data", (path, body, message)
        assert said in message, (path, body, message)
        assert message.endswith(f" - at `{where}`"), (path, body, message)
    assert len(rows) > 120
    assert await site.done("GET", "/api/admin/users", root) == before
    await site.login("alice")


_NO_BODIES: Final = [
    (b"", "invalid_data", "a JSON body is needed"),
    (b"{", "bad_request", "not JSON"),
    (b"null", "invalid_data", "got `null`"),
    (b"[]", "invalid_data", "got `array`"),
    (b"[" * 20_000, "invalid_data", "got `array`"),
    (b'{"username":"\\ud800 alone","email":null}', "bad_request", "not JSON"),
    (b'{"username":"\xed\xa0\x80"}', "bad_request", "not UTF-8"),
    (b'{"username":"\xff"}', "bad_request", "not UTF-8"),
]


async def test_what_is_no_body_is_refused_on_every_route(site: AccountsSite) -> None:
    """400 that says why: not JSON, not UTF-8, half a surrogate pair, no object."""
    root, alice = await site.login("root"), await site.login("alice")
    for (method, path), token in (
        (LOGIN, None),
        (ME, alice),
        (CHANGE, alice),
        (CREATE, root),
        (UPDATE, root),
    ):
        field = b"old_password" if path.endswith("/password") else b"username"
        for body, code, said in _NO_BODIES:
            body = body.replace(b"username", field)
            status, told, message = error(await site.ask(method, path, token, content=body))
            assert (status, told) == (400, code), (path, body[:30], message)
            assert said in message, (path, body[:30], message)


# --- callers -------------------------------------------------------------------------------------


async def test_who_does_not_say_who_they_are_gets_nowhere(site: AccountsSite) -> None:
    """401 with a challenge on every route but the login, before the body is looked at."""
    for method, path, _ in OWN + ADMINS:
        for token in (
            None,
            "x.y.z",
            forged(exp=1),
            forged(secret="another secret, as long as it needs to be."),
        ):
            answer = await site.ask(method, path, token, content=b"not even JSON")
            assert error(answer)[:2] == (401, "unauthorized"), (method, path, token)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_users_are_no_administrators(site: AccountsSite) -> None:
    """403 on every route of theirs, also for what concerns the caller alone; nothing is done."""
    alice = await site.login("alice")
    for method, path, body in ADMINS:
        status, code, _ = error(
            await site.ask(method, path, alice, **({} if body is None else {"json": body}))
        )
        assert (status, code) == (403, "forbidden"), (method, path)
    assert (await site.done("GET", "/api/users/me", alice))["roles"] == []
    page = await site.done("GET", "/api/admin/users", await site.login("root"))
    assert [user["id"] for user in page["users"]] == ["alice", "bob", "root"]


async def test_a_token_of_nobody_here_is_good_and_has_no_account(site: AccountsSite) -> None:
    """Another issuer's user: 404 where an account is needed, and all else as for anybody."""
    expected = {"/api/auth/check": 200, "/api/auth/logout": 200}
    ghost = forged(sub="ghost", sid="elsewhere")
    for method, path, body in OWN:
        answer = await site.ask(method, path, ghost, **({} if body is None else {"json": body}))
        assert answer.status_code == expected.get(path, 404), (method, path, answer.text)
    # It has logged out, as asked.
    assert error(await site.ask("GET", "/api/auth/check", ghost))[0] == 401
    # Without a login of its own there is none to end or to go on.
    nameless = forged(sub="alice")
    for path in ("/api/auth/refresh", "/api/auth/logout"):
        assert error(await site.ask("POST", path, nameless))[:2] == (403, "forbidden")
    root = forged(sub="root-elsewhere", roles=["admin"])
    assert (await site.done("GET", "/api/admin/users", root))["total"] == 3


async def test_keys_administer_and_have_no_account(tmp_path: Path) -> None:
    """A key and a named service may do what administrators do; about themselves there is nothing to ask."""
    config = accounts_config(tmp_path)
    config = msgspec.structs.replace(
        config, auth=Auth(secret=SECRET, api_keys=(KEY,), service_keys=(f"billing={BILLING}",))
    )
    async with site_with(config) as site:
        for key in (KEY, BILLING):
            for method, path, body in OWN:
                given = {} if body is None else {"json": body}
                answer = await site.http.request(method, path, headers={"X-API-Key": key}, **given)
                allowed = {"/api/auth/check": 200, "/api/auth/refresh": 403, "/api/auth/logout": 403}
                assert answer.status_code == allowed.get(path, 404), (method, path, answer.text)
        headers = {"X-API-Key": BILLING}
        assert (await site.http.get("/api/admin/users", headers=headers)).json()["total"] == 3
        # Not even a key may leave nobody to administer.
        for method, body in (("DELETE", None), ("PUT", {"roles": []})):
            given = {} if body is None else {"json": body}
            answer = await site.http.request(method, "/api/admin/users/root", headers=headers, **given)
            assert error(answer)[:2] == (409, "conflict")
        assert (await site.http.delete("/api/admin/users/alice", headers=headers)).status_code == 200


_NO_IDS: Final = (
    *("a%20b", "%00", "alice%00", "alice%0A", "%2A", "'%20OR%20'1'='1", "x" * 129, "%C3%A9", "%FF"),
    "%ED%A0%80",
)


async def test_what_is_no_user_id_names_nobody(site: AccountsSite) -> None:
    """400 on every route of one user; an id that might be somebody's and is nobody's: 404."""
    root = await site.login("root")
    for method, path, body in ADMINS[2:]:
        given = {} if body is None else {"json": body}
        for user_id, status in (*((each, 400) for each in _NO_IDS), ("nobody", 404)):
            answer = await site.ask(method, path.replace("alice", user_id), root, **given)
            assert answer.status_code == status, (method, user_id, answer.text)
    assert (await site.done("GET", "/api/admin/users", root))["total"] == 3


async def test_a_path_says_which_methods_it_takes(site: AccountsSite) -> None:
    """All of them, to OPTIONS and to who has asked with another."""
    expected = {
        "/api/users/me": "GET, OPTIONS, PUT",
        "/api/admin/users": "GET, OPTIONS, POST",
        "/api/admin/users/alice": "DELETE, OPTIONS, PUT",
        "/api/auth/login": "OPTIONS, POST",
    }
    for path, allowed in expected.items():
        answer = await site.ask("OPTIONS", path)
        assert (answer.status_code, answer.headers["Allow"]) == (204, allowed)
        refused = await site.ask("PATCH", path)
        assert error(refused)[0] == 405
        assert set(refused.headers["Allow"].split(", ")) - {"HEAD"} == set(allowed.split(", "))


# --- passwords, and how often they are guessed -------------------------------------------------


async def test_the_old_password_has_to_be_known(site: AccountsSite) -> None:
    """403 that names the field, also for what can be nobody's password; the login goes on, with the password."""
    alice = await site.login("alice")
    for wrong in (OTHER, PASSWORD.upper(), PASSWORD + "\0", "x" * 1024, "' OR '1'='1"):
        answer = await site.ask(*CHANGE, alice, json={"old_password": wrong, "new_password": OTHER})
        assert error(answer) == (403, "forbidden", "not your password - at `$.old_password`")
    await site.done("GET", "/api/users/me", alice)
    await site.login("alice")


async def test_who_guesses_at_an_account_is_told_when_to_come_again(tmp_path: Path) -> None:
    """429 with the very seconds after which an attempt is taken, not one before; nobody else waits for that."""
    async with site_with(accounts_config(tmp_path, account_attempts=2, account_seconds=7.5)) as site:
        alice = await site.login("alice")
        now = time.monotonic() + 1_000
        accounts_of(site)._attempts._clock = lambda: now
        wrong, right = {"username": "ALICE", "password": OTHER}, {"username": "alice", "password": PASSWORD}
        for _ in range(2):
            assert error(await site.ask(*LOGIN, json=wrong))[0] == 401
        change = {"old_password": PASSWORD, "new_password": OTHER}
        for route, token, body in ((LOGIN, None, wrong), (LOGIN, None, right), (CHANGE, alice, change)):
            answer = await site.ask(*route, token, json=body)
            status, code, message = error(answer)
            assert (status, code, answer.headers["Retry-After"]) == (429, "rate_limited", "8"), message
            assert "for this account" in message
        # Others, and the logins that live.
        await site.login("bob")
        await site.refreshed(alice)
        now += 7.25
        assert error(await site.ask(*LOGIN, json=right))[0] == 429
        assert (await site.ask(*LOGIN, json=right)).headers["Retry-After"] == "1"
        now += 0.75
        await site.login("alice")


async def test_who_tries_all_accounts_is_told_when_to_come_again(tmp_path: Path) -> None:
    """The address has its own measure: 429 for any account from there, known or not, until the seconds are over."""
    async with site_with(accounts_config(tmp_path, address_attempts=3, address_seconds=10.0)) as site:
        now = time.monotonic() + 1_000
        accounts_of(site)._attempts._clock = lambda: now
        for name in ("alice", "nobody", "a b"):
            assert error(await site.ask(*LOGIN, json={"username": name, "password": OTHER}))[0] == 401
        for name in ("bob", "somebody", "\u202e"):
            answer = await site.ask(*LOGIN, json={"username": name, "password": PASSWORD})
            status, code, message = error(answer)
            assert (status, code, answer.headers["Retry-After"]) == (429, "rate_limited", "10"), message
            assert "for your address" in message
        now += 10
        await site.login("bob")
        # A password that was right has spent nothing.
        await site.login("bob")


async def test_where_too_many_passwords_wait_nobody_is_kept_waiting(tmp_path: Path) -> None:
    """503 with Retry-After on all that hash; it counts as no attempt, and afterwards everything is as before."""
    async with site_with(accounts_config(tmp_path, account_attempts=1, hash_queue=1)) as site:
        root, alice = await site.login("root"), await site.login("alice")
        hasher, go_on = accounts_of(site).hasher, threading.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(hasher._thread_count + 1):
                nursery.start_soon(hasher._do, lambda: go_on.wait(30))
            await wait_all_tasks_blocked(0.001)
            try:
                for (method, path), token, body in (
                    (LOGIN, None, {"username": "alice", "password": PASSWORD}),
                    (LOGIN, None, {"username": "nobody", "password": PASSWORD}),
                    (CHANGE, alice, {"old_password": PASSWORD, "new_password": OTHER}),
                    (CREATE, root, {"username": "carol", "password": PASSWORD}),
                    (CREATE, root, {"username": "carol"}),
                    (("POST", "/api/admin/users/bob/reset-password"), root, None),
                ):
                    given = {} if body is None else {"json": body}
                    answer = await site.ask(method, path, token, **given)
                    assert error(answer)[:2] == (503, "unavailable"), (path, answer.text)
                    assert int(answer.headers["Retry-After"]) > 0
                # What hashes nothing goes on.
                await site.done("GET", "/api/users/me", alice)
            finally:
                go_on.set()
        # The one attempt of the account is still there.
        assert error(await site.ask(*LOGIN, json={"username": "alice", "password": OTHER}))[0] == 401
        await site.login("bob")


async def test_an_unknown_user_costs_what_a_known_one_costs(site: AccountsSite) -> None:
    """One reading and one comparison of hashes, whoever it is that cannot log in; the answers are the same."""
    accounts = accounts_of(site)
    await site.done("DELETE", "/api/admin/users/bob", await site.login("root"))
    work: list[str] = []
    inner, read = accounts.hasher._argon2, accounts._records.read

    class Counting:
        def verify(self, encoded: str, password: bytes) -> bool:
            work.append("compare")
            return inner.verify(encoded, password)

        def hash(self, password: bytes) -> str:
            work.append("hash")
            return inner.hash(password)

    async def counted(function: Any) -> Any:
        work.append("read")
        return await read(function)

    accounts.hasher._argon2 = Counting()  # type: ignore[assignment]
    accounts._records.read = counted  # type: ignore[method-assign]
    answers = set()
    for name, password in (
        ("alice", OTHER),
        ("alice", "x" * 1024),
        ("alice", "no\0password"),
        ("nobody", PASSWORD),
        ("nobody", "no\0password"),
        ("bob", PASSWORD),  # deleted
        ("a b", PASSWORD),  # nobody's name
        ("\u0430lice", PASSWORD),
        ("n" * 256, PASSWORD),
        ("' OR '1'='1", PASSWORD),
    ):
        work.clear()
        answer = await site.ask(*LOGIN, json={"username": name, "password": password})
        assert work == ["read", "compare"], (name, work)
        answers.add((answer.status_code, answer.text, answer.headers["WWW-Authenticate"]))
    assert len(answers) == 1


async def test_a_login_that_a_change_has_overtaken_is_challenged(site: AccountsSite) -> None:
    """The password was right and is no more, when the login comes to be recorded: 401, as any, with a challenge."""
    accounts = accounts_of(site)
    verify = accounts.hasher.verify
    root = await site.login("root")

    async def overtaken(password: bytes | None, encoded: str | None) -> Any:
        verified = await verify(password, encoded)
        accounts.hasher.verify = verify  # type: ignore[method-assign]
        await site.done("POST", "/api/admin/users/alice/reset-password", root)
        return verified

    accounts.hasher.verify = overtaken  # type: ignore[method-assign]
    answer = await site.ask(*LOGIN, json={"username": "alice", "password": PASSWORD})
    assert error(answer)[:2] == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


# --- the description ------------------------------------------------------------------------------


async def test_the_description_says_what_there_is_to_meet(site: AccountsSite) -> None:
    """One tag with words; each operation with a summary, its refusals and their headers; passwords are masked."""
    document = await site.done("GET", "/openapi.json")
    assert [tag["name"] for tag in document["tags"] if tag["description"]].count("accounts") == 1
    operations = {
        told["operationId"]: told
        for path, item in document["paths"].items()
        if not path.startswith(("/api/v1", "/metrics", "/health", "/ready"))
        for told in item.values()
    }
    assert len(operations) == len(OWN) + len(ADMINS) + 1
    for name, told in operations.items():
        assert (told["tags"], bool(told["summary"])) == (["accounts"], True), name
        answers = told["responses"]
        assert bool(told.get("security")) == (name != "logIn"), name
        assert "401" in answers, name
        assert answers["401"]["headers"]["WWW-Authenticate"], name
        for status in ("429", "503"):
            assert answers[status]["headers"]["Retry-After"]["schema"] == {"type": "integer"}, name
    # Who may not, and where nobody may not.
    forbidden = {name for name, told in operations.items() if "403" in told["responses"]}
    assert forbidden == set(operations) - {"logIn", "checkLogin", "me", "updateMe"}
    schemas = document["components"]["schemas"]
    assert all(
        "hash" not in name.lower() for kind in schemas.values() for name in kind.get("properties", ())
    )
    for kind, field in (
        ("Login", "password"),
        ("ChangePassword", "new_password"),
        ("CreateUser", "password"),
    ):
        told = schemas[kind]["properties"][field]
        assert told["format"] == "password"
        assert told["examples"], (kind, field)
    assert schemas["CreateUser"]["required"] == ["username"]
    assert "anyOf" in schemas["UpdateUser"]["properties"]["email"]


async def test_a_server_without_accounts_says_nothing_of_them(live_site: Any) -> None:
    """Neither a tag nor a path."""
    import httpx

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{live_site.port}", verify=False) as client:
        document = (await client.get("/openapi.json")).json()
    assert "accounts" not in {tag["name"] for tag in document["tags"]}
    assert not [path for path in document["paths"] if path.startswith(("/api/auth", "/api/admin"))]
