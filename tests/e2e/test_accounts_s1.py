"""The document S1, one login at a time: its workflow to the letter, and everything that must not be pushed out."""

import statistics
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing
import trio
import trio.testing
from msgspec import structs
from support.accounts import AccountsSite, accounts_config, accounts_site, events
from support.client import RawClient
from support.tasks import reset

from tidings.protocol.catalogues import CATALOGUES, OTHER_DEVICE_LOGIN
from tidings.protocol.frames import Opcode
from tidings.server.config import Accounts, Config

# The document's own, to the letter.
CONNECTED = """
{
  "type": "connected",
  "message": "WebSocket接続が確立されました"
}
"""
FORCE_LOGOUT = """
{
  "type": "force_logout",
  "message": "このアカウントは他のデバイスでログインされています。再度ログインしてください。",
  "reason": "other_device_login"
}
"""
PONG = """
{
  "type": "pong",
  "message": "接続中"
}
"""

NATIVE = "/ws?dialect=native"


def documented(config: Config) -> Config:
    """As the owner of the document's front end configures it: `/ws` speaks its dialect."""
    paths = {f"/ws/{language}": f"single_login_{language}" for language in ("en", "zh")}
    return structs.replace(config, endpoints={"/ws": "single_login", **paths})


@asynccontextmanager
async def populated(config: Config, seconds: float = 60) -> AsyncIterator[AccountsSite]:
    """A server with zkily and bob, and an administrator."""
    with trio.fail_after(seconds):
        async with accounts_site(documented(config)) as at:
            await at.add_all("zkily", "bob")
            await at.add_all("root", roles=("admin",))
            yield at


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[AccountsSite]:
    """Such a server, where a login ends the user's others."""
    async with populated(accounts_config(tmp_path, logins="single")) as at:
        yield at


async def said(client: RawClient, document: str) -> None:
    """That the next frame is the document's: the same fields in the same order, and nothing else."""
    opcode, payload = await client.receive_frame()
    expected = msgspec.json.encode(msgspec.json.decode(document))
    assert (opcode, payload.decode()) == (Opcode.TEXT, expected.decode())


async def entered(at: AccountsSite, token: str) -> RawClient:
    """A connection by the document's URL, which has read the document's first message."""
    client, status = await at.handshake(f"/ws?token={token}")
    assert status == 101
    await said(client, CONNECTED)
    return client


async def lives(client: RawClient) -> None:
    """That nothing was said to a connection, and that it goes on."""
    await client.send_text("ping")
    await said(client, PONG)


async def pushed_out(client: RawClient) -> None:
    """That a connection is told why, in the document's words, and closed with 3508; nothing else."""
    await said(client, FORCE_LOGOUT)
    messages, closed = await client.until_closed()
    assert (messages, closed.code, closed.reason) == ([], 3508, "logged in elsewhere")


async def test_the_documents_workflow(tmp_path: Path, records_url: str) -> None:
    """A user logs in on device 1, then on device 2: device 1 is told at once, and is out; device 2 stays."""
    async with populated(accounts_config(tmp_path, records_url, logins="single")) as at:
        stranger = await entered(at, await at.login("bob"))
        first = await at.login("zkily")
        device_1 = await entered(at, first)
        await lives(device_1)
        second = await at.login("zkily")
        await pushed_out(device_1)
        device_2 = await entered(at, second)
        await lives(device_2)
        await lives(stranger)
        assert not await at.is_live(first)
        assert await at.is_live(second)
        # And back again, as people do.
        third = await at.login("zkily")
        await pushed_out(device_2)
        assert [await at.is_live(token) for token in (first, second, third)] == [False, False, True]


async def test_both_pings_are_answered_as_documented(at: AccountsSite) -> None:
    """`pong` is the document's, for the bare word and for the object."""
    client = await entered(at, await at.login("zkily"))
    for ping in ("ping", '{"type":"ping"}'):
        await client.send_text(ping)
        await said(client, PONG)


async def test_tabs_of_one_login_live_together(at: AccountsSite) -> None:
    """A second tab, by the same token or a refreshed one, pushes nobody out; another login, all of them."""
    token = await at.login("zkily")
    newer = await at.refreshed(token)
    tabs = [await entered(at, each) for each in (token, token, newer)]
    for tab in tabs:
        await lives(tab)
    assert await at.is_live(token)
    assert await at.is_live(newer)
    other = await at.login("zkily")
    for tab in tabs:
        await pushed_out(tab)
    assert [await at.is_live(each) for each in (token, newer, other)] == [False, False, True]
    assert (await at.ask("POST", "/api/auth/refresh", newer)).status_code == 401


async def test_the_older_device_was_offline(at: AccountsSite) -> None:
    """It hears nothing, as nobody keeps it: its token is refused when it comes back, and by polling."""
    first = await at.login("zkily")
    device_1 = await entered(at, first)
    await device_1.aclose()
    await at.login("zkily")
    answer = await at.ask("GET", "/api/auth/check", first)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    for path in ("/ws", "/ws/en", NATIVE):
        joint = "&" if "?" in path else "?"
        assert (await at.handshake(f"{path}{joint}token={first}"))[1] == 401


async def test_nothing_of_it_is_kept(tmp_path: Path, records_url: str) -> None:
    """A `force_logout` is for who is there: no later connection, inbox or history has it, on no device."""
    config = accounts_config(tmp_path, records_url, logins="single")
    async with populated(config) as at:
        first = await at.login("zkily", device="desk")
        here = [await entered(at, first), await at.connect(first, path=NATIVE)]
        await at.login("zkily")
        for client in here:
            messages, closed = await client.until_closed()
            assert (messages[0]["type"], closed.code) == ("force_logout", 3508)
        later = await at.login("zkily", device="desk")
        await lives(await entered(at, later))
        for path in (NATIVE, f"{NATIVE}&device=phone", f"{NATIVE}&device=desk"):
            client = await at.connect(later, path=path)
            assert await at.heard(client, "zkily") == []
            page = await client.command("history", {"channel": "user:zkily", "limit": 100})
            assert {each["type"] for each in page["data"]["publications"]} == {"marker"}
    # Nor does a restart bring it back.
    async with accounts_site(documented(config)) as at:
        assert await at.heard(await at.connect(later, path=NATIVE), "zkily") == []


async def test_native_clients_get_the_same_natively(at: AccountsSite) -> None:
    """In their envelope, and without a position; then `disconnect`, which says not to come back."""
    first = await at.login("zkily")
    client, beside = await at.connect(first, path=NATIVE), await entered(at, first)
    await at.login("zkily")
    messages, closed = await client.until_closed()
    assert (closed.code, closed.reason) == (3508, "logged in elsewhere")
    words = CATALOGUES["en"].forced_out[OTHER_DEVICE_LOGIN]
    goodbye = {"code": 3508, "reason": "logged in elsewhere", "reconnect": False, "delay": 0.0}
    assert events(messages) == [
        ("force_logout", {"reason": OTHER_DEVICE_LOGIN, "message": words}),
        ("disconnect", goodbye),
    ]
    assert "offset" not in messages[0]
    await pushed_out(beside)


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_an_endpoint_has_its_language(at: AccountsSite, language: str) -> None:
    """The same three messages in the words of its catalogue."""
    words = CATALOGUES[language]
    token = await at.login("zkily")
    client, status = await at.handshake(f"/ws/{language}?token={token}")
    assert status == 101
    assert await client.receive_json() == {"type": "connected", "message": words.connected}
    await client.send_text("ping")
    assert await client.receive_json() == {"type": "pong", "message": words.pong}
    await at.login("zkily")
    told = words.forced_out[OTHER_DEVICE_LOGIN]
    assert await client.receive_json() == {
        "type": "force_logout",
        "message": told,
        "reason": OTHER_DEVICE_LOGIN,
    }
    assert (await client.closed()).code == 3508


async def test_many_logins_push_nobody_out(tmp_path: Path) -> None:
    """With `logins = "many"`, the default, a user may be everywhere at once."""
    async with populated(accounts_config(tmp_path)) as at:
        tokens = [await at.login("zkily") for _ in range(3)]
        clients = [await entered(at, token) for token in tokens]
        tokens.append(await at.login("zkily"))
        for client in clients:
            await lives(client)
        assert all([await at.is_live(token) for token in tokens])


async def test_the_network_fails_and_the_device_comes_back(at: AccountsSite) -> None:
    """The document's reconnect: the same token is good again, and the next login reaches that connection."""
    token = await at.login("zkily")
    lost = await entered(at, token)
    reset(lost)
    back = await entered(at, token)
    await lives(back)
    await at.login("zkily")
    await pushed_out(back)


async def test_a_wrong_password_pushes_nobody_out(at: AccountsSite) -> None:
    """Who cannot log in ends no login, and neither does logging in as somebody else."""
    client = await entered(at, await at.login("zkily"))
    body = {"username": "zkily", "password": "not the password"}
    assert (await at.ask("POST", "/api/auth/login", json=body)).status_code == 401
    await at.login("bob")
    await lives(client)


async def test_logging_out_is_the_end_of_that_login(at: AccountsSite) -> None:
    """The document's logout: its connections close, without a `force_logout`, and its token is refused."""
    token = await at.login("zkily")
    client = await entered(at, token)
    assert await at.done("POST", "/api/auth/logout", token) == {"closed": 1}
    messages, closed = await client.until_closed()
    assert (messages, closed.code) == ([], 3500)
    assert not await at.is_live(token)


async def until_told(logs: Sequence[MutableMapping[str, Any]], event: str) -> None:
    """Wait for a line of the log."""
    while event not in {line["event"] for line in logs}:
        await trio.testing.wait_all_tasks_blocked()


async def test_what_the_log_says(tmp_path: Path) -> None:
    """The document's three lines with their totals, and no line that has a token or a password in it."""
    secrets = ["brass otter 41 lighthouse"]
    with structlog.testing.capture_logs() as logs:
        async with populated(accounts_config(tmp_path, logins="single")) as at:
            first = await at.login("zkily")
            device_1 = await entered(at, first)
            newer = await at.refreshed(first)
            second = await at.login("zkily")
            await pushed_out(device_1)
            await device_1.aclose()
            await until_told(logs, "disconnected")
            refused = [first, newer, f"{second}x"]
            for token in refused:
                assert not await at.is_live(token)
            device_2 = await entered(at, second)
            await device_2.send_close()
            await device_2.closed()
            secrets += [first, newer, second]
    lines = [line for line in logs if line.get("user") == "zkily"]
    told: list[dict[str, Any]] = [
        {key: line[key] for key in ("event", "connections", "closed", "code") if key in line}
        for line in lines
        if line["event"] in {"connected", "force_logout", "disconnected"}
    ]
    assert told == [
        {"event": "connected", "connections": 1},
        {"event": "force_logout", "closed": 1},
        {"event": "disconnected", "connections": 0, "code": 3508},
        {"event": "connected", "connections": 1},
        {"event": "disconnected", "connections": 0, "code": 1000},
    ]
    text = repr(logs)
    for secret in secrets:
        # A token's last part is what makes it good; its first is everybody's.
        assert secret.rpartition(".")[2] not in text
    assert not [line for line in logs if line["log_level"] in {"error", "critical"}]


@pytest.mark.slow
async def test_how_soon_the_other_device_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the second login's request to the frame at device 1, a hundred times, with the product's own hashes."""
    usual = Accounts()
    config = accounts_config(
        tmp_path,
        logins="single",
        hash_memory_kib=usual.hash_memory_kib,
        hash_passes=usual.hash_passes,
    )
    seconds: list[float] = []
    logins: list[float] = []
    async with populated(config, 180) as at:
        await at.add("alice", "seven quiet harbours 90")
        token = await at.login("alice", "seven quiet harbours 90")
        for _ in range(100):
            device_1 = await entered(at, token)
            began = trio.current_time()
            tokens: list[str] = []

            async def log_in(tokens: list[str] = tokens, began: float = began) -> None:
                tokens.append(await at.login("alice", "seven quiet harbours 90"))
                logins.append(trio.current_time() - began)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(log_in)
                await said(device_1, FORCE_LOGOUT)
                seconds.append(trio.current_time() - began)
            assert (await device_1.closed()).code == 3508
            await device_1.aclose()
            [token] = tokens
    with capsys.disabled():
        print(f"\n{_figures('force_logout', seconds)}; {_figures('the login itself', logins)}")  # noqa: T201


def _figures(what: str, seconds: list[float]) -> str:
    centiles = statistics.quantiles(seconds, n=100)
    return f"{what}: median {centiles[49] * 1000:.1f} ms, p99 {centiles[98] * 1000:.1f} ms"
