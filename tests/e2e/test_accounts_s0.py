"""The document S0, user data in sync: its four scenarios as it has them, its events, and who never hears them."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
from msgspec import structs
from support.accounts import OTHER, PASSWORD, AccountsSite, accounts_config, accounts_site, error, events
from support.client import RawClient
from support.tokens import BAD_TOKENS

from tidings.server.apps.accounts import service
from tidings.server.config import Config, History
from tidings.server.relay import Relay

ALICE = "/api/admin/users/alice"


@asynccontextmanager
async def populated(config: Config) -> AsyncIterator[AccountsSite]:
    """A server with alice, bob and the administrator root."""
    with trio.fail_after(60):
        async with accounts_site(config) as at:
            await at.add_all("alice", "bob")
            await at.add_all("root", roles=("admin",))
            yield at


@pytest.fixture(autouse=True)
def nobody_is_closed_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a disk or a thread lets a second pass, the server closes whoever has not been told why yet."""
    monkeypatch.setattr(service, "_TOLD_SECONDS", 20.0)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[AccountsSite]:
    """Such a server on SQLite."""
    async with populated(accounts_config(tmp_path)) as at:
        yield at


@pytest.fixture
async def on_each(tmp_path: Path, records_url: str) -> AsyncIterator[AccountsSite]:
    """Such a server, on either database."""
    async with populated(accounts_config(tmp_path, records_url)) as at:
        yield at


async def by_header(at: AccountsSite, token: str) -> RawClient:
    """A WebSocket by the document's other way to give a token."""
    return await at.connect(token, headers={"Authorization": f"Bearer {token}"})


async def ended(client: RawClient, code: int, reason: str) -> list[tuple[str, Any]]:
    """What a connection was told before it was closed so; `disconnect` comes last, and says the same."""
    messages, closed = await client.until_closed()
    assert (closed.code, closed.reason) == (code, reason)
    *told, goodbye = events(messages)
    expected = {"code": code, "reason": reason, "reconnect": False, "delay": 0.0}
    assert goodbye == ("disconnect", expected)
    return told


async def test_scenario_1_an_administrator_updates_a_user(on_each: AccountsSite) -> None:
    """All of the user's connections get `user:updated` with what a profile shows, administrators too."""
    at = on_each
    desk, phone = await at.login("alice"), await at.login("alice")
    mine = [await at.connect(desk), await at.connect(desk), await by_header(at, phone)]
    root, bob = await at.login("root"), await at.login("bob")
    manager, stranger = await at.connect(root), await at.connect(bob)
    changes = {"username": "Alice.B", "email": "alice@example.org", "roles": ["editor"]}
    answer = await at.done("PUT", ALICE, root, json=changes)
    profile = {"id": "alice"} | changes | {"group_id": None}
    assert {key: answer[key] for key in profile} == profile
    for client in mine:
        [told] = await at.heard(client, "alice")
        assert (told["type"], told["data"], told["user_id"]) == ("user:updated", profile, "alice")
        assert {"type", "data", "timestamp", "channel", "offset", "user_id"} == set(told)
    [told] = await at.heard(manager, "root")
    assert (told["type"], told["data"], told["channel"]) == ("user:updated", profile, "role:admin")
    assert await at.heard(stranger, "bob") == []
    for token in (desk, phone):
        assert (await at.done("GET", "/api/users/me", token))["email"] == "alice@example.org"


async def test_what_changes_nothing_is_not_told(at: AccountsSite) -> None:
    """An update with what is there already, and one that is refused, reach nobody."""
    alice, root = await at.login("alice"), await at.login("root")
    client, manager = await at.connect(alice), await at.connect(root)
    await at.done("PUT", ALICE, root, json={"username": "alice"})
    assert (await at.ask("PUT", ALICE, root, json={"username": "BOB"})).status_code == 409
    assert (await at.ask("PUT", ALICE, alice, json={"email": "a@example.org"})).status_code == 403
    assert (await at.heard(client, "alice"), await at.heard(manager, "root")) == ([], [])


async def test_a_user_sees_their_own_change_everywhere(at: AccountsSite) -> None:
    """Who changes their own profile hears of it on every connection, the one at hand too."""
    desk, phone = await at.login("alice"), await at.login("alice")
    windows = [await at.connect(desk), await at.connect(desk), await at.connect(phone)]
    await at.done("PUT", "/api/users/me", desk, json={"email": "alice@example.org"})
    profile: dict[str, Any] = {"id": "alice", "username": "alice", "email": "alice@example.org"}
    profile |= {"roles": [], "group_id": None}
    for client in windows:
        assert events(await at.heard(client, "alice")) == [("user:updated", profile)]


async def test_a_role_that_is_taken_away_is_told_and_ends_the_login(at: AccountsSite) -> None:
    """The token still says it: so the connections hear what is new, and are closed with 3500."""
    await at.add_all("carol", roles=("editor", "author"))
    carol, root = await at.login("carol"), await at.login("root")
    client = await at.connect(carol)
    await at.done("PUT", "/api/admin/users/carol", root, json={"roles": ["author"]})
    profile = {"id": "carol", "username": "carol", "email": None, "roles": ["author"], "group_id": None}
    assert await ended(client, 3500, "roles changed") == [("user:updated", profile)]
    assert not await at.is_live(carol)


async def test_scenario_2_an_administrator_resets_a_password(on_each: AccountsSite) -> None:
    """All of the user's clients get `user:password-changed` and are closed; only the temporary password lets in."""
    at = on_each
    desk, phone = await at.login("alice"), await at.login("alice")
    mine = [await at.connect(desk), await at.connect(desk), await by_header(at, phone)]
    root, bob = await at.login("root"), await at.login("bob")
    manager, stranger = await at.connect(root), await at.connect(bob)
    temporary = (await at.done("POST", f"{ALICE}/reset-password", root))["temporary_password"]
    expected = [("user:password-changed", {"id": "alice", "by": "root"})]
    for client in mine:
        assert await ended(client, 3500, "password changed") == expected
    assert events(await at.heard(manager, "root")) == expected
    assert await at.heard(stranger, "bob") == []
    assert not await at.is_live(desk)
    assert not await at.is_live(phone)
    refused = await at.ask("POST", "/api/auth/login", json={"username": "alice", "password": PASSWORD})
    assert error(refused)[:2] == (401, "unauthorized")
    back = await at.login("alice", temporary)
    assert (await at.done("GET", "/api/users/me", back))["must_change_password"] is True
    client = await at.connect(back)
    assert await at.heard(client, "alice") == []
    await at.change_password(back, old=temporary)
    assert (await at.done("GET", "/api/users/me", back))["must_change_password"] is False
    assert await at.heard(client, "alice") == []


async def test_scenario_3_a_user_changes_the_password(on_each: AccountsSite) -> None:
    """Only the other logins' clients get `user:password-changed`; the one that asked goes on, in all its tabs."""
    at = on_each
    desk, phone = await at.login("alice", device="desk"), await at.login("alice", device="phone")
    tabs = [await at.connect(desk), await by_header(at, await at.refreshed(desk))]
    other = await at.connect(phone)
    root = await at.login("root")
    manager = await at.connect(root)
    await at.change_password(desk)
    changed = ("user:password-changed", {"id": "alice", "by": "alice"})
    assert await ended(other, 3500, "password changed") == [changed]
    assert events(await at.heard(manager, "root")) == [changed]
    for tab in tabs:
        assert await at.heard(tab, "alice") == []
    # It is not for this login after a reconnect either, nor where somebody looks into what is kept.
    for path in ("/ws", "/ws?device=new"):
        again = await at.connect(desk, path=path)
        assert await at.heard(again, "alice") == []
        page = await again.command("history", {"channel": "user:alice", "limit": 100})
        assert {each["type"] for each in page["data"]["publications"]} <= {"marker"}
    assert await at.is_live(desk)
    assert not await at.is_live(phone)


class Held:
    """Events that reach nobody, as with a broker that hangs, until `go` is set."""

    def __init__(self, relay: Relay) -> None:
        self.go = trio.Event()
        self._wait_passed, self._waiting = relay.wait_passed, 0
        self._submit = relay._push.submit
        self._more = trio.Event()

    async def submit(self, *arguments: Any, **more: Any) -> Any:
        """Publish, but not yet."""
        await self.go.wait()
        return await self._submit(*arguments, **more)

    async def wait_passed(self, event_id: int) -> None:
        """Wait for an event to be out, and be seen to do so."""
        self._waiting += 1
        self._more.set()
        self._more = trio.Event()
        await self._wait_passed(event_id)

    async def until_waiting(self, requests: int) -> None:
        """Wait until so many requests wait for what is held."""
        while self._waiting < requests:
            await self._more.wait()


@contextmanager
def held_back(at: AccountsSite) -> Iterator[Held]:
    """Hold what is to be told to users back; at the end it goes out."""
    relay = at.site.server._relay
    assert relay is not None
    held, push, wait_passed = Held(relay), relay._push, relay.wait_passed
    relay._push, relay.wait_passed = held, held.wait_passed  # type: ignore[assignment,method-assign]
    try:
        yield held
    finally:
        held.go.set()
        relay._push, relay.wait_passed = push, wait_passed  # type: ignore[method-assign]


@pytest.mark.parametrize("device", [None, "phone"])
async def test_a_login_made_afterwards_is_not_told(at: AccountsSite, device: str | None) -> None:
    """Who logs in with the new password knows of it: nothing comes live, from the inbox or in the history."""
    desk, phone = await at.login("alice"), await at.login("alice", device="phone")
    await (await at.connect(phone)).aclose()
    await at.change_password(desk)
    later = await at.login("alice", OTHER, device=device)
    assert await at.heard(await at.connect(later), "alice") == []
    assert await at.heard(await at.connect(later, path="/ws?device=phone"), "alice") == []


@pytest.mark.parametrize("log", ["sqlite", "none"])
async def test_a_login_made_while_the_event_waits_is_not_told(
    tmp_path: Path, log: Literal["sqlite", "none"]
) -> None:
    """The same where the event comes late: the login waits for it, and is younger than it by its own word."""
    config = structs.replace(accounts_config(tmp_path), history=History(log=log))
    async with populated(config) as at:
        # In memory an event takes no time: it and the login are of one millisecond, if it begins with that.
        for number in range(1 if log == "sqlite" else 15):
            old = OTHER if number % 2 else PASSWORD
            new = PASSWORD if number % 2 else OTHER
            desk = await at.login("alice", old)
            logins: list[str] = []
            async with trio.open_nursery() as nursery:
                with held_back(at) as held:
                    nursery.start_soon(at.change_password, desk, old, new)
                    await held.until_waiting(1)
                    nursery.start_soon(_log_in, at, new, logins)
                    await held.until_waiting(2)
                    while time.time() % 0.001 > 0.0002:
                        pass
            assert await at.heard(await at.connect(logins[0]), "alice") == []


async def _log_in(at: AccountsSite, password: str, logins: list[str]) -> None:
    logins.append(await at.login("alice", password))


async def test_a_login_made_long_before_the_event_comes_is_not_told(
    at: AccountsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the event does not come in time, nobody logs in before it, and so nobody younger hears it."""
    monkeypatch.setattr(service, "_TOLD_SECONDS", 0.05)
    desk = await at.login("alice")
    relay = at.site.server._relay
    assert relay is not None
    with held_back(at):
        await at.change_password(desk)
        answer = await at.ask("POST", "/api/auth/login", json={"username": "alice", "password": OTHER})
        assert error(answer)[:2] == (503, "unavailable")
    await relay.wait_passed(2)
    later = await at.login("alice", OTHER)
    client = await at.connect(later)
    assert await at.heard(client, "alice") == []
    assert await at.heard(await at.connect(later, path="/ws?device=new"), "alice") == []


async def test_scenario_4_an_administrator_deletes_a_user(on_each: AccountsSite) -> None:
    """All of the user's clients get `user:deleted` and are closed with 3510; no token is good any more."""
    at = on_each
    desk, phone = await at.login("alice"), await at.login("alice")
    mine = [await at.connect(desk), await at.connect(desk), await by_header(at, phone)]
    root, bob = await at.login("root"), await at.login("bob")
    manager, stranger = await at.connect(root), await at.connect(bob)
    deleted = {"id": "alice", "username": "alice"}
    assert await at.done("DELETE", ALICE, root) == deleted
    for client in mine:
        assert await ended(client, 3510, "account deleted") == [("user:deleted", deleted)]
    assert events(await at.heard(manager, "root")) == [("user:deleted", deleted)]
    assert await at.heard(stranger, "bob") == []
    assert not await at.is_live(desk)
    assert not await at.is_live(phone)
    refused = await at.ask("POST", "/api/auth/login", json={"username": "alice", "password": PASSWORD})
    assert error(refused)[:2] == (401, "unauthorized")
    listed = await at.done("GET", "/api/admin/users", root)
    assert [user["username"] for user in listed["users"]] == ["bob", "root"]


async def test_the_first_word_and_the_heartbeat(at: AccountsSite) -> None:
    """`connected` says whose connection it is, and `ping` is answered with `pong`."""
    token = await at.login("alice")
    client = await at.open()
    assert (await client.handshake(f"/ws?token={token}"))[0] == 101
    first = await client.receive_json()
    assert (first["type"], first["data"]["user_id"], first["data"]["username"]) == (
        "connected",
        "alice",
        "alice",
    )
    await client.send_json({"type": "ping"})
    assert (await client.receive_json())["type"] == "pong"


async def test_a_bad_token_never_has_an_open_socket(at: AccountsSite) -> None:
    """Refused with 401 before the upgrade, in the query and in the header, as over HTTP."""
    for name in ("another key", "exp past", "no signature", "two segments"):
        token = BAD_TOKENS[name]
        assert (await at.handshake(f"/ws?token={token}"))[1] == 401
        assert (await at.handshake("/ws", {"Authorization": f"Bearer {token}"}))[1] == 401
        assert (await at.ask("GET", "/api/auth/check", token)).status_code == 401


async def test_nobody_reads_what_is_anothers(at: AccountsSite) -> None:
    """A user can neither subscribe to another's channel or the administrators', nor read what they keep."""
    alice, root = await at.login("alice"), await at.login("root")
    client = await at.connect(alice)
    await at.done("PUT", "/api/admin/users/bob", root, json={"email": "bob@example.org"})
    for channel in ("user:bob", "role:admin"):
        for command in ("subscribe", "history"):
            answer = await client.command(command, {"channel": channel})
            assert (answer["type"], answer["data"]["code"]) == ("error", "forbidden")
    assert await at.heard(client, "alice") == []


@pytest.mark.parametrize("named", ["login", "query"])
async def test_an_absent_device_hears_on_its_return(at: AccountsSite, named: str) -> None:
    """Events of the time when it was away come once, in order, whether its login or its URL names the device."""
    login = await at.login("alice", **({"device": "phone"} if named == "login" else {}))
    path = "/ws" if named == "login" else "/ws?device=phone"
    root = await at.login("root")
    await (await at.connect(login, path=path)).aclose()
    emails = ["one@example.org", "two@example.org"]
    for email in emails:
        await at.done("PUT", ALICE, root, json={"email": email})
    back = await at.connect(login, path=path)
    heard = await at.heard(back, "alice")
    assert [message["data"]["email"] for message in heard] == emails
    # The marker behind them is acknowledged, too, as a client does that has read so far.
    last = heard[-1]["offset"] + 1
    acked = await back.command("ack", {"channel": "user:alice", "offset": last})
    assert acked["type"] == "acked"
    await back.aclose()
    # By the other name of the same device nothing comes again; to another device it is news.
    again = await at.connect(await at.login("alice"), path="/ws?device=phone")
    assert await at.heard(again, "alice") == []
