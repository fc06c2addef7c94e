"""Logins that end at an awkward moment: what was ended stays ended, and what it had asked for is not done."""

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import structlog
import trio
from support.accounts import OTHER, PASSWORD, AccountsSite, accounts_config, accounts_site, error
from support.client import RawClient
from support.postgres import cluster

from tidings.protocol.close_codes import CloseCode
from tidings.server.apps.accounts import service, users
from tidings.server.config import Config
from tidings.server.identity import Identity
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records import groups

ALICE: Final = "/api/admin/users/alice"

# What an administrator may ask for, who is carl: of a user, of alice, and of himself.
_ASKED: Final[dict[str, tuple[str, str, Any]]] = {
    "create": ("POST", "/api/admin/users", {"username": "mallory", "roles": ["admin"], "password": OTHER}),
    "update": ("PUT", ALICE, {"roles": ["admin"]}),
    "update me": ("PUT", "/api/users/me", {"email": "carl@example.org"}),
    "reset": ("POST", f"{ALICE}/reset-password", None),
    "delete": ("DELETE", ALICE, None),
}


@asynccontextmanager
async def populated(config: Config, *names: str) -> AsyncIterator[AccountsSite]:
    """A server with users, alice at least, and the administrators root and carl."""
    with trio.fail_after(60):
        async with accounts_site(config) as at:
            await at.add_all("alice", *names)
            await at.add_all("root", "carl", roles=("admin",))
            yield at


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[AccountsSite]:
    """Such a server, where each user has one login."""
    async with populated(accounts_config(tmp_path, logins="single"), "bob") as at:
        yield at


def identity(at: AccountsSite, token: str) -> Identity:
    """What a token says, which must be good."""
    found = at.site.server.context.authenticator.verify(token)
    assert isinstance(found, Identity), found
    return found


async def user(at: AccountsSite, user_id: str) -> users.User | None:
    """A user's record."""
    records = at.site.server._records
    assert records is not None
    return await records.read(partial(users.find, user_id=user_id))


async def end(at: AccountsSite, how: str, root: str, user_id: str = "alice") -> None:
    """End a user's logins, or the role that they have."""
    path = f"/api/admin/users/{user_id}"
    match how:
        case "reset":
            await at.done("POST", f"{path}/reset-password", root)
        case "deleted":
            await at.done("DELETE", path, root)
        case "demoted":
            await at.done("PUT", path, root, json={"roles": []})
        case "pushed out":
            await at.login(user_id)
        case "revoked":
            await at.done("POST", "/api/v1/tokens/revoke", root, json={"user_id": user_id})


# --- dated ahead -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "deleted", "pushed out"])
async def test_a_login_that_is_dated_ahead_ends_as_any_other(at: AccountsSite, how: str) -> None:
    """Right after a revocation a token says that it is some seconds younger: that saves it from nothing."""
    root = await at.login("root")
    await at.login("alice")
    await at.done("POST", "/api/v1/tokens/revoke", root, json={"user_id": "alice"})
    token = await at.login("alice")
    device = await at.connect(token)
    assert identity(at, token).logged_in_ms > (identity(at, token).issued_at + 1) * 1000
    await end(at, how, root)
    assert not await at.is_live(token)
    assert (await device.closed()).code in {3500, 3508, 3510}
    if how == "pushed out":
        assert await at.is_live(await at.login("alice"))


# --- who asked has gone ------------------------------------------------------------------------------


class Upload:
    """A request whose head is judged, and whose body comes later."""

    def __init__(self, client: RawClient, rest: bytes) -> None:
        self._client, self._rest = client, rest

    @classmethod
    async def begin(cls, at: AccountsSite, token: str, method: str, path: str, asked: Any) -> "Upload":
        """Send the head, and a few bytes when the server asks for more: it knows by then who calls."""
        client, body = await at.open(), msgspec.json.encode(asked)
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Expect: 100-continue",
        ]
        await client.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert await client.stream.receive_some(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(body[:3])
        return cls(client, body[3:])

    async def finish(self) -> int:
        """Send the rest; the answer's status."""
        await self._client.send(self._rest)
        status, _, _ = await self._client.response()
        return status


@pytest.mark.parametrize("how", ["deleted", "demoted", "pushed out", "revoked"])
async def test_who_is_out_before_the_body_comes_has_nothing_done(at: AccountsSite, how: str) -> None:
    """An administrator's request is judged again where it is carried out: a head proves nothing any more."""
    root, carl = await at.login("root"), await at.login("carl")
    bodies = [asked for asked in _ASKED.values() if asked[2] is not None]
    uploads = [await Upload.begin(at, carl, *asked) for asked in bodies]
    await end(at, how, root, "carl")
    before = [await user(at, user_id) for user_id in ("alice", "carl")]
    assert [await upload.finish() for upload in uploads] == [401, 401, 401]
    await nothing_done(at, root, before)
    # It was the end that did it: the same requests are granted to somebody else.
    method, path, asked = _ASKED["update"]
    again = await Upload.begin(at, root, method, path, asked)
    assert await again.finish() == 200


async def nothing_done(at: AccountsSite, root: str, before: list[users.User | None]) -> None:
    """See that alice and carl are as they were, and that there is nobody new."""
    assert [await user(at, user_id) for user_id in ("alice", "carl")] == before
    assert (await at.done("GET", "/api/admin/users?search=mallory", root))["total"] == 0


@pytest.mark.parametrize("how", ["deleted", "demoted", "pushed out"])
async def test_who_is_out_by_a_commit_before_has_nothing_done(at: AccountsSite, how: str) -> None:
    """The same where the end is written and not yet known: what is written behind it asks the record."""
    root, carl = await at.login("root"), await at.login("carl")
    records = at.site.server._records
    assert records is not None
    alice, go = await user(at, "alice"), threading.Event()
    answers: list[int] = []

    async def ask(method: str, path: str, asked: Any) -> None:
        answers.append((await at.ask(method, path, carl, json=asked)).status_code)

    async def until_waiting(operations: int) -> None:
        assert records is not None
        while records.waiting < operations:
            await trio.lowlevel.checkpoint()

    try:
        async with trio.open_nursery() as nursery:
            blocked = records.submit(lambda _connection: go.wait(20))
            nursery.start_soon(end, at, how, root, "carl")
            await until_waiting(2)
            for number, asked in enumerate(_ASKED.values()):
                nursery.start_soon(ask, *asked)
                await until_waiting(3 + number)
            assert answers == []
            assert await at.is_live(carl)
            go.set()
            await blocked.wait()
    finally:
        go.set()
    assert answers == [401] * len(_ASKED)
    ended = await user(at, "carl")
    assert ended is None or ended.email is None
    await nothing_done(at, root, [alice, ended])


# --- nobody heard of it ------------------------------------------------------------------------------


async def test_a_commit_that_was_not_heard_of_is_in_force_with_its_event(at: AccountsSite) -> None:
    """As where the word of it was lost with a connection: tokens die and connections close when it is told."""
    records, relay = at.site.server._records, at.site.server._relay
    assert records is not None
    assert relay is not None
    names = ["alice", "bob", "carl", "root"]
    tokens = {name: await at.login(name) for name in names}
    clients = {name: await at.connect(tokens[name]) for name in names}
    record = await user(at, "root")
    assert record is not None
    now_ms = int(time.time() * 1000)
    password = partial(users.set_password, password="none", until_ms=None, now_ms=now_ms)
    await records.write(partial(users.delete, user_id="alice", now_ms=now_ms))
    await records.write(partial(password, user_id="bob", by="root"))
    demote = partial(users.update, user_id="carl", name=None, email=msgspec.UNSET, roles=())
    await records.write(partial(demote, now_ms=now_ms))
    spared = {"caller": identity(at, tokens["root"]), "known": record.password}
    await records.write(partial(password, user_id="root", by="root", **spared))
    relay.wake()
    for name, code, reason in (
        ("alice", CloseCode.ACCOUNT_DELETED, "account deleted"),
        ("bob", CloseCode.INVALID_TOKEN, "password changed"),
        ("carl", CloseCode.INVALID_TOKEN, "roles changed"),
    ):
        messages, closed = await clients[name].until_closed()
        assert messages[0]["type"].startswith("user:"), messages
        assert (closed.code, closed.reason) == (code, reason)
        assert not await at.is_live(tokens[name])
    assert (await clients["root"].command("ping"))["type"] == "pong"
    assert await at.is_live(tokens["root"])


class Mute:
    """Publishes nothing, and never returns."""

    async def submit(self, *_: Any, **__: Any) -> Any:
        """Hang."""
        await trio.sleep_forever()


class Unreadable:
    """A database that fails."""

    async def read(self, _function: object) -> Any:
        """Fail."""
        raise StoreUnavailable("cannot read")


@pytest.mark.parametrize("fails", ["publishing", "reading"])
async def test_who_cannot_be_told_is_closed_all_the_same(
    at: AccountsSite, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """The event waits, for as long as it takes; those whose logins have ended wait for a moment only."""
    monkeypatch.setattr(service, "_TOLD_SECONDS", 0.05)
    relay: Any = at.site.server._relay
    root = await at.login("root")
    clients = {name: await at.connect(await at.login(name)) for name in ("alice", "bob", "carl")}
    if fails == "publishing":
        relay._push = Mute()
    else:
        relay._records = Unreadable()
    endings = {
        "alice": ("deleted", CloseCode.ACCOUNT_DELETED),
        "bob": ("reset", CloseCode.INVALID_TOKEN),
        "carl": ("demoted", CloseCode.INVALID_TOKEN),
    }
    # The second ends while the first is waited for, and the third when nobody waits any more.
    async with trio.open_nursery() as nursery:
        for name in ("alice", "bob"):
            nursery.start_soon(end, at, endings[name][0], root, name)
    for name, (how, code) in endings.items():
        if name == "carl":
            await end(at, how, root, name)
        messages, closed = await clients[name].until_closed()
        assert ([message["type"] for message in messages], closed.code) == (["disconnect"], code)


# --- logging out -------------------------------------------------------------------------------------


async def test_with_one_login_a_logout_is_in_the_record(tmp_path: Path) -> None:
    """It needs no place among the revocations, holds after a restart, and the next login is none of it."""
    config = accounts_config(tmp_path, logins="single")
    async with populated(config) as at:
        token = await at.login("alice")
        device = await at.connect(token)
        assert await at.done("POST", "/api/auth/logout", token) == {"closed": 1}
        closed = await device.closed()
        assert (closed.code, closed.reason) == (3500, "logged out")
        assert not await at.is_live(token)
        assert len(at.site.server.context.authenticator.revocations) == 0
        later = await at.login("alice")
        assert await at.is_live(later)
    with trio.fail_after(20):
        async with accounts_site(config) as at:
            assert not await at.is_live(token)
            assert await at.is_live(later)
            assert (await at.ask("POST", "/api/auth/logout", token)).status_code == 401
            assert await at.is_live(later)


async def test_a_logout_works_where_no_more_can_be_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends all of the user's logins then, and nobody else's; administrators have their reserve."""
    monkeypatch.setattr("tidings.server.logins.RESERVED", 1)
    async with populated(accounts_config(tmp_path, logins="many"), "bob") as at:
        at.site.server.context.authenticator.revocations._most = 2
        root = await at.login("root")
        desk, phone, bob = await at.login("alice"), await at.login("alice"), await at.login("bob")
        devices = [await at.connect(token) for token in (desk, phone)]
        # While there is room, one login of several.
        assert await at.done("POST", "/api/auth/logout", await at.login("alice")) == {"closed": 0}
        # Not by a connection, which the server might still count when that is answered which closes all.
        assert (await at.ask("GET", "/api/auth/check", phone)).status_code == 200
        foreign = at.site.token("alice", session_id="made by another issuer")
        refused = await at.ask("POST", "/api/auth/logout", foreign)
        assert error(refused)[1] == "limit_reached"
        assert await at.done("POST", "/api/auth/logout", desk) == {"closed": 2}
        assert [(await device.closed()).code for device in devices] == [3500, 3500]
        assert [await at.is_live(token) for token in (desk, phone, bob, root)] == [False, False, True, True]
        assert await at.is_live(await at.login("alice"))
        revoke = partial(at.ask, "POST", "/api/v1/tokens/revoke", root)
        assert (await revoke(json={"user_id": "bob"})).is_success
        assert not await at.is_live(bob)
        assert error(await revoke(json={"user_id": "carl"}))[1] == "limit_reached"


async def test_a_login_of_another_issuer_is_remembered_for_as_long_as_any_token_may_live(
    tmp_path: Path,
) -> None:
    """Nobody here knows how long its other tokens live; of a login of this server's own it is known."""
    async with populated(accounts_config(tmp_path, logins="many", token_ttl=60)) as at:
        authenticator = at.site.server.context.authenticator
        revocations = authenticator.revocations
        own, now = await at.login("alice"), int(time.time())
        foreign = at.site.token("alice", ttl=30, session_id="made by another issuer")
        own_id = identity(at, own).session_id
        for token in (own, foreign):
            await at.done("POST", "/api/auth/logout", token)
        until = {found.value: found.until_ms for found in revocations._sessions.values()}
        longest_ms = authenticator.longest_seconds * 1000
        assert longest_ms > 1_000_000
        assert until["made by another issuer"] - until[own_id or ""] > longest_ms - 100_000
        assert until["made by another issuer"] >= now * 1000 + longest_ms


# --- a database that is down -------------------------------------------------------------------------


async def test_what_the_database_says_is_for_the_log(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host and user are in no answer; and a login that nobody could judge costs nobody an attempt."""
    monkeypatch.setattr(groups, "PAUSE_SECONDS", 0.0)
    config = accounts_config(tmp_path, postgresql_url, account_attempts=3, address_attempts=5)
    body = {"username": "alice", "password": PASSWORD}
    async with populated(config) as at:
        root, records = await at.login("root"), at.site.server._records
        assert records is not None
        log_in = partial(at.ask, "POST", "/api/auth/login", json=body)
        await trio.to_thread.run_sync(cluster().stop)
        try:
            with structlog.testing.capture_logs() as logs:
                answers = [await log_in() for _ in range(12)]
                for method, path, asked in (("GET", "/api/users/me", None), *_ASKED.values()):
                    answers.append(await at.ask(method, path, root, json=asked))
        finally:
            await trio.to_thread.run_sync(cluster().start)
        assert {error(answer) for answer in answers} == {
            (503, "unavailable", "the database does not answer: try again soon")
        }
        told = [entry["error"] for entry in logs if entry["event"] == "the database does not answer"]
        assert len(told) == len(answers)
        assert all(str(cluster().folder) in each for each in told), told
        assert (await log_in()).status_code == 200
        # As well where it fails between the password and the record.
        write = records.write

        async def fail(*_: Any) -> Any:
            raise StoreUnavailable(f"cannot store: {cluster().folder}")

        monkeypatch.setattr(records, "write", fail)
        answers = [await log_in() for _ in range(12)]
        assert {answer.status_code for answer in answers} == {503}
        assert not any(cluster().folder.name in answer.text for answer in answers)
        monkeypatch.setattr(records, "write", write)
        assert (await log_in()).status_code == 200


# --- hashes that change meanwhile --------------------------------------------------------------------


class Held:
    """A method that is called as ever, and whose results are kept back until `go`."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self._method = method
        self.done, self.go = trio.Event(), trio.Event()

    async def __call__(self, *arguments: Any) -> Any:
        """Do it, and say so; return later."""
        result = await self._method(*arguments)
        self.done.set()
        await self.go.wait()
        return result


@pytest.mark.parametrize("what", ["login", "change"])
async def test_a_hash_that_is_made_anew_meanwhile_hinders_nobody(tmp_path: Path, what: str) -> None:
    """Compared with the old hash, and recorded after another login has made it stronger: the password is right."""
    async with populated(accounts_config(tmp_path, logins="many")) as at:
        mine, old = await at.login("alice"), await user(at, "alice")
    with trio.fail_after(20):
        async with accounts_site(accounts_config(tmp_path, logins="many", hash_passes=2)) as at:
            hasher: Any = at.site.server.accounts.hasher  # type: ignore[union-attr]
            held, verify = Held(hasher.verify), hasher.verify
            async with trio.open_nursery() as nursery:
                hasher.verify = held
                if what == "login":
                    nursery.start_soon(at.login, "alice")
                else:
                    nursery.start_soon(at.change_password, mine)
                await held.done.wait()
                hasher.verify = verify
                other = await at.login("alice")
                new = await user(at, "alice")
                assert old is not None
                assert new is not None
                assert old.password != new.password
                held.go.set()
            assert await at.is_live(mine)
            assert await at.is_live(other) == (what == "login")
            await at.login("alice", PASSWORD if what == "login" else OTHER)
