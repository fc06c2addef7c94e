"""Users as the routes keep them, on both databases: names, pages, administrators, ends; and where secrets go."""

import io
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import trio
from sqlalchemy import text
from support.accounts import OTHER, PASSWORD, AccountsSite, accounts_config, accounts_site, error
from support.records import records_url
from support.tokens import forged

from tidings.server.logs import logging_to

__all__ = ["records_url"]

USERS: Final = "/api/admin/users"


@pytest.fixture
async def site(records_url: str, tmp_path: Path) -> AsyncIterator[AccountsSite]:
    """A server with alice and the administrator root; a test that hangs fails after 60 s."""
    with trio.fail_after(60):
        async with accounts_site(accounts_config(tmp_path, records_url)) as site:
            await site.add_all("alice")
            await site.add_all("root", roles=("admin",))
            yield site


async def names(site: AccountsSite, root: str, **query: Any) -> list[str]:
    """The names on one page."""
    page = await site.done("GET", USERS, root, params=query)
    return [user["username"] for user in page["users"]]


async def test_a_name_is_one_persons(site: AccountsSite) -> None:
    """409 where it differs in case, width or composition only, whichever route gives it; one's own may vary."""
    root, alice = await site.login("root"), await site.login("alice")
    elise = (await site.done("POST", USERS, root, json={"username": "\u00c9lise"}))["user"]["id"]
    me, hers = "/api/users/me", f"{USERS}/{elise}"
    taken = [
        *((name, hers) for name in ("alice", "ALICE", "\uff41lice", "\uff21\uff2c\uff29\uff23\uff25")),
        *((name, me) for name in ("\u00e9lise", "E\u0301lise", "\u00c9LISE", "\uff25\u0301lise")),
    ]
    for name, changed in taken:
        for method, path, token in (
            ("POST", USERS, root),
            ("PUT", changed, alice if changed == me else root),
        ):
            status, code, message = error(await site.ask(method, path, token, json={"username": name}))
            assert (status, code) == (409, "conflict"), (name, path, message)
            assert message.endswith("at `$.username`"), message
    assert await names(site, root) == ["alice", "root", "\u00c9lise"]
    for name, kept in (("Alice", "Alice"), ("\uff21lice", "Alice"), ("alice", "alice")):
        assert (await site.done("PUT", me, alice, json={"username": name}))["username"] == kept
    # Whoever logs in need not know how it is written.
    await site.login("\uff21LICE")


async def test_one_of_many_who_ask_for_a_name_gets_it(site: AccountsSite) -> None:
    """All at once: one 201, and 409 for the others."""
    root = await site.login("root")
    statuses: list[int] = []

    async def ask(name: str) -> None:
        statuses.append((await site.ask("POST", USERS, root, json={"username": name})).status_code)

    async with trio.open_nursery() as nursery:
        for name in ("carol", "Carol", "CAROL", "\uff43arol", "carol"):
            nursery.start_soon(ask, name)
    assert sorted(statuses) == [201, 409, 409, 409, 409]


async def test_what_is_left_out_stays_and_null_takes_away(site: AccountsSite) -> None:
    """An address is absent at first, kept as it was typed, kept where it is not mentioned, gone with null."""
    root = await site.login("root")
    path = f"{USERS}/alice"

    async def changed(**fields: Any) -> Any:
        user = await site.done("PUT", path, root, json=fields)
        return user["email"], user["roles"], user["username"]

    assert await changed() == (None, [], "alice")
    assert await changed(email="Alice.O'Hara+x@Example.org") == ("Alice.O'Hara+x@Example.org", [], "alice")
    assert await changed(roles=["b", "a", "b"]) == ("Alice.O'Hara+x@Example.org", ["a", "b"], "alice")
    assert await changed(email=None) == (None, ["a", "b"], "alice")
    assert await changed(roles=[]) == (None, [], "alice")
    made = await site.done("POST", USERS, root, json={"username": "bob", "email": None, "password": OTHER})
    assert (made["user"]["email"], made["temporary_password"]) == (None, None)


async def test_pages_go_on_where_the_last_one_ended(site: AccountsSite) -> None:
    """Also behind a user who is no more, and from any text at all; the bounds of a page are told."""
    root = await site.login("root")
    await site.add_all(*"bcdef")
    assert await names(site, root, limit=3) == ["alice", "b", "c"]
    page = await site.done("GET", USERS, root, params={"limit": 3})
    assert (page["next"], page["total"]) == ("c", 7)
    await site.done("DELETE", f"{USERS}/c", root)
    assert await names(site, root, limit=3, after=page["next"]) == ["d", "e", "f"]
    assert await names(site, root, after="f") == ["root"]
    for after, expected in (
        ("", ["alice", "b", "d", "e", "f", "root"]),
        ("e\0", ["f", "root"]),
        ("\0", ["alice", "b", "d", "e", "f", "root"]),
        ("' OR '1'='1", ["alice", "b", "d", "e", "f", "root"]),
        ("zzz", []),
        ("\U0001f600", []),
    ):
        assert await names(site, root, after=after) == expected, after
    last = await site.done("GET", USERS, root, params={"after": "f"})
    assert (last["next"], last["total"]) == (None, 6)
    # Half a surrogate pair, as some programs encode one; and bytes that are no text.
    for escaped in ("%ED%A0%80", "%FF"):
        for name in ("after", "search"):
            assert (await site.ask("GET", f"{USERS}?{name}={escaped}", root)).status_code == 200
    for query, said in (
        ("limit=0", "limit: Expected `int` >= 1"),
        ("limit=201", "limit: Expected `int` <= 200"),
        ("limit=-1", "limit: "),
        ("limit=ten", "limit: "),
        ("limit=", "limit: "),
        (f"limit={'9' * 400}", "limit: "),
        (f"search={'x' * 257}", "search: "),
        (f"after={'x' * 257}", "after: "),
    ):
        status, code, message = error(await site.ask("GET", f"{USERS}?{query}", root))
        assert (status, code) == (400, "invalid_data"), query
        assert message.startswith(said), message


async def test_nothing_that_is_typed_is_a_command_to_the_database(site: AccountsSite) -> None:
    """In a search, a path, a password or an address: signs stand for themselves, and every table stays."""
    root = await site.login("root")
    email, password = "a%_\\'\"--@example.org", "'; DROP TABLE accounts_users; -- \\ % 41"
    made = await site.done(
        "POST", USERS, root, json={"username": "100_a", "email": email, "password": password}
    )
    assert made["user"]["email"] == email
    await site.add_all("100-b")
    for search, expected in (
        ("%", ["100_a"]),
        ("_", ["100_a"]),
        ("\\", ["100_a"]),
        ("/", []),
        ("'", ["100_a"]),
        ("a%_\\'\"--@EXAMPLE", ["100_a"]),
        ("100", ["100-b", "100_a"]),
        ("' OR 1=1 --", []),
        ("'; DELETE FROM accounts_users; --", []),
        ("\0", []),
        ("\n", []),
    ):
        assert await names(site, root, search=search) == expected, search
        status = (await site.ask("DELETE", f"{USERS}/{quote(search, safe='')}", root)).status_code
        # A slash is no id either, but one more segment.
        assert status in {400, 404, 405}, search
    await site.login("100_a", password)
    for wrong in (password + " ", password[:-1], "' OR '1'='1"):
        refused = await site.ask("POST", "/api/auth/login", json={"username": "100_a", "password": wrong})
        assert error(refused)[0] == 401
    assert await names(site, root) == ["100-b", "100_a", "alice", "root"]


async def test_somebody_is_always_left_to_administer(site: AccountsSite) -> None:
    """The last administrator is neither deleted nor demoted, whoever asks for it."""
    root = await site.login("root")
    elsewhere = forged(sub="issuer-of-tokens", roles=["admin"])
    for caller in (root, elsewhere):
        for method, body in (("DELETE", None), ("PUT", {"roles": ["Admin", "user"]})):
            status, code, message = error(await site.ask(method, f"{USERS}/root", caller, json=body))
            assert (status, code) == (409, "conflict"), message
            assert "last administrator" in message


async def test_two_administrators_who_end_each_other_leave_one(site: AccountsSite) -> None:
    """At once, by deletion or by taking the role: who comes second is refused, and may not even ask any more."""
    elsewhere = forged(sub="issuer-of-tokens", roles=["admin"])
    before = ["root"]
    for number, methods in enumerate((("DELETE", "DELETE"), ("PUT", "DELETE"), ("PUT", "PUT"))):
        pair = [f"ann{number}", f"ben{number}"]
        await site.add_all(*pair, roles=("admin",))
        for name in before:
            await site.done("DELETE", f"{USERS}/{name}", elsewhere)
        tokens = [await site.login(name) for name in pair]
        statuses: list[int] = []

        async def end(method: str, name: str, token: str, statuses: list[int] = statuses) -> None:
            given: dict[str, Any] = {} if method == "DELETE" else {"json": {"roles": []}}
            answer = await site.ask(method, f"{USERS}/{name}", token, **given)
            statuses.append(answer.status_code)

        async with trio.open_nursery() as nursery:
            for method, name, token in zip(methods, reversed(pair), tokens, strict=True):
                nursery.start_soon(end, method, name, token)
        assert statuses.count(200) == 1, statuses
        assert set(statuses) <= {200, 401, 409}, statuses
        users = (await site.done("GET", USERS, elsewhere))["users"]
        before = [user["id"] for user in users if "admin" in user["roles"]]
        assert len(before) == 1
        assert before[0] in pair


async def test_a_deleted_users_tokens_are_dead(site: AccountsSite) -> None:
    """401 for all of before, whoever made them; a later one of another issuer's is of nobody; the id is used up."""
    root, alice = await site.login("root"), await site.login("alice")
    others = forged(sub="alice", iat=int(time.time()) - 5)
    assert await site.done("DELETE", f"{USERS}/alice", root) == {"id": "alice", "username": "alice"}
    for token in (alice, others, forged(sub="alice")):
        for method, path in (
            ("GET", "/api/users/me"),
            ("POST", "/api/auth/refresh"),
            ("GET", "/api/auth/check"),
        ):
            assert error(await site.ask(method, path, token))[:2] == (401, "unauthorized")
    later = forged(sub="alice", iat=int(time.time()) + 1)
    assert error(await site.ask("GET", "/api/users/me", later))[:2] == (404, "not_found")
    for method, path in (("PUT", "alice"), ("DELETE", "alice"), ("POST", "alice/reset-password")):
        given: dict[str, Any] = {"json": {}} if method == "PUT" else {}
        assert error(await site.ask(method, f"{USERS}/{path}", root, **given))[:2] == (404, "not_found")
    again = await site.done("POST", USERS, root, json={"username": "alice"})
    assert again["user"]["id"] != "alice"


async def test_a_temporary_password_ends_by_itself(site: AccountsSite) -> None:
    """It logs in until then, and is told to be one; then 401 that says whom to ask, to whoever knows it alone."""
    root = await site.login("root")
    temporary = (await site.done("POST", f"{USERS}/alice/reset-password", root))["temporary_password"]
    asked = {"username": "alice", "password": temporary}
    session = await site.done("POST", "/api/auth/login", json=asked)
    assert session["user"]["must_change_password"] is True
    logins = site.site.server.logins
    clock = logins._clock
    logins._clock = lambda: clock() + 3 * 86_400 + 1
    answer = await site.ask("POST", "/api/auth/login", json=asked)
    assert error(answer)[:2] == (401, "unauthorized")
    assert "ask an administrator for another" in error(answer)[2]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    wrong = await site.ask("POST", "/api/auth/login", json=asked | {"password": OTHER})
    assert "temporary" not in wrong.text
    logins._clock = clock
    await site.change_password(session["token"], temporary, OTHER)
    assert (await site.done("POST", "/api/auth/login", json={"username": "alice", "password": OTHER}))[
        "user"
    ]["must_change_password"] is False


# --- secrets --------------------------------------------------------------------------------------


async def test_no_secret_is_answered_or_logged(records_url: str, tmp_path: Path) -> None:
    """No hash in any answer, no password and no token in any line of the log: granted, refused or failed."""
    first, second, wrong = "canary otter 41 lighthouse", "canary harbours 90 quiet", "canary of a wrong one"
    secrets, answers, log = {first, second, wrong}, [], io.StringIO()
    with trio.fail_after(60), logging_to(log, "json"):
        async with accounts_site(accounts_config(tmp_path, records_url)) as site:
            await site.add_all("root", roles=("admin",))

            async def ask(method: str, path: str, token: str | None = None, **body: Any) -> Any:
                answer = await site.ask(method, path, token, **({"json": body} if body else {}))
                answers.append(answer.text)
                told = answer.json()
                secrets.update(told[name] for name in ("token", "temporary_password") if told.get(name))
                return told

            async def everything() -> None:
                # Where nobody can log in any more there are tokens of another issuer's.
                elsewhere = forged(sub="issuer-of-tokens", roles=["admin"])
                session = await ask("POST", "/api/auth/login", username="root", password=PASSWORD)
                root = session.get("token", elsewhere)
                made = await ask("POST", USERS, root, username="carol", password=first)
                user = made.get("user", {"id": "x"})
                path = f"{USERS}/{user['id']}"
                for password in (wrong, first, wrong * 100, f"{wrong}\0"):
                    await ask("POST", "/api/auth/login", username="carol", password=password)
                    await ask("POST", "/api/auth/login", username=wrong, password=password)
                    await ask("PUT", "/api/users/password", root, old_password=wrong, new_password=password)
                    await ask("POST", USERS, root, username="carol", password=password)
                    await ask("POST", USERS, root, username="dora", password=password, password_=wrong)
                session = await ask("POST", "/api/auth/login", username="carol", password=first)
                carol = session.get("token", forged(sub=user["id"]))
                for method, own in (
                    ("GET", "/api/users/me"),
                    ("GET", "/api/auth/check"),
                    ("GET", f"/api/auth/check?token={carol}"),
                    ("POST", "/api/auth/refresh"),
                ):
                    await ask(method, own, carol)
                await ask("PUT", "/api/users/me", carol, email="carol@example.org")
                await ask("PUT", "/api/users/password", carol, old_password=first, new_password=second)
                await ask("PUT", path, root, roles=["editor"])
                await ask("GET", USERS, root)
                await ask("POST", f"{path}/reset-password", root)
                await ask("POST", "/api/auth/logout", carol)
                await ask("DELETE", path, root)

            await everything()
            # The same once more where every statement fails, and where the table's hashes are none.
            records = site.site.server._records
            assert records is not None
            await records.write(
                lambda db: db.execute(text("UPDATE accounts_users SET password = 'canary'"))
            )
            await everything()
            await records.write(
                lambda db: db.execute(text("ALTER TABLE accounts_users RENAME TO elsewhere"))
            )
            await everything()
    lines = log.getvalue()
    assert "logged in" in lines
    assert '"level":"error"' in lines
    assert any('"internal"' in answer or '"unavailable"' in answer for answer in answers)
    assert not any("$argon2" in answer or "canary" in answer for answer in answers)
    assert "$argon2" not in lines
    assert not [secret for secret in secrets if secret in lines]
    assert "canary" not in lines
