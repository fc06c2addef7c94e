"""Logins at the same moment as other logins, and as everything that ends one: nobody stays who should not."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec import structs
from support.accounts import PASSWORD, AccountsSite, accounts_config, accounts_site
from support.client import RawClient
from support.login_crowd import Crowd, last_login, session_of

from tidings.server.apps.accounts import service
from tidings.server.config import Heartbeat


@pytest.fixture(autouse=True)
def nobody_is_closed_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a disk or a thread lets a second pass, the server closes whoever has not been told why yet."""
    monkeypatch.setattr(service, "_TOLD_SECONDS", 20.0)


@asynccontextmanager
async def populated(
    folder: Path, url: str, *names: str, logins: str = "single", seconds: float = 60
) -> AsyncIterator[AccountsSite]:
    """A server with users and an administrator."""
    # Hundreds of clients do not read while they wait for their turn, and answer no ping.
    config = structs.replace(
        accounts_config(folder, url, logins=logins, hash_queue=1000), heartbeat=Heartbeat(ping_interval=600)
    )
    with trio.fail_after(seconds):
        async with accounts_site(config) as at:
            await at.add_all(*names)
            await at.add_all("root", roles=("admin",))
            yield at


@pytest.mark.parametrize("size", [10, pytest.param(500, marks=pytest.mark.slow)])
async def test_a_crowd_logs_in_and_out(tmp_path: Path, records_url: str, size: int) -> None:
    """When all is quiet no user has two live logins: the last one lives, unless it has logged out."""
    # On PostgreSQL they cost as much and show the same by fewer: its own locks are what is different.
    names = [f"user-{number}" for number in range(min(size, 100) if records_url else size)]
    async with populated(tmp_path, records_url, *names, seconds=290) as at:
        crowd = Crowd(at, random.Random(size))
        # Hundreds of users meet in the server; ten have to meet themselves.
        await crowd.run(names, devices=2, times=1 if size > 100 else 2)
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(crowd.check, name)
        answered = [login for logins in crowd.logins.values() for login in logins]
        assert len(answered) >= len(names)
        # Some of each, or this was no test.
        assert 0 < sum(login.logged_out for login in answered) < len(answered)
        assert any(login.client for login in answered)


async def test_ten_logins_of_one_user_have_one_winner(tmp_path: Path, records_url: str) -> None:
    """Of ten at once the last to be recorded lives; the others' tokens are dead, and their connections closed."""
    async with populated(tmp_path, records_url, "alice") as at:
        before = await at.login("alice")
        crowd = Crowd(at, random.Random(10))
        earlier: list[str] = [before]
        for _ in range(3):
            crowd.logins.clear()

            async def enter() -> None:
                login = await crowd.log_in("alice")
                if login is not None:
                    await crowd.connect(login)

            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(enter)
            for token in earlier:
                assert not await at.is_live(token)
            earlier += [login.token for login in crowd.logins["alice"]]
            await crowd.check("alice")


async def test_logins_at_once_after_hashes_were_made_stronger(tmp_path: Path) -> None:
    """Each of them makes the hash anew, and none is refused for that: the password is the same."""
    async with populated(tmp_path, "", "alice", logins="many"):
        pass
    async with (
        accounts_site(accounts_config(tmp_path, hash_passes=2)) as at,
        trio.open_nursery() as nursery,
    ):
        for _ in range(5):
            nursery.start_soon(at.login, "alice")


class Held:
    """A method that is called as ever, and whose results are kept back until `go`."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self._method = method
        self.done, self.go = trio.Event(), trio.Event()

    async def __call__(self, *arguments: Any, **more: Any) -> Any:
        """Do it, and say so; return later."""
        result = await self._method(*arguments, **more)
        self.done.set()
        await self.go.wait()
        return result


@pytest.mark.parametrize("then", ["change", "reset", "delete"])
async def test_a_login_by_a_password_that_changes_meanwhile(
    tmp_path: Path,
    records_url: str,
    then: str,
) -> None:
    """Compared before the change and recorded after it, a login is refused: the password is not right any more."""
    async with populated(tmp_path, records_url, "alice", logins="many") as at:
        accounts = at.site.server.accounts
        assert accounts is not None
        mine, root = await at.login("alice"), await at.login("root")
        verify = accounts.hasher.verify
        held = Held(verify)
        answers: list[int] = []

        async def log_in() -> None:
            body = {"username": "alice", "password": PASSWORD}
            answers.append((await at.ask("POST", "/api/auth/login", json=body)).status_code)

        async with trio.open_nursery() as nursery:
            accounts.hasher.verify = held  # type: ignore[method-assign]
            nursery.start_soon(log_in)
            await held.done.wait()
            accounts.hasher.verify = verify  # type: ignore[method-assign]
            await end(at, then, mine, root)
            held.go.set()
        assert answers == [401]
        assert await at.is_live(mine) == (then == "change")


async def end(at: AccountsSite, how: str, mine: str, root: str) -> None:
    """End logins of alice's, all or all but `mine`."""
    match how:
        case "change":
            await at.change_password(mine)
        case "reset":
            await at.done("POST", "/api/admin/users/alice/reset-password", root)
        case "delete":
            await at.done("DELETE", "/api/admin/users/alice", root)
        case "logout":
            await at.done("POST", "/api/auth/logout", mine)


@pytest.mark.parametrize("how", ["change", "reset", "delete", "logout"])
async def test_a_refresh_at_the_end_of_its_login(tmp_path: Path, how: str) -> None:
    """A login that ends while its next token is made lives on in neither."""
    async with populated(tmp_path, "", "alice", logins="many") as at:
        mine, phone, root = await at.login("alice"), await at.login("alice"), await at.login("root")
        ending = mine if how == "logout" else phone
        records: Any = at.site.server._records
        read = records.read
        held = Held(read)
        answers: list[int] = []

        async def refresh() -> None:
            answers.append((await at.ask("POST", "/api/auth/refresh", ending)).status_code)

        async with trio.open_nursery() as nursery:
            records.read = held
            nursery.start_soon(refresh)
            await held.done.wait()
            records.read = read
            await end(at, how, mine, root)
            # Into the next second, whose tokens are younger than what has ended the login by all that they say.
            at.site.server.context.authenticator._clock = lambda: time.time() + 2
            held.go.set()
        assert answers == [401]
        assert not await at.is_live(ending)


async def test_everything_at_the_same_moment(tmp_path: Path, records_url: str) -> None:
    """Logins, refreshes, and what ends them, at once and again: no token lives that is older than what ended it."""
    names = [f"user-{number}" for number in range(12)]
    async with populated(tmp_path, records_url, *names, logins="many") as at:
        root = await at.login("root")
        old = {name: await at.login(name) for name in names}
        mine = {name: await at.login(name) for name in names}
        tokens: dict[str, list[str]] = {name: [old[name]] for name in names}

        async def log_in(name: str) -> None:
            answer = await at.ask("POST", "/api/auth/login", json={"username": name, "password": PASSWORD})
            if answer.status_code == 200:
                tokens[name].append(answer.json()["token"])

        async def refresh(name: str) -> None:
            answer = await at.ask("POST", "/api/auth/refresh", old[name])
            if answer.status_code == 200:
                tokens[name].append(answer.json()["token"])

        async def finish(name: str, number: int) -> None:
            match number % 3:
                case 0:
                    await at.change_password(mine[name])
                case 1:
                    await at.done("POST", f"/api/admin/users/{name}/reset-password", root)
                case _:
                    await at.done("DELETE", f"/api/admin/users/{name}", root)

        async with trio.open_nursery() as nursery:
            for number, name in enumerate(names):
                for act in (log_in, refresh, partial(finish, number=number), refresh, log_in):
                    nursery.start_soon(act, name)
        # All of these were made with the password that is not right any more, or by a login that has ended.
        for number, name in enumerate(names):
            for token in tokens[name]:
                assert not await at.is_live(token), (name, number % 3)
            assert await at.is_live(mine[name]) == (number % 3 == 0)


@pytest.mark.parametrize("how", ["login", "change", "reset", "delete"])
async def test_what_was_asked_for_is_done_when_who_asked_has_gone(tmp_path: Path, how: str) -> None:
    """What a commit ends is in force in its own step, whatever becomes of the request: here it never goes on."""
    async with populated(tmp_path, "", "alice") as at:
        first, root = await at.login("alice"), await at.login("root")
        device = await at.connect(first)
        records: Any = at.site.server._records
        write = records.write
        # The relay writes, too: only the request's own is held.
        held = Held(write)

        async def write_held(operation: Any, *on_done: Any) -> Any:
            return await (held if on_done else write)(operation, *on_done)

        async with trio.open_nursery() as nursery:
            records.write = write_held
            nursery.start_soon(_end_from_elsewhere, at, how, root)
            await held.done.wait()
            assert not await at.is_live(first)
            messages, closed = await device.until_closed()
            event, code = _ENDINGS[how]
            assert (messages[0]["type"], closed.code) == (event, code)
            nursery.cancel_scope.cancel()
        records.write = write
        held.go.set()


_ENDINGS = {
    "login": ("force_logout", 3508),
    "change": ("user:password-changed", 3500),
    "reset": ("user:password-changed", 3500),
    "delete": ("user:deleted", 3510),
}


async def _end_from_elsewhere(at: AccountsSite, how: str, root: str) -> None:
    """End a login of alice's by what another one does, which the policy of one login does not know."""
    if how == "login":
        await at.login("alice")
    else:
        other = at.site.token("alice", session_id="made by another issuer")
        await end(at, how, other, root)


async def test_a_connection_that_is_being_made_is_caught(tmp_path: Path) -> None:
    """Who has passed the door with a good token, and waits for the inbox to open, is out when another logs in."""
    async with populated(tmp_path, "", "alice") as at:
        first = await at.login("alice")
        broker: Any = at.site.server.context.broker
        attach = broker.attach
        held = Held(attach)
        broker.attach = held
        client = await at.open()
        assert (await client.handshake(f"/ws?token={first}"))[0] == 101
        await held.done.wait()
        broker.attach = attach
        second = await at.login("alice")
        held.go.set()
        messages, closed = await client.until_closed()
        assert closed.code in {3500, 3508}
        assert "connected" not in {message["type"] for message in messages}
        assert session_of(at, second) == await last_login(at, "alice")
        await _lives(at, second)


async def _lives(at: AccountsSite, token: str) -> RawClient:
    client = await at.connect(token)
    assert (await client.command("ping"))["type"] == "pong"
    return client
